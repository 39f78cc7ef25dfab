"""What the application asks of Kafka, and nothing more: protocols that the real client and the fake both keep.

`kafka` speaks to a cluster, `memory` is a working fake; one contract suite runs against both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias

from consumer.event import Outgoing, Record, TopicPartition

Membership: TypeAlias = Any  # opaque: what proves to the broker that a member still owns its partitions


class Written(NamedTuple):
    """Where a record became durable."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True)
class TopicSpec:
    """A topic to be created."""

    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)
    replication: int = 1


def missing(topic: str) -> str:
    """Return the sentence about a topic that is not there."""
    return f"the topic {topic} does not exist; `sprintly-services topics create` makes it"


class Rebalance(Protocol):
    """What a group consumer tells its owner, always on the thread that polls; none of these may raise.

    The consumer waits in `on_revoked` and `on_lost` until they return: only then may anybody else own the partitions.
    """

    def on_assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """Partitions are ours now; records follow."""

    def on_revoked(self, partitions: Sequence[TopicPartition], membership: Membership) -> None:
        """Partitions are about to go: the last moment to commit, by `membership` taken inside the callback."""

    def on_lost(self, partitions: Sequence[TopicPartition]) -> None:
        """Partitions are somebody else's already: nothing may be committed."""

    def on_trouble(self, sentence: str) -> None:
        """Something is wrong that the client itself keeps trying to mend."""


class GroupConsumer(Protocol):
    """One member of the consumer group. One thread owns it; only `membership` may be called by others."""

    def poll(self, timeout: float, most: int) -> list[Record]:
        """Return up to `most` records, waiting up to `timeout` seconds for the first; serves rebalances.

        No record comes twice while its partition stays assigned. Raises BrokerError when this member can never go on.
        """

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Deliver nothing further from these partitions."""

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Deliver from these partitions again, from where they were paused."""

    def membership(self) -> Membership:
        """Return the proof of membership as of the last `poll` or callback; cheap, and safe on any thread.

        It may be older than what the broker knows, and is refused then; it is never newer than what `Rebalance` was
        told.
        """

    def close(self) -> None:
        """Leave the group; what is still assigned is revoked first.

        No heartbeats are sent while `on_revoked` lasts here: longer than a session (45 s by default), and its
        membership is refused.
        """


class Writer(Protocol):
    """Writes records and offsets: all of one call or, as far as readers of committed data can see, nothing of it."""

    def write(
        self,
        records: Sequence[Outgoing],
        offsets: Mapping[TopicPartition, int] | None = None,
        membership: Membership | None = None,
    ) -> None:
        """Make records, and offsets of the group, durable together.

        Raises CycleAborted (WriterLost) where that did not happen or is in doubt, RecordTooLarge for records that never
        will be taken (nothing is written then), ReplayOverrun where another writer has taken this one's name. A writer
        without a name may be used again after all of these, a named one after CycleAborted and RecordTooLarge alone.
        """

    def close(self) -> None:
        """Give the writer up; an open transaction is aborted."""


class Broker(Protocol):
    """A Kafka cluster."""

    def partitions(self, timeout: float) -> dict[str, int]:
        """Return the number of partitions of every topic. Raises BrokerUnreachable, naming the address."""

    def size(self, timeout: float) -> int:
        """Return the number of brokers. Raises BrokerUnreachable."""

    def create(self, topics: Sequence[TopicSpec]) -> dict[str, bool]:
        """Create topics; for each name, whether it was created (False: it was there). Raises BrokerError."""

    def group_consumer(self, topics: Sequence[str], rebalance: Rebalance) -> GroupConsumer:
        """Join the consumer group for `topics`."""

    def writer(self, name: str | None = None) -> Writer:
        """Return a transactional writer; under a `name`, it ends all earlier writers of that name."""

    def produce(self, records: Iterable[Outgoing]) -> Iterator[Written]:
        """Write records, in order, and yield for each where it became durable.

        Raises BrokerError for the first that did not; of those after it, some may have.
        """

    def read(self, topic: str) -> Iterator[Record]:
        """Yield all that is committed in `topic` now, partition by partition in any order, without any group."""
