"""Ten destinations of which one hangs: what the other nine notice of it, with a backlog and with live events."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from benchmarks.arrivals import Arrival, first_times, out_of_order, reckon
from benchmarks.destinations import Conduct, Destinations
from benchmarks.events import Events
from benchmarks.stage import Findings, await_count, paced, per, spread, stage, webhook

KEYS = 500
WARM_UP = 100  # live events before those whose time counts: then the producer has all its connections
HEALTHY = tuple(f"hook-{number}" for number in range(1, 10))
HANGING = "hanging"
MOST_LAG = 1.5  # times the p99 without the tenth


class Neighbours(NamedTuple):
    """What is played."""

    events: int = 3600  # of the backlog; the tenth can take them all in hand
    rate: float = 100.0  # live events a second after it, while the tenth hangs …
    seconds: float = 10.0  # … for so long
    hangs: float = 10.0  # seconds that each request to the tenth takes
    pairs: int = 5

    def play(self, bootstrap: str) -> Findings:
        """Run interleaved pairs, without and with the hanging destination."""
        found = Findings(
            f"neighbours: ten destinations, one hangs {self.hangs:g} s a request; a backlog of {self.events:,} events, "
            f"then {self.rate:g}/s live for {self.seconds:g} s; {self.pairs} interleaved pair(s)"
        )
        live = WARM_UP + round(self.rate * self.seconds)
        with ten(self.hangs) as destinations:
            nine = Nine(bootstrap, destinations, found, self.events, live, self.rate)
            alone, beside = nine.pairs(self.pairs)
        self._times([run.seconds for run in alone], [run.seconds for run in beside], found)
        self._lags([run.p99 for run in alone], [run.p99 for run in beside], found)
        return found

    def _times(self, alone: list[float], beside: list[float], found: Findings) -> None:
        found.figure("backlog: the nine alone, seconds", spread(alone))
        found.figure("  the nine beside the tenth, seconds", spread(beside))
        longer, allowed = statistics.median(beside) - statistics.median(alone), max(alone) - min(alone)
        name = f"  the medians differ by (at most {allowed:.2f} s, the spread of those alone)"
        found.target(name, f"{longer:+.2f} s", reached=longer <= allowed)

    def _lags(self, alone: list[float], beside: list[float], found: Findings) -> None:
        found.figure("live: p99 of event to delivery, the nine alone, ms", spread(alone))
        found.figure("  the nine beside the tenth, ms", spread(beside))
        ratio = per(statistics.median(beside), statistics.median(alone))
        found.target(f"  ratio of the medians (at most {MOST_LAG:g})", f"{ratio:.2f}", reached=ratio <= MOST_LAG)


class Run(NamedTuple):
    """What the nine came to in one run."""

    seconds: float  # from their first delivery of the backlog to their last
    lags: list[float]  # ms from each live event to each of its deliveries

    @property
    def p99(self) -> float:
        """Of the lags."""
        return statistics.quantiles(self.lags, n=100, method="inclusive")[98]


class Nine(NamedTuple):
    """What the nine have to do, with or without the tenth beside them."""

    bootstrap: str
    destinations: Destinations
    found: Findings
    events: int
    live: int = 0  # events after the backlog; the first of them warm up
    rate: float = 100.0

    def pairs(self, count: int) -> tuple[list[Run], list[Run]]:
        """Run without and with the tenth, in turn; returns both."""
        alone: list[Run] = []
        beside: list[Run] = []
        for _ in range(count):
            alone.append(self._run(HEALTHY))
            beside.append(self._run((*HEALTHY, HANGING)))
        return alone, beside

    def _run(self, names: Sequence[str]) -> Run:
        written: dict[int, float] = {}
        numbers = range(self.events, self.events + self.live)
        with stage(self.bootstrap) as where:
            self.found.in_force(where.settings())
            where.produce(Events(lane), range(self.events))
            where.subscribe(webhook(name, self.destinations.url(name)) for name in names)
            self.destinations.take()
            with where.consuming() as replica:
                await_count(self.destinations, dict.fromkeys(HEALTHY, self.events), replica)
                if self.live:
                    where.produce(Events(lane), _timed(paced(numbers, self.rate), written))
                    await_count(self.destinations, dict.fromkeys(HEALTHY, numbers.stop), replica)
            return self._judged(self.destinations.take(), written)

    def _judged(self, taken: dict[str, list[Arrival]], written: dict[int, float]) -> Run:
        times, lags = [], []
        for name in HEALTHY:
            self.found.problems += reckon(taken[name], range(self.events + self.live), lane).faults(name)
            for number, at in first_times(taken[name]).items():
                if number < self.events:
                    times.append(at)
                elif number >= self.events + WARM_UP:
                    lags.append((at - written[number]) * 1000)
        if late := out_of_order((arrival.number for arrival in taken[HANGING]), lane):
            self.found.problems.append(f"{HANGING}: {late} came after a later one of their key")
        return Run(max(times) - min(times), lags)


@contextmanager
def ten(seconds: float) -> Iterator[Destinations]:
    """Have the nine listen, and the tenth, which takes so long for each request."""
    with Destinations(*HEALTHY, HANGING) as destinations:
        destinations.conduct(HANGING, Conduct(delay=seconds))
        yield destinations


def lane(number: int) -> int:
    """Return the item that an event is about."""
    return number % KEYS


def _timed(numbers: Iterable[int], written: dict[int, float]) -> Iterator[int]:
    for number in numbers:
        written[number] = time.time()
        yield number
