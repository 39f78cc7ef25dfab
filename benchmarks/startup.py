"""How soon a replica is of use: from the start of its process to its first delivery, and how soon `--help` is there."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from benchmarks.arrivals import reckon
from benchmarks.destinations import Destinations
from benchmarks.events import Events, key
from benchmarks.process import ROOT
from benchmarks.stage import Findings, await_count, spread, stage, webhook

HOOK = "hook"
MOST_FIRST = 1.5  # seconds to the first delivery, beside the group's own delay
MOST_HELP = 0.3  # seconds
# What a replica logs, in this order; between the second and the third it finds Kafka and joins its group.
LOADED, JOINING, ASSIGNED, BEGUN = (
    "starting",
    "serving metrics and health",
    "partitions assigned",
    "partitions taken over",
)


class Startup(NamedTuple):
    """What is played."""

    starts: int = 5
    helps: int = 7
    events: int = 100  # that wait in the log

    def play(self, bootstrap: str) -> Findings:
        """Start replicas, each on a topic and in a group of its own, and then ask for help."""
        found = Findings(f"start: {self.starts} replica(s), each with {self.events:,} events waiting")
        with Destinations(HOOK) as destinations:
            starts = [self._start(bootstrap, destinations, found) for _ in range(self.starts)]
        own = statistics.median(start.own for start in starts)
        found.figure("process start to first delivery, seconds", spread([start.total for start in starts]))
        found.figure("  imports, settings, subscriptions", spread([start.loaded for start in starts]))
        found.figure("  until it looks for Kafka and joins", spread([start.wiring for start in starts]))
        found.figure("  the group's own delay, until partitions are assigned", spread([s.group for s in starts]))
        found.figure("  taking them over", spread([start.taking_over for start in starts]))
        found.figure("  until the first delivery", spread([start.delivering for start in starts]))
        name = f"first delivery, beside the group's own delay (at most {MOST_FIRST:g} s)"
        found.target(name, f"{own:.2f} s", reached=own <= MOST_FIRST)
        helps = [_help() for _ in range(self.helps)]
        name = f"--help (at most {MOST_HELP:g} s)"
        found.target(name, spread(helps), reached=statistics.median(helps) <= MOST_HELP)
        return found

    def _start(self, bootstrap: str, destinations: Destinations, found: Findings) -> Start:
        with stage(bootstrap) as where:
            found.in_force(where.settings())
            where.produce(Events(), range(self.events))
            where.subscribe([webhook(HOOK, destinations.url(HOOK))])
            destinations.take()
            began = time.time()
            with where.start() as replica:
                await_count(destinations, {HOOK: self.events}, replica)
                said = first_said(replica.text)
            arrivals = destinations.take()[HOOK]
        found.problems += reckon(arrivals, range(self.events), key).faults(HOOK)
        loaded, joining, assigned, begun = (said[words] - began for words in (LOADED, JOINING, ASSIGNED, BEGUN))
        return Start(loaded, joining, assigned, begun, min(arrival.time for arrival in arrivals) - began)


class Start(NamedTuple):
    """When a replica had come how far, in seconds since the start of its process."""

    loaded: float  # its first word
    joining: float  # it looks for Kafka
    assigned: float  # the group has given it partitions
    begun: float  # it knows where to begin there
    total: float  # its first delivery

    @property
    def wiring(self) -> float:
        """Until it looks for Kafka."""
        return self.joining - self.loaded

    @property
    def group(self) -> float:
        """Until the group has given it partitions."""
        return self.assigned - self.joining

    @property
    def taking_over(self) -> float:
        """Until it knows where to begin there."""
        return self.begun - self.assigned

    @property
    def delivering(self) -> float:
        """Until something has arrived."""
        return self.total - self.begun

    @property
    def own(self) -> float:
        """All of it but the group's own delay."""
        return self.total - self.group


def first_said(text: str) -> dict[str, float]:
    """Return when each kind of line was logged first (s since 1970); lines that are no JSON are passed over."""
    times: dict[str, float] = {}
    for line in _entries(text):
        times.setdefault(line["event"], datetime.fromisoformat(line["timestamp"]).timestamp())
    return times


def _entries(text: str) -> Iterator[dict[str, str]]:
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and {"event", "timestamp"} <= entry.keys():
            yield entry


def _help() -> float:
    began = time.monotonic()
    subprocess.run([*_command(), "--help"], cwd=ROOT, capture_output=True, check=True)
    return time.monotonic() - began


def _command() -> Sequence[str]:
    """Return the command as it is installed beside this Python, or what it does."""
    script = Path(sys.executable).parent / "sprintly-services"
    return [str(script)] if script.exists() else [sys.executable, "-m", "consumer"]
