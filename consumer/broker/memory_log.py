"""The topics of the fake broker and the records in them. Nothing is ever compacted or expires."""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import count

from consumer.broker import TopicSpec, Written
from consumer.clock import Clock
from consumer.event import Outgoing, Record, TopicPartition

LARGEST_RECORD = 1_048_588  # bytes; Kafka's own default of `max.message.bytes`


class Log:
    """All topics; whoever calls it holds the broker's lock."""

    def __init__(self, clock: Clock) -> None:
        self.topics: dict[str, list[list[Record]]] = {}
        self._largest: dict[str, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._clock = clock
        self._turns = count()

    def create(self, spec: TopicSpec) -> bool:
        """Create a topic; False if it was there."""
        if spec.name in self.topics:
            return False
        self.topics[spec.name] = [[] for _ in range(spec.partitions)]
        self._largest[spec.name] = int(spec.config.get("max.message.bytes", LARGEST_RECORD))
        return True

    def too_large(self, record: Outgoing) -> bool:
        """Whether the topic of `record` takes none of its size."""
        return len(record.value or b"") + len(record.key or b"") > self._largest[record.topic]

    def append(self, record: Outgoing) -> Written:
        """Write a record to its partition: the one it names, else that of its key, else the next one."""
        tp = TopicPartition(record.topic, self._partition(record))
        offset = self._ends.get(tp, 0)
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
