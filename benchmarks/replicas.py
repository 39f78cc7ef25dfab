"""One replica and two of one group, with half a core each: what the second one adds."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import NamedTuple

from benchmarks.cgroup import Unavailable, share
from benchmarks.cluster import PARTITIONS
from benchmarks.events import PRODUCT, Events
from benchmarks.process import Process, cpu_seconds
from benchmarks.served import AnyReceiver, judged, receiving
from benchmarks.stage import Findings, Stage, await_log, await_served, await_that, metrics, per, spread, stage, webhook

HOOK = "hook"
LEAST = 1.8  # times the pace of one
COUNTED = 0.9  # of the deliveries: after that, one of the two may be through with its partitions


class Replicas(NamedTuple):
    """What is played."""

    events: int = 40_000  # for each replica
    cores: float = 0.5  # for each replica
    rounds: int = 3

    def play(self, bootstrap: str) -> Findings:
        """Let one replica and two work, in turn; left out where a process cannot be given half a core."""
        found = Findings(
            f"replicas: one and two with {self.cores:g} core each, {self.events:,} events for each replica; "
            f"{self.rounds} round(s)"
        )
        one: list[Work] = []
        two: list[Work] = []
        try:
            with receiving() as receiver:
                for _ in range(self.rounds):
                    one.append(self._run(bootstrap, receiver, 1, found))
                    two.append(self._run(bootstrap, receiver, 2, found))
        except Unavailable as error:
            found.figure("left out", f"{error}")
            return found
        for name, works in (("one replica", one), ("two replicas", two)):
            found.figure(f"{name}: deliveries/s", spread([work.rate for work in works], ",.0f"))
            found.figure("  cores that each used", spread([work.cores for work in works]))
        ratio = statistics.median(per(b.rate, a.rate) for a, b in zip(one, two, strict=True))
        found.target(f"two : one, round by round (at least {LEAST:g})", f"{ratio:.2f}", reached=ratio >= LEAST)
        return found

    def _run(self, bootstrap: str, receiver: AnyReceiver, count: int, found: Findings) -> Work:
        """Start replicas, and produce only when all of them have their partitions."""
        events = count * self.events
        with stage(bootstrap) as where:
            found.in_force(where.settings())
            where.subscribe([webhook(HOOK, receiver.url_of(HOOK), PRODUCT)])
            receiver.take()
            with self._started(where, count) as replicas:
                where.produce(Events(), range(events))
                produced, began = time.time(), time.monotonic()
                cpu = sum(cpu_seconds(replica.pid) for replica in replicas)
                await_served(receiver, round(COUNTED * events), *replicas)
                used = sum(cpu_seconds(replica.pid) for replica in replicas) - cpu
                cores = used / (time.monotonic() - began) / count
                await_served(receiver, events, *replicas)
            came = judged(where, receiver.take(), [HOOK], events, found)
        return Work(pace_between([arrival.time for arrival in came[HOOK]], produced, COUNTED), cores)

    @contextmanager
    def _started(self, where: Stage, count: int) -> Iterator[list[Process]]:
        """Start replicas, each in a group of its own, and wait until the partitions are spread evenly over them."""
        with ExitStack() as ends:
            replicas = []
            for _ in range(count):
                group = ends.enter_context(share(self.cores))
                replica = ends.enter_context(where.start())
                group.take_in(replica.pid)
                replicas.append(replica)
            for replica in replicas:
                await_log(replica, "partitions taken over")
                await_that(partial(_has_its_part, replica, count), "partitions were not spread", replica)
            yield replicas


class Work(NamedTuple):
    """What one run came to."""

    rate: float  # deliveries a second of all replicas together
    cores: float  # that each used


def pace_between(times: Sequence[float], since: float, part: float) -> float:
    """Return the arrivals a second from a time on, until `part` of all have come; not a number where none are left."""
    ordered = sorted(times)
    counted = [at for at in ordered[: round(part * len(ordered))] if at >= since]
    return per(len(counted) - 1, counted[-1] - counted[0]) if counted else math.nan


def _has_its_part(replica: Process, count: int) -> bool:
    """Whether a replica has its part of the partitions: of those with events, and as many of those with replays."""
    return metrics(replica)["assigned_partitions"] == 2 * PARTITIONS / count
