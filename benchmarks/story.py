"""The story of docs/operating.md, played: a destination refuses everything, what the operator sees, three commands."""

from __future__ import annotations

import json
import time
from typing import NamedTuple

from benchmarks.arrivals import reckon
from benchmarks.destinations import Conduct, Destinations
from benchmarks.events import KEYS, Events
from benchmarks.process import Process
from benchmarks.stage import Findings, Stage, await_count, await_that, breakers_open, stage, webhook

ACME, OTHER = "acme-hook", "other-hook"
BEFORE, DURING = 200, 3_000


class Story(NamedTuple):
    """What is played: somebody at Acme lets the credentials of their receiver expire."""

    def play(self, bootstrap: str) -> Findings:
        """Play it to its end."""
        found = Findings("story: a destination answers 401 to everything; the alert, three commands, all delivered")
        with Destinations(ACME, OTHER) as destinations, stage(bootstrap) as where:
            where.subscribe([webhook(name, destinations.url(name)) for name in (ACME, OTHER)])
            found.settings = where.settings()
            with where.consuming() as replica:
                where.produce(Events(), range(BEFORE))
                await_count(destinations, {ACME: BEFORE, OTHER: BEFORE}, replica)
                destinations.conduct(ACME, Conduct(status=401))
                began = time.monotonic()
                where.produce(Events(), range(BEFORE, BEFORE + DURING))
                await_that(lambda: breakers_open(replica) == 1, "no breaker opened", replica)
                found.figure("a breaker is open after", f"{time.monotonic() - began:.1f} s")
                await_count(destinations, {OTHER: BEFORE + DURING}, replica)
                self._night(where, destinations, replica, found)
        return found

    def _night(self, where: Stage, destinations: Destinations, replica: Process, found: Findings) -> None:
        await_that(lambda: where.states(), "nothing is owed", replica)
        _show(found, where, "deliveries", "owed")
        destinations.conduct(ACME, Conduct())  # Acme has been called, and renews them
        _show(found, where, "subscriptions", "enable", ACME)
        dead = sum(row["count"] for row in json.loads(where.command("dlq", "list", "--summary", "--json")[0]))
        found.bound("dead letters (some 20: then it was believed down)", dead, kept=dead <= 40)
        _show(found, where, "dlq", "replay", "--subscription", ACME, "--yes")
        began = time.monotonic()
        await_count(destinations, {ACME: BEFORE + DURING}, replica)
        found.figure("all delivered after", f"{time.monotonic() - began:.1f} s")
        await_that(lambda: not where.states(), "something stayed owed", replica)
        arrivals = destinations.take()
        for name in (ACME, OTHER):
            reckoning = reckon(arrivals[name], range(BEFORE + DURING), lambda number: number % KEYS)
            found.figure(f"{name}: delivered / missing", f"{reckoning.delivered:,} / {len(reckoning.missing):,}")
            found.bound(f"{name}: delivered twice (none)", len(reckoning.twice), kept=not reckoning.twice)
            found.problems.extend(problem for problem in reckoning.problems(name) if "after a later" not in problem)
        left = json.loads(where.command("dlq", "list", "--json")[0])
        found.bound("dead letters that are left (none)", len(left), kept=not left)


def _show(found: Findings, where: Stage, *arguments: str) -> None:
    """Run a command, and note what it said."""
    said, seconds = where.command(*arguments)
    found.figure(f"$ sprintly-services {' '.join(arguments)}", f"({seconds:.1f} s)")
    for line in said.splitlines():
        found.figure("  | " + line, "")
