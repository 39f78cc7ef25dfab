"""Which event a request was about, by its webhook-id: what is sent says so, and no body has to be read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from benchmarks.arrivals import Arrival
from benchmarks.events import number_in
from benchmarks.receiver import UNMARKED, Served
from consumer.delivery import delivery_id
from consumer.event import Record

Identify: TypeAlias = Callable[[Record], str]
"""What a system sends as webhook-id with the event that a record holds."""


def by_delivery(subscription: str) -> Identify:
    """Identify as this project does."""
    return lambda record: delivery_id(record, subscription)


def by_place(record: Record) -> str:
    """Identify as the references do."""
    return f"{record.partition}-{record.offset}"


def numbers(records: Iterable[Record], identify: Identify) -> dict[str, int]:
    """Return the number of each event in a topic, by the id that its delivery has."""
    return {identify(record): number_in(record.value or b"") for record in records}


def arrivals(served: Iterable[Served], known: Mapping[str, int]) -> list[Arrival]:
    """Return what a receiver answered as arrivals of events; an id that is not `known` is about none of them."""
    return [Arrival(known.get(each.id, UNMARKED), each.at, 204, each.id.encode()) for each in served]
