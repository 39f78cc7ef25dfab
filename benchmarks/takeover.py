"""Thousands of subscriptions that are owed things: how soon a fresh replica has taken all of it over."""

from __future__ import annotations

import re
import time
from typing import NamedTuple

from benchmarks.arrivals import unaccounted
from benchmarks.cluster import PARTITIONS
from benchmarks.destinations import Conduct, Destinations
from benchmarks.events import Events
from benchmarks.process import Process
from benchmarks.stage import Findings, Stage, await_count, await_log, await_that, stage, webhook

HEALTHY = "healthy"
QUIET = 3.0  # seconds without a new state after which all are written


class TakeOver(NamedTuple):
    """What is played."""

    subscriptions: int = 2000
    events: int = 120

    def play(self, bootstrap: str) -> Findings:
        """Let one replica owe all, stop it, and start another one."""
        found = Findings(f"takeover: {self.subscriptions:,} subscriptions are owed {self.events:,} events each")
        with Destinations(HEALTHY, "dead") as destinations, stage(bootstrap) as where:
            destinations.conduct("dead", Conduct(listening=False))
            dead = [webhook(f"dead-{n}", destinations.url("dead")) for n in range(self.subscriptions)]
            where.subscribe([webhook(HEALTHY, destinations.url(HEALTHY)), *dead])
            found.settings = where.settings()
            places = where.produce(Events(lane), range(self.events))
            self._owe(where, destinations, found)
            self._judge(where, places, found)
            self._take_over(where, destinations, found)
        return found

    def _owe(self, where: Stage, destinations: Destinations, found: Findings) -> None:
        with where.consuming() as replica:
            began = time.monotonic()
            await_count(destinations, {HEALTHY: self.events}, replica)
            await_that(lambda: len(where.states()) >= self.subscriptions, "states were missing", replica)
            _await_quiet(where, replica)
            found.figure("first replica: all states written after", f"{time.monotonic() - began - QUIET:.1f} s")
            found.figure("first replica: peak memory", f"{replica.peak():.0f} MB")
            began = time.monotonic()
            code = replica.stop()
            found.bound("first replica: stopped in order within", f"{time.monotonic() - began:.1f} s", kept=code == 0)

    def _judge(self, where: Stage, places: dict[int, tuple[int, int]], found: Findings) -> None:
        records = where.state_records()
        states = where.states()
        latest = {record.key: record for record in records}
        found.figure("state topic: records", len(records))
        found.figure("state topic: bytes", sum(record.size for record in records))
        found.figure("state topic: states, the last of each", len(states))
        found.figure("state topic: their bytes", sum(r.size for r in latest.values() if r.value is not None))
        found.figure("deliveries owed one by one", sum(len(state.owed) for state in states))
        found.figure("pairs of subscription and partition that are behind", sum(s.next is not None for s in states))
        committed = where.committed()
        by_subscription: dict[str, list[object]] = {}
        for state in states:
            by_subscription.setdefault(state.subscription, []).append(state)
        lost = sum(
            bool(unaccounted(places, (), by_subscription.get(f"dead-{n}", []), committed))  # type: ignore[arg-type]
            for n in range(self.subscriptions)
        )
        found.bound("subscriptions that are not owed all (none)", lost, kept=not lost)

    def _take_over(self, where: Stage, destinations: Destinations, found: Findings) -> None:
        destinations.take()
        began = time.monotonic()
        with where.start() as replica:
            await_log(replica, "partitions taken over")
            taken = time.monotonic() - began
            where.produce(Events(lane), [self.events])
            await_count(destinations, {HEALTHY: 1}, replica)
            found.figure("fresh replica: taken over after its start", f"{taken:.1f} s")
            seconds = re.findall(r'"seconds": ?([\d.]+)[^\n]*partitions taken over', replica.text) or re.findall(
                r'partitions taken over[^\n]*"seconds": ?([\d.]+)', replica.text
            )
            found.figure(
                "fresh replica: of these, by its own log from the assignment on", f"{max(map(float, seconds))} s"
            )
            found.figure("fresh replica: first live delivery after its start", f"{time.monotonic() - began:.1f} s")
            found.figure("fresh replica: peak memory", f"{replica.peak():.0f} MB")


def lane(number: int) -> int:
    """Return the item that an event is about: each has one event."""
    return number


def _await_quiet(where: Stage, replica: Process) -> None:
    """Wait until no state has been written for some seconds."""
    seen = [0, time.monotonic()]

    def quiet() -> bool:
        now = len(where.state_records())
        if now != seen[0]:
            seen[:] = [now, time.monotonic()]
        return time.monotonic() - seen[1] > QUIET

    await_that(quiet, f"states kept being written in {PARTITIONS} partitions", replica)
