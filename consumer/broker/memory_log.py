"""The topics of the fake broker and the records in them. Nothing is compacted, and expires only when told to."""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import count
from uuid import uuid4

from consumer.broker import TopicSpec, Written, first_millisecond, missing
from consumer.clock import Clock
from consumer.errors import BrokerError
from consumer.event import Outgoing, Record, TopicPartition, headers_size

LARGEST_RECORD = 1_048_588  # bytes; Kafka's own default of `max.message.bytes`
RETENTION = 7 * 24 * 60 * 60 * 1000  # milliseconds; that of `retention.ms`


class Log:
    """All topics; whoever calls it holds the broker's lock."""

    def __init__(self, clock: Clock) -> None:
        self.topics: dict[str, list[list[Record]]] = {}
        self.ids: dict[str, str] = {}
        self.retention: dict[str, float | None] = {}  # seconds; None for ever
        self._largest: dict[str, int] = {}
        self._oldest: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._clock = clock
        self._turns = count()

    def create(self, spec: TopicSpec) -> bool:
        """Create a topic; False if it was there."""
        if spec.name in self.topics:
            return False
        self.topics[spec.name] = [[] for _ in range(spec.partitions)]
        self.ids[spec.name] = str(uuid4())
        self._largest[spec.name] = int(spec.config.get("max.message.bytes", LARGEST_RECORD))
        milliseconds = int(spec.config.get("retention.ms", RETENTION))
        deletes = "delete" in spec.config.get("cleanup.policy", "delete")
        self.retention[spec.name] = milliseconds / 1000 if deletes and milliseconds >= 0 else None
        return True

    def grow(self, topic: str, partitions: int) -> bool:
        """Give a topic so many partitions; False if it had them."""
        there = self.topics[topic]
        missing = max(0, partitions - len(there))
        there.extend([] for _ in range(missing))
        return missing > 0

    def expire(self, tp: TopicPartition, below: int) -> None:
        """Drop the records below an offset, as far as there are any."""
        self._oldest[tp] = min(max(self.oldest(tp), below), self.end(tp))
        records = self.topics[tp.topic][tp.partition]
        del records[: bisect_left(records, below, key=lambda record: record.offset)]

    def make_anew(self, topic: str) -> None:
        """Replace a topic by an empty one of the same name and settings."""
        for number, records in enumerate(self.topics[topic]):
            records.clear()
            self._oldest.pop(TopicPartition(topic, number), None)
            self._ends.pop(TopicPartition(topic, number), None)
        self.ids[topic] = str(uuid4())

    def oldest(self, tp: TopicPartition) -> int:
        """Return the first offset that has not expired."""
        return self._oldest.get(tp, 0)

    def end(self, tp: TopicPartition) -> int:
        """Return the offset after the last."""
        return self._ends.get(tp, 0)

    def place(self, tp: TopicPartition, offset: int) -> int:
        """Return where reading goes on that is to go on at `offset`: at the oldest record if the log has none such."""
        return offset if self.oldest(tp) <= offset <= self.end(tp) else self.oldest(tp)

    def since(self, tp: TopicPartition, since: float) -> int:
        """Return the first offset whose record is of `since` (seconds since 1970) or later; the end without one."""
        records = self.topics[tp.topic][tp.partition]
        first = first_millisecond(since)
        return next((record.offset for record in records if record.timestamp >= first), self.end(tp))

    def check(self, tp: TopicPartition) -> None:
        """Raise BrokerError for a partition that is not there."""
        if tp.partition >= len(self.topics.get(tp.topic, ())):
            raise BrokerError(missing(tp.topic))

    def too_large(self, record: Outgoing) -> bool:
        """Whether the topic of `record` takes none of its size."""
        size = len(record.value or b"") + len(record.key or b"") + headers_size(record.headers)
        return size > self._largest[record.topic]

    def append(self, record: Outgoing) -> Written:
        """Write a record to its partition: the one it names, else that of its key, else the next one."""
        tp = TopicPartition(record.topic, self._partition(record))
        offset = self.end(tp)
        self._ends[tp] = offset + 1
        timestamp = int(self._clock.time() * 1000)
        stored = Record(tp.topic, tp.partition, offset, record.key, record.value, timestamp, record.headers)
        self.topics[tp.topic][tp.partition].append(stored)
        return Written(tp.topic, tp.partition, offset)

    def append_all(self, records: Iterable[Outgoing]) -> None:
        """Write a transaction: in each of its partitions its marker takes an offset too, as it does in Kafka."""
        for tp in {TopicPartition(written.topic, written.partition) for written in map(self.append, records)}:
            self._ends[tp] += 1

    def after(self, tp: TopicPartition, offset: int, most: int) -> Sequence[Record]:
        """Return up to `most` records of a partition from `offset` on."""
        records = self.topics[tp.topic][tp.partition]
        start = bisect_left(records, offset, key=lambda record: record.offset)
        return records[start : start + most]

    def _partition(self, record: Outgoing) -> int:
        partitions = len(self.topics[record.topic])
        if record.partition is not None:
            return record.partition
        return (next(self._turns) if record.key is None else zlib.crc32(record.key)) % partitions
