"""What a destination got, compared with what was produced: missing, out of order, twice; and what is owed of the rest.

Only arithmetic on numbers, offsets and times: no process, no Kafka.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from consumer.state import State

Place: TypeAlias = tuple[int, int]
"""Where an event lies: partition and offset."""


class Arrival(NamedTuple):
    """One request that a destination answered: the event's number, when it came (s since 1970), what was answered."""

    number: int
    time: float
    status: int
    id: bytes = b""  # the webhook-id

    @property
    def delivered(self) -> bool:
        """Whether the answer said so."""
        return 200 <= self.status < 300


class Reckoning(NamedTuple):
    """What the arrivals at one destination come to, against the events that were meant for it."""

    delivered: int  # different events
    missing: list[int]
    unknown: int  # requests about none of the events
    late: int  # first deliveries that came after one of a later event of their lane
    twice: list[int]  # events that were delivered more than once
    ids: int  # different webhook-ids of what was delivered

    def __str__(self) -> str:
        return f"{self.delivered:,} / {len(self.missing):,} / {self.late:,}"

    def losses(self, where: str) -> Iterator[str]:
        """Say what must never be even where neither order nor deliveries without repetition are promised."""
        if self.missing:
            yield f"{where}: {len(self.missing)} never came, {self.missing[:5]} for example"
        if self.unknown:
            yield f"{where}: {self.unknown} requests were about none of the events"

    def problems(self, where: str) -> Iterator[str]:
        """Say what must never be."""
        yield from self.losses(where)
        if self.late:
            yield f"{where}: {self.late} first deliveries came after a later one of their key"
        if self.ids not in (0, self.delivered):
            yield f"{where}: {self.ids} different webhook-ids for {self.delivered} events"

    def faults(self, where: str) -> Iterator[str]:
        """Say what must never be where nothing crashes: there, nothing comes twice either."""
        yield from self.problems(where)
        if self.twice:
            yield f"{where}: {len(self.twice)} came more than once, {self.twice[:5]} for example"


def reckon(arrivals: Iterable[Arrival], expected: Iterable[int], lane: Callable[[int], int]) -> Reckoning:
    """Compare what was delivered with the events `expected`, which have to come in order within each `lane`."""
    wanted = set(expected)
    first: dict[int, None] = {}
    twice: dict[int, None] = {}
    ids: set[bytes] = set()
    unknown = 0
    for arrival in arrivals:
        if not arrival.delivered:
            continue
        if arrival.number not in wanted:
            unknown += 1
        (twice if arrival.number in first else first)[arrival.number] = None
        if arrival.id:
            ids.add(arrival.id)
    missing = sorted(wanted - first.keys())
    return Reckoning(len(first), missing, unknown, out_of_order(first, lane), sorted(twice), len(ids))


def out_of_order(numbers: Iterable[int], lane: Callable[[int], int]) -> int:
    """Return how many numbers come after a higher one of their lane."""
    return len(overtaken(numbers, lane))


def overtaken(numbers: Iterable[int], lane: Callable[[int], int]) -> list[tuple[int, int]]:
    """Return each number that comes after a higher one of its lane, with the highest of these."""
    highest: dict[int, int] = {}
    late = []
    for number in numbers:
        before = highest.get(lane(number), -1)
        if number < before:
            late.append((number, before))
        highest[lane(number)] = max(number, before)
    return late


def first_times(arrivals: Iterable[Arrival]) -> dict[int, float]:
    """Return when each event was delivered first."""
    times: dict[int, float] = {}
    for arrival in arrivals:
        if arrival.delivered:
            times.setdefault(arrival.number, arrival.time)
    return times


class Again(NamedTuple):
    """Why events were sent again after a crash: each was in the crash's last moments, or it should not have been."""

    late: list[int]  # delivered first in the last moments before the crash, or after it
    early: list[int]  # delivered first long before


def sent_again(twice: Iterable[int], times: Mapping[int, float], crash: float, moments: float) -> Again:
    """Divide what was delivered twice by whether its first delivery came within `moments` (s) of the crash."""
    events = list(twice)
    late = [number for number in events if times[number] >= crash - moments]
    return Again(late, [number for number in events if times[number] < crash - moments])


def unaccounted(
    places: Mapping[int, Place], delivered: Iterable[int], states: Iterable[State], committed: Mapping[int, int]
) -> list[int]:
    """Return the events that one subscription neither got nor is owed: those are lost.

    Owed is what stands in a state, and everything from its `next` on or, without one, from what is committed on.
    """
    owed = {(state.partition.partition, entry.offset) for state in states for entry in state.owed}
    follows = {state.partition.partition: state.next for state in states if state.next is not None}
    got = set(delivered)

    def is_owed(place: Place) -> bool:
        partition, offset = place
        return place in owed or offset >= follows.get(partition, committed.get(partition, 0))

    return [number for number, place in places.items() if number not in got and not is_owed(place)]


def ends(places: Mapping[int, Place]) -> dict[int, int]:
    """Return the offset after the last event of each partition."""
    found: dict[int, int] = {}
    for partition, offset in places.values():
        found[partition] = max(found.get(partition, 0), offset + 1)
    return found


def steady(times: Iterable[float], wave: int) -> float:
    """Return the arrivals a second while the pipe is full.

    A wave is as many as may be in flight. The first one fills the pipe, and in the last one it runs empty: what counts
    is from the end of the first to the beginning of the last, which are whole waves where all arrivals are. Raises
    ValueError for fewer than three.
    """
    ordered = sorted(times)
    begin, end = wave, len(ordered) - wave
    if end <= begin:
        raise ValueError(f"{len(ordered)} arrivals are fewer than three waves of {wave}")
    return (end - begin) / (ordered[end] - ordered[begin])


def most_within(times: Sequence[float], seconds: float) -> int:
    """Return the most arrivals of any `seconds` in a row."""
    ordered = sorted(times)
    return max((bisect_left(ordered, time + seconds) - place for place, time in enumerate(ordered)), default=0)
