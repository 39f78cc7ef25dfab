"""A destination that is down for a while beside one that is not: nobody waits for it, and it misses nothing."""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from benchmarks.arrivals import Arrival, ends, first_times, reckon
from benchmarks.destinations import Conduct, Destinations
from benchmarks.events import Events
from benchmarks.process import Process
from benchmarks.stage import (
    Findings,
    Stage,
    await_count,
    await_that,
    breakers_open,
    metric,
    pace,
    paced,
    rest,
    stage,
    webhook,
)

KEYS = 500
SETTINGS = {
    "SPRINTLY_RETRY_DELAYS": "2s,5s,10s",
    "SPRINTLY_PROBE_PAUSE": "1s",
    "SPRINTLY_PROBE_LONGEST_PAUSE": "5s",
}
LEAST_PACE = 0.8  # of the healthy one's without the dead one
MOST_STATES = (
    0.05  # state records for each event that passes while it is down: one a second and partition, not one each
)
PASSING = 0.8  # of the down time, in which the events pass


class Outage(NamedTuple):
    """What is played."""

    events: int = 20_000
    down: float = 90.0  # seconds
    refuses: bool = True  # connections; otherwise it answers 503
    pairs: int = 3  # of runs for the healthy one's pace

    def play(self, bootstrap: str) -> Findings:
        """Measure the pace in pairs of runs, then play the outage once, with a crash in its middle."""
        how = "refuses connections" if self.refuses else "answers 503"
        found = Findings(f"outage: one of two destinations {how} for {self.down:g} s, {self.events:,} events")
        with Destinations("healthy", "dead") as destinations:
            destinations.conduct("dead", self._dead)
            self._paces(bootstrap, destinations, found)
            with stage(bootstrap, SETTINGS) as where:
                found.settings = where.settings()
                _Drama(self, where, destinations, found).play()
        return found

    @property
    def _dead(self) -> Conduct:
        return Conduct(listening=False) if self.refuses else Conduct(status=503)

    def _paces(self, bootstrap: str, destinations: Destinations, found: Findings) -> None:
        ratios, alone = [], []
        for _ in range(self.pairs):
            alone.append(self._pace(bootstrap, destinations, ["healthy"]))
            ratios.append(self._pace(bootstrap, destinations, ["healthy", "dead"]) / alone[-1])
        ratio = statistics.median(ratios)
        found.figure("healthy one's pace without the dead one", f"{statistics.median(alone):,.0f}/s")
        span = f"{ratio:.0%} (median of {len(ratios)}, {min(ratios):.0%} to {max(ratios):.0%})"
        found.bound("its pace beside the dead one (at least 80 %)", span, kept=ratio >= LEAST_PACE)

    def _pace(self, bootstrap: str, destinations: Destinations, names: list[str]) -> float:
        """Let a replica work off half of the events as a backlog; returns the healthy one's deliveries a second."""
        events = self.events // 2
        with stage(bootstrap, SETTINGS) as where:
            where.produce(Events(lane), range(events))
            where.subscribe(webhook(name, destinations.url(name)) for name in names)
            destinations.take()
            with where.consuming() as replica:
                await_count(destinations, {"healthy": events}, replica)
            return pace(destinations.take()["healthy"])


class _Drama:
    """The outage itself: down, a crash, back, caught up."""

    def __init__(self, outage: Outage, where: Stage, destinations: Destinations, found: Findings) -> None:
        self._outage = outage
        self._where = where
        self._destinations = destinations
        self._found = found

    def play(self) -> None:
        outage, where = self._outage, self._where
        where.subscribe(webhook(name, self._destinations.url(name)) for name in ("healthy", "dead"))
        self._destinations.take()
        with where.consuming() as first, ThreadPoolExecutor(1) as pool:
            began = time.monotonic()
            numbers = paced(range(outage.events), outage.events / (PASSING * outage.down))
            producing = pool.submit(where.produce, Events(lane), numbers)
            rest(began + outage.down / 2)
            first.kill()
            with where.consuming() as second:
                rest(began + outage.down)
                places = producing.result()
                self._while_down(second)
                back = time.time()
                self._destinations.conduct("dead", Conduct())
                self._caught_up(second, ends(places))
                self._found.figure("peak memory", f"{second.peak():.0f} MB")
                self._judge(back)

    def _while_down(self, replica: Process) -> None:
        states = len(self._where.state_records())
        most = int(MOST_STATES * self._outage.events)
        self._found.bound(f"state records while it was down (fewer than {most})", states, kept=states < most)
        self._found.figure("metrics then: sprintly_behind", int(metric(replica, "behind")))
        self._found.figure("metrics then: sprintly_owed", int(metric(replica, "owed")))
        self._found.figure("metrics then: destinations believed down", breakers_open(replica))

    def _caught_up(self, replica: Process, end: dict[int, int]) -> None:
        events, where = self._outage.events, self._where
        # Some came twice after the crash, so the counts alone say too little.
        await_count(self._destinations, {"healthy": events, "dead": events}, replica)
        await_that(lambda: not metric(replica, "owed") + metric(replica, "behind"), "it was still owed", replica)
        await_that(lambda: not where.states(), "states were left", replica)
        await_that(lambda: where.committed() == where.committed() | end, "not all was committed", replica)

    def _judge(self, back: float) -> None:
        found, taken = self._found, self._destinations.take()
        for name, arrivals in taken.items():
            reckoning = reckon(arrivals, range(self._outage.events), lane)
            found.problems += reckoning.problems(name)
            found.figure(f"{name}: delivered / missing / out of order", str(reckoning))
            found.figure(f"{name}: sent twice (a crash in the middle)", len(reckoning.twice))
        dead = first_times(taken["dead"]).values()
        found.figure("first delivery after it was back", f"{min(dead) - back:.1f} s")
        found.figure("all caught up after", f"{max(dead) - back:.1f} s")
        found.figure("healthy one's last delivery, before it was back", _before(taken["healthy"], back))
        found.figure("state records in all, catching up included", len(self._where.state_records()))
        letters = len(self._where.letters())
        found.bound("dead letters (none)", letters, kept=not letters)


def lane(number: int) -> int:
    """Return the item that an event is about."""
    return number % KEYS


def _before(arrivals: list[Arrival], back: float) -> str:
    return f"{back - max(first_times(arrivals).values()):.1f} s"
