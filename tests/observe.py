#!/usr/bin/env python3
"""Three replicas on a real Kafka, scraped by a real Prometheus: what each panel and each alert of deploy/ answers.

    python tests/observe.py [--bootstrap localhost:9092]

Events flow, a record is poison, some deliveries are refused, some leave the log, a subscription's record is broken, a
subscriptions file as well, and a destination goes down and comes back. Asserted: each panel's expression and each
metric that a rule reads answers with a number, no rule fails, the alert about the destination fires and ends, and
nothing else fires that should not. It prints one table; the exit code is 1 if anything of it does not hold.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from brokers import delete_records  # noqa: E402
from installation import Installation, Replica, eventually  # noqa: E402
from kafka import KafkaUnavailable  # noqa: E402
from observed import ALERTS, panels, rules  # noqa: E402
from ports import LOOPBACK  # noqa: E402
from prometheus import JOB, Prometheus, PrometheusMissing, Series, answered, running, selectors  # noqa: E402
from receivers import Got, Receiver  # noqa: E402
from registries import LocalRegistry  # noqa: E402
from sequences import ITEMS, event  # noqa: E402

from benchmarks.playing import kafka_at  # noqa: E402
from consumer.broker import TopicSpec  # noqa: E402
from consumer.codec import Codec  # noqa: E402
from consumer.errors import SprintlyError  # noqa: E402
from consumer.event import Outgoing, TopicPartition  # noqa: E402

REPLICAS, PARTITIONS = 3, 6
RATE = 100.0  # events a second
EXPIRED = 10  # events of one partition that leave the log before one subscription gets them
FOR = "3s"  # what each alert waits for here, so that a test does not take a quarter of an hour
WINDOW = "30s"  # what Grafana would make of $__rate_interval
ALERT = "SprintlyDestinationDown"
# What has an alert of its own here beside the destination.
EXPECTED = {
    *(ALERT, "SprintlyDeadLetters", "SprintlyExpired"),
    *("SprintlySubscriptionsSetAside", "SprintlyConfigurationRefused"),
}
SUBSCRIPTIONS = ("well", "dead", "refusing", "late")
SETTINGS = {"probe_pause": "500ms", "probe_longest_pause": "1s", "retry_delays": "1s,1s,10m"}
SHOWN = 3  # series of an answer


class Row(NamedTuple):
    """A panel or an alert, one of its expressions, and what Prometheus answered."""

    what: str
    expression: str
    legend: str
    answer: list[Series]


@dataclass
class Findings:
    """What a run came to."""

    rows: list[Row] = field(default_factory=list)
    fired_after: float = 0.0  # seconds from the first refusal
    ended_after: float = 0.0  # seconds from when the destination was back
    firing: set[str] = field(default_factory=set)  # while it was down
    problems: list[str] = field(default_factory=list)

    def require(self, true: object, otherwise: str) -> None:
        """Note what does not hold."""
        if not true:
            self.problems.append(otherwise)


class Destination:
    """A receiver's answers: `/refusing` refuses one event of ten for good, and what is in `down` fails."""

    def __init__(self) -> None:
        self.down: set[str] = set()

    def __call__(self, got: Got) -> int:
        if got.path in self.down:
            return 503
        score = json.loads(got.body)["attributes"].get("score", "1")
        return 400 if got.path == "/refusing" and int(score) % 10 == 0 else 204


class Questions:
    """All that has to answer, and the newest number that each gave."""

    def __init__(self) -> None:
        asked = [
            Row(panel["title"], target["expr"], target["legendFormat"], [])
            for panel in panels()
            for target in panel["targets"]
        ]
        asked += [
            Row(rule.get("alert") or rule["record"], selector, "", [])
            for rule in rules()
            for selector in selectors(rule["expr"])
        ]
        self._rows = {(row.what, row.expression): row for row in asked}

    def ask(self, prometheus: Prometheus) -> bool:
        """Ask all; True if each has answered by now, be it before."""
        for key, row in self._rows.items():
            found = prometheus.query(evaluable(row.expression))
            if answered(found):
                self._rows[key] = row._replace(answer=found)
        return not self.open()

    def open(self) -> list[str]:
        """Return what has not answered yet."""
        return [f"{row.what}: {row.expression}" for row in self._rows.values() if not row.answer]

    def rows(self) -> list[Row]:
        """Return all, with their answers."""
        return list(self._rows.values())


