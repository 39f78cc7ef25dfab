"""What a run came to: arrivals, dead letters and what was done in, and out what was lost, out of order, or came twice.

Only arithmetic on numbers and times: no process, no Kafka.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from benchmarks.arrivals import Arrival, Place, first_times, overtaken

EXAMPLES = 5  # sentences about one kind of problem

# Seconds before something brutal in which what was delivered may not have been durable: a delivery that is out of turn
# waits up to 5 s for the watermark (SPRINTLY_WATERMARK_HOLD), a cycle begins every second, and may take 2 s here.
NOT_DURABLE = 5.0 + 1.0 + 2.0
# Seconds after it: what was under way when a process ended or stood still; what was in flight when one goes on (3 s by
# the settings of a run); and what one that lost its session may begin before its cycles count as stalled (3 s more).
AT_ONCE, IN_FLIGHT, STALL = 0.5, 3.0, 3.0


class Span(NamedTuple):
    """Something brutal that was done, from when to when (seconds since 1970), and what it reaches on either side."""

    what: str
    began: float
    ended: float
    before: float = NOT_DURABLE
    after: float = STALL + IN_FLIGHT
    wakes: bool = False  # whether a process goes on then that was taken for dead

    def excuses(self, time: float, later: float) -> bool:
        """Whether what was delivered first at this time may have come again `later` because of it."""
        return self.began - self.before <= time <= self.ended + self.after or (self.wakes and self.confuses(later))

    def confuses(self, time: float) -> bool:
        """Whether a replica may have been mistaken then about what is its own, and send what another is done with."""
        return self.began <= time <= self.ended + self.after


def killed(what: str, began: float) -> list[Span]:
    """Return the span of a process that was ended."""
    return [Span(what, began, began, after=AT_ONCE)]


def frozen(what: str, began: float, thawing: float, thawed: float) -> list[Span]:
    """Return the spans of a process that stood still: in between the others deliver, in good order.

    It goes on at some time from `thawing` to `thawed`, and at once sends what it was about to send.
    """
    return [*killed(what, began), Span(what, thawing, thawed, before=0.0, after=IN_FLIGHT, wakes=True)]


class Repeated(NamedTuple):
    """A delivery that was answered 2xx more than once: its times, and whether anything that was done explains that."""

    number: int
    times: tuple[float, ...]
    explained: bool


class Verdict(NamedTuple):
    """What one subscription got."""

    name: str
    delivered: int  # different events
    missing: list[int]  # neither delivered nor a dead letter
    late: list[tuple[int, int]]  # first deliveries that came after one of a later event of their lane, and that one
    repeated: list[Repeated]
    unknown: int  # requests about none of the events

    @property
    def explained(self) -> int:
        """How many of what came more than once came again because of something brutal."""
        return sum(each.explained for each in self.repeated)

    def problems(self, places: Mapping[int, Place]) -> Iterator[str]:
        """Say what must never be."""
        for number in self.missing[:EXAMPLES]:
            yield f"never delivered: {self._where(number, places)}"
        for number, after in self.late[:EXAMPLES]:
            yield f"out of order: {self._where(number, places)}, came first after event {after} of its lane"
        for each in [each for each in self.repeated if not each.explained][:EXAMPLES]:
            times = ", ".join(f"{time:.3f}" for time in each.times)
            yield f"delivered more than once, and nothing explains it: {self._where(each.number, places)}, at {times}"
        if self.unknown:
            yield f"{self.name} got {self.unknown} requests about none of the events"

    def _where(self, number: int, places: Mapping[int, Place]) -> str:
        partition, offset = places.get(number, (-1, -1))
        return f"event {number}, subscription {self.name}, partition {partition}, offset {offset}"


def judge(
    name: str,
    arrivals: Sequence[Arrival],
    expected: Iterable[int],
    dead: set[int],
    spans: Sequence[Span],
    lane: Callable[[int], int],
    durable: Mapping[int, float],
) -> Verdict:
    """Judge what a subscription got of the events `expected`, which come in order within each `lane`.

    `durable` says of events since when at the latest it was durable that they are done with.
    """
    wanted = set(expected)
    got = [arrival for arrival in arrivals if arrival.delivered]
    first = first_times(got)
    return Verdict(
        name,
        len(first),
        sorted(wanted - first.keys() - dead),
        overtaken([number for number in first if number not in dead], lane),
        list(_repeated(got, spans, durable)),
        sum(arrival.number not in wanted for arrival in got),
    )


def longest_pause(arrivals: Iterable[Arrival], places: Mapping[int, Place]) -> float:
    """Return the most seconds between two deliveries of one partition's events that follow each other."""
    last: dict[int, float] = {}
    longest = 0.0
    known = ((time, places[number][0]) for number, time in first_times(arrivals).items() if number in places)
    for time, partition in sorted(known):
        longest = max(longest, time - last.get(partition, time))
        last[partition] = time
    return longest


def _repeated(got: Iterable[Arrival], spans: Sequence[Span], durable: Mapping[int, float]) -> Iterator[Repeated]:
    times: dict[int, list[float]] = {}
    for arrival in got:
        times.setdefault(arrival.number, []).append(arrival.time)
    for number, came in sorted(times.items()):
        if len(came) > 1:
            # Each but the last was repeated, so each needs its own reason; and none comes after it was durable.
            known = durable.get(number, float("inf"))
            reasons = [any(span.excuses(*times) for span in spans) for times in pairwise(came)]
            timely = [time <= known or any(span.confuses(time) for span in spans) for time in came[1:]]
            yield Repeated(number, tuple(came), all(reasons + timely))
