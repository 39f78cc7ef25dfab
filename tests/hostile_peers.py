#!/usr/bin/env python3
"""Hostile peers, all at once, against a real replica on a real Kafka: what it makes of each, and whether it suffers.

    python tests/hostile_peers.py [--seconds 60] [--bootstrap localhost:9092]

Each peer of `peers.py` has a subscription of its own: web servers one of `webhook` and one of a blocking service, mail
servers one of `email`. A healthy receiver has one as well. Asserted: each attempt ends by its deadline, the healthy one
gets all of its events, in order and (90 %, since a machine may stand still for seconds) without waiting longer than any
attempt may take, the replica's memory stays flat, and SIGTERM ends it in order. It prints one table; the exit code is 1
if anything does not hold.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from crowd import Crowd  # noqa: E402
from kafka import KafkaUnavailable  # noqa: E402
from peers import HTTP  # noqa: E402
from receivers import Receiver  # noqa: E402
from sequences import ITEMS, event, first_deliveries, in_order  # noqa: E402

from benchmarks.playing import at_least, kafka_at  # noqa: E402
from benchmarks.process import Process  # noqa: E402
from benchmarks.stage import Broken, Memory, Stage, stage  # noqa: E402
from consumer.codec import Codec  # noqa: E402
from consumer.deadletter import read_dead_letter  # noqa: E402
from consumer.errors import SprintlyError  # noqa: E402
from consumer.event import Outgoing  # noqa: E402

DEADLINE = 2.0  # seconds of an attempt
LATE = 1.0  # seconds that one may end later, on a busy machine
GROWTH = 60.0  # MB above what the replica has before
RATE = 40.0  # events a second for the healthy one
SPACED = 1.0  # seconds between two events for the hostile ones; each makes an attempt at all of them at once
FEWEST = 10  # of these events
LEAST = 1  # attempts at each peer; one that asks for an hour's patience gets no second one
PATIENCE = 60.0  # seconds without which nothing comes any more
LOOK = 0.1
# Connections that are kept for further attempts, and by HTTP/2 also after one that failed: how long they last says
# nothing of an attempt.
KEPT = ("answers first", "answers twice", *(name for name, hostile in HTTP.items() if hostile.tls == "h2"))
HOSTILE, HEALTHY = 1, 2  # products
SETTINGS = {
    "SPRINTLY_ATTEMPT_TIMEOUT": f"{DEADLINE:g}s",
    "SPRINTLY_CONNECT_TIMEOUT": f"{DEADLINE:g}s",
    "SPRINTLY_MAX_IN_FLIGHT_PER_SUBSCRIPTION": "4",
    "SPRINTLY_THREADS": "16",
    "SPRINTLY_THREADS_PER_SUBSCRIPTION": "1",
    "SPRINTLY_PROBE_PAUSE": "500ms",
    "SPRINTLY_PROBE_LONGEST_PAUSE": "500ms",
    "SPRINTLY_RETRY_DELAYS": "1s,1s,1s,1s,1s",
}
POSTING = '''"""
A service that waits for its answers.
"""

from services import Field, SecretUrl, ServiceBase, ServiceOptions


class Service(ServiceBase):
    """
    Posting

    Posts each event, and reads the answer.
    """

    blocking = True

    class Options(ServiceOptions):
        url: SecretUrl = Field(description="Where to.", examples=["https://hooks.example/1"])

    def send(self, payload):
        self.session.post(self.options.url, json=payload)
'''


class Row(NamedTuple):
    """What one peer did: connections, seconds of the longest, and what became of the deliveries."""

    name: str
    connections: int
    longest: float
    became: str


class Pace(NamedTuple):
    """How long events took from being written until they arrived, in seconds."""

    median: float
    p99: float
    longest: float

    @classmethod
    def of(cls, took: Sequence[float]) -> Pace:
        """Return what these seconds come to, at least two of them."""
        return cls(statistics.median(took), statistics.quantiles(took, n=100, method="inclusive")[98], max(took))


AT_ONCE = Pace(0.0, 0.0, 0.0)


@dataclass
class Findings:
    """What a run came to."""

    rows: list[Row] = field(default_factory=list)
    before: float = 0.0  # MB
    most: float = 0.0
    healthy: int = 0
    calm: Pace = AT_ONCE  # of the healthy one before the first event for the hostile ones
    pace: Pace = AT_ONCE  # and from then on
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    def require(self, true: object, otherwise: str) -> None:
        """Note what does not hold."""
        if not true:
            self.problems.append(otherwise)


def play(bootstrap: str, seconds: float, late: float = LATE) -> Findings:
    """Have events delivered to hostile and healthy peers for so long, and see what became of it.

    An attempt may end `late` seconds after its deadline, which is told from one that nothing ends.
    """
    found = Findings()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peers-")))
        plugin = stack.enter_context(_posting(folder))
        crowd = stack.enter_context(Crowd(folder))
        settings = {**SETTINGS, "PYTHONPATH": plugin, "SSL_CERT_FILE": str(crowd.bundle)}
        scene = stack.enter_context(stage(bootstrap, settings))
        good = stack.enter_context(Receiver())
        scene.subscribe([*(_entry(*each) for each in crowd.urls.items()), _webhook("healthy", good.url, HEALTHY)])
        replica = stack.enter_context(scene.consuming())
        _Run(scene, replica, crowd, good, found, DEADLINE + late).run(seconds)
        code = replica.stop()
        found.require(code == 0, f"the replica ended with {code}: {replica.last_words}")
        found.require("Traceback" not in replica.text, "there is a traceback in the log")
        became = _became(scene)
        found.rows = [
            Row(name, seen.connections, seen.longest, became.get(_id(name), "delivered"))
            for name, seen in crowd.look().items()
        ]
    for row in found.rows:
        outlives = row.longest > DEADLINE + late and not row.name.endswith(KEPT)
        found.require(not outlives, f"{row.name}: an attempt took {row.longest:.1f} s")
        found.require(row.connections >= LEAST, f"{row.name}: there were {row.connections} attempts")
    return found


class _Run:
    """One run, while the replica lives."""

    def __init__(
        self, scene: Stage, replica: Process, crowd: Crowd, good: Receiver, found: Findings, longest: float
    ) -> None:
        self._scene = scene
        self._replica = replica
        self._crowd = crowd
        self._good = good
        self._found = found
        self._longest = longest  # seconds that an attempt may take
        self._written: list[float] = []  # when each event of the healthy one was written
        self._attacked = 0.0  # when the first event for the hostile ones was written
        self._enough = threading.Event()
        self._codec = Codec()

    def run(self, seconds: float) -> None:
        """Have events flow for so long, and longer while a peer has had no attempt."""
        writing = threading.Thread(target=self._scene.write, args=[self._flow()])
        writing.start()
        try:
            self._good.wait_for(3 * ITEMS, PATIENCE)  # all is loaded, and it is known how long it takes
            self._found.before = self._replica.resident()
            began = time.monotonic()
            self._attacked = began
            with Memory(self._replica, LOOK) as memory:
                self._scene.write(self._hostile(max(FEWEST, int(seconds * 2 / 3 / SPACED))))
                while time.monotonic() < began + seconds or not self._all_tried():
                    if time.monotonic() > began + seconds + PATIENCE:
                        break
                    time.sleep(LOOK)
                self._found.seconds = time.monotonic() - began
                self._enough.set()
                writing.join()
                self._good.wait_for(len(self._written), PATIENCE)
            self._found.most = memory.highest()
        finally:
            self._enough.set()
            writing.join()
        self._judge()

    def _all_tried(self) -> bool:
        return all(seen.connections >= LEAST for seen in self._crowd.look().values())

    def _flow(self) -> Iterator[Outgoing]:
        """Yield events for the healthy one until there are enough."""
        while not self._enough.wait(1 / RATE):
            self._written.append(time.monotonic())
            yield self._record(HEALTHY, len(self._written) - 1)

    def _hostile(self, count: int) -> Iterator[Outgoing]:
        """Yield so many events for the hostile ones, one after the other: each is for all of them."""
        for number in range(count):
            yield self._record(HOSTILE, number)
            time.sleep(SPACED)

    def _record(self, product: int, number: int) -> Outgoing:
        value = self._codec.encode({**event(number), "product": {"id": product}})
        return Outgoing(self._scene.topic, b"%d:%d" % (product, number % ITEMS), value)

    def _judge(self) -> None:
        found, came = self._found, self._good.requests
        found.healthy = len(came)
        found.require(len(came) == len(self._written), f"the healthy one got {len(came)} of {len(self._written)}")
        found.require(first_deliveries(came, "/") == in_order(len(self._written)), "the healthy one's order is lost")
        arrivals = {int(json.loads(got.body)["attributes"]["score"]): got.at for got in came}
        took = [arrivals[number] - written for number, written in enumerate(self._written) if number in arrivals]
        calm = sum(written < self._attacked for written in self._written)
        found.calm, found.pace = Pace.of(took[ITEMS // 2 : calm]), Pace.of(took[calm:])  # the first ones met a start
        waited = sum(seconds > self._longest for seconds in took[calm:])
        all_but_few = waited <= len(took[calm:]) / 10
        found.require(all_but_few, f"{waited} events of the healthy one waited longer than any attempt may take")
        growth = found.most - found.before
        found.require(growth < GROWTH, f"memory grew by {growth:.0f} MB")


def _id(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name)


def _entry(name: str, url: str) -> dict[str, Any]:
    kind = name.partition(":")[0]
    if kind == "webhook":
        return _webhook(_id(name), url, HOSTILE)
    options: dict[str, Any] = {"url": url}
    if kind == "mail":
        at = urlsplit(url)
        options = {"host": at.hostname, "port": at.port, "sender": "a@a.example", "recipients": "b@b.example"}
    service = "email" if kind == "mail" else "posting"
    return {"id": _id(name), "product": HOSTILE, "service": service, "options": options}


def _webhook(id_: str, url: str, product: int) -> dict[str, Any]:
    return {"id": id_, "product": product, "service": "webhook", "options": {"urls": url}}


def _became(scene: Stage) -> dict[str, str]:
    """Return what became of deliveries that were not delivered, by subscription."""
    found = {state.subscription: state.last_error or "waits as it was asked to" for state in scene.states()}
    for letter in map(read_dead_letter, scene.letters()):
        found.setdefault(letter.subscription, f"{letter.reason}: {letter.error}")
    return found


@contextmanager
def _posting(folder: Path) -> Iterator[str]:
    """Give a folder that adds the service `posting`, as an installed package would."""
    (folder / "posting.py").write_text(POSTING)
    package = folder / "posting-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: posting\nVersion: 1\n")
    (package / "entry_points.txt").write_text("[sprintly.services]\nposting = posting\n")
    yield str(folder)


def show(found: Findings) -> None:
    """Print the table, and what does not hold."""
    width = max(len(row.name) for row in found.rows)
    print(f"{'peer':{width}}  attempts  longest  what became of it")
    for row in found.rows:
        print(f"{row.name:{width}}  {row.connections:8,}  {row.longest:5.1f} s  {row.became:.80}")
    total = sum(row.connections for row in found.rows)
    print(
        f"{total:,} attempts at {len(found.rows)} hostile peers in {found.seconds:.0f} s, each with {DEADLINE:g} s; "
        f"memory {found.before:.0f} MB before, {found.most:.0f} MB at most"
    )
    calm, pace = found.calm, found.pace
    print(
        f"the healthy one got {found.healthy:,} events, after {pace.median:.3f} s in the median, 99 % within"
        f" {pace.p99:.2f} and all within {pace.longest:.2f}; before the others began {calm.median:.3f}, {calm.p99:.2f}"
        f" and {calm.longest:.2f}"
    )
    for problem in found.problems:
        print(f"WRONG: {problem}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print; returns the exit code: 1 if anything does not hold or there is no Kafka."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=at_least(1), default=60, help="that events flow")
    parser.add_argument("--bootstrap", metavar="HOST:PORT", help="a Kafka without authentication that may get topics")
    options = parser.parse_args(arguments)
    logging.getLogger("librdkafka").setLevel(logging.CRITICAL)  # it tells of what it then tries again by itself
    try:
        with kafka_at(options.bootstrap) as kafka:
            found = play(kafka.bootstrap, options.seconds)
    except (KafkaUnavailable, SprintlyError, Broken) as error:
        print(error, file=sys.stderr)
        return 1
    show(found)
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main())
