"""A service that takes one message a second, and a burst of thousands: nobody waits, memory stays flat."""

from __future__ import annotations

import statistics
import time
from typing import Any, NamedTuple

from benchmarks.arrivals import Arrival, most_within, out_of_order, reckon, unaccounted
from benchmarks.destinations import Destinations
from benchmarks.events import Events
from benchmarks.process import Process
from benchmarks.stage import Findings, Memory, Stage, await_count, metric, pace, rest, stage, webhook
from services.slack import Service

KEYS = 500
LEAST_PACE = 0.8
FLAT = 1.1  # times the memory at the time when the neighbour was through: no more comes while Slack is owed the rest
WINDOW = 10.0  # seconds in which Slack's limit is looked at


class Run(NamedTuple):
    """What one run came to."""

    pace: float  # of the neighbour
    peak: float  # MB


class Rate(NamedTuple):
    """What is played."""

    events: int = 10_000
    seconds: float = 75.0  # that Slack is given
    pairs: int = 3

    def play(self, bootstrap: str) -> Findings:
        """Run pairs without and with the Slack subscription; the last one goes on for `seconds`."""
        found = Findings(f"rate: a burst of {self.events:,} events for Slack, which takes 1 a second, and a webhook")
        with Destinations("slack", "neighbour") as destinations:
            alone: list[Run] = []
            beside: list[Run] = []
            for number in range(self.pairs):
                alone.append(self._run(bootstrap, destinations, None))
                beside.append(self._run(bootstrap, destinations, found, last=number == self.pairs - 1))
        ratios = [b.pace / a.pace for a, b in zip(alone, beside, strict=True)]
        ratio = statistics.median(ratios)
        found.figure("neighbour's pace without Slack", f"{statistics.median(run.pace for run in alone):,.0f}/s")
        span = f"{ratio:.0%} (median of {len(ratios)}, {min(ratios):.0%} to {max(ratios):.0%})"
        found.bound("its pace beside Slack (at least 80 %)", span, kept=ratio >= LEAST_PACE)
        found.figure("peak memory without Slack", f"{max(run.peak for run in alone):.0f} MB")
        found.figure("peak memory beside Slack", f"{max(run.peak for run in beside):.0f} MB")
        return found

    def _run(self, bootstrap: str, destinations: Destinations, found: Findings | None, *, last: bool = False) -> Run:
        """Run the burst once; `found` asks for the Slack subscription, too."""
        with stage(bootstrap) as where:
            where.subscribe(_subscriptions(destinations, slack=found is not None))
            places = where.produce(Events(lane), range(self.events))
            destinations.take()
            with where.consuming() as replica, Memory(replica) as memory:
                began = time.monotonic()
                await_count(destinations, {"neighbour": self.events}, replica)
                through = time.monotonic() - began
                if last and found is not None:
                    rest(began + self.seconds)
                    _memory(found, memory, through)
                    _metrics(found, replica)
                peak = replica.peak()
                replica.stop()
            taken = destinations.take()
            if last and found is not None:
                found.settings = where.settings()
                _judge(found, where, taken["slack"], places)
            return Run(self._judge_the_neighbour(found, taken["neighbour"]), peak)

    def _judge_the_neighbour(self, found: Findings | None, arrivals: list[Arrival]) -> float:
        reckoning = reckon(arrivals, range(self.events), lane)
        if found is not None:
            found.problems += reckoning.problems("neighbour")
        return pace(arrivals)


def lane(number: int) -> int:
    """Return the item that an event is about."""
    return number % KEYS


def _subscriptions(destinations: Destinations, *, slack: bool) -> list[dict[str, Any]]:
    entry = {"id": "slack", "product": "*", "service": "slack", "options": {"url": destinations.url("slack")}}
    return [webhook("neighbour", destinations.url("neighbour")), *([entry] if slack else [])]


def _memory(found: Findings, memory: Memory, through: float) -> None:
    """Note the memory while Slack is still owed the rest."""
    settled = through + 5  # the neighbour's connections and buffers have gone to rest
    early, late = memory.highest(0, settled), memory.highest(settled)
    name = f"memory until {settled:.0f} s, and from then on (at most {FLAT:g} times)"
    found.bound(name, f"{early:.0f} MB, {late:.0f} MB", kept=late <= FLAT * early)
    found.figure("memory every 10 s", ", ".join(f"{mb:.0f}" for _, mb in memory.samples[::20]) + " MB")


def _metrics(found: Findings, replica: Process) -> None:
    for name in ("behind", "owed", "buffered_bytes", "in_hand"):
        found.figure(f"metrics at the end: sprintly_{name}", int(metric(replica, name)))


def _judge(found: Findings, where: Stage, arrivals: list[Arrival], places: dict[int, tuple[int, int]]) -> None:
    """Compare what Slack got with its limit, and the rest with what the state topic says."""
    assert Service.rate is not None
    times = [arrival.time for arrival in arrivals]
    span = times[-1] - times[0]
    allowed = Service.rate.burst + span * Service.rate.per_second
    kept = allowed * 0.9 <= len(arrivals) <= allowed + 1
    found.bound(f"messages to Slack in {span:.0f} s (about {allowed:.0f})", len(arrivals), kept=kept)
    most, limit = most_within(times, WINDOW), Service.rate.burst + WINDOW * Service.rate.per_second
    found.bound(f"most in any {WINDOW:g} s (at most {limit:g} and 1)", most, kept=most <= limit + 1)
    numbers = [arrival.number for arrival in arrivals]
    late, twice = out_of_order(numbers, lane), len(numbers) - len(set(numbers))
    found.bound("messages out of order / twice (none)", f"{late} / {twice}", kept=not late + twice)
    states = [state for state in where.states() if state.subscription == "slack"]
    lost = unaccounted(places, numbers, states, where.committed())
    listed = sum(len(state.owed) for state in states)
    found.figure("after a stop, the state topic's records", len(states))
    found.figure("owed one by one there, the rest by `next`", listed)
    found.bound("neither delivered nor owed (none)", len(lost), kept=not lost)
