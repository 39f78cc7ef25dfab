"""What one transaction makes durable: dead letters, and how far each partition is finished with them.

Dead letters wait in the outbox until the cycle that holds them is durable; until then nothing counts as finished that
depends on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from consumer.deadletter import DeadLetter
from consumer.delivery import Delivery
from consumer.event import Outgoing, Record, TopicPartition
from consumer.partition import Partition


class Letter:
    """A dead letter on its way, with the record that it finishes; no `delivery` where the record was unreadable."""

    __slots__ = ("content", "delivery", "partition", "record")

    def __init__(
        self, partition: Partition, record: Record, content: DeadLetter, delivery: Delivery | None = None
    ) -> None:
        self.partition = partition
        self.record = record
        self.content = content
        self.delivery = delivery


@dataclass(frozen=True)
class Cycle:
    """Dead letters as the records to write, and the watermarks to commit with them."""

    letters: tuple[Letter, ...]
    records: tuple[Outgoing, ...]
    watermarks: dict[Partition, int]

    @property
    def offsets(self) -> dict[TopicPartition, int]:
        """The offsets to commit."""
        return {partition.tp: offset for partition, offset in self.watermarks.items()}

    def __bool__(self) -> bool:
        return bool(self.letters or self.watermarks)


class Outbox:
    """The dead letters that are not durable yet, oldest first."""

    def __init__(self, topic: str, room: int) -> None:
        """Write to `topic`, at most `room` bytes a cycle."""
        self._topic = topic
        self._room = room
        self._letters: dict[Letter, None] = {}

    def __bool__(self) -> bool:
        return bool(self._letters)

    def post(self, letter: Letter) -> None:
        """Keep a dead letter for the next cycle."""
        self._letters[letter] = None

    def cycle(self, partitions: Iterable[Partition]) -> Cycle:
        """Return the next cycle: the oldest dead letters, and the watermarks that have moved, or do so with them."""
        letters, records = self._next()
        finishing: dict[Partition, dict[int, int]] = {}
        for letter in letters:
            parts = finishing.setdefault(letter.partition, {})
            parts[letter.record.offset] = parts.get(letter.record.offset, 0) + 1
        watermarks = {}
        for partition in partitions:
            watermark = partition.offsets.watermark(finishing.get(partition))
            if watermark is not None and watermark != partition.committed:
                watermarks[partition] = watermark
        return Cycle(letters, records, watermarks)

    def take(self, cycle: Cycle) -> Iterator[Letter]:
        """Remove and yield the dead letters of a cycle that is durable, those of partitions that are gone left out."""
        for letter in cycle.letters:
            if letter in self._letters:
                del self._letters[letter]
                yield letter

    def shrink(self, keys: frozenset[bytes], limit: int) -> None:
        """Cut the values of dead letters with these keys to `limit` bytes."""
        for letter in self._letters:
            if letter.content.key in keys:
                letter.content = letter.content.shrunk(limit)

    def forget(self, partition: Partition) -> None:
        """Drop the dead letters of a partition that is gone: its next owner writes them, under the same keys."""
        self._letters = {letter: None for letter in self._letters if letter.partition is not partition}

    def _next(self) -> tuple[tuple[Letter, ...], tuple[Outgoing, ...]]:
        """Return the oldest dead letters, as many as there is room for, and at least one."""
        room = self._room
        letters: list[Letter] = []
        records: list[Outgoing] = []
        for letter in self._letters:
            record = letter.content.outgoing(self._topic)
            room -= len(record.value or b"") + sum(len(name) + len(value or b"") for name, value in record.headers)
            if room < 0 and letters:
                break
            letters.append(letter)
            records.append(record)
        return tuple(letters), tuple(records)
