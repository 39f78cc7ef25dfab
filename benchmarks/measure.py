"""Measures one system: a backlog for throughput, a steady trickle for latency, and no figure unless all came once."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.cluster import Cluster
from benchmarks.events import key
from benchmarks.process import Process, cpu_seconds
from benchmarks.receiver import Receipts, Receiver
from benchmarks.systems import Job, System

STALLED = 60.0  # seconds without any delivery after which a run has failed
LOOK = 0.005  # seconds between looks at the receiver's count
WARM_UP = 100  # events before those whose latency counts: then all connections are there, the producer's too


class WrongCount(Exception):
    """What the receiver got is not every event exactly once, in order for each key: no figure of that run counts."""


class Backlog(NamedTuple):
    """What working off a backlog came to, from its first delivery to its last."""

    rate: float  # deliveries a second
    cpu: float  # µs of the system's CPU for each
    peak: float  # MB, of the process's whole life
    body: float  # bytes of each request's body
    receiver_busy: float  # share of one core that the receiver used meanwhile
    extra: int  # requests too many
    environ: dict[str, str]  # the process's own


class Latency(NamedTuple):
    """How long events took from their timestamp to their arrival, in ms, at a steady pace."""

    p50: float
    p99: float
    extra: int  # requests too many


class Bench:
    """Where systems are measured: all on one cluster, all posting to one receiver."""

    def __init__(self, cluster: Cluster, receiver: Receiver) -> None:
        self._cluster = cluster
        self._receiver = receiver

    def backlog(self, system: System, topic: str, events: int) -> Backlog:
        """Let a new group of `system` work off the `events` that lie in `topic`. Raises WrongCount."""
        with self._running(system, topic) as process:
            self._await(process, system, 1)
            began, first = time.monotonic(), self._receiver.count
            cpu, receiver_cpu = cpu_seconds(process.pid), cpu_seconds(self._receiver.pid)
            self._await(process, system, events)
            busy = (cpu_seconds(self._receiver.pid) - receiver_cpu) / (time.monotonic() - began)
            used = cpu_seconds(process.pid) - cpu
            peak, environ = process.peak(), process.environ()
        receipts = self._receipts(system, events)
        return Backlog(
            rate=(events - 1) / (receipts.times[-1] - receipts.times[0]),
            cpu=used / (events - first) * 1e6,
            peak=peak,
            body=receipts.body_bytes / events,
            receiver_busy=busy,
            extra=len(receipts.numbers) - events,
            environ=environ,
        )

    def latency(self, system: System, rate: float, seconds: float) -> Latency:
        """Produce events live, `rate` a second, while `system` delivers them. Raises WrongCount."""
        timed = range(WARM_UP, WARM_UP + round(rate * seconds))
        with self._cluster.topic() as topic:
            with self._running(system, topic) as process:
                given: list[float] = []
                self._cluster.write(topic, self._live(process, system, timed, rate, given))
                self._await(process, system, timed.stop)
            receipts = self._receipts(system, timed.stop)
        arrived = dict(zip(receipts.numbers, receipts.times, strict=True))
        taken = [(arrived[number] - since) * 1000 for number, since in zip(timed, given, strict=True)]
        percentiles = statistics.quantiles(taken, n=100, method="inclusive")
        return Latency(percentiles[49], percentiles[98], len(receipts.numbers) - timed.stop)

    def _live(self, process: Process, system: System, timed: range, rate: float, given: list[float]) -> Iterator[int]:
        """Give numbers to one producer: those that warm up, and, when they have arrived, `timed` at the rate.

        `given` gets the time of each of these (s since 1970): the record's timestamp, not cut to milliseconds.
        """
        yield from range(timed.start)
        self._await(process, system, timed.start)
        began = time.monotonic()
        for place, number in enumerate(timed):
            time.sleep(max(0.0, began + place / rate - time.monotonic()))
            given.append(time.time())
            yield number

    @contextmanager
    def _running(self, system: System, topic: str) -> Iterator[Process]:
        """Run the system; when the block ends it has left its group, and no further request can come."""
        self._receiver.take()
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, self._cluster.group() as group:
            job = Job(self._cluster.bootstrap, topic, group, self._receiver.url, Path(folder))
            with system.start(job) as process:
                yield process

    def _await(self, process: Process, system: System, count: int) -> None:
        """Wait until so many requests have come."""
        seen, moved = 0, time.monotonic()
        while (now := self._receiver.count) < count:
            if not process.running:
                raise WrongCount(f"{system.name} ended by itself after {now} requests: {process.last_words}")
            if now > seen:
                seen, moved = now, time.monotonic()
            elif time.monotonic() - moved > STALLED:
                raise WrongCount(
                    f"{system.name} sent {now} requests, then none for {STALLED:g} s: {process.last_words}"
                )
            time.sleep(LOOK)

    def _receipts(self, system: System, events: int) -> Receipts:
        receipts = self._receiver.take()
        if problems := list(wrong(receipts, events, identified=system.identifies)):
            raise WrongCount(f"{system.name}, {events} events: " + ", ".join(problems))
        return receipts


def wrong(receipts: Receipts, events: int, *, identified: bool) -> Iterator[str]:
    """Say what keeps `receipts` from being the events 0 to `events` once each, in order for each key.

    With `identified`, each has a webhook-id of its own, too.
    """
    seen = Counter(receipts.numbers)
    if missing := events - len(seen.keys() & range(events)):
        yield f"{missing} never came"
    if unknown := sum(times for number, times in seen.items() if not 0 <= number < events):
        yield f"{unknown} requests were about none of them"
    if repeated := sum(times - 1 for times in seen.values()):
        yield f"{repeated} requests were repetitions"
    if identified and receipts.ids != len(seen):
        yield f"{receipts.ids} different webhook-ids"
    if late := _out_of_order(receipts.numbers):
        yield f"{late} came after a later one of their key"


def _out_of_order(numbers: list[int]) -> int:
    latest: dict[int, int] = {}
    late = 0
    for number in numbers:
        late += number < latest.get(key(number), -1)
        latest[key(number)] = number
    return late
