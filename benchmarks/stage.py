"""Where a scenario plays: topics and a group of its own on a Kafka, replicas as real processes, figures for a table."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.request import urlopen

from benchmarks.arrivals import Arrival, Place, first_times
from benchmarks.cluster import PARTITIONS, Cluster
from benchmarks.destinations import Destinations
from benchmarks.events import Events
from benchmarks.load import Counting
from benchmarks.process import ROOT, Process
from benchmarks.systems import SECRET
from consumer.broker.kafka import Kafka
from consumer.event import Outgoing, Record, TopicPartition
from consumer.settings import Settings
from consumer.state import State, latest_states
from consumer.topics import DEAD_LETTERS, STATES

STALLED = 90.0  # seconds without any progress after which a scenario has failed
LOOK = 0.02
OWN = ("SPRINTLY_TOPIC", "SPRINTLY_GROUP_ID", "SPRINTLY_SUBSCRIPTIONS")  # each stage has its own of these
ANSWER = 30.0  # seconds that Kafka may take; what a killed replica left open is waited for


class Broken(Exception):
    """A scenario could not be played to its end: what came instead."""


@dataclass
class Findings:
    """What a scenario came to: figures for people, problems that must not be, the settings in force, the machine."""

    title: str
    figures: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)  # targets: what is too slow or too large is no wrong count
    rows: list[list[str]] = field(default_factory=list)  # a table, its headings first
    settings: dict[str, str] = field(default_factory=dict)
    machine: dict[str, str] = field(default_factory=dict)

    def figure(self, name: str, value: object) -> None:
        """Note a figure; numbers get commas."""
        self.figures.append((name, f"{value:,}" if isinstance(value, int) else str(value)))

    def bound(self, name: str, value: object, *, kept: bool) -> None:
        """Note a figure that has to keep a bound."""
        self.figure(name, value)
        if not kept:
            self.problems.append(f"{name}: {value}")

    def target(self, name: str, value: object, *, reached: bool) -> None:
        """Note a figure that has a target. One that is missed is said, and is no problem: what came was right."""
        said = f"{value}: {'reached' if reached else 'NOT REACHED'}"
        self.figure(name, said)
        if not reached:
            self.missed.append(f"{name}: {said}")

    def no_arrears(self, most: float, indent: str = "") -> None:
        """Note that nothing was to fall behind or be owed, and the `most` of it that was."""
        self.target(f"{indent}most owed or behind meanwhile (none)", f"{most:g}", reached=not most)

    def in_force(self, settings: Mapping[str, str]) -> None:
        """Note the settings of a run; what differs between runs, but for names, is shown in their order."""
        for name, value in settings.items():
            values = [] if name in OWN else self.settings.get(name, value).split(" / ")
            self.settings[name] = " / ".join(values if value in values else [*values, value])


class Stage:
    """One topic with what belongs to it, one group, one subscriptions file."""

    def __init__(self, bootstrap: str, topic: str, group: str, folder: Path, settings: Mapping[str, str]) -> None:
        self.topic = topic
        self.group = group
        self._bootstrap = bootstrap
        self._folder = folder
        self._settings = settings
        self._kafka = Kafka(bootstrap, group)
        self._subscriptions = folder / "subscriptions.yaml"
        self._started = itertools.count(1)

    def subscribe(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Write the subscriptions file."""
        self._subscriptions.write_text(json.dumps({"subscriptions": list(entries)}))  # JSON is YAML

    @property
    def environ(self) -> dict[str, str]:
        """The environment of a replica: what is not told here is as the benchmark's own environment says."""
        return {
            **os.environ,
            "SPRINTLY_BOOTSTRAP_SERVERS": self._bootstrap,
            "SPRINTLY_TOPIC": self.topic,
            "SPRINTLY_GROUP_ID": self.group,
            "SPRINTLY_SUBSCRIPTIONS": str(self._subscriptions),
            "SPRINTLY_EGRESS_ALLOW": "127.0.0.0/8",
            "SPRINTLY_HTTP": "127.0.0.1:0",
            **self._settings,
        }

    def start(self) -> Process:
        """Start a replica, as an operator does."""
        log = self._folder / f"replica-{next(self._started)}.log"
        return Process(self._commanding(["consume"]), self.environ, log)

    @contextmanager
    def consuming(self) -> Iterator[Process]:
        """Start a replica, and wait until it has begun; it is stopped when the block ends."""
        with self.start() as replica:
            await_log(replica, "partitions taken over")
            yield replica

    def command(self, *arguments: str) -> tuple[str, float]:
        """Run a command to its end, as an operator does; returns what it printed and the seconds that it took."""
        began = time.monotonic()
        done = subprocess.run(
            self._commanding(arguments),
            env=self.environ | {"COLUMNS": "110"},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Broken(f"{' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout, time.monotonic() - began

    def begin(self, *arguments: str) -> Process:
        """Start a command."""
        log = self._folder / f"command-{next(self._started)}.log"
        return Process(self._commanding(arguments), self.environ, log)

    def _commanding(self, arguments: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", "consumer", *arguments]

    def write(self, records: Iterable[Outgoing]) -> int:
        """Write records as they are; returns how many."""
        return sum(1 for _ in self._kafka.produce(records))

    def produce(self, events: Events, numbers: Iterable[int]) -> dict[int, Place]:
        """Write the event of each number as soon as it is given; returns where each lies."""
        given: list[int] = []

        def records() -> Iterator[Any]:
            for number in numbers:
                given.append(number)
                yield events.record(self.topic, number)

        written = self._kafka.produce(records())
        return {given[place]: (each.partition, each.offset) for place, each in enumerate(written)}

    def settings(self) -> dict[str, str]:
        """Return the settings in force; secrets masked."""
        return {each.variable: each.value or "(none)" for each in Settings.load(self.environ).describe()}

    # -- what Kafka has

    def records(self) -> Iterator[Record]:
        """Return all events that lie in the log."""
        return self._kafka.read(self.topic)

    def committed(self) -> dict[int, int]:
        """Return the committed offset of each partition, 0 for none."""
        partitions = [TopicPartition(self.topic, number) for number in range(PARTITIONS)]
        found = self._kafka.committed(partitions, ANSWER)
        return {tp.partition: commit.offset if commit else 0 for tp, commit in found.items()}

    def state_records(self) -> list[Record]:
        """Return all records of the state topic that are still there."""
        return list(self._kafka.read(self.topic + STATES))

    def states(self) -> list[State]:
        """Return what is owed, as the state topic says."""
        states, problems = latest_states(self.state_records())
        if problems:
            raise Broken("; ".join(problems))
        return list(states.values())

    def letters(self) -> list[Record]:
        """Return all records of the dead-letter topic."""
        return list(self._kafka.read(self.topic + DEAD_LETTERS))


@contextmanager
def stage(bootstrap: str, settings: Mapping[str, str] | None = None) -> Iterator[Stage]:
    """Give a new topic and a new group until the block ends."""
    cluster = Cluster(bootstrap, Events())
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        cluster.topic() as topic,
        cluster.group() as group,
    ):
        yield Stage(bootstrap, topic, group, Path(folder), settings or {})


def webhook(id_: str, url: str, product: int | str = "*") -> dict[str, Any]:
    """Return a subscription of a product's events, by default those of all, to a webhook; requests are signed."""
    return {"id": id_, "product": product, "service": "webhook", "options": {"urls": url, "secret": SECRET}}


def paced(numbers: Sequence[int], rate: float) -> Iterator[int]:
    """Give numbers one by one, `rate` a second."""
    began = time.monotonic()
    for place, number in enumerate(numbers):
        time.sleep(max(0.0, began + place / rate - time.monotonic()))
        yield number


def rest(until: float) -> None:
    """Sleep until this time (monotonic)."""
    time.sleep(max(0.0, until - time.monotonic()))


# -- waiting


def await_log(replica: Process, words: str) -> None:
    """Wait until a replica has said something."""
    await_that(lambda: words in replica.text, f"it never said {words!r}", replica)


def await_count(destinations: Destinations, wanted: Mapping[str, int], replica: Process) -> None:
    """Wait until destinations got so many requests; a long time without any is a failure."""
    _await_counts(lambda: {name: destinations.count(name) for name in wanted}, wanted, [replica])


def await_served(receiver: Counting, count: int, *replicas: Process) -> None:
    """Wait until a receiver has answered so many requests; a long time without any is a failure."""
    _await_counts(lambda: {"receiver": receiver.count}, {"receiver": count}, replicas)


def _await_counts(now: Callable[[], dict[str, int]], wanted: Mapping[str, int], replicas: Iterable[Process]) -> None:
    seen, moved = -1, time.monotonic()
    while True:
        counts = now()
        if all(counts[name] >= count for name, count in wanted.items()):
            return
        if sum(counts.values()) > seen:
            seen, moved = sum(counts.values()), time.monotonic()
        for replica in replicas:
            _check(replica, moved, f"{counts} of {dict(wanted)} came, and then none")
        time.sleep(LOOK)


def await_that(true: Callable[[], object], otherwise: str, replica: Process, every: float = 10 * LOOK) -> None:
    """Wait until something is true; it is asked `every` so many seconds."""
    began = time.monotonic()
    while not true():
        _check(replica, began, otherwise)
        time.sleep(every)


def _check(replica: Process, since: float, otherwise: str) -> None:
    if not replica.running:
        raise Broken(f"a replica ended by itself: {replica.last_words}")
    if time.monotonic() - since > STALLED:
        raise Broken(f"{otherwise} for {STALLED:g} s: {replica.last_words}")


# -- figures


def metrics(replica: Process) -> dict[str, float]:
    """Return what a replica serves, by name without `sprintly_`: of a metric with labels, all its values together."""
    found: dict[str, float] = {}
    for name, value in re.findall(r"^sprintly_(\w+)(?:{.*})? (\S+)$", _served(replica), re.MULTILINE):
        found[name] = found.get(name, 0.0) + float(value)
    return found


def breakers_open(replica: Process) -> int:
    """Return how many destinations a replica believes down."""
    counts = re.findall(r'^sprintly_breakers{.*state="(?:open|probing)"} (\S+)$', _served(replica), re.MULTILINE)
    return sum(int(float(count)) for count in counts)


def _served(replica: Process) -> str:
    (port,) = re.findall(r'"port": ?(\d+)', replica.text)
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=ANSWER) as answer:
        text: str = answer.read().decode()
    return text


def metric(replica: Process, name: str) -> float:
    """Return a gauge that a replica serves."""
    found = metrics(replica)
    if name not in found:
        raise Broken(f"no metric sprintly_{name}")
    return found[name]


def pace(arrivals: Iterable[Arrival]) -> float:
    """Return deliveries a second, from the first to the last; what came twice counts once."""
    times = sorted(first_times(arrivals).values())
    return per(len(times) - 1, times[-1] - times[0])


def per(much: float, many: float) -> float:
    """Divide; what was all there at the first look, or took less than can be told, gives not a number."""
    return much / many if many else math.nan


def spread(values: Sequence[float], style: str = ".2f") -> str:
    """Say the median of some runs' values, and each of them."""
    each = ", ".join(format(value, style) for value in values)
    return f"{statistics.median(values):{style}} ({each})"


class Sampler:
    """Looks at something again and again while the block lasts: its values by seconds since the beginning."""

    def __init__(self, replica: Process, look: Callable[[], float], every: float = 0.5) -> None:
        self.samples: list[tuple[float, float]] = []
        self._replica = replica
        self._look = look
        self._every = every
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def highest(self, since: float = 0.0, until: float = float("inf")) -> float:
        """Return the most between two times."""
        return max((value for at, value in self.samples if since <= at < until), default=0.0)

    def _run(self) -> None:
        began = time.monotonic()
        while not self._ended.wait(self._every) and self._replica.running:
            self.samples.append((time.monotonic() - began, self._look()))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


class Memory(Sampler):
    """Samples a replica's memory while the block lasts, in MB."""

    def __init__(self, replica: Process, every: float = 0.5) -> None:
        super().__init__(replica, replica.resident, every)


class Arrears(Sampler):
    """Samples how many deliveries a replica owes, and how many of its flows have fallen behind, as one number.

    A healthy backlog meets backpressure and nothing else: then it is 0 throughout.
    """

    def __init__(self, replica: Process, every: float = 0.5) -> None:
        super().__init__(replica, self.look, every)
        self._served = replica

    def look(self) -> float:
        """Return what it is now."""
        found = metrics(self._served)
        return found["owed"] + found["behind"]

    def most(self, where: Stage) -> float:
        """Return the most that was seen, is there now, or was written down as states in between."""
        return max(self.highest(), self.look(), len(where.state_records()))
