"""Poison: each record that is read live comes in, readable or not; whether its producer must be broken goes out.

A record that nobody can read is a dead letter, and the consumer goes on. With a broken producer that would empty the
topic into the dead letters, so it stops once too many are such. Per replica, over the records that it lets in.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from consumer.event import TopicPartition

if TYPE_CHECKING:
    from consumer.event import Record

LIMIT = 1000  # records
WINDOW = 10  # times the limit: as many within so many last records are too many as well, so a tenth


class Stop(NamedTuple):
    """Why no further record is let in: what there was too much of, and the record that was the last straw."""

    what: str
    tp: TopicPartition
    offset: int
    reason: str

    def __str__(self) -> str:
        return f"{self.what} cannot be read, the last one at {self.tp} offset {self.offset}: {self.reason}"


class Poison:
    """Counts what cannot be read, in a row and in a window of `WINDOW` times the limit that has to be full.

    `stop` says why there is too much of it, from then on; None as long as there is not. Good records, which are nearly
    all, cost one addition: the window knows the places of the bad ones only.
    """

    __slots__ = ("_last", "_limit", "_read", "_row", "stop")

    def __init__(self, limit: int | None = LIMIT) -> None:
        """Stop at `limit` in a row; without one, never."""
        self._limit = limit
        self._read = 0  # records, good and bad
        self._row = 0  # where among them the last good one stands
        self._last: deque[int] = deque(maxlen=limit)  # where the last bad ones stand
        self.stop: Stop | None = None

    def good(self) -> None:
        """Take in that a record could be read, as far as anybody wanted it."""
        self._row = self._read = self._read + 1

    def bad(self, record: Record, reason: str) -> None:
        """Take in that nobody can read a record."""
        self._read += 1
        limit = self._limit
        if limit is None or self.stop is not None:
            return
        self._last.append(self._read)
        if self._read - self._row >= limit:
            self._stop(f"{limit:,} records in a row", record, reason)
        elif self._is_full(limit) and len(self._last) == limit and self._read - self._last[0] < WINDOW * limit:
            self._stop(f"{limit:,} of the last {WINDOW * limit:,} records", record, reason)

    def _is_full(self, limit: int) -> bool:
        return self._read >= WINDOW * limit

    def _stop(self, what: str, record: Record, reason: str) -> None:
        self.stop = Stop(what, TopicPartition(record.topic, record.partition), record.offset, reason)
