"""The Kafka that is measured on: topics and groups under names of their own, deleted when they are done with."""

from __future__ import annotations

import logging
import sys
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from benchmarks.events import Events
from consumer.broker.kafka import Kafka
from consumer.event import Record
from consumer.topics import topic_specs

PARTITIONS = 12
SESSION = 10.0  # seconds until the members of a group are gone that were killed (6 s on the tests' Kafka)
# The last is what a broker says that has had no group at all.
_NOTHING_THERE = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.GROUP_ID_NOT_FOUND, KafkaError.NOT_COORDINATOR)


class Cluster:
    """A Kafka at `bootstrap`, which may be used for other things as well."""

    def __init__(self, bootstrap: str, events: Events) -> None:
        self.bootstrap = bootstrap
        self._events = events
        self._kafka = Kafka(bootstrap, "bench")
        config: dict[str, Any] = {"bootstrap.servers": bootstrap, "logger": logging.getLogger("librdkafka")}
        self._admin = AdminClient(config)

    @contextmanager
    def topic(self) -> Iterator[str]:
        """Give a new topic for events, with the others that belong to it, until the block ends."""
        specs = topic_specs(f"{_name()}.events", PARTITIONS, replication=1)
        try:
            self._kafka.create(specs)
            yield specs[0].name
        finally:
            _settle(self._admin.delete_topics([spec.name for spec in specs]))

    @contextmanager
    def group(self) -> Iterator[str]:
        """Give the name of a new consumer group, which whoever joins it has left when the block ends."""
        name = _name()
        try:
            yield name
        finally:
            self._forget(name)

    def _forget(self, group: str) -> None:
        """Delete a group; a member that was killed is in it until its session ends."""
        deadline = time.monotonic() + SESSION
        while True:
            deletions = self._admin.delete_consumer_groups([group])
            error = deletions[group].exception()
            full = isinstance(error, KafkaException) and error.args[0].code() == KafkaError.NON_EMPTY_GROUP
            if not full or time.monotonic() > deadline:
                _settle(deletions)
                return
            time.sleep(0.5)

    def write(self, topic: str, numbers: Iterable[int]) -> None:
        """Write the event of each number as soon as it is given; all are durable on return."""
        for _ in self._kafka.produce(self._events.record(topic, number) for number in numbers):
            pass

    def read(self, topic: str) -> list[Record]:
        """Return all records of a topic."""
        return list(self._kafka.read(topic))


def _name() -> str:
    return f"bench-{uuid.uuid4().hex[:10]}"


def _settle(deletions: Mapping[str, Future[None]]) -> None:
    """Wait until all is deleted; say what could not be, since nobody else will look for it."""
    for name, future in deletions.items():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() not in _NOTHING_THERE:
                print(f"{name} could not be deleted: {error.args[0].str()}", file=sys.stderr)
