"""The events of a benchmark: a comment that lacks no field, with a number in its text that the receiver finds again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from benchmarks.receiver import DIGITS, MARK
from consumer.codec import Codec
from consumer.event import Outgoing
from schemas import examples

KEYS = 2000  # items that something happens to, in turn
PRODUCT = 1111
LACKED = {"who": "user", "what": "spinner", "why": "fun", "parent": 1200, "close_reason": "fixed"}  # of an item


class Events:
    """Makes records out of numbers, all of one size and alike but for the number: a million are made in seconds."""

    def __init__(self, lane: Callable[[int], int] | None = None, product: int = PRODUCT) -> None:
        """Key events by the item that `lane` says; by default, `key` does. All are about one product."""
        self._lane = lane or key
        self._product = product
        self._payload = _whole_comment()
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


def _whole_comment() -> dict[str, Any]:
    """Return the documented comment with the fields that it lacks, in about as many bytes.

    Where a field is absent, a plain Avro reader says null, and this project nothing: with all of them there, whoever
    decodes an event posts the same bytes.
    """
    comment = examples()["comment"]
    item = comment["attributes"]["item"]
    item["description"], _, _ = item["description"].partition(".")
    item["product"]["admin"] = False
    item["product"]["created_at"] = comment["product"]["created_at"]
    item["product"]["email"] = dict.fromkeys(comment["product"]["email"], "1@sprint.ly")
    for name in ("triaged_at", "closed_at", "accepted_at"):
        item["progress"][name] = item["progress"]["started_at"]
    item |= LACKED
    return comment
