"""Receivers that answer at once: what a delivery costs, beside other ways to do the same job, in turn in one run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from benchmarks.cluster import PARTITIONS, Cluster
from benchmarks.events import KEYS, Events
from benchmarks.measure import Bench, Log
from benchmarks.nginx import Nginx, quickest
from benchmarks.receiver import Receiver
from benchmarks.report import Comparison, Run, settings
from benchmarks.stage import Findings, per
from benchmarks.systems import FastStream, Naive, Project, System, Threads
from benchmarks.wire import measured_by

PROJECT = Project()
SYSTEMS: tuple[System, ...] = (PROJECT, Naive(), Threads(), FastStream())
# How many times the deliveries a second of another system the project's should be, and its CPU the project's.
FASTER = {Naive.name: 5.0, FastStream.name: 1.5}
CHEAPER = {Naive.name: 5.0}


class Instant(NamedTuple):
    """What is played."""

    events: int = 40_000
    rounds: int = 3
    rate: float = 200.0  # live events a second
    seconds: float = 10.0  # of these
    systems: tuple[System, ...] = SYSTEMS  # the project first
    receiver: Callable[[], Nginx | Receiver] = quickest

    def play(self, bootstrap: str) -> Findings:
        """Let each system work off a backlog and deliver live events, round by round."""
        events = Events()
        size = len(events.record("", 0).value or b"")
        found = Comparison(
            f"instant receivers: {self.events:,} events of {size:,} bytes in {PARTITIONS} partitions, {KEYS:,} keys; "
            f"{self.rounds} round(s); live: {self.rate:g}/s for {self.seconds:g} s"
        )
        with self.receiver() as receiver:
            found.figure("receiver", receiver.title)
            found.figure(f"the wire: receiver alone, by {measured_by()}", f"{receiver.alone(events.body()):,.0f}/s")
            present = self._present(found)
            runs = self._runs(Bench(Cluster(bootstrap, events), receiver), Cluster(bootstrap, events), present)
        found.compare(runs)
        _compare(found, runs)
        return found

    def __str__(self) -> str:
        return f"instant receivers, {self.events:,} events, {self.rounds} round(s)"

    def _present(self, found: Findings) -> list[System]:
        for system in self.systems:
            if (lacks := system.lacks()) is not None:
                found.figure(system.name, f"left out: {lacks}")
            elif system.share < 1:
                found.figure(f"{system.name}: its share of the backlog", f"the first {self._given(system):,} events")
        return [system for system in self.systems if system.lacks() is None]

    def _given(self, system: System) -> int:
        return round(self.events * system.share)

    def _runs(self, bench: Bench, cluster: Cluster, systems: Sequence[System]) -> dict[str, list[Run]]:
        runs: dict[str, list[Run]] = {system.name: [] for system in systems}
        with ExitStack() as topics:
            logs: dict[int, Log] = {}
            for count in {self._given(system) for system in systems}:
                _say(f"producing {count:,} events")
                topic = topics.enter_context(cluster.topic())
                cluster.write(topic, range(count))
                logs[count] = Log(topic, cluster.read(topic))
            for number in range(self.rounds):
                for system in systems:
                    _say(f"round {number + 1} of {self.rounds}: {system.name}")
                    backlog = bench.backlog(system, logs[self._given(system)])
                    latency = bench.latency(system, self.rate, self.seconds) if system.timed else None
                    runs[system.name].append(Run(backlog, latency))
        return runs


def _compare(found: Comparison, runs: Mapping[str, Sequence[Run]]) -> None:
    ours = [run.backlog for run in runs[PROJECT.name]]
    for name, others in runs.items():
        if name == PROJECT.name:
            continue
        pairs = [(our, other.backlog) for our, other in zip(ours, others, strict=True)]
        rates = [per(our.rate, their.rate) for our, their in pairs]
        found.ratio(f"deliveries/s, {PROJECT.name} : {name}", rates, FASTER.get(name))
        costs = [per(their.cpu, our.cpu) for our, their in pairs]
        found.ratio(f"CPU each, {name} : {PROJECT.name}", costs, CHEAPER.get(name))
    arrears = max(run.arrears for run in ours)
    found.target("nothing fell behind, nothing owed (the most of it)", f"{arrears:g}", reached=not arrears)
    found.in_force(settings(ours[0].environ))


def _say(progress: str) -> None:
    print(progress, file=sys.stderr)
