"""The three brokers that the contract suite runs against, and a group member that writes down what happens to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from time import monotonic
from typing import Any, Protocol
from uuid import uuid4

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient

from consumer.broker import Broker, GroupConsumer, Membership, Rebalance, TopicSpec
from consumer.broker.kafka import EmbeddedKafka, Kafka
from consumer.broker.memory import MemoryBroker
from consumer.event import Commit, Outgoing, Record, TopicPartition

PATIENCE = 30.0  # seconds after which what was awaited is believed never to come
_numbers = count()


@dataclass(frozen=True)
class Bench:
    """A broker to try things on. What it cannot do by its nature, its flags say."""

    name: str
    of_group: Callable[[str], Broker]
    transactions: bool = True  # keeps offsets in transactions, fences old members and writers
    murmur2: bool = True  # chooses partitions as Java's producer does
    chosen_partitions: bool = True  # makes topics with as many partitions as asked, and with settings
    impatient: Callable[[str], Broker] | None = None  # throws members out that have not polled for two seconds
    expire: Callable[[TopicPartition, int], None] | None = None  # drops a partition's records below an offset
    group: str = field(default_factory=lambda: f"group-{uuid4()}")

    @property
    def broker(self) -> Broker:
        return self.of_group(self.group)

    def topic(self, partitions: int = 4, **config: str) -> str:
        """Make a topic of a name of its own."""
        name = f"topic-{next(_numbers)}-{uuid4().hex[:8]}"
        settings = {key.replace("_", "."): value for key, value in config.items()}
        assert self.broker.create([TopicSpec(name, partitions, settings)]) == {name: True}
        return name

    def produce(self, topic: str, values: Sequence[bytes], **more: Any) -> None:
        assert len(list(self.broker.produce([Outgoing(topic, None, value, **more) for value in values]))) == len(values)


def memory_bench() -> Bench:
    broker = MemoryBroker()
    return Bench("memory", broker.of_group, murmur2=False, expire=broker.expire)


def embedded_bench() -> Bench:
    return Bench("embedded", EmbeddedKafka().kafka, transactions=False, chosen_partitions=False)


def kafka_bench(bootstrap: str, protocol: str) -> Bench:
    # A minute until it sees how many partitions there are is too long for a test.
    looking = {"topic.metadata.refresh.interval.ms": 1000} if protocol == "classic" else {}
    return Bench(
        f"kafka-{protocol}",
        lambda group: Kafka(bootstrap, group, protocol=protocol, properties=looking),
        expire=lambda tp, below: delete_records(bootstrap, tp, below),
        impatient=None
        if protocol == "classic"  # whose brokers allow no session of less than 6 s, and librdkafka no shorter interval
        else lambda group: Kafka(bootstrap, group, protocol=protocol, properties={"max.poll.interval.ms": 2000}),
    )


def delete_records(bootstrap: str, tp: TopicPartition, below: int) -> None:
    """Have Kafka drop a partition's records below an offset, as retention does in its own time."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.delete_records([ck.TopicPartition(tp.topic, tp.partition, below)]).values():
        future.result()


class Joinable(Protocol):
    """As much of a broker as a member needs."""

    def group_consumer(self, topics: Sequence[str], rebalance: Rebalance) -> GroupConsumer: ...

    def committed(
        self, partitions: Sequence[TopicPartition], timeout: float
    ) -> dict[TopicPartition, Commit | None]: ...


class Member:
    """A group member and its `Rebalance`; the test polls it.

    It begins where the group has committed, unless it is told not to: then the test calls `begin`.
    """

    def __init__(self, broker: Joinable, topics: Sequence[str], *, begins: bool = True) -> None:
        self._broker = broker
        self._begins = begins
        self._gained: set[TopicPartition] = set()
        self.records: list[Record] = []
        self.owned: set[TopicPartition] = set()
        self.events: list[str] = []
        self.troubles: list[str] = []
        self.when_revoked: Callable[[Sequence[TopicPartition], Membership], None] | None = None
        self.consumer: GroupConsumer = broker.group_consumer(topics, self)

    def poll(self, timeout: float = 0.05, most: int = 500) -> list[Record]:
        records = self.consumer.poll(timeout, most)
        self.records += records
        if self._gained and self._begins:
            committed = self._broker.committed(sorted(self._gained), PATIENCE)
            self.consumer.begin({tp: commit.offset if commit else 0 for tp, commit in committed.items()})
            self._gained.clear()
        return records

    @property
    def values(self) -> list[bytes | None]:
        return [record.value for record in self.records]

    def on_assigned(self, partitions: Sequence[TopicPartition]) -> None:
        self.events.append("assigned")
        assert not self.owned & set(partitions)
        self.owned |= set(partitions)
        self._gained |= set(partitions)

    def on_revoked(self, partitions: Sequence[TopicPartition], membership: Membership) -> None:
        self.events.append("revoked")
        assert set(partitions) <= self.owned
        if self.when_revoked is not None:
            self.when_revoked(partitions, membership)
        self._forget(partitions)

    def on_lost(self, partitions: Sequence[TopicPartition]) -> None:
        self.events.append("lost")
        self._forget(partitions)

    def on_trouble(self, sentence: str) -> None:
        self.troubles.append(sentence)

    def _forget(self, partitions: Sequence[TopicPartition]) -> None:
        self.owned -= set(partitions)
        self._gained -= set(partitions)


@contextmanager
def joined(broker: Broker, *topics: str) -> Iterator[Member]:
    member = Member(broker, topics)
    try:
        yield member
    finally:
        member.consumer.close()


def own_all(member: Member, partitions: int = 4) -> None:
    until(lambda: len(member.owned) == partitions, member)


def values(records: Sequence[Record]) -> list[bytes | None]:
    return [record.value for record in records]


def until(condition: Callable[[], object], *members: Member) -> None:
    """Poll members in turn until something is so; fails when it never is."""
    deadline = monotonic() + PATIENCE
    while not condition():
        assert monotonic() < deadline, f"it did not come to pass; {[(m.events, m.owned, m.troubles) for m in members]}"
        for member in members:
            member.poll()


def polls(seconds: float) -> Iterator[None]:
    """Go on for so many seconds: for what must not happen in them."""
    deadline = monotonic() + seconds
    while monotonic() < deadline:
        yield
