"""One item that fails for ever: its lane waits for its dead letter, nobody else does; a crash repeats a second."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from benchmarks.arrivals import Arrival, Place, first_times, reckon, sent_again
from benchmarks.destinations import Conduct, Destinations
from benchmarks.events import Events
from benchmarks.process import Process
from benchmarks.stage import Findings, Stage, await_count, await_that, paced, rest, stage, webhook
from consumer.event import Record

KEYS = 500
FAILING = 0  # the number of the event that always fails: the first of its key
SHARE = 10  # with many followers, one event in so many is of its key
DELAYS = (2.0, 5.0, 10.0)
SETTINGS = {"SPRINTLY_RETRY_DELAYS": "2s,5s,10s"}
ROUNDED = 5.0  # seconds to which each due time is rounded up
QUICK = 5.0  # the window of the quick attempts before
TAKEN_OVER = 15.0  # seconds that a crash may cost: the session of the one that was killed, and the start of the next
LAST_MOMENTS = 1.5  # seconds before a crash whose outcomes may not be durable yet: a cycle's interval, and the cycle


class Blocking(NamedTuple):
    """What is played. With `crash`, the replica is killed in the middle and a new one started."""

    events: int = 5000
    rate: float = 250.0  # events a second
    many: bool = False  # whether so many wait behind the failing one that it has to give way early
    crash: bool = True

    def play(self, bootstrap: str) -> Findings:
        """Produce the events steadily, and follow them to the last."""
        which = "a tenth of all events wait behind it" if self.many else f"{KEYS} keys"
        found = Findings(f"blocking: one of {self.events:,} events always fails, {self.rate:g}/s, {which}")
        with Destinations("hook") as destinations, stage(bootstrap, SETTINGS) as where:
            destinations.conduct("hook", Conduct(failing=frozenset([FAILING])))
            where.subscribe([webhook("hook", destinations.url("hook"))])
            found.settings = where.settings()
            _Drama(self, where, destinations, found).play()
        return found

    def lane(self, number: int) -> int:
        """Return the item that an event is about."""
        if not self.many:
            return number % KEYS
        return FAILING if number % SHARE == 0 else 1 + number % (KEYS - 1)


class _Drama:
    def __init__(self, blocking: Blocking, where: Stage, destinations: Destinations, found: Findings) -> None:
        self._blocking = blocking
        self._where = where
        self._destinations = destinations
        self._found = found
        self._crashed = 0.0  # seconds since 1970
        self._committed: dict[int, int] = {}  # when it crashed
        self._begins = 0.0

    def play(self) -> None:
        blocking, where = self._blocking, self._where
        numbers = range(blocking.events)
        with where.consuming() as first, ThreadPoolExecutor(1) as pool:
            began, self._begins = time.monotonic(), time.time()
            producing = pool.submit(where.produce, Events(blocking.lane), paced(numbers, blocking.rate))
            if not blocking.crash:
                self._to_the_end(first, producing.result())
                return
            rest(began + blocking.events / blocking.rate / 2)
            self._crashed = time.time()
            first.kill()
            self._committed = where.committed()
            with where.consuming() as second:
                self._to_the_end(second, producing.result())

    def _to_the_end(self, replica: Process, places: dict[int, Place]) -> None:
        where = self._where
        await_that(where.letters, "there was no dead letter", replica)
        await_count(self._destinations, {"hook": self._blocking.events - 1}, replica)
        await_that(lambda: sum(where.committed().values()) >= len(places), "not all was committed", replica)
        await_that(lambda: not where.states(), "states were left", replica)
        arrivals = self._destinations.take()["hook"]
        self._judge(arrivals)
        self._judge_the_letter(arrivals, where.letters())
        if self._crashed:
            self._judge_the_crash(arrivals, places)

    def _judge(self, arrivals: list[Arrival]) -> None:
        blocking, found = self._blocking, self._found
        reckoning = reckon(arrivals, set(range(blocking.events)) - {FAILING}, blocking.lane)
        found.problems += reckoning.problems("hook")
        found.figure("delivered / missing / out of order", str(reckoning))
        times = first_times(arrivals)
        others = [at for number, at in times.items() if blocking.lane(number) != FAILING]
        produced = self._begins + blocking.events / blocking.rate
        found.figure("last event of another key delivered, after it was produced", f"{max(others) - produced:.1f} s")

    def _judge_the_letter(self, arrivals: list[Arrival], letters: list[Record]) -> None:
        found, blocking = self._found, self._blocking
        headers = {name: (value or b"").decode() for name, value in letters[0].headers}
        attempts = [arrival.time for arrival in arrivals if arrival.number == FAILING]
        given_up = letters[0].timestamp / 1000
        reason = headers["dlq.reason"]
        found.bound("dead letters (one)", len(letters), kept=len(letters) == 1)
        found.bound("its reason", reason, kept=reason == ("blocking" if blocking.many else "exhausted"))
        found.figure("attempts at it, and the seconds of each", _moments(attempts))
        least, most = self._allowed()
        taken = given_up - attempts[0]
        found.bound(f"dead letter after ({least:g} to {most:g} s)", f"{taken:.1f} s", kept=least <= taken <= most)
        behind = [at for number, at in first_times(arrivals).items() if blocking.lane(number) == FAILING]
        found.bound(
            "first of its followers delivered after its dead letter was written",
            f"{min(behind) - given_up:.2f} s",
            kept=min(behind) >= given_up,
        )
        found.figure("its followers", len(behind))

    def _allowed(self) -> tuple[float, float]:
        """Return the fewest and the most seconds from the first attempt to the dead letter."""
        most = QUICK + sum(DELAYS) + ROUNDED * len(DELAYS) + (TAKEN_OVER if self._crashed else 0)
        return (0.0 if self._blocking.many else sum(DELAYS)), most

    def _judge_the_crash(self, arrivals: list[Arrival], places: dict[int, Place]) -> None:
        found = self._found
        reckoning = reckon(arrivals, set(range(self._blocking.events)) - {FAILING}, self._blocking.lane)
        again = sent_again(reckoning.twice, first_times(arrivals), self._crashed, LAST_MOMENTS)
        below = [n for n in reckoning.twice if places[n][1] < self._committed[places[n][0]]]
        found.figure("sent again after the crash", len(reckoning.twice))
        found.bound("of these, not in flight or in the last 1.5 s", len(again.early), kept=not again.early)
        found.bound("of these, below the committed offsets", len(below), kept=not below)
        span = f"{sum(self._committed.values()):,} of {len(places):,}"
        found.figure("committed when it crashed, all partitions together", span)


def _moments(times: list[float]) -> str:
    return f"{len(times)}: " + ", ".join(f"{at - times[0]:.1f}" for at in times)
