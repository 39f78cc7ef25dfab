"""What failed for good, as a record of the dead-letter topic, and that record read back.

The value is the original record's bytes, untouched; everything else stands in headers (DESIGN 2.5). The same headers,
with one replay more, go along when an operator replays the entry, so that its delivery keeps id and coordinates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum

from consumer.event import Headers, Outgoing, Record, headers_size

PREFIX = "dlq."
LARGEST_NUMBER = 2**63 - 1
LONGEST_TEXT = 1000  # characters of what is told of a record that does not fit
CUT = "; the record does not fit into the dead-letter topic, and is cut"
LAST = "replays"  # always there, and the end of our own headers: what follows is the record's


class Stage(Enum):
    """Where on its way a record or delivery failed."""

    DECODE = "decode"
    ROUTE = "route"
    RENDER = "render"
    DELIVER = "deliver"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One entry of the dead-letter topic.

    `origin` is the record as it was first read. `subscription`, `service` and what follows are empty where they were
    not known yet; `product` is 0 then. `status` is 0 where no answer came. Times are seconds since 1970, 0 for none.
    """

    id: str
    origin: Record
    stage: Stage
    reason: str
    error: str
    subscription: str = ""
    service: str = ""
    product: int = 0
    model: str = ""
    action: str = ""
    status: int = 0
    attempts: int = 0
    first_attempt_at: float = 0.0
    last_attempt_at: float = 0.0
    replays: int = 0
    truncated: int = 0  # the size in bytes that the value had, where it did not fit
    dropped: int = 0  # bytes of key and headers that are left out, where they did not fit

    @property
    def is_whole(self) -> bool:
        """Whether it has all of the record's value; without it, nobody can read the event."""
        return not self.truncated

    @property
    def key(self) -> bytes:
        """The record key under which the entry stands: its delivery id."""
        return self.id.encode()

    def outgoing(self, topic: str) -> Outgoing:
        """Return the entry as a record for the dead-letter topic."""
        return Outgoing(topic, self.key, self.origin.value or b"", self.headers())

    def replay(self, topic: str) -> Outgoing:
        """Return the entry as a record for the replay topic, counted as one replay more.

        The original key keeps the entries of one item in one partition, and so in their order.
        """
        again = replace(self, replays=self.replays + 1)
        return Outgoing(topic, self.origin.key or self.key, self.origin.value or b"", again.headers())

    def shrunk(self, limit: int) -> DeadLetter:
        """Return the entry with what fits where the broker refused the whole, and its error saying so.

        That is at most `limit` bytes of its value and of its headers, and its key if that is no longer; of what is
        largest less than half remains.
        """
        origin = self.origin
        value, key = origin.value or b"", origin.key or b""
        largest = max(len(value), len(key), headers_size(origin.headers))
        limit = min(limit, max(0, largest - 1) // 2)  # something has to go each time, or it would never fit
        headers = _fitting(origin.headers, limit)
        kept = origin._replace(
            value=origin.value and value[:limit], key=origin.key if len(key) <= limit else None, headers=headers
        )
        return replace(
            self,
            origin=kept,
            error=self.error[:LONGEST_TEXT] + CUT * (not self.error.endswith(CUT)),
            model=self.model[:LONGEST_TEXT],
            action=self.action[:LONGEST_TEXT],
            truncated=self.truncated or (len(value) if len(value) > limit else 0),
            dropped=self.dropped + (origin.size - len(value)) - (kept.size - len(kept.value or b"")),
        )

    def headers(self) -> Headers:
        """Return the entry's own headers, `LAST` at their end, then those of the original record unchanged."""
        own: list[tuple[str, bytes | None]] = [
            (PREFIX + name, value.encode()) for name, value in self._fields().items() if value
        ]
        if self.origin.key is not None:
            own.insert(0, (PREFIX + "key", self.origin.key))
        return (*own, *self.origin.headers)

    def _fields(self) -> dict[str, str]:
        origin = self.origin
        return {
            "id": self.id,
            "topic": origin.topic,
            "partition": str(origin.partition),
            "offset": str(origin.offset),
            "timestamp": str(origin.timestamp),
            "null": "1" if origin.value is None else "",
            "subscription": self.subscription,
            "service": self.service,
            "product": str(self.product or ""),
            "model": self.model,
            "action": self.action,
            "stage": self.stage.value,
            "reason": self.reason,
            "error": self.error,
            "status": str(self.status or ""),
            "attempts": str(self.attempts),
            "first_attempt_at": _iso(self.first_attempt_at),
            "last_attempt_at": _iso(self.last_attempt_at),
            "truncated": str(self.truncated or ""),
            "dropped": str(self.dropped or ""),
            LAST: str(self.replays),
        }


def read_dead_letter(record: Record) -> DeadLetter:
    """Return the entry that a record of the dead-letter or replay topic holds.

    Raises ValueError, with a sentence that names the header, for a record that this application did not write.
    """
    fields, key, headers = _split(record.headers)
    origin = Record(
        topic=_required(fields, "topic"),
        partition=_number(fields, "partition"),
        offset=_number(fields, "offset"),
        key=key,
        value=None if fields.get("null") else record.value,
        timestamp=_number(fields, "timestamp"),
        headers=headers,
    )
    return DeadLetter(
        id=_required(fields, "id"),
        origin=origin,
        stage=_stage(_required(fields, "stage")),
        reason=fields.get("reason", ""),
        error=fields.get("error", ""),
        subscription=fields.get("subscription", ""),
        service=fields.get("service", ""),
        product=_number(fields, "product", "0"),
        model=fields.get("model", ""),
        action=fields.get("action", ""),
        status=_number(fields, "status", "0"),
        attempts=_number(fields, "attempts", "0"),
        first_attempt_at=_seconds(fields, "first_attempt_at"),
        last_attempt_at=_seconds(fields, "last_attempt_at"),
        replays=_number(fields, "replays", "0"),
        truncated=_number(fields, "truncated", "0"),
        dropped=_number(fields, "dropped", "0"),
    )


def _split(headers: Headers) -> tuple[dict[str, str], bytes | None, Headers]:
    """Part the entry's headers, which come first and end with `LAST`, from the record's own, whatever their names."""
    fields: dict[str, str] = {}
    key: bytes | None = None
    for index, (name, value) in enumerate(headers):
        short = name.removeprefix(PREFIX)
        if short == "key":
            key = value or b""
        else:
            fields[short] = (value or b"").decode("utf-8", "replace")
        if name == PREFIX + LAST:
            return fields, key, headers[index + 1 :]
    raise ValueError(f"not an entry of ours: it has no header {PREFIX}{LAST}")


def _fitting(headers: Headers, limit: int) -> Headers:
    """Return those headers, in their order, that have at most `limit` bytes together."""
    fitting: list[tuple[str, bytes | None]] = []
    for header in headers:
        size = headers_size([header])
        if size <= limit:
            limit -= size
            fitting.append(header)
    return tuple(fitting)


def _required(fields: Mapping[str, str], name: str) -> str:
    value = fields.get(name)
    if not value:
        raise ValueError(f"not an entry of ours: it has no header {PREFIX}{name}")
    return value


def _number(fields: Mapping[str, str], name: str, default: str | None = None) -> int:
    text = fields.get(name) or default or _required(fields, name)
    try:
        number = int(text)
    except ValueError:
        raise ValueError(f"not an entry of ours: header {PREFIX}{name} is not a number") from None
    if not -LARGEST_NUMBER <= number <= LARGEST_NUMBER:
        raise ValueError(f"not an entry of ours: header {PREFIX}{name} is not a number of 64 bits")
    return number


def _stage(text: str) -> Stage:
    try:
        return Stage(text)
    except ValueError:
        raise ValueError(f"not an entry of ours: header {PREFIX}stage is {text!r}") from None


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds") if seconds else ""


def _seconds(fields: Mapping[str, str], name: str) -> float:
    text = fields.get(name)
    if not text:
        return 0.0
    try:
        seconds = datetime.fromisoformat(text).timestamp()
        _iso(seconds)  # so that it can be written again: a time zone may lead out of the years there are
        return seconds
    except (ValueError, OverflowError):
        raise ValueError(f"not an entry of ours: header {PREFIX}{name} is not a time") from None
