"""What is owed, by subscription: states of the state topic come in, a line for each subscription goes out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from consumer.broker import FOREVER
from consumer.event import TopicPartition

if TYPE_CHECKING:
    from consumer.broker import Broker
    from consumer.state import State

ANSWER_TIME = 10.0  # seconds


@dataclass
class Arrears:
    """What one subscription is owed. Times are seconds since 1970, 0 for none.

    `owed` counts what is owed one by one; in `behind` partitions it is owed everything from some offset on, `events`
    that they hold there at most: those that do not concern it are among them. `next_due` is 0 where something is due.
    """

    subscription: str
    owed: int = 0
    behind: int = 0
    events: int = 0
    oldest: float = 0.0
    next_due: float = 0.0
    failing_since: float = 0.0
    last_error: str = ""
    places: list[tuple[TopicPartition, int]] = field(default_factory=list)  # the oldest of each partition


def arrears(broker: Broker, states: Iterable[State]) -> list[Arrears]:
    """Return what is owed, the longest waiting first. Raises BrokerError, BrokerUnreachable."""
    states = list(states)
    bounds = broker.begins(sorted({state.partition for state in states}), FOREVER, ANSWER_TIME)
    found: dict[str, Arrears] = {}
    for state in states:
        _add(found.setdefault(state.subscription, Arrears(state.subscription)), state, *bounds[state.partition])
    written = _times(broker, {place for each in found.values() for place in each.places})
    for each in found.values():
        each.oldest = min((written[place] for place in each.places if place in written), default=0.0)
    return sorted(found.values(), key=lambda each: (each.oldest or FOREVER, each.subscription))


def _add(sum_: Arrears, state: State, oldest: int, end: int) -> None:
    sum_.owed += len(state.owed)
    offsets = [owed.offset for owed in state.owed]
    if state.next is not None:
        sum_.behind += 1
        sum_.events += max(0, end - max(state.next, oldest))
        offsets.append(max(state.next, oldest))
    if offsets and min(offsets) < end:
        sum_.places.append((state.partition, max(min(offsets), oldest)))
    dues = [float(owed.due) for owed in state.owed if owed.due]
    if dues and (not sum_.next_due or min(dues) < sum_.next_due):
        sum_.next_due = min(dues)
    if state.failing_since and (not sum_.failing_since or state.failing_since < sum_.failing_since):
        sum_.failing_since = float(state.failing_since)
    sum_.last_error = state.last_error or sum_.last_error


def _times(broker: Broker, places: Iterable[tuple[TopicPartition, int]]) -> dict[tuple[TopicPartition, int], float]:
    """Return when the events at these places were written, as far as they are there."""
    reader = broker.log_reader()
    times = {}
    try:
        for place in sorted(places):
            records = reader.read(*place, 1, ANSWER_TIME).records
            if records:
                times[place] = records[0].timestamp / 1000
    finally:
        reader.close()
    return times
