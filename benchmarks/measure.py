"""Measures one system: a backlog for throughput, a steady trickle for latency, and no figure unless all came."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

from benchmarks.arrivals import Reckoning, first_times, reckon
from benchmarks.cluster import Cluster
from benchmarks.events import key
from benchmarks.identity import arrivals, numbers
from benchmarks.nginx import Nginx
from benchmarks.process import Process, cpu_seconds
from benchmarks.receiver import Receiver, Served
from benchmarks.stage import Arrears, Broken, paced, per
from benchmarks.systems import Job, Project, System
from consumer.event import Record

STALLED = 60.0  # seconds without any delivery after which a run has failed
LOOK = 0.02  # seconds between looks at the receiver's count
WARM_UP = 100  # events before those whose latency counts: then all connections are there, the producer's too


class Backlog(NamedTuple):
    """What working off a backlog came to, from its first delivery to its last."""

    rate: float  # deliveries a second
    cpu: float  # µs of the system's CPU for each
    cores: float  # that it used
    peak: float  # MB, of the process's whole life
    body: float  # bytes of each request's body
    receiver_busy: float  # share of one core that the receiver used meanwhile
    late: int  # deliveries that came after a later one of their key
    twice: int
    arrears: float  # the most that was owed or behind
    environ: dict[str, str]  # the process's own


class Latency(NamedTuple):
    """How long events took from their production to their arrival, in ms, at a steady pace."""

    p50: float
    p99: float


class Log(NamedTuple):
    """A topic and the records that lie in it."""

    topic: str
    records: Sequence[Record]


class Bench:
    """Where systems are measured: all on one cluster, all posting to one receiver."""

    def __init__(self, cluster: Cluster, receiver: Nginx | Receiver) -> None:
        self._cluster = cluster
        self._receiver = receiver

    def backlog(self, system: System, log: Log) -> Backlog:
        """Let a new group of `system` work off what lies in a topic. Raises Broken if not all of it came."""
        events = len(log.records)
        with self._running(system, log.topic) as process:
            self._await(process, system, 1)
            with _watching(system, process) as arrears:
                began, first, cpu, receiver_cpu = self._now(process)
                self._await(process, system, events)
                ended, last, cpu_then, receiver_cpu_then = self._now(process)
            peak, environ = process.peak(), process.environ()
            owed = max(arrears.highest(), arrears.look()) if arrears else 0.0
        served = self._receiver.take()
        reckoning = judged(system, served, log.records)
        if first == last:
            raise Broken(f"{system.name} was through with {events} events before one could look: give it more")
        used, seconds = cpu_then - cpu, ended - began
        return Backlog(
            rate=per(len(served) - 1, served[-1].at - served[0].at),
            cpu=per(used * 1e6, last - first),
            cores=used / seconds,
            peak=peak,
            body=sum(each.size for each in served) / len(served),
            receiver_busy=(receiver_cpu_then - receiver_cpu) / seconds,
            late=reckoning.late,
            twice=len(reckoning.twice),
            arrears=owed,
            environ=environ,
        )

    def latency(self, system: System, rate: float, seconds: float) -> Latency:
        """Produce events live, `rate` a second, while `system` delivers them. Raises Broken if not all came."""
        timed = range(WARM_UP, WARM_UP + round(rate * seconds))
        given: list[float] = []
        with self._cluster.topic() as topic:
            with self._running(system, topic) as process:
                self._cluster.write(topic, self._live(process, system, timed, rate, given))
                self._await(process, system, timed.stop)
            records = self._cluster.read(topic)
        served = self._receiver.take()
        judged(system, served, records)
        arrived = first_times(arrivals(served, numbers(records, system.identify)))
        taken = [(arrived[number] - since) * 1000 for number, since in zip(timed, given, strict=True)]
        percentiles = statistics.quantiles(taken, n=100, method="inclusive")
        return Latency(percentiles[49], percentiles[98])

    def _live(self, process: Process, system: System, timed: range, rate: float, given: list[float]) -> Iterator[int]:
        """Give numbers to one producer: those that warm up, and, when they have arrived, `timed` at the rate.

        `given` gets the time of each of these (s since 1970): the record's timestamp, not cut to milliseconds.
        """
        yield from range(timed.start)
        self._await(process, system, timed.start)
        for number in paced(timed, rate):
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

    def _now(self, process: Process) -> tuple[float, int, float, float]:
        return time.monotonic(), self._receiver.count, cpu_seconds(process.pid), self._receiver.cpu()

    def _await(self, process: Process, system: System, count: int) -> None:
        """Wait until so many requests have come."""
        seen, moved = 0, time.monotonic()
        while (now := self._receiver.count) < count:
            if not process.running:
                raise Broken(f"{system.name} ended by itself after {now} requests: {process.last_words}")
            if now > seen:
                seen, moved = now, time.monotonic()
            elif time.monotonic() - moved > STALLED:
                raise Broken(f"{system.name} sent {now} requests, then none for {STALLED:g} s: {process.last_words}")
            time.sleep(LOOK)


def _watching(system: System, process: Process) -> AbstractContextManager[Arrears | None]:
    """Watch what this project owes; the references know no such thing."""
    return Arrears(process) if isinstance(system, Project) else nullcontext()


def judged(system: System, served: Sequence[Served], records: Sequence[Record]) -> Reckoning:
    """Compare what a receiver answered with the events in a topic, by the ids that `system` sends.

    Raises Broken for what must not be: an event that is missing, one that nobody produced and, where the system
    promises it, one that came twice or after a later one of its key.
    """
    known = numbers(records, system.identify)
    reckoning = reckon(arrivals(served, known), known.values(), key)
    problems = [*reckoning.faults(system.name)] if system.ordered else [*reckoning.losses(system.name)]
    if problems:
        raise Broken("; ".join(problems))
    return reckoning
