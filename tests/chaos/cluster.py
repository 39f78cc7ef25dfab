"""A Kafka of the suite's own: it can be killed, be cut off from the replicas, and refuse writes to some topics.

It has two listeners: the suite asks by one, and the replicas come by the other, through a gate. What is refused is
refused to everybody, by access control: a single broker counts as in sync whatever `min.insync.replicas` says (4.3.1).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from gate import Gate
from kafka import Container, Listener, own_kafka
from ports import LOOPBACK, free_port

AGAIN = 1.0  # seconds after which it is asked again
ANSWER = 30.0  # seconds that the broker may take for one of our questions
LONGEST = ("--max-transaction-timeout", "1")  # minutes: ours time out after some seconds
PROPERTIES = {
    # Transactions that have timed out are looked for as often as ours time out; by default every 10 s.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    # A broker that was killed reads its logs anew: 50 partitions of each of these take as long as all else.
    "offsets.topic.num.partitions": "8",
    "transaction.state.log.num.partitions": "8",
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
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
        """Have topics refuse what is written to them."""
        rules = [rule for topic in topics for rule in _rules(topic)]
        _settle(lambda: self._admin.create_acls(rules, request_timeout=ANSWER))

    def accept(self, topics: Iterable[str]) -> None:
        """Have topics take what is written to them."""
        every = [_about(topic, AclOperation.ANY, AclPermissionType.ANY, AclBindingFilter) for topic in topics]
        _settle(lambda: self._admin.delete_acls(every, request_timeout=ANSWER))

    def end_hanging(self) -> list[str]:
        """End the transactions that Kafka has left open although they are over, as docs/operating.md says.

        Returns for each where it was. One that has been open for less than a minute is not found.
        """
        found = self.container.tool("TransactionsCommand", "find-hanging", "--broker-id", "1", *LONGEST)
        ended = []
        for line in found.splitlines()[1:]:
            topic, partition, _producer, _epoch, _coordinator, start, *_ = line.split()
            place = ("--topic", topic, "--partition", partition, "--start-offset", start)
            self.container.tool("TransactionsCommand", "abort", *place)
            ended.append(f"{topic}[{partition}] offset {start}")
        return ended


def _rules(topic: str) -> list[AclBinding]:
    """All may be done with a topic, but to write to it."""
    return [
        _about(topic, AclOperation.ALL, AclPermissionType.ALLOW, AclBinding),
        _about(topic, AclOperation.WRITE, AclPermissionType.DENY, AclBinding),
    ]


def _about(topic: str, what: Any, permission: Any, make: Any) -> Any:
    return make(ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, "User:*", "*", what, permission)


def _settle(ask: Callable[[], Mapping[Any, Any]]) -> None:
    """Ask until the broker has answered: something else may be done to it meanwhile."""
    deadline = time.monotonic() + 2 * ANSWER
    while True:
        try:
            for each in ask().values():
                each.result(2 * ANSWER)
            return
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(AGAIN)


@contextmanager
def own_cluster(properties: Mapping[str, str] = MappingProxyType({})) -> Iterator[Cluster]:
    """Run the broker, with more properties, and the gate until the block ends. Raises KafkaUnavailable."""
    inside = free_port()
    with (
        Gate(LOOPBACK, inside) as gate,
        own_kafka(Listener(inside, gate.port), {**PROPERTIES, **properties}) as container,
    ):
        yield Cluster(container, gate)
