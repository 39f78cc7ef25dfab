#!/usr/bin/env python3
"""Fuzzed records on a real Kafka, read by a real replica: each has to come to exactly what it should.

    python tests/fuzz.py [--records 100000] [--seed N] [--bootstrap localhost:9092]

A subscription for all products to a webhook, and another one to Slack, get what can be read; the rest has to be in the
dead letters, byte for byte. The replica has to live, to keep its memory, to commit everything, and to end by SIGTERM.
Without --bootstrap, the tests' Kafka is used: a container, or the one that SPRINTLY_TEST_BOOTSTRAP names. It prints one
table; the exit code is 1 if anything does not add up, and the place of each record that does not is said.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from fuzzed import names  # noqa: E402
from fuzzed.accounts import Accounts  # noqa: E402
from fuzzed.ledger import Ledger  # noqa: E402
from fuzzed.records import Fuzzed, fuzzed  # noqa: E402
from kafka import KafkaUnavailable  # noqa: E402

from benchmarks.cluster import PARTITIONS  # noqa: E402
from benchmarks.playing import at_least, kafka_at  # noqa: E402
from benchmarks.process import Process  # noqa: E402
from benchmarks.stage import Broken, Stage, stage, webhook  # noqa: E402
from consumer.broker.kafka import Kafka  # noqa: E402
from consumer.errors import SprintlyError  # noqa: E402
from consumer.event import Outgoing, Record, TopicPartition  # noqa: E402
from consumer.topics import REPLAYS  # noqa: E402

SUBSCRIPTIONS = ("hook", "talk")
PIECE = 2000  # records that are written at once
AHEAD = 20_000  # records that may be written and not committed yet
LOOK = 0.5  # seconds
STALLED = 60.0  # seconds without anything being committed, after which it hangs
QUARTERS = 4
GROWTH, SLACK = 1.05, 20.0  # how much more memory the second half may need than the first: a factor, and MB
SHOWN = 10  # problems that are printed

# Slack's own service keeps to one message a second: a hundred thousand would take a day.
UNHURRIED = '''"""
Slack, as quickly as it takes it.
"""

from services import slack


class Service(slack.Service):
    """
    Unhurried

    Slack without its rate.
    """

    rate = None
'''


@dataclass
class Findings:
    """What a run came to: outcomes by kind of record, memory by quarter, and what does not add up."""

    seed: int
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    memory: list[float] = field(default_factory=list)  # the most in each quarter of the records, in MB
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


def play(bootstrap: str, count: int, seed: int) -> Findings:
    """Write `count` fuzzed records, have them consumed, and account for each."""
    found = Findings(seed)
    began = time.monotonic()
    with _services() as path, Ledger() as ledger:
        settings = {"PYTHONPATH": path, "SPRINTLY_POISON_LIMIT": "off"}
        with stage(bootstrap, settings) as scene:
            scene.subscribe([webhook("hook", f"{ledger.url}/hook"), _slack("talk", f"{ledger.url}/talk")])
            with scene.consuming() as replica:
                run = Run(bootstrap, scene, replica, ledger, found)
                run.write_all(count, seed)
                found.seconds = time.monotonic() - began
                code = replica.stop()
            if code != 0:
                found.problems.append(f"the replica ended with {code}: {replica.last_words}")
            run.account()
    return found


class Run:
    """One run: records written piece by piece while a replica consumes them, then read back and accounted for."""

    def __init__(self, bootstrap: str, scene: Stage, replica: Process, ledger: Ledger, found: Findings) -> None:
        self._bootstrap = bootstrap
        self._scene = scene
        self._replica = replica
        self._ledger = ledger
        self._found = found
        self._kafka = Kafka(bootstrap, scene.group)
        self._written: dict[tuple[str, int, int], Fuzzed] = {}
        self._elsewise: dict[bytes, Fuzzed] = {}  # by value: those that another client has written
        self._samples: list[tuple[int, float]] = []  # committed records, MB

    def write_all(self, count: int, seed: int) -> None:
        """Write, never too far ahead of the replica, and wait until it has committed all."""
        made = islice(fuzzed(self._scene.topic, seed), count)
        total = 0
        while piece := list(islice(made, PIECE)):
            self._write(piece)
            total += len(piece)
            self._await(total - AHEAD)
        self._await(total)
        self._catch_up()
        quarters: list[list[float]] = [[0.0] for _ in range(QUARTERS)]
        for committed, mb in self._samples:
            quarters[min(QUARTERS - 1, QUARTERS * committed // total)].append(mb)
        self._found.memory = [max(some) for some in quarters]
        before, after = (max(self._found.memory[at : at + 2]) for at in (0, 2))
        if before and after > GROWTH * before + SLACK:
            self._found.problems.append(
                f"memory grows: {after:.0f} MB in the second half, {before:.0f} MB in the first"
            )

    def _write(self, piece: Sequence[Fuzzed]) -> None:
        ours = [each for each in piece if not each.name]
        for each, place in zip(ours, self._kafka.produce(each.record for each in ours), strict=True):
            self._written[tuple(place)] = each
        others = [each for each in piece if each.name]
        names.write(self._bootstrap, ((each.record, each.name) for each in others))
        self._elsewise |= {each.record.value or b"": each for each in others}

    def _await(self, wanted: int) -> None:
        """Wait until so many records are committed; a replica that ends, or makes no progress, has failed."""
        last, moved = -1, time.monotonic()
        while (committed := sum(self._committed().values())) < wanted:
            self._sample(committed)
            if committed > last:
                last, moved = committed, time.monotonic()
            if time.monotonic() - moved > STALLED:
                raise Broken(f"the replica hangs with {committed} of {wanted} committed: {self._replica.last_words}")
            time.sleep(LOOK)
        self._sample(committed)

    def _catch_up(self) -> None:
        """Wait until nothing is owed: where the receivers are slower than the replica, it falls behind them."""
        last, moved = -1, time.monotonic()
        while self._scene.states():
            if not self._replica.running:
                raise Broken(f"the replica ended by itself: {self._replica.last_words}")
            if (came := self._ledger.times.total()) > last:
                last, moved = came, time.monotonic()
            if time.monotonic() - moved > STALLED:
                raise Broken(f"something is owed, and nothing comes any more: {self._replica.last_words}")
            time.sleep(LOOK)

    def _sample(self, committed: int) -> None:
        try:
            self._samples.append((committed, self._replica.resident()))
        except (OSError, IndexError):  # Linux tells nothing of the memory of a process that has ended
            raise Broken(f"the replica ended by itself: {self._replica.last_words}") from None

    def _committed(self) -> dict[TopicPartition, int]:
        topics = (self._scene.topic, self._scene.topic + REPLAYS)
        partitions = [TopicPartition(topic, number) for topic in topics for number in range(PARTITIONS)]
        found = self._kafka.committed(partitions)
        return {tp: commit.offset if commit else 0 for tp, commit in found.items()}

    def account(self) -> None:
        """Read everything back, and see what became of each record."""
        ledger = self._ledger
        arrived = {name: ledger.bodies.get(f"/{name}", {}) for name in SUBSCRIPTIONS}
        accounts = Accounts(self._scene.topic, SUBSCRIPTIONS, arrived, self._scene.letters())
        ends: Counter[TopicPartition] = Counter()
        for record in self._read_back():
            each = self._each(record)
            self._found.kinds[each.kind] += 1
            accounts.check(each.kind, record)
            ends[TopicPartition(record.topic, record.partition)] += 1
        accounts.close()
        self._found.outcomes = accounts.outcomes
        self._found.problems += accounts.problems
        self._found.problems += [f"{len(self._written)} records were not in the log again"] if self._written else []
        for tp, offset in self._committed().items():
            if offset != ends[tp]:
                self._found.problems.append(f"{tp}: {offset} is committed, and the log ends at {ends[tp]}")
        if twice := sum(times - 1 for times in ledger.times.values()):
            self._found.problems.append(f"{twice} deliveries came more than once")

    def _read_back(self) -> Iterator[Record]:
        for topic in (self._scene.topic, self._scene.topic + REPLAYS):
            yield from self._kafka.read(topic)

    def _each(self, record: Record) -> Fuzzed:
        each = self._written.pop((record.topic, record.partition, record.offset), None)
        if each is None:
            return self._elsewise.pop(record.value or b"")
        if as_written(record) != each.record:
            self._found.problems.append(f"{record.topic}[{record.partition}] offset {record.offset} reads differently")
        return each


def as_written(record: Record) -> Outgoing:
    """Return a record that was read as it was written."""
    return Outgoing(record.topic, record.key, record.value, record.headers)


@contextmanager
def _services() -> Iterator[str]:
    """Give a folder that adds the service `unhurried`, as an installed package would."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        (folder / "unhurried.py").write_text(UNHURRIED)
        package = folder / "unhurried-1.dist-info"
        package.mkdir()
        (package / "METADATA").write_text("Metadata-Version: 2.1\nName: unhurried\nVersion: 1\n")
        (package / "entry_points.txt").write_text("[sprintly.services]\nunhurried = unhurried\n")
        yield name


