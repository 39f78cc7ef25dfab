"""A working broker in memory, for tests and for whoever tries something without Kafka.

It keeps the promises of `consumer.broker` (one contract suite runs against it and against Kafka) and can be told to
fail: `fail_next_writes`, `expel`, `expire`, `make_anew`, `reachable`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import cast

from consumer.broker import Chunk, GroupConsumer, Membership, Rebalance, TopicSpec, Written, missing
from consumer.broker.memory_group import Group, MemoryConsumer
from consumer.broker.memory_log import Log
from consumer.clock import Clock, SystemClock
from consumer.errors import BrokerError, BrokerUnreachable, CycleAborted, RecordTooLarge, ReplayOverrun
from consumer.event import Commit, Outgoing, Record, TopicPartition


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

    def expire(self, tp: TopicPartition, below: int) -> None:
        """Drop a partition's records below an offset, as retention does."""
        with self._cluster.lock:
            self._cluster.log.expire(tp, below)

    def make_anew(self, topic: str) -> None:
        """Replace a topic by an empty one of the same name, whose id is another and whose offsets begin with 0.

        What groups have committed stays, and so do their members' partitions: Kafka would take both away first, but
        not everything that stands for a Kafka does.
        """
        with self._cluster.lock:
            self._cluster.log.make_anew(topic)
            self._cluster.lock.notify_all()

    # -- the protocol

    def partitions(self, timeout: float = 5.0) -> dict[str, int]:
        """Return the number of partitions of every topic. Raises BrokerUnreachable where it was told to."""
        self._reach(timeout)
        with self._cluster.lock:
            return {name: len(partitions) for name, partitions in self._cluster.log.topics.items()}

    def size(self, timeout: float = 5.0) -> int:
        """Return the number of brokers. Raises BrokerUnreachable where it was told to."""
        self.partitions(timeout)
        return 1

    def topic_ids(self, topics: Sequence[str], timeout: float = 5.0) -> dict[str, str]:
        """Return each topic's id. Raises BrokerError for one that is not there."""
        return {topic: self._cluster.log.ids[topic] for topic in self._there(topics, timeout)}

    def lacking(self, topics: Mapping[str, Sequence[str]], timeout: float = 5.0, *, member: bool = False) -> list[str]:
        """Return nothing: here everything is allowed."""
        return []

    def retention(self, topic: str, timeout: float = 5.0) -> float | None:
        """Return the seconds after which a topic's records expire; None where they never do. (Nothing expires here.)"""
        (topic,) = self._there([topic], timeout)
        return self._cluster.log.retention[topic]

    def create(self, topics: Sequence[TopicSpec]) -> dict[str, bool]:
        """Create topics; for each name, whether it was created (False: it was there)."""
        self.partitions()
        with self._cluster.lock:
            created = {topic.name: self._cluster.log.create(topic) for topic in topics}
            self._cluster.lock.notify_all()
            return created

    def grow(self, topic: str, partitions: int) -> bool:
        """Have a topic have so many partitions, where it has fewer; whether that was so."""
        (topic,) = self._there([topic], 5.0)
        with self._cluster.lock:
            grown = self._cluster.log.grow(topic, partitions)
            self._cluster.lock.notify_all()
            return grown

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

    def committed(
        self, partitions: Sequence[TopicPartition] | None = None, timeout: float = 5.0
    ) -> dict[TopicPartition, Commit | None]:
        """Return what the group has committed, None for nothing; without `partitions`, all that it has."""
        self._reach(timeout)
        with self._cluster.lock:
            committed = self._cluster.group(self._group).committed
            return {tp: committed.get(tp) for tp in (committed if partitions is None else partitions)}

    def begins(
        self, partitions: Sequence[TopicPartition], since: float | None, timeout: float = 5.0
    ) -> dict[TopicPartition, tuple[int, int]]:
        """Return each partition's oldest offset, and its first of `since` (seconds since 1970) or later."""
        self._reach(timeout)
        with self._cluster.lock:
            log = self._cluster.log
            for tp in partitions:
                log.check(tp)
            oldest = {tp: log.oldest(tp) for tp in partitions}
            return {tp: (oldest[tp], oldest[tp] if since is None else log.since(tp, since)) for tp in partitions}

    def read(self, topic: str, partitions: Collection[int] | None = None) -> Iterator[Record]:
        """Yield all that is in `topic` now, or in some of its partitions, one partition after the other."""
        self._there([topic], 5.0)
        with self._cluster.lock:
            log = self._cluster.log
            wanted = range(len(log.topics[topic])) if partitions is None else sorted(set(partitions))
            for number in wanted:
                log.check(TopicPartition(topic, number))
            return iter([record for number in wanted for record in log.topics[topic][number]])

    def log_reader(self) -> MemoryLogReader:
        """Return a reader for going through the log again."""
        return MemoryLogReader(self._cluster, self._reach)

    def _reach(self, timeout: float) -> None:
        if not self.reachable:
            raise BrokerUnreachable(f"no Kafka broker answered at memory within {timeout:g} s")

    def _there(self, topics: Sequence[str], timeout: float) -> Sequence[str]:
        there = self.partitions(timeout)
        for topic in topics:
            if topic not in there:
                raise BrokerError(missing(topic))
        return topics


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


class MemoryLogReader:
    """Reads pieces of partitions; see the protocol `LogReader`."""

    def __init__(self, cluster: Cluster, reach: Callable[[float], None]) -> None:
        """Read after `reach`, which raises BrokerUnreachable where it was told to."""
        self._cluster = cluster
        self._reach = reach

    def read(self, tp: TopicPartition, offset: int, most: int, timeout: float) -> Chunk:
        """Return up to `most` records from `offset` on, and where to go on."""
        self._reach(timeout)
        with self._cluster.lock:
            log = self._cluster.log
            log.check(tp)
            records = list(log.after(tp, offset, most))
            end = records[-1].offset + 1 if len(records) == most else max(offset, log.end(tp))
            return Chunk(records, end, log.oldest(tp) if offset < log.oldest(tp) else 0)

    def close(self) -> None:
        """Give the reader up."""


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
        offsets: Mapping[TopicPartition, Commit] | None = None,
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
        self, records: Sequence[Outgoing], offsets: Mapping[TopicPartition, Commit], membership: Membership | None
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