def evaluable(expression: str) -> str:
    """Return a panel's expression as Grafana sends it, with all that can be chosen."""
    for variable, value in (("$__rate_interval", WINDOW), ("$job", JOB), ("$instance", ".+")):
        expression = expression.replace(variable, value)
    return expression


def play(bootstrap: str, folder: Path) -> Findings:
    """Have events consumed, one thing after the other go wrong, and Prometheus asked of it."""
    found = Findings()
    with ExitStack() as stack:
        registry = stack.enter_context(LocalRegistry())
        destination = Destination()
        receiver = stack.enter_context(Receiver(destination))
        made = Installation(bootstrap, folder, schema_registry_url=registry.url, **SETTINGS)
        _subscribe(made, receiver.url)
        replicas = [stack.enter_context(made.consuming()) for _ in range(REPLICAS - 1)]
        by_file = {"SPRINTLY_SUBSCRIPTIONS": str(made.subscriptions)}  # which can be refused, as records never are
        replicas.append(stack.enter_context(made.consuming(**by_file)))
        targets = [f"{LOOPBACK}:{replica.port}" for replica in replicas]
        prometheus = stack.enter_context(running(folder, targets, hurried(ALERTS.read_text("utf-8"))))
        _Run(made, replicas, destination, receiver.url, prometheus, found).run()
        for replica in replicas:
            found.require(replica.stop() == 0, f"a replica did not end in order\n{replica.text[-1000:]}")
    return found


def hurried(text: str) -> str:
    """Return the rules with the same expressions, each waiting for some seconds only."""
    return re.sub(r"(?m)^(\s+for:) \S+$", rf"\1 {FOR}", text)


def _subscribe(made: Installation, url: str) -> None:
    """Have four subscriptions in a topic and in a file, and one record that is none."""
    topic = f"{made.topic}.subscriptions"
    made.environ["SPRINTLY_SUBSCRIPTIONS"] = f"kafka:{topic}"
    made.kafka.create([TopicSpec(topic, 1, {"cleanup.policy": "compact"})])
    made.subscribe(**{id_: f"{url}/{id_}" for id_ in SUBSCRIPTIONS})
    made.do("subscriptions", "set", str(made.subscriptions))
    made.produce_raw(Outgoing(topic, b"broken", b"{", partition=0))


