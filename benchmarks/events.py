"""The events of a benchmark: the documented comment, with a number in its text that the receiver finds again."""

from __future__ import annotations

from collections.abc import Callable

import orjson

from benchmarks.receiver import DIGITS, MARK
from consumer.codec import Codec
from consumer.event import Outgoing, Payload
from schemas import examples

KEYS = 2000  # items that something happens to, in turn


class Events:
    """Makes records out of numbers, all of one size."""

    def __init__(self, lane: Callable[[int], int] | None = None) -> None:
        """Key events by the item that `lane` says; by default, `key` does."""
        self._lane = lane or key
        self._codec = Codec()
        self._payload = examples()["comment"]

    def record(self, topic: str, number: int) -> Outgoing:
        """Return the event of that number as a record, keyed as its item."""
        return Outgoing(topic, f"1111:{self._lane(number)}".encode(), self._codec.encode(self._numbered(number)))

    def body(self) -> bytes:
        """Return an event as this project posts it."""
        return orjson.dumps(self._numbered(0))

    def _numbered(self, number: int) -> Payload:
        self._payload["attributes"]["body"] = f"{MARK.decode()}{number:0{DIGITS}d}"
        return self._payload


def key(number: int) -> int:
    """Return the item that an event is about; the events of one item have to stay in order."""
    return number % KEYS
