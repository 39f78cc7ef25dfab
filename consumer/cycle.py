"""What one transaction makes durable: dead letters, what is owed, and how far each partition is finished with them.

Dead letters wait in the outbox until the cycle that holds them is durable; until then nothing counts as finished that
depends on them. What is owed is written as whole states, so a cycle that failed, or is in doubt, is simply made anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from consumer.control import Word, write_word
from consumer.deadletter import DeadLetter
from consumer.delivery import Delivery, Place
from consumer.event import Commit, Outgoing, Record, TopicPartition, headers_size
from consumer.flow import Flow
from consumer.partition import Partition
from consumer.state import tombstone, write_state

OWED_SIZE = 50  # bytes that one owed delivery takes in a state, about


class Letter:
    """A dead letter on its way, with the record that it finishes; no `delivery` where the record was unreadable."""

    __slots__ = ("content", "delivery", "partition", "record")

    def __init__(
        self,
        partition: Partition,
        content: DeadLetter,
        *,
        record: Record | None = None,
        delivery: Delivery | None = None,
    ) -> None:
        self.partition = partition
        self.content = content
        self.record = record
        self.delivery = delivery


@dataclass(frozen=True)
class Snapshot:
    """What a flow is owed as a record to write, and the deliveries that it covers for the first time."""

    flow: Flow
    version: int
    record: Outgoing
    covers: tuple[Delivery, ...]


@dataclass(frozen=True)
class Cycle:
    """What is written, and what is committed with it."""

    letters: tuple[Letter, ...]
    snapshots: tuple[Snapshot, ...]
    records: tuple[Outgoing, ...]
    watermarks: dict[Partition, Commit]
    words: tuple[Outgoing, ...] = ()
    tombstones: tuple[tuple[Partition, Outgoing], ...] = ()

    @property
    def commits(self) -> dict[TopicPartition, Commit]:
        """What to commit: watermarks, and with each how much of the control topic is carried out."""
        return {partition.tp: commit for partition, commit in self.watermarks.items()}

    @property
    def offsets(self) -> dict[TopicPartition, int]:
        """The watermarks alone."""
        return {partition.tp: commit.offset for partition, commit in self.watermarks.items()}

    def __bool__(self) -> bool:
        return bool(self.records or self.watermarks)


class Outbox:
    """The dead letters that are not durable yet, oldest first, and the next cycle."""

    def __init__(self, letters: str, states: str, control: str, room: int) -> None:
        """Write to these topics, at most `room` bytes a cycle."""
        self._topic = letters
        self._states = states
        self._control = control
        self._room = room
        self._letters: dict[Letter, None] = {}
        self._words: dict[bytes, Outgoing] = {}

    def __len__(self) -> int:
        return len(self._letters)

    def post(self, letter: Letter) -> None:
        """Keep a dead letter for the next cycle."""
        self._letters[letter] = None

    def say(self, word: Word) -> None:
        """Keep a word for the control topic for the next cycle."""
        self._words[word.key] = write_word(self._control, word)

    def bury(self, partition: Partition, subscription: str) -> None:
        """Have the state of a subscription that is gone deleted with the next cycle."""
        record = tombstone(self._states, subscription, partition.tp)
        partition.tombstones[record.key or b""] = record

    def holds(self, partitions: Iterable[Partition]) -> bool:
        """Whether a dead letter of these partitions is not durable yet."""
        those = set(partitions)
        return any(letter.partition in those for letter in self._letters)

    def cycle(self, partitions: Iterable[Partition], *, prove: bool = False) -> Cycle:
        """Return the next cycle: the oldest dead letters, what is owed, and the watermarks that move with them.

        To `prove` that anything can be made durable, it commits even what has not changed.
        """
        partitions = list(partitions)
        room, letters, records = self._next()
        ending: dict[Flow, list[Delivery]] = {}
        finishing: dict[Partition, dict[int, int]] = {}
        for letter in letters:
            if letter.delivery is not None:
                ending.setdefault(letter.delivery.flow, []).append(letter.delivery)
            if letter.delivery is None or not letter.delivery.covered:
                _count(finishing, letter.partition, _offset(letter))
        snapshots = self._snapshots(partitions, ending, self._unread(letters), room)
        for snapshot in snapshots:
            for delivery in snapshot.covers:
                _count(finishing, snapshot.flow.partition, delivery.offset)
        written = {snapshot.flow for snapshot in snapshots}
        # Offsets are what fences a former owner: no state and no dead letter goes without its partition's.
        involved = {letter.partition for letter in letters} | {flow.partition for flow in written}
        involved |= {partition for partition in partitions if partition.tombstones}
        watermarks = {}
        for partition in partitions:
            if partition.begun:
                watermark = partition.commit(finishing.get(partition), written)
                if prove or watermark != partition.committed or partition in involved:
                    watermarks[partition] = watermark
        # First: who was forgotten may be back since, and owed something under the same key.
        buried = tuple((partition, record) for partition in partitions for record in partition.tombstones.values())
        records += [record for _, record in buried]
        records += [snapshot.record for snapshot in snapshots]
        words = tuple(self._words.values())
        records += words
        return Cycle(letters, snapshots, tuple(records), watermarks, words, buried)

    def _unread(self, letters: tuple[Letter, ...]) -> dict[Partition, int]:
        """Return the lowest offset of each partition whose record nobody could read, and whose letter has to wait."""
        taken = set(letters)
        lowest: dict[Partition, int] = {}
        for letter in self._letters:
            if letter.delivery is None and letter not in taken:
                lowest[letter.partition] = min(_offset(letter), lowest.get(letter.partition, _offset(letter)))
        return lowest

    def _snapshots(
        self,
        partitions: Iterable[Partition],
        ending: dict[Flow, list[Delivery]],
        unread: dict[Partition, int],
        room: int,
    ) -> tuple[Snapshot, ...]:
        """Return the states to write: those that a dead letter changes, then those that hold a watermark, then others.

        A dead letter and the state without it belong together: else a crash in between would deliver it once more. And
        a `next` passes nothing unread whose letter is not durable: the next owner may be able to read it.
        """
        dirty = [flow for partition in partitions for flow in partition.dirty]
        needed = [flow for flow in ending if (flow.written or flow.version != flow.durable) and not flow.partition.gone]
        rest = sorted((flow for flow in dirty if flow not in ending), key=_holds_nothing)
        snapshots: list[Snapshot] = []
        for flow in (*needed, *rest):
            passes = flow.next is not None and flow.next > unread.get(flow.partition, flow.next)
            if flow.is_too_large or passes:
                continue  # its watermark waits, and nobody else
            room -= OWED_SIZE * (flow.owed + 4)
            if room < 0 and flow not in ending and snapshots:
                break
            snapshot = self._snapshot(flow, ending.get(flow, ()))
            if snapshot is not None:
                snapshots.append(snapshot)
        return tuple(snapshots)

    def _snapshot(self, flow: Flow, ending: Iterable[Delivery]) -> Snapshot | None:
        ending = set(ending)
        record = write_state(self._states, flow.state(flow.partition.topic_id, ending))
        if record.value is None and not flow.written:
            if not ending:  # else this is so only if the transaction with their letters becomes durable
                flow.clean(flow.version)
            return None  # it was owed something for less than a cycle, and no record ever said so
        flow.written = True  # or may be: what is in doubt is written again, and at last deleted
        covers = tuple(delivery for delivery in flow.uncovered if delivery not in ending)
        return Snapshot(flow, flow.version, record, covers)

    def take(self, cycle: Cycle) -> Iterator[Letter]:
        """Remove and yield the dead letters of a cycle that is durable, those of partitions that are gone left out."""
        for letter in cycle.letters:
            if letter in self._letters:
                del self._letters[letter]
                yield letter

    def settle(self, cycle: Cycle) -> None:
        """Take in that the words and tombstones of a cycle are durable."""
        for word in cycle.words:
            if self._words.get(word.key or b"") is word:
                del self._words[word.key or b""]
        for partition, record in cycle.tombstones:
            partition.tombstones.pop(record.key or b"", None)

    def shrink(self, keys: frozenset[bytes], limit: int) -> None:
        """Cut the values of dead letters with these keys to `limit` bytes."""
        for letter in self._letters:
            if letter.content.key in keys:
                letter.content = letter.content.shrunk(limit)

    def forget(self, partition: Partition) -> None:
        """Drop the dead letters of a partition that is gone: its next owner writes them, under the same keys."""
        self._letters = {letter: None for letter in self._letters if letter.partition is not partition}

    def _next(self) -> tuple[int, tuple[Letter, ...], list[Outgoing]]:
        """Return the oldest dead letters, as many as there is room for, and at least one; and the room that is left.

        Those of records that nobody could read come first: until they are durable, states that pass them wait.
        """
        room = self._room
        letters: list[Letter] = []
        records: list[Outgoing] = []
        flows: set[Flow] = set()
        for letter in sorted(self._letters, key=lambda letter: letter.delivery is not None):
            record = letter.content.outgoing(self._topic)
            size = len(record.value or b"") + headers_size(record.headers)
            if letter.delivery is not None and letter.delivery.flow not in flows:
                flows.add(letter.delivery.flow)
                size += OWED_SIZE * letter.delivery.flow.owed  # its state comes along
            if size > room and letters:
                break
            room -= size
            letters.append(letter)
            records.append(record)
        return room, tuple(letters), records


def settle_states(cycle: Cycle) -> None:
    """Take in that the states of a cycle are durable: what they cover holds no watermark any more."""
    for snapshot in cycle.snapshots:
        flow = snapshot.flow
        if flow.partition.gone:
            continue
        for delivery in snapshot.covers:
            if not delivery.covered and delivery.place is not Place.DONE:
                delivery.covered = True
                flow.uncovered.pop(delivery, None)
                flow.partition.offsets.finished(delivery.offset)
        flow.clean(snapshot.version)
        if snapshot.record.value is None and flow.version == snapshot.version:
            flow.written = False


def _count(finishing: dict[Partition, dict[int, int]], partition: Partition, offset: int) -> None:
    parts = finishing.setdefault(partition, {})
    parts[offset] = parts.get(offset, 0) + 1


def _offset(letter: Letter) -> int:
    return letter.delivery.offset if letter.delivery is not None else letter.record.offset if letter.record else -1


def _holds_nothing(flow: Flow) -> bool:
    return flow.floor is None and not flow.uncovered
