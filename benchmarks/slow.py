"""Receivers that take their time: how much of what the attempts in flight allow is reached, in order for each key."""

from __future__ import annotations

import statistics
import time
from typing import NamedTuple
from urllib.parse import urlsplit

from benchmarks.arrivals import reckon, steady
from benchmarks.destinations import Conduct, Destinations
from benchmarks.events import Events
from benchmarks.load import answered
from benchmarks.process import cpu_seconds
from benchmarks.stage import Arrears, Findings, await_count, stage, webhook

HOOK = "hook"
LEAST_SHARE = 0.85  # of the ideal
LEAST_WAVES = 4  # of which two count
IN_FLIGHT = "SPRINTLY_MAX_IN_FLIGHT_PER_SUBSCRIPTION"


class Pipe(NamedTuple):
    """A receiver's delay, and what may be in flight to it at once."""

    delay: float  # seconds
    in_flight: int
    keys: int  # more than may be in flight: of each key one attempt is

    @property
    def ideal(self) -> float:
        """Deliveries a second, were the receiver's delay all that takes time."""
        return self.in_flight / self.delay

    def lane(self, number: int) -> int:
        """Return the item that an event is about."""
        return number % self.keys

    def __str__(self) -> str:
        return f"{self.delay * 1000:g} ms, {self.in_flight:,} in flight"


# Each asks for less than a core can deliver, so that the number in flight is what holds. With 4,000 keys the last would
# not do so: of the 4,096 deliveries that a subscription takes in hand, up to 1,000 come from one partition, and many
# wait for another one of their key (74 % of the ideal, where 20,000 keys have 97 %).
PIPES = (Pipe(0.05, 256, 2000), Pipe(0.5, 1024, 2000), Pipe(0.5, 2048, 20_000))


class Run(NamedTuple):
    """What one run came to."""

    rate: float  # deliveries a second
    busy: float  # share of one core that the replica used
    arrears: float  # the most that was owed or behind


class Slow(NamedTuple):
    """What is played."""

    seconds: float = 8.0  # that each backlog should take
    rounds: int = 3
    pipes: tuple[Pipe, ...] = PIPES

    def play(self, bootstrap: str) -> Findings:
        """Work a backlog off through each pipe, and show what the receiver itself can do."""
        found = Findings(f"slow receivers: backlogs of {self.seconds:g} s, {self.rounds} round(s)")
        with Destinations(HOOK) as destinations:
            for pipe in self.pipes:
                destinations.conduct(HOOK, Conduct(delay=pipe.delay))
                self._pipe(bootstrap, destinations, pipe, found)
        return found

    def _pipe(self, bootstrap: str, destinations: Destinations, pipe: Pipe, found: Findings) -> None:
        alone = steady(self._load(destinations, pipe), pipe.in_flight)
        runs = [self._run(bootstrap, destinations, pipe, found) for _ in range(self.rounds)]
        shares = [run.rate / pipe.ideal for run in runs]
        share = statistics.median(shares)
        found.figure(f"{pipe}: ideal", f"{pipe.ideal:,.0f}/s")
        found.figure("  receiver alone, by a plain load over as many connections", f"{alone:,.0f}/s")
        found.figure("  deliveries", f"{statistics.median(run.rate for run in runs):,.0f}/s")
        span = f"{share:.0%} (median of {len(shares)}, {min(shares):.0%} to {max(shares):.0%})"
        found.target(f"  of the ideal (at least {LEAST_SHARE:.0%})", span, reached=share >= LEAST_SHARE)
        found.figure("  replica busy", f"{statistics.median(run.busy for run in runs):.0%} of a core")
        found.no_arrears(max(run.arrears for run in runs), indent="  ")

    def _events(self, pipe: Pipe) -> int:
        return pipe.in_flight * max(LEAST_WAVES, round(self.seconds / pipe.delay))

    def _load(self, destinations: Destinations, pipe: Pipe) -> list[float]:
        port = urlsplit(destinations.url(HOOK)).port
        assert port is not None
        return answered(port, Events().body(), pipe.in_flight, self._events(pipe))

    def _run(self, bootstrap: str, destinations: Destinations, pipe: Pipe, found: Findings) -> Run:
        events = self._events(pipe)
        with stage(bootstrap, {IN_FLIGHT: str(pipe.in_flight)}) as where:
            found.in_force(where.settings())
            where.produce(Events(pipe.lane), range(events))
            where.subscribe([webhook(HOOK, destinations.url(HOOK))])
            destinations.take()
            with where.consuming() as replica, Arrears(replica) as arrears:
                began, cpu = time.monotonic(), cpu_seconds(replica.pid)
                await_count(destinations, {HOOK: events}, replica)
                busy = (cpu_seconds(replica.pid) - cpu) / (time.monotonic() - began)
                most = arrears.most(where)
            arrivals = destinations.take()[HOOK]
        found.problems += reckon(arrivals, range(events), pipe.lane).faults(f"{pipe}")
        return Run(steady((arrival.time for arrival in arrivals), pipe.in_flight), busy, most)
