"""A working broker in memory, for tests and for whoever tries something without Kafka.

It keeps the promises of `consumer.broker` (one contract suite runs against it and against Kafka) and can be told to
fail: `fail_next_writes`, `expel`, `reachable`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import cast

from consumer.broker import GroupConsumer, Membership, Rebalance, TopicSpec, Written, missing
from consumer.broker.memory_group import Group, MemoryConsumer
from consumer.broker.memory_log import Log
from consumer.clock import Clock, SystemClock
from consumer.errors import BrokerError, BrokerUnreachable, CycleAborted, RecordTooLarge, ReplayOverrun
from consumer.event import Outgoing, Record, TopicPartition


class MemoryBroker:
    """A cluster of one broker, as one consumer group sees it; see the protocol `Broker`."""

    def __init__(self, clock: Clock | None = None, group: str = "sprintly-services") -> None:
        """Begin without topics; records get their timestamps from `clock`."""
        self.reachable = True
        self._group = group
        self._cluster = Cluster(clock or SystemClock())

    def of_group(self, group: str) -> MemoryBroker:
        """Return the same cluster as another consumer group sees it."""
        other = MemoryBroker(group=group)
        other._cluster = self._cluster
        return other

    # -- what can be told to fail

    def fail_next_writes(self, times: int, error: BrokerError, *, in_doubt: bool = False) -> None:
        """Have the next `times` calls of `write` raise `error`; `in_doubt`: each does write everything all the same."""
        with self._cluster.lock:
            self._cluster.failures.extend([(error, in_doubt)] * times)

    def mend(self) -> None:
        """Have no further write fail."""
        with self._cluster.lock:
            self._cluster.failures.clear()

    def expel(self, member: GroupConsumer) -> None:
        """Throw a member out of its group, as a broker does that has not heard of it for too long.

        Others own its partitions from now on; it learns so, by `on_lost`, at its next poll, and joins again.
        """
        with self._cluster.lock:
            self._cluster.group(self._group).leave(cast(MemoryConsumer, member))

    # -- what can be looked at

    def committed(self) -> dict[TopicPartition, int]:
        """Return the committed offsets of the group."""
        with self._cluster.lock:
            return dict(self._cluster.group(self._group).committed)

    # -- the protocol

    def partitions(self, timeout: float = 5.0) -> dict[str, int]:
        """Return the number of partitions of every topic. Raises BrokerUnreachable where it was told to."""
        if not self.reachable:
            raise BrokerUnreachable(f"no Kafka broker answered at memory within {timeout:g} s")
        with self._cluster.lock:
            return {name: len(partitions) for name, partitions in self._cluster.log.topics.items()}

    def size(self, timeout: float = 5.0) -> int:
        """Return the number of brokers. Raises BrokerUnreachable where it was told to."""
        self.partitions(timeout)
        return 1

    def create(self, topics: Sequence[TopicSpec]) -> dict[str, bool]:
        """Create topics; for each name, whether it was created (False: it was there)."""
        self.partitions()
        with self._cluster.lock:
            created = {topic.name: self._cluster.log.create(topic) for topic in topics}
            self._cluster.lock.notify_all()
            return created

    def group_consumer(self, topics: Sequence[str], rebalance: Rebalance) -> MemoryConsumer:
        """Join the consumer group for `topics`."""
        with self._cluster.lock:
            return MemoryConsumer(self._cluster.group(self._group), topics, rebalance)

    def writer(self, name: str | None = None) -> MemoryWriter:
        """Return a transactional writer; under a `name`, it ends all earlier writers of that name."""
        return MemoryWriter(self._cluster, self._group, name)

    def produce(self, records: Iterable[Outgoing]) -> Iterator[Written]:
        """Write records, in order, and yield for each where it became durable. Raises BrokerError for the first not."""
        self.partitions()
        for record in records:
            with self._cluster.lock:
                self._cluster.check_topics([record])
                if self._cluster.log.too_large(record):
                    raise BrokerError(f"a record for the topic {record.topic} was not written: it is too large")
                written = self._cluster.log.append(record)
                self._cluster.lock.notify_all()
            yield written

    def read(self, topic: str) -> Iterator[Record]:
        """Yield all that is in `topic` now, partition by partition, without any group."""
        if topic not in self.partitions():
            raise BrokerError(missing(topic))
        with self._cluster.lock:
            records = [record for partition in self._cluster.log.topics[topic] for record in partition]
        yield from records


class Cluster:
    """What all groups and writers share. `lock` guards everything and is notified of every change."""

    def __init__(self, clock: Clock) -> None:
        self.lock = threading.Condition()
        self.log = Log(clock)
        self.failures: deque[tuple[BrokerError, bool]] = deque()
        self.names: dict[str, MemoryWriter] = {}
        self._groups: dict[str, Group] = {}

    def group(self, name: str) -> Group:
        """Return a consumer group; it begins when first asked for."""
        return self._groups.setdefault(name, Group(self.log, self.lock))

    def check_topics(self, records: Iterable[Outgoing]) -> None:
        """Raise BrokerError for a record whose topic, or partition, is not there."""
        for record in records:
            partitions = self.log.topics.get(record.topic)
            if partitions is None or (record.partition is not None and record.partition >= len(partitions)):
                raise BrokerError(missing(record.topic))


class MemoryWriter:
    """Writes everything of a call at once, or nothing; see the protocol `Writer`."""

    def __init__(self, cluster: Cluster, group: str, name: str | None) -> None:
        """Write for `group`; a `name` is taken over from whoever had it."""
        self._cluster = cluster
        self._group = group
        self._name = name
        if name is not None:
            with cluster.lock:
                cluster.names[name] = self

    def write(
        self,
        records: Sequence[Outgoing],
        offsets: Mapping[TopicPartition, int] | None = None,
        membership: Membership | None = None,
    ) -> None:
        """Make records, and offsets of the group, durable together; see the protocol `Writer` for what it raises."""
        with self._cluster.lock:
            error, in_doubt = self._cluster.failures.popleft() if self._cluster.failures else (None, True)
            if in_doubt:
                self._apply(records, offsets or {}, membership)
            if error is not None:
                raise error

    def close(self) -> None:
        """Give the writer up; between writes no transaction is open."""

    def _apply(
        self, records: Sequence[Outgoing], offsets: Mapping[TopicPartition, int], membership: Membership | None
    ) -> None:
        cluster = self._cluster
        if self._name is not None and cluster.names[self._name] is not self:
            raise ReplayOverrun(f"another writer has taken the name {self._name} over")
        try:
            cluster.check_topics(records)
        except BrokerError as error:
            raise CycleAborted(str(error)) from None
        if too_large := frozenset(record.key or b"" for record in records if cluster.log.too_large(record)):
            raise RecordTooLarge(f"{len(too_large)} record(s) are larger than the topic allows", too_large)
        if offsets:
            cluster.group(self._group).check(membership)
        cluster.log.append_all(records)
        cluster.group(self._group).committed |= offsets
        cluster.lock.notify_all()
