"""A new subscription gets what was written before it; a disabled one what was written meanwhile, or none of it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from benchmarks.arrivals import Arrival, first_times, reckon
from benchmarks.destinations import Destinations
from benchmarks.events import KEYS, Events
from benchmarks.process import Process
from benchmarks.stage import Findings, Stage, await_count, await_that, stage, webhook

OLD, NEW = "old", "new"


class Backfilling(NamedTuple):
    """What is played."""

    events: int = 200_000  # that lie in the log
    rate: float = 200.0  # live events a second meanwhile
    more: int = 5_000  # while it is disabled

    def play(self, bootstrap: str) -> Findings:
        """Let one subscription have all, add another, and say of it what an operator may say."""
        found = Findings(
            f"backfill: {self.events:,} events in the log, {self.rate:g}/s live; {self.more:,} while disabled"
        )
        with Destinations(OLD, NEW) as destinations, stage(bootstrap) as where:
            where.subscribe([webhook(OLD, destinations.url(OLD))])
            found.settings = where.settings()
            where.produce(Events(), range(self.events))
            with where.consuming() as replica:
                await_count(destinations, {OLD: self.events}, replica)
            destinations.take()
            where.subscribe([webhook(OLD, destinations.url(OLD)), webhook(NEW, destinations.url(NEW))])
            with where.consuming() as replica:
                done = self._backfill(where, destinations, replica, found)
                done = self._disable(where, destinations, replica, found, done)
                self._skip(where, destinations, replica, found, done)
                left = json.loads(where.command("deliveries", "owed", "--json")[0])
                found.bound("still owed at the end (nothing)", len(left), kept=not left)
        return found

    def _backfill(self, where: Stage, destinations: Destinations, replica: Process, found: Findings) -> int:
        with Live(where, self.events, self.rate) as live:
            await_count(destinations, {OLD: 100, NEW: 100}, replica)
            before, began = time.time(), time.monotonic()
            _, seconds = where.command("subscriptions", "backfill", NEW, "--since", "1h")
            said = live.end  # what is written from now on waits until the others have come
            found.figure("subscriptions backfill --since 1h took", f"{seconds:.1f} s")
            await_that(lambda: destinations.count(NEW) >= self.events, "not all of it came", replica)
            seconds = time.monotonic() - began
            found.figure(f"the {self.events:,} had come after", f"{seconds:.1f} s ({self.events / seconds:,.0f}/s)")
        end = live.end
        await_that(lambda: _owed(where) == 0, "something stayed owed", replica)
        arrivals = destinations.take()
        again = sum(arrival.number >= self.events for arrival in arrivals[NEW]) - (end - self.events)
        found.figure(f"{NEW}: live events that came before, and again", again)
        meant = [arrival for arrival in arrivals[NEW] if not self.events <= arrival.number < said]
        _judge(found, f"{NEW}: delivered / missing / out of order", meant, [*range(self.events), *range(said, end)])
        _judge(found, f"{OLD}: live events meanwhile", arrivals[OLD], range(self.events, end))
        lags = _lags(arrivals[OLD], live.written, since=before)
        found.figure(
            f"{OLD}: event to delivery meanwhile, median / worst", f"{lags[0] * 1e3:.0f} / {lags[1] * 1e3:.0f} ms"
        )
        return end

    def _disable(self, where: Stage, destinations: Destinations, replica: Process, found: Findings, done: int) -> int:
        _, seconds = where.command("subscriptions", "disable", NEW)
        found.figure("subscriptions disable took", f"{seconds:.1f} s")
        where.produce(Events(), range(done, done + self.more))
        await_count(destinations, {OLD: self.more}, replica)
        came = destinations.count(NEW)
        found.bound(f"{NEW}: came while it was disabled (none)", came, kept=not came)
        _, seconds = where.command("subscriptions", "enable", NEW)
        found.figure("subscriptions enable took", f"{seconds:.1f} s")
        await_count(destinations, {NEW: self.more}, replica)
        arrivals = destinations.take()
        _judge(
            found, f"{NEW}: enabled, delivered / missing / out of order", arrivals[NEW], range(done, done + self.more)
        )
        return done + self.more

    def _skip(self, where: Stage, destinations: Destinations, replica: Process, found: Findings, done: int) -> None:
        where.command("subscriptions", "disable", NEW)
        where.produce(Events(), range(done, done + self.more))
        await_count(destinations, {OLD: self.more}, replica)
        _, seconds = where.command("subscriptions", "enable", NEW, "--skip")
        found.figure("subscriptions enable --skip took", f"{seconds:.1f} s")
        where.produce(Events(), range(done + self.more, done + self.more + 100))
        await_count(destinations, {NEW: 100}, replica)
        arrivals = destinations.take()[NEW]
        skipped = sum(arrival.number < done + self.more for arrival in arrivals)
        found.bound(f"{NEW}: of what was skipped came (none)", skipped, kept=not skipped)
        _judge(found, f"{NEW}: what came after", arrivals, range(done + self.more, done + self.more + 100))


class Live:
    """Produces events steadily, from a number on, until the `with` block ends."""

    def __init__(self, where: Stage, first: int, rate: float) -> None:
        self._where = where
        self._first = first
        self._rate = rate
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._produce, daemon=True)
        self.written: dict[int, float] = {}  # when each was (seconds since 1970)

    @property
    def end(self) -> int:
        """The number after the last."""
        return self._first + len(self.written)

    def __enter__(self) -> Live:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join()

    def _produce(self) -> None:
        self._where.produce(Events(), self._numbers())

    def _numbers(self) -> Iterator[int]:
        while not self._enough.wait(1 / self._rate):
            number = self.end
            self.written[number] = time.time()
            yield number


def _owed(where: Stage) -> int:
    return len(where.states())


def _judge(found: Findings, name: str, arrivals: list[Arrival], expected: Iterable[int]) -> None:
    reckoning = reckon(arrivals, expected, lambda number: number % KEYS)
    found.figure(name, f"{reckoning}, {len(reckoning.twice):,} twice")
    problems = [problem for problem in reckoning.problems(name) if "about none" not in problem]
    found.problems.extend(problems)


def _lags(arrivals: list[Arrival], written: dict[int, float], since: float) -> tuple[float, float]:
    """Return the median and the worst time from an event's production to its first delivery, in seconds."""
    times = first_times(arrivals)
    lags = sorted(times[number] - at for number, at in written.items() if number in times and at >= since)
    return lags[len(lags) // 2], lags[-1]