class _Run:
    """One run, while replicas and Prometheus live."""

    def __init__(
        self,
        made: Installation,
        replicas: Sequence[Replica],
        destination: Destination,
        url: str,
        prometheus: Prometheus,
        found: Findings,
    ) -> None:
        self._made = made
        self._replicas = replicas
        self._destination = destination
        self._url = url
        self._prometheus = prometheus
        self._found = found
        self._questions = Questions()
        self._codec = Codec()
        self._over = threading.Event()

    def run(self) -> None:
        """Begin without topics, which makes replicas unready, and have one thing after the other happen."""
        made, found = self._made, self._found
        self._until(lambda: self._prometheus.query('sprintly_not_ready{check="kafka"} == 1'), "topics are not missed")
        self._questions.ask(self._prometheus)
        made.create_topics(PARTITIONS)
        made.do("schemas", "register")
        for replica in self._replicas:
            replica.wait_until_ready()
        with self._flow():
            made.produce(*map(event, range(ITEMS)))  # by the registry's schema
            made.produce_raw(Outgoing(made.topic, None, b"poison", partition=1))
            self._expire()
            self._change()
            self._outage()
        rules = {name: health for name, health in self._prometheus.rules().items() if health != "ok"}
        found.require(not rules, f"rules fail: {rules}")
        found.rows = self._questions.rows()

    def _expire(self) -> None:
        """Have the log lose what one subscription was not given yet, as retention would."""
        made = self._made
        made.do("subscriptions", "disable", "late")
        (after,) = made.produce(event(0))
        place, below = TopicPartition(made.topic, after["partition"]), after["offset"] + EXPIRED
        self._until(lambda: made.committed().get(place.partition, 0) >= below, "nothing is committed")
        delete_records(made.environ["SPRINTLY_BOOTSTRAP_SERVERS"], place, below)
        made.do("subscriptions", "enable", "late")
        self._until(lambda: self._prometheus.query("sprintly_expired_total"), "nothing has expired")

    def _change(self) -> None:
        """Have one subscription more, and then a file that is none."""
        made = self._made
        made.subscribe(**{id_: f"{self._url}/{id_}" for id_ in (*SUBSCRIPTIONS, "later")})
        made.do("subscriptions", "set", str(made.subscriptions))
        changed = "count(sprintly_configuration_generation > 1)"
        self._until(lambda: [one.value for one in self._prometheus.query(changed)] == [REPLICAS], "not all take it in")
        made.subscriptions.write_text("subscriptions: none")

    def _outage(self) -> None:
        """Have a destination go down and come back; all is asked while it is down."""
        found, destination = self._found, self._destination
        began = time.monotonic()
        destination.down.add("/dead")
        self._until(lambda: ALERT in self._prometheus.firing(), f"{ALERT} does not fire")
        found.fired_after = time.monotonic() - began
        self._until(lambda: self._prometheus.firing() >= EXPECTED, "an alert does not fire")
        self._until(lambda: self._questions.ask(self._prometheus), "something does not answer", self._questions.open)
        self._questions.ask(self._prometheus)
        found.firing = self._prometheus.firing()
        found.require(found.firing == EXPECTED, f"these fire: {', '.join(sorted(found.firing))}")
        began = time.monotonic()
        destination.down.clear()
        self._until(lambda: ALERT not in {alert.name for alert in self._prometheus.alerts()}, f"{ALERT} does not end")
        found.ended_after = time.monotonic() - began

    def _until(self, true: Callable[[], object], otherwise: str, more: Callable[[], object] = str) -> None:
        try:
            eventually(true, otherwise, self._replicas[0])
        except AssertionError as error:
            raise AssertionError(f"{error}\n{more()}\nfiring: {self._prometheus.firing()}") from error

    @contextmanager
    def _flow(self) -> Iterator[None]:
        """Have events written all the time until the block ends."""
        writing = threading.Thread(target=lambda: sum(1 for _ in self._made.kafka.produce(self._events())))
        writing.start()
        try:
            yield
        finally:
            self._over.set()
            writing.join()

    def _events(self) -> Iterator[Outgoing]:
        number = 0
        while not self._over.wait(1 / RATE):
            key = b"1:%d" % (number % ITEMS)
            yield Outgoing(self._made.topic, key, self._codec.encode(event(number)))
            number += 1


def show(found: Findings) -> None:
    """Print the table, and what does not hold."""
    width = max(len(row.what) for row in found.rows)
    for row in found.rows:
        print(f"{row.what:{width}}  {value(row):60.60}  {plain(row.expression)}")
    print(
        f"{len(found.rows)} expressions; {ALERT} fired {found.fired_after:.1f} s after its destination had gone down "
        f"(each alert waits {FOR} here), and ended {found.ended_after:.1f} s after it was back"
    )
    print(f"firing meanwhile: {', '.join(sorted(found.firing))}")
    for problem in found.problems:
        print(f"WRONG: {problem}")


def value(row: Row) -> str:
    """Return an answer in some words: each series by its legend, or its labels."""
    shown = [
        f"{named(row.legend, series)} {series.value:.3g}".strip()
        for series in row.answer
        if not math.isnan(series.value)
    ]
    more = f", and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    return ", ".join(shown[:SHOWN]) + more


def named(legend: str, series: Series) -> str:
    """Return what Grafana calls a series."""
    return re.sub(r"{{(\w+)}}", lambda label: series.labels.get(label[1], ""), legend)


def plain(expression: str) -> str:
    """Return an expression without what can be chosen."""
    chosen = 'job=~"$job", instance=~"$instance"'
    return re.sub(r"{}", "", expression.replace(f"{chosen}, ", "").replace(chosen, "")).replace("\n", " ")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print; returns the exit code: 1 if anything does not hold, or there is no Kafka or Prometheus."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap", metavar="HOST:PORT", help="a Kafka without authentication that may get topics")
    options = parser.parse_args(arguments)
    logging.getLogger("librdkafka").setLevel(logging.CRITICAL)  # it tells of what it then tries again by itself
    try:
        with kafka_at(options.bootstrap) as kafka, tempfile.TemporaryDirectory(prefix="observe-") as folder:
            found = play(kafka.bootstrap, Path(folder))
    except (KafkaUnavailable, PrometheusMissing, SprintlyError, AssertionError) as error:
        print(error, file=sys.stderr)
        return 1
    show(found)
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main())
