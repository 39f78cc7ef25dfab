"""What the application asks of Kafka, and nothing more: protocols that the real client and the fake both keep.

`kafka` speaks to a cluster, `memory` is a working fake; one contract suite runs against both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, NamedTuple, Protocol, TypeAlias

from consumer.event import Commit, Outgoing, Record, TopicPartition

FOREVER = 253_402_300_000.0
"""Seconds since 1970 (the year 9999): no record is as new, so that `Broker.begins` says where the logs end."""

Membership: TypeAlias = Any  # opaque: what proves to the broker that a member still owns its partitions


class Written(NamedTuple):
    """Where a record became durable."""

    topic: str
    partition: int
    offset: int


class Chunk(NamedTuple):
    """A piece of a partition: all that is committed from the offset asked for up to, and without, `next`.

    Where the offset has expired, `begin` says where the log begins instead; else it is 0.
    """

    records: list[Record]
    next: int
    begin: int = 0


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


def first_millisecond(since: float) -> int:
    """Return the first timestamp that is not before `since`: seconds since 1970, whose fractions are not exact."""
    return ceil(round(since * 1000, 3))


class Rebalance(Protocol):
    """What a group consumer tells its owner, always on the thread that polls; none of these may raise.

    The consumer waits in `on_revoked` and `on_lost` until they return: only then may anybody else own the partitions.
    """

    def on_assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """Partitions are ours now; records follow once the owner lets them `begin`."""

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

        No record comes twice while its partition stays assigned, unless it begins again. Raises BrokerError when this
        member can never go on.
        """

    def begin(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Deliver an assigned partition's records from this offset on; before, nothing comes from it.

        It ends a pause. An offset that the log does not have (any more, or yet) stands for the oldest that it has;
        partitions that are not assigned (any more) are ignored.
        """

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Deliver nothing further from these partitions."""

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Deliver from these partitions again, from where they were paused."""

    def ends(self) -> dict[TopicPartition, int]:
        """Return where the logs of partitions end, as the latest records told: it asks nobody, and takes no time.

        Those are left out of which it hears nothing: that have not begun, are paused, or were not heard of yet.
        """

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
        offsets: Mapping[TopicPartition, Commit] | None = None,
        membership: Membership | None = None,
    ) -> None:
        """Make records, and offsets of the group, durable together.

        Raises CycleAborted (WriterLost) where that did not happen or is in doubt, RecordTooLarge for records that never
        will be taken (nothing is written then), ReplayOverrun where another writer has taken this one's name. A writer
        without a name may be used again after all of these, a named one after CycleAborted and RecordTooLarge alone.
        """

    def close(self) -> None:
        """Give the writer up; an open transaction is aborted."""


class LogReader(Protocol):
    """Reads the log again, outside any group, and commits nothing. One thread owns it."""

    def read(self, tp: TopicPartition, offset: int, most: int, timeout: float) -> Chunk:
        """Return up to `most` committed records from `offset` on, as soon as there are some, and where to go on.

        Where there are none, `next` says up to where: the offset itself at the log's end or beyond it. An offset that
        has expired stands for the oldest there is, and `begin` says so. A read that goes on where the last one ended is
        quick, any other has to find its place. Raises BrokerUnreachable when nothing is known within `timeout` seconds,
        BrokerError for a partition that cannot be read.
        """

    def close(self) -> None:
        """Give the reader up."""


class Broker(Protocol):
    """A Kafka cluster. Questions raise BrokerUnreachable where no answer comes in time, BrokerError for a refusal."""

    def partitions(self, timeout: float) -> dict[str, int]:
        """Return the number of partitions of every topic that this client may know of.

        Raises BrokerUnreachable, naming the address, and LoginRefused.
        """

    def size(self, timeout: float) -> int:
        """Return the number of brokers. Raises BrokerUnreachable."""

    def topic_ids(self, topics: Sequence[str], timeout: float) -> dict[str, str]:
        """Return each topic's id, by which one made anew under the same name is told apart; "" where there are none."""

    def lacking(self, topics: Mapping[str, Sequence[str]], timeout: float, *, member: bool = False) -> list[str]:
        """Return a sentence for each right that is known to be missing, with the command that gives it.

        `topics` says which operations on each are needed (Read, Write, Describe, DescribeConfigs); a `member` needs its
        group. What cannot be found out is no sentence: then it shows when it is needed.
        """

    def retention(self, topic: str, timeout: float) -> float | None:
        """Return the seconds after which a topic's records expire; None where they never do or nobody says."""

    def create(self, topics: Sequence[TopicSpec]) -> dict[str, bool]:
        """Create topics; for each name, whether it was created (False: it was there). Raises BrokerError."""

    def grow(self, topic: str, partitions: int) -> bool:
        """Have a topic have so many partitions, where it has fewer; whether that was so. Raises BrokerError.

        All brokers that are asked know of them then. Records stay where they are; what is written later under a key may
        find another partition than before.
        """

    def group_consumer(self, topics: Sequence[str], rebalance: Rebalance) -> GroupConsumer:
        """Join the consumer group for `topics`."""

    def writer(self, name: str | None = None) -> Writer:
        """Return a transactional writer, ready to write; under a `name`, it ends all earlier writers of that name.

        Raises WriterLost where none can be had.
        """

    def produce(self, records: Iterable[Outgoing]) -> Iterator[Written]:
        """Write records, in order, and yield for each where it became durable.

        Raises BrokerError for the first that did not; of those after it, some may have.
        """

    def committed(self, partitions: Sequence[TopicPartition], timeout: float) -> dict[TopicPartition, Commit | None]:
        """Return what the group has committed, None for nothing; offsets in open transactions are waited for.

        The group is not disturbed. Raises BrokerUnreachable.
        """

    def begins(
        self, partitions: Sequence[TopicPartition], since: float | None, timeout: float
    ) -> dict[TopicPartition, tuple[int, int]]:
        """Return each partition's oldest offset, and its first of `since` (seconds since 1970) or later.

        The second is the log's end where nothing is as new, and the oldest where `since` is None.
        """

    def read(self, topic: str, partitions: Collection[int] | None = None) -> Iterator[Record]:
        """Yield all that is committed in `topic`, or in some of its partitions, without any group.

        It goes up to the end that each has at the call; a transaction that is open there is waited for. They come in
        any order, one partition's own apart. Raises BrokerError for what is not there, BrokerUnreachable.
        """

    def log_reader(self) -> LogReader:
        """Return a reader for going through the log again."""
