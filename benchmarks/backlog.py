"""A million events in the log, and a destination that is dead: what it costs in memory and the healthy one in pace."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from benchmarks.arrivals import reckon, unaccounted
from benchmarks.destinations import Conduct, Destinations
from benchmarks.events import Events, key
from benchmarks.process import Process
from benchmarks.stage import (
    Findings,
    Memory,
    Stage,
    await_count,
    await_that,
    metrics,
    pace,
    per,
    spread,
    stage,
    webhook,
)

HEALTHY, DEAD = "healthy", "dead"
MOST_MEMORY = 300.0  # MB
LEAST_PACE = 0.9  # of the healthy one's without the dead one: a single pair has no spread that would say what noise is


class BigBacklog(NamedTuple):
    """What is played."""

    events: int = 1_000_000
    pairs: int = 1

    def play(self, bootstrap: str) -> Findings:
        """Work the backlog off without the dead destination, and with it, in turn."""
        found = Findings(
            f"backlog: {self.events:,} events in the log for two destinations, one of which refuses connections; "
            f"{self.pairs} interleaved pair(s)"
        )
        with Destinations(HEALTHY, DEAD) as destinations:
            destinations.conduct(DEAD, Conduct(listening=False))
            alone: list[Run] = []
            beside: list[Run] = []
            for _ in range(self.pairs):
                alone.append(self._run(bootstrap, destinations, [HEALTHY], found))
                beside.append(self._run(bootstrap, destinations, [HEALTHY, DEAD], found))
        self._tell(alone, beside, found)
        return found

    def _tell(self, alone: list[Run], beside: list[Run], found: Findings) -> None:
        found.figure("healthy one alone, deliveries/s", spread([run.pace for run in alone], ",.0f"))
        found.figure("  beside the dead one", spread([run.pace for run in beside], ",.0f"))
        ratio = statistics.median(per(b.pace, a.pace) for a, b in zip(alone, beside, strict=True))
        name = f"  ratio, pair by pair (at least {LEAST_PACE:.0%})"
        found.target(name, f"{ratio:.0%}", reached=ratio >= LEAST_PACE)
        found.figure("peak memory without the dead one", f"{max(run.peak for run in alone):.0f} MB")
        peak = max(run.peak for run in beside)
        name = f"  with it (at most {MOST_MEMORY:.0f} MB)"
        found.target(name, f"{peak:.0f} MB", reached=peak <= MOST_MEMORY)
        quarters = " ".join(f"{mb:.0f}" for mb in beside[-1].quarters)
        found.figure("  most in each quarter of the time", f"{quarters} MB")
        owed, behind = beside[-1].arrears
        found.figure("  at the end: owed one by one, flows behind", f"{owed:,.0f}, {behind:,.0f}")

    def _run(self, bootstrap: str, destinations: Destinations, names: Sequence[str], found: Findings) -> Run:
        with stage(bootstrap) as where:
            found.in_force(where.settings())
            places = where.produce(Events(), range(self.events))
            where.subscribe(webhook(name, destinations.url(name)) for name in names)
            destinations.take()
            with where.consuming() as replica, Memory(replica) as memory:
                await_count(destinations, {HEALTHY: self.events}, replica)
                if DEAD in names:
                    await_that(lambda: any(_arrears(replica)), "nothing was owed to the dead one", replica)
                arrears, peak = _arrears(replica), replica.peak()
            if DEAD in names:
                self._is_owed(where, places, found)
            arrivals = destinations.take()[HEALTHY]
        found.problems += reckon(arrivals, range(self.events), key).faults(HEALTHY)
        return Run(pace(arrivals), peak, _quarters(memory.samples), arrears)

    def _is_owed(self, where: Stage, places: dict[int, tuple[int, int]], found: Findings) -> None:
        states = [state for state in where.states() if state.subscription == DEAD]
        lost = unaccounted(places, (), states, where.committed())
        found.bound(f"{DEAD}: neither delivered nor owed after a stop (none)", len(lost), kept=not lost)


class Run(NamedTuple):
    """What one run came to."""

    pace: float  # deliveries a second of the healthy destination
    peak: float  # MB
    quarters: list[float]  # MB
    arrears: tuple[float, float]


def _arrears(replica: Process) -> tuple[float, float]:
    """Return how many deliveries are owed one by one, and how many flows are behind."""
    served = metrics(replica)
    return served["owed"], served["behind"]


def _quarters(samples: Sequence[tuple[float, float]]) -> list[float]:
    """Return the most in each quarter of the samples."""
    values = [value for _, value in samples]
    cuts = [round(len(values) * quarter / 4) for quarter in range(5)]
    return [max(values[begin:end]) for begin, end in pairwise(cuts) if begin < end]
