"""The events of a benchmark: the documented comment, with a number in its text that the receiver finds again."""

from __future__ import annotations

from collections.abc import Callable

import orjson

from benchmarks.receiver import DIGITS, MARK
from consumer.codec import Codec
from consumer.event import Outgoing
from schemas import examples

KEYS = 2000  # items that something happens to, in turn
PRODUCT = 1111


class Events:
    """Makes records out of numbers, all of one size and alike but for the number: a million are made in seconds."""

    def __init__(self, lane: Callable[[int], int] | None = None, product: int = PRODUCT) -> None:
        """Key events by the item that `lane` says; by default, `key` does. All are about one product."""
        self._lane = lane or key
        self._product = product
        self._payload = examples()["comment"]
        self._payload["product"]["id"] = product
        self._payload["attributes"]["body"] = f"{MARK.decode()}{0:0{DIGITS}d}"
        before, mark, after = Codec().encode(self._payload).partition(MARK)
        self._before, self._after = before + mark, after[DIGITS:]

    def record(self, topic: str, number: int) -> Outgoing:
        """Return the event of that number as a record, keyed as its item."""
        value = b"%b%0*d%b" % (self._before, DIGITS, number, self._after)
        return Outgoing(topic, b"%d:%d" % (self._product, self._lane(number)), value)

    def body(self) -> bytes:
        """Return an event as this project posts it."""
        return orjson.dumps(self._payload)


def number_in(value: bytes) -> int:
    """Return the number of the event that a record's value holds."""
    begin = value.index(MARK) + len(MARK)
    return int(value[begin : begin + DIGITS])


def key(number: int) -> int:
    """Return the item that an event is about; the events of one item have to stay in order."""
    return number % KEYS
