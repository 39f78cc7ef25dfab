"""Ten destinations of which one hangs: the other nine are through as soon as without it."""

from __future__ import annotations

import statistics
from typing import NamedTuple

from benchmarks.arrivals import first_times, reckon
from benchmarks.destinations import Conduct, Destinations
from benchmarks.events import Events
from benchmarks.stage import Findings, await_count, stage, webhook

KEYS = 500
HEALTHY = tuple(f"hook-{number}" for number in range(1, 10))
HANGING = "hanging"
MOST_TIME = 1.25  # times what the nine take without the tenth, where its backlog finds room …
MOST_LONGER = 6.0  # … and seconds, once, where it does not: DESIGN 2.4 gives it 5 before it falls behind


class Hanging(NamedTuple):
    """What is played: a backlog that the tenth can take in hand, and one that it cannot."""

    events: int = 3600
    beyond: int = 18_000
    seconds: float = 10.0  # that each request hangs
    pairs: int = 5

    def play(self, bootstrap: str) -> Findings:
        """Run interleaved pairs, without and with the hanging destination."""
        found = Findings(f"hanging: ten destinations, one hangs {self.seconds:g} s a request")
        with Destinations(*HEALTHY, HANGING) as destinations:
            destinations.conduct(HANGING, Conduct(delay=self.seconds))
            alone, beside = self._pairs(bootstrap, destinations, self.events, found)
            ratios = [b / a for a, b in zip(alone, beside, strict=True)]
            ratio = statistics.median(ratios)
            span = f"{ratio:.2f} (median of {len(ratios)}, {min(ratios):.2f} to {max(ratios):.2f})"
            found.bound(f"  ratio, pair by pair (at most {MOST_TIME:g})", span, kept=ratio <= MOST_TIME)
            alone, beside = self._pairs(bootstrap, destinations, self.beyond, found)
            longer = statistics.median(b - a for a, b in zip(alone, beside, strict=True))
            name = f"  longer, whatever the backlog (at most {MOST_LONGER:g} s)"
            found.bound(name, f"{longer:.1f} s", kept=longer <= MOST_LONGER)
        return found

    def _pairs(
        self, bootstrap: str, destinations: Destinations, events: int, found: Findings
    ) -> tuple[list[float], list[float]]:
        alone: list[float] = []
        beside: list[float] = []
        for _ in range(self.pairs):
            alone.append(self._run(bootstrap, destinations, events, HEALTHY, found))
            beside.append(self._run(bootstrap, destinations, events, (*HEALTHY, HANGING), found))
        found.figure(f"{events:,} events: the nine alone", _spread(alone))
        found.figure("  the nine beside the tenth", _spread(beside))
        return alone, beside

    def _run(
        self, bootstrap: str, destinations: Destinations, events: int, names: tuple[str, ...], found: Findings
    ) -> float:
        """Return the seconds from the first delivery to the last, of the nine."""
        with stage(bootstrap) as where:
            found.settings = where.settings()
            where.produce(Events(lane), range(events))
            where.subscribe(webhook(name, destinations.url(name)) for name in names)
            destinations.take()
            with where.consuming() as replica:
                await_count(destinations, dict.fromkeys(HEALTHY, events), replica)
            taken = destinations.take()
        times: list[float] = []
        for name in HEALTHY:
            found.problems += reckon(taken[name], range(events), lane).problems(name)
            times += first_times(taken[name]).values()
        return max(times) - min(times)


def lane(number: int) -> int:
    """Return the item that an event is about."""
    return number % KEYS


def _spread(seconds: list[float]) -> str:
    each = ", ".join(f"{one:.1f}" for one in seconds)
    return f"{statistics.median(seconds):.1f} s (median of {each})"
