"""An installation as an operator has one: topics and a group of its own on the real Kafka, and real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import yaml
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from consumer.broker.kafka import Kafka
from consumer.event import Outgoing

PATIENCE = 60.0  # seconds that anything may take on a busy machine


class Installation:
    """One topic with what belongs to it, one group, one subscriptions file, on a Kafka that others use as well."""

    def __init__(self, bootstrap: str, folder: Path, **settings: str) -> None:
        name = f"t{uuid.uuid4().hex[:10]}"
        self.topic, self.group = f"{name}.events", f"{name}-group"
        self.folder = folder
        self.subscriptions = folder / "subscriptions.yaml"
        self.kafka = Kafka(bootstrap, self.group)
        self.environ = {
            "PATH": os.environ["PATH"],
            "SPRINTLY_BOOTSTRAP_SERVERS": bootstrap,
            "SPRINTLY_TOPIC": self.topic,
            "SPRINTLY_GROUP_ID": self.group,
            "SPRINTLY_SUBSCRIPTIONS": str(self.subscriptions),
            "SPRINTLY_HTTP": "127.0.0.1:0",
            "SPRINTLY_EGRESS_ALLOW": "127.0.0.0/8",
            "COLUMNS": "200",
        } | {f"SPRINTLY_{name.upper()}": value for name, value in settings.items()}

    def subscribe(self, **urls: str | dict[str, Any]) -> None:
        """Write the subscriptions file: a webhook for all products under each name."""
        entries = [{"id": id_, "product": "*", "service": "webhook", **_more(url)} for id_, url in urls.items()]
        self.subscriptions.write_text(yaml.safe_dump({"subscriptions": entries}))

    def run(self, *arguments: str, input: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            _command(arguments),
            env=self.environ | environ,
            input=input,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command, as a terminal does that one can press Ctrl-C on; what it says on stderr can be read.

        Tests that run in the background of a shell ignore that signal, and so would what they start.
        """
        return subprocess.Popen(
            _command(arguments),
            env=self.environ,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def do(self, *arguments: str, input: str = "") -> str:
        """Run a command that has to succeed; returns what it printed."""
        done = self.run(*arguments, input=input)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def create_topics(self, partitions: int = 4) -> None:
        self.do("topics", "create", "--partitions", str(partitions))

    def delete_topic(self, topic: str) -> None:
        """Have somebody delete a topic."""
        client = AdminClient({"bootstrap.servers": self.environ["SPRINTLY_BOOTSTRAP_SERVERS"]})
        client.delete_topics([topic])[topic].result()
        eventually(lambda: topic not in self.kafka.partitions(PATIENCE), "it is still there")

    def produce(self, *payloads: Mapping[str, Any]) -> list[dict[str, Any]]:
        lines = "\n".join(json.dumps(payload) for payload in payloads)
        written: list[dict[str, Any]] = json.loads(self.do("produce", "--json", "-", input=lines))
        return written

    def produce_raw(self, *records: Outgoing) -> None:
        assert len(list(self.kafka.produce(records))) == len(records)

    def dead_letters(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.do("dlq", "list", "--json"))
        return found

    @contextmanager
    def consuming(self, **environ: str) -> Iterator[Replica]:
        """Run a replica until the block ends; what is left of it then is killed."""
        replica = Replica(self.environ | environ, self.folder / f"{uuid.uuid4().hex[:8]}.log")
        try:
            yield replica
        finally:
            replica.kill()

    def finished(self, count: int) -> bool:
        """Whether the group has committed as many events as were written, in all partitions together."""
        return sum(self.committed().values()) >= count

    def committed(self) -> dict[int, int]:
        """Return the committed offset of each partition of the topic that has one."""
        partitions = self.kafka.partitions(PATIENCE)[self.topic]
        return committed_offsets(self.environ["SPRINTLY_BOOTSTRAP_SERVERS"], self.group, self.topic, partitions)


class Replica:
    """A process that runs `consume`."""

    def __init__(self, environ: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("w") as output:
            self.process = subprocess.Popen(_command(["consume"]), env=environ, stderr=output, stdout=output)

    def stop(self, within: float = PATIENCE) -> int:
        """End it as an operator does; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within)

    def kill(self) -> None:
        """End it as a power cut does."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def wait_until_ready(self) -> None:
        """Wait until it has partitions."""
        eventually(lambda: "partitions assigned" in self.text, "it got no partition", self)

    @property
    def text(self) -> str:
        """What it logged."""
        return self.log.read_text()

    @property
    def port(self) -> int:
        """Where its health and metrics server listens."""
        eventually(lambda: '"port"' in self.text, "it does not serve metrics", self)
        (port,) = re.findall(r'"port": ?(\d+)', self.text)
        return int(port)

    def get(self, path: str) -> str:
        """Ask its health and metrics server."""
        with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            text: str = answer.read().decode()
            return text

    def reasons(self) -> dict[str, str]:
        """Return why it is not ready; nothing if it is."""
        try:
            text = self.get("/readyz")
        except HTTPError as error:
            text = error.read().decode()
        found: dict[str, str] = json.loads(text)["reasons"]
        return found


def eventually(true: Callable[[], object], otherwise: str, replica: Replica | None = None) -> None:
    """Wait until something is true, and fail with what was not when it takes too long."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        tail = replica.text[-3000:] if replica else ""
        assert time.monotonic() < deadline, f"{otherwise}\n{tail}"
        assert replica is None or replica.process.poll() is None, f"the replica ended\n{tail}"
        time.sleep(0.1)


def committed_offsets(bootstrap: str, group: str, topic: str, partitions: int) -> dict[int, int]:
    """Ask the broker for a group's committed offsets; none where it does not say.

    By a consumer that never joins: the admin client's own question ends the process when the group has just begun
    (librdkafka 2.16, a crash in rd_kafka_handle_OffsetFetch).
    """
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False})
    try:
        found = consumer.committed([TopicPartition(topic, number) for number in range(partitions)], PATIENCE)
    except KafkaException:
        return {}
    finally:
        consumer.close()
    return {tp.partition: tp.offset for tp in found if tp.offset >= 0}


def _command(arguments: list[str] | tuple[str, ...]) -> list[str]:
    return [sys.executable, "-m", "consumer", *arguments]


def _more(url: str | dict[str, Any]) -> dict[str, Any]:
    return {"options": {"urls": url}} if isinstance(url, str) else url
