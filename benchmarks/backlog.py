"""A million events in the log, and a destination that is dead: what it costs in memory and the healthy ones in pace."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from benchmarks.arrivals import reckon, unaccounted
from benchmarks.destinations import Conduct, Destinations
from benchmarks.events import Events, key
from benchmarks.process import Process
from benchmarks.stage import Findings, Memory, Stage, await_count, await_that, metrics, pace, spread, stage, webhook

HEALTHY = ("healthy-1", "healthy-2")
DEAD = "dead"
MOST_MEMORY = 300.0  # MB
LEAST_PACE = 0.9  # of the healthy ones' without the dead one, where one pair has no spread to say what noise is


class BigBacklog(NamedTuple):
    """What is played."""

    events: int = 1_000_000
    pairs: int = 1

    def play(self, bootstrap: str) -> Findings:
        """Work the backlog off without the dead destination, and with it, in turn."""
        found = Findings(
            f"backlog: {self.events:,} events in the log for {len(HEALTHY)} healthy destinations, and one that refuses "
            f"connections; {self.pairs} interleaved pair(s)"
        )
        with Destinations(*HEALTHY, DEAD) as destinations:
            destinations.conduct(DEAD, Conduct(listening=False))
            alone: list[Run] = []
            beside: list[Run] = []
            for _ in range(self.pairs):
                alone.append(self._run(bootstrap, destinations, HEALTHY, found))
                beside.append(self._run(bootstrap, destinations, (*HEALTHY, DEAD), found))
        self._tell(alone, beside, found)
        return found

    def _tell(self, alone: list[Run], beside: list[Run], found: Findings) -> None:
        found.figure("healthy ones alone, deliveries/s each", spread([run.pace for run in alone], ",.0f"))
        found.figure("  beside the dead one", spread([run.pace for run in beside], ",.0f"))
        ratio = statistics.median(b.pace / a.pace for a, b in zip(alone, beside, strict=True))
        name = f"  ratio, pair by pair (at least {LEAST_PACE:.0%})"
        found.target(name, f"{ratio:.0%}", reached=ratio >= LEAST_PACE)
        found.figure("peak memory without the dead one", f"{max(run.peak for run in alone):.0f} MB")
        peak = max(run.peak for run in beside)
        name = f"  with it (at most {MOST_MEMORY:.0f} MB)"
        found.target(name, f"{peak:.0f} MB", reached=peak <= MOST_MEMORY)
        quarters = " ".join(f"{mb:.0f}" for mb in beside[-1].quarters)
        found.figure("  most in each quarter of the time", f"{quarters} MB")
        found.figure("  at the end: owed one by one, flows behind", beside[-1].arrears)

    def _run(self, bootstrap: str, destinations: Destinations, names: Sequence[str], found: Findings) -> Run:
        with stage(bootstrap) as where:
            found.in_force(where.settings())
            places = where.produce(Events(), range(self.events))
            where.subscribe(webhook(name, destinations.url(name)) for name in names)
            destinations.take()
            with where.consuming() as replica, Memory(replica) as memory:
                await_count(destinations, dict.fromkeys(HEALTHY, self.events), replica)
                if DEAD in names:
                    await_that(lambda: metrics(replica)["behind"], "the dead one did not fall behind", replica)
                arrears, peak = _arrears(replica), replica.peak()
            if DEAD in names:
                self._is_owed(where, places, found)
            taken = destinations.take()
        for name in HEALTHY:
            found.problems += reckon(taken[name], range(self.events), key).faults(name)
        paces = [pace(taken[name]) for name in HEALTHY]
        return Run(statistics.mean(paces), peak, _quarters(memory.samples), arrears)

    def _is_owed(self, where: Stage, places: dict[int, tuple[int, int]], found: Findings) -> None:
        states = [state for state in where.states() if state.subscription == DEAD]
        lost = unaccounted(places, (), states, where.committed())
        found.bound(f"{DEAD}: neither delivered nor owed after a stop (none)", len(lost), kept=not lost)


class Run(NamedTuple):
    """What one run came to."""

    pace: float  # deliveries a second of each healthy destination
    peak: float  # MB
    quarters: list[float]  # MB
    arrears: str


def _arrears(replica: Process) -> str:
    served = metrics(replica)
    return f"{served['owed']:,.0f}, {served['behind']:,.0f}"


def _quarters(samples: Sequence[tuple[float, float]]) -> list[float]:
    """Return the most in each quarter of the samples."""
    values = [value for _, value in samples]
    cuts = [round(len(values) * quarter / 4) for quarter in range(5)]
    return [max(values[begin:end], default=0.0) for begin, end in pairwise(cuts)]
