"""Thousands of dead letters of mixed causes: seen, chosen, replayed at a rate, killed in the middle, and once more."""

from __future__ import annotations

import json
import re
import time
from typing import NamedTuple

from benchmarks.arrivals import reckon
from benchmarks.destinations import Conduct, Destinations
from benchmarks.events import KEYS, Events
from benchmarks.process import Process
from benchmarks.stage import LOOK, Broken, Findings, Stage, await_count, await_that, stage, webhook
from consumer.event import Outgoing

REFUSED, MISSING, FAILING = "refused", "missing", "failing"
CAUSES = {REFUSED: 400, MISSING: 404, FAILING: 503}
# So many failures in a row would be an outage, in which nothing becomes a dead letter: here they are to.
SETTINGS = {
    "SPRINTLY_BREAKER_FAILURES": "1000000",
    "SPRINTLY_BREAKER_REFUSALS": "1000000",
    "SPRINTLY_BREAKER_SILENCE": "1h",
    "SPRINTLY_MAX_FOLLOWERS": "1000000",
    "SPRINTLY_RETRY_DELAYS": "1s",
}


class Letters(NamedTuple):
    """What is played: a quarter of the dead letters is poison, the rest is of three destinations in equal parts."""

    letters: int = 10_000
    rate: int = 500  # replays a second

    def play(self, bootstrap: str) -> Findings:
        """Fill the dead-letter topic, mend the destinations, and do what an operator would."""
        found = Findings(f"letters: {self.letters:,} dead letters of mixed causes, replayed at {self.rate}/s")
        with Destinations(*CAUSES) as destinations, stage(bootstrap, SETTINGS) as where:
            where.subscribe([webhook(name, destinations.url(name)) for name in CAUSES])
            found.settings = where.settings()
            for name, status in CAUSES.items():
                destinations.conduct(name, Conduct(status=status))
            with where.consuming() as replica:
                self._fill(where, replica, found)
                for name in CAUSES:
                    destinations.conduct(name, Conduct())
                destinations.take()
                self._look(where, found)
                self._replay(where, destinations, replica, found)
                self._drop(where, found)
        return found

    @property
    def each(self) -> int:
        """How many of each cause."""
        return self.letters // 4

    def _fill(self, where: Stage, replica: Process, found: Findings) -> None:
        began = time.monotonic()
        events = Events()
        # Never so many in a row that nobody can read that the intake stops.
        where.write(
            record
            for number in range(self.each)
            for record in (
                Outgoing(where.topic, b"poison", b"not Avro %d" % number),
                events.record(where.topic, number),
            )
        )
        await_that(lambda: _count(where) == 4 * self.each, "dead letters were missing", replica)
        found.figure("dead letters made after", f"{time.monotonic() - began:.1f} s")

    def _look(self, where: Stage, found: Findings) -> None:
        said, seconds = where.command("dlq", "list", "--summary")
        for line in said.splitlines():
            found.figure("  | " + line, "")
        found.figure("dlq list --summary took", f"{seconds:.1f} s")
        found.bound("in the summary", _last_number(said), kept=_last_number(said) == 4 * self.each)
        said, seconds = where.command("dlq", "replay", "--status", "4xx", "--dry-run")
        found.figure("dlq replay --status 4xx --dry-run took", f"{seconds:.1f} s")
        found.bound("would be replayed", _last_number(said), kept=_last_number(said) == 2 * self.each)

    def _replay(self, where: Stage, destinations: Destinations, replica: Process, found: Findings) -> None:
        replay = ("dlq", "replay", "--status", "4xx", "--rate", f"{self.rate}/s", "--yes")
        began = time.monotonic()
        with where.begin(*replay) as killed:
            _await(lambda: _came(destinations) >= self.each, killed)
            killed.kill()
        came, seconds = _came(destinations), time.monotonic() - began
        found.figure("replay killed (-9) after", f"{seconds:.1f} s, {came:,} had arrived")
        said, seconds = where.command(*replay)
        again = _last_number(said)
        found.figure("the same again took", f"{seconds:.1f} s for {again:,}")
        pace = again / seconds
        found.bound("its pace, the start of the command included", f"{pace:.0f}/s", kept=pace <= self.rate)
        await_count(destinations, {REFUSED: self.each, MISSING: self.each}, replica)
        arrivals = destinations.take()
        for name in (REFUSED, MISSING):
            reckoning = reckon(arrivals[name], range(self.each), lambda number: number % KEYS)
            found.figure(f"{name}: delivered / missing / out of order", str(reckoning))
            found.bound(f"{name}: delivered twice (none)", len(reckoning.twice), kept=not reckoning.twice)
            found.problems.extend(reckoning.problems(name))
        others = len(arrivals[FAILING])
        found.bound("sent to others (none)", others, kept=not others)
        left = _count(where)
        found.bound("dead letters that are left", left, kept=left == 2 * self.each)

    def _drop(self, where: Stage, found: Findings) -> None:
        said, seconds = where.command("dlq", "drop", "--reason", "poison", "--yes")
        found.figure("dlq drop --reason poison took", f"{seconds:.1f} s for {_last_number(said):,}")
        left = _count(where)
        found.bound("dead letters that are left then", left, kept=left == self.each)


def _count(where: Stage) -> int:
    rows = json.loads(where.command("dlq", "list", "--summary", "--json")[0])
    return sum(row["count"] for row in rows)


def _came(destinations: Destinations) -> int:
    return sum(destinations.count(name) for name in CAUSES)


def _await(true: object, command: Process) -> None:
    while not true():  # type: ignore[operator]
        if not command.running:
            raise Broken(f"the command ended by itself: {command.last_words}")
        time.sleep(LOOK)


def _last_number(said: str) -> int:
    return int(re.findall(r"\d+", said.splitlines()[-1])[0])