def _slack(id_: str, url: str) -> dict[str, object]:
    return {"id": id_, "product": "*", "service": "unhurried", "events": ["*.*"], "options": {"url": url}}


def show(found: Findings) -> None:
    """Print the table, and what does not add up."""
    columns = sorted({outcome for _, outcome in found.outcomes})
    width = max(map(len, found.kinds), default=0)
    print(f"{'':{width}}  records  " + "  ".join(columns))
    for kind, records in sorted(found.kinds.items()):
        cells = (f"{found.outcomes[kind, outcome]:{len(outcome)},}" for outcome in columns)
        print(f"{kind:{width}}  {records:7,}  " + "  ".join(cells))
    sums = (sum(found.outcomes[kind, outcome] for kind in found.kinds) for outcome in columns)
    cells = (f"{each:{len(outcome)},}" for each, outcome in zip(sums, columns, strict=True))
    print(f"{'all':{width}}  {found.kinds.total():7,}  " + "  ".join(cells))
    memory = ", ".join(f"{mb:.0f}" for mb in found.memory)
    print(f"seed {found.seed}, {found.seconds:.0f} s, MB in each quarter of the records: {memory}")
    for problem in found.problems[:SHOWN]:
        print(f"WRONG: {problem}")
    if len(found.problems) > SHOWN:
        print(f"and {len(found.problems) - SHOWN} more")
    if not found.problems:
        print("every record is accounted for")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print; returns the exit code: 1 if anything does not add up or there is no Kafka."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=at_least(100), default=100_000, help="that are written")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="the same one makes the same records")
    parser.add_argument("--bootstrap", metavar="HOST:PORT", help="a Kafka without authentication that may get topics")
    options = parser.parse_args(arguments)
    logging.getLogger("librdkafka").setLevel(logging.CRITICAL)  # it tells of what it then tries again by itself
    print(f"seed {options.seed}, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    try:
        with kafka_at(options.bootstrap) as kafka:
            found = play(kafka.bootstrap, options.records, options.seed)
    except (KafkaUnavailable, SprintlyError, Broken) as error:
        print(error, file=sys.stderr)
        return 1
    show(found)
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main())
