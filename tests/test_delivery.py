"""A delivery's id says which event and which subscription, and never changes."""

from __future__ import annotations

from uuid import UUID, uuid5

from hypothesis import given
from hypothesis import strategies as st

from consumer.delivery import NAMESPACE, delivery_id
from consumer.event import Record


def origin(offset: int = 7, timestamp: int = 1_700_000_000_000, topic: str = "sprintly.events") -> Record:
    return Record(topic, 3, offset, b"key", b"value", timestamp)


@given(st.integers(0, 2**62), st.integers(-1, 2**42), st.text(max_size=20))
def test_it_is_the_name_based_uuid_of_its_coordinates(offset: int, timestamp: int, subscription: str) -> None:
    made = UUID(delivery_id(origin(offset, timestamp), subscription))
    assert made == uuid5(NAMESPACE, f"sprintly.events:3:{offset}:{timestamp}:{subscription}")
    assert made.version == 5


def test_it_is_the_same_in_every_release() -> None:
    assert delivery_id(origin(), "acme") == "c658a5c7-24d1-5c61-b315-0053c7eeeb03"


def test_each_coordinate_makes_another() -> None:
    ids = {delivery_id(origin(), s) for s in ("a", "b", "")}
    ids |= {delivery_id(origin(8), "a"), delivery_id(origin(timestamp=1), "a"), delivery_id(origin(topic="t"), "a")}
    assert len(ids) == 6
