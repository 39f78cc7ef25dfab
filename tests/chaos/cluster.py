"""A Kafka of the suite's own: it can be killed, be cut off from the replicas, and refuse writes to some topics.

It has two listeners: the suite asks by one, and the replicas come by the other, through a gate.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from gate import Gate
from kafka import LOOPBACK, Container, Listener, free_port, own_kafka

ANSWER = 30.0  # seconds that the broker may take for one of our questions
PROPERTIES = {
    # Transactions that have timed out are looked for as often as ours time out; by default every 10 s.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    # A broker that was killed reads its logs anew: 50 partitions of each of these take as long as all else.
    "offsets.topic.num.partitions": "8",
    "transaction.state.log.num.partitions": "8",
}


class Cluster:
    """One broker, and the way to it."""

    def __init__(self, container: Container, gate: Gate) -> None:
        self.container = container
        self.gate = gate
        self.bootstrap = container.bootstrap
        self.behind_gate = f"{LOOPBACK}:{gate.port}"
        config: dict[str, Any] = {"bootstrap.servers": self.bootstrap, "logger": logging.getLogger("librdkafka")}
        self._admin = AdminClient(config)

    def refuse(self, topics: Iterable[str]) -> None:
        """Have topics refuse what is written to them: they ask for more copies than there are brokers."""
        self._copies(topics, 2)

    def accept(self, topics: Iterable[str]) -> None:
        """Have topics take what is written to them."""
        self._copies(topics, 1)

    def _copies(self, topics: Iterable[str], least: int) -> None:
        asked = [ConfigEntry("min.insync.replicas", str(least), incremental_operation=AlterConfigOpType.SET)]
        changes = [ConfigResource(ResourceType.TOPIC, topic, incremental_configs=asked) for topic in topics]
        for change in self._admin.incremental_alter_configs(changes, request_timeout=ANSWER).values():
            change.result(2 * ANSWER)


@contextmanager
def own_cluster() -> Iterator[Cluster]:
    """Run the broker and the gate until the block ends. Raises KafkaUnavailable."""
    inside = free_port()
    with (
        Gate(LOOPBACK, inside) as gate,
        own_kafka(Listener(inside, gate.port), PROPERTIES) as container,
    ):
        yield Cluster(container, gate)
