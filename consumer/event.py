"""A record as the broker hands it over, and the event that the codec makes of it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol, TypeAlias

from consumer.tracecontext import trace_of

LONGEST_KEPT_KEY = 200  # bytes; keys come from outside, and thousands of 1 MB each would fill the memory

Payload: TypeAlias = dict[str, Any]
Headers: TypeAlias = tuple[tuple[str, bytes | None], ...]


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


class Record(NamedTuple):
    """One Kafka record: bytes and where they came from. `timestamp` is in milliseconds since 1970 (UTC)."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: Headers = ()

    @property
    def size(self) -> int:
        """Bytes of key, value and headers together: what a buffered record is counted with."""
        size = len(self.value or b"") + len(self.key or b"")
        return size + headers_size(self.headers) if self.headers else size


def headers_size(headers: Iterable[tuple[str, bytes | None]]) -> int:
    """Return how many bytes the names and contents of headers have together."""
    return sum(len(name) + len(content or b"") for name, content in headers)


class Commit(NamedTuple):
    """What a group has committed of a partition: where to go on, and a text of its own that goes along (up to 4 KB)."""

    offset: int
    metadata: str = ""


class Outgoing(NamedTuple):
    """A record to be written; without a `partition` its key chooses one (murmur2, as Java's producer does)."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None


class Account(Protocol):
    """Where the bytes of events in memory are counted."""

    bytes: int


class Event:
    """One decoded record: the payload that services get, and where it came from.

    `lane` is the 64-bit hash of the record's key; None asks for no order. `origin` is where the event was first read:
    the record itself, or for a replayed dead letter the record it was made of, so that delivery ids stay the same.
    `trace` is what the headers of `origin` say of it. Its bytes count in `account` for as long as a delivery holds it.
    """

    __slots__ = (
        "account",
        "action",
        "body",
        "holders",
        "lane",
        "model",
        "origin",
        "payload",
        "product",
        "record",
        "trace",
    )

    def __init__(self, record: Record, payload: Payload, origin: Record | None = None) -> None:
        self.record = record
        self.account: Account | None = None
        self.holders = 0
        self.origin = origin or record
        self.payload = payload
        self.model: str = payload["model"]
        self.action: str = payload.setdefault("action", "created")
        self.product: int = payload["product"]["id"]
        self.lane = lane_of(record.key)
        self.body: bytes | None = None  # the payload as JSON, once a service has asked for it
        headers = self.origin.headers
        self.trace = trace_of(headers) if headers else None

    def release(self) -> None:
        """Take in that one delivery less holds it; after the last its bytes are free."""
        self.holders -= 1
        if not self.holders and self.account is not None:
            self.account.bytes -= self.record.size


def lane_of(key: bytes | None) -> int | None:
    """Return the lane of a record key: a hash that is the same in every process, since states keep it."""
    if key is None:
        return None
    return _hash(key) if len(key) > LONGEST_KEPT_KEY else _hash_kept(key)


def _hash(key: bytes) -> int:
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "big")


_hash_kept = lru_cache(maxsize=8192)(_hash)  # of the items that something happens to now


def record_key(payload: Payload) -> bytes:
    """Return the key of an event's record: what happens to one item stays in order, a Deploy concerns its product.

    It is `product:number`, the number being that of the item itself or of the one commented, favorited or blocked.
    """
    product = payload["product"]["id"]
    attributes = payload.get("attributes") or {}
    where = {"Item": attributes, "Block": attributes.get("blocked")}.get(payload["model"], attributes.get("item"))
    number = where.get("number") if isinstance(where, dict) else None
    return (f"{product}" if number is None else f"{product}:{number}").encode()
