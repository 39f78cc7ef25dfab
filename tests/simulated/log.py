"""What outlives every replica: two topics, committed offsets, states and dead letters, both compacted by key."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from harness import CODEC, CONTROL, LETTERS, TOPIC, refer

from consumer.control import Word, write_word
from consumer.cycle import Cycle
from consumer.deadletter import DeadLetter, read_dead_letter
from consumer.event import Headers, Outgoing, Record, TopicPartition
from consumer.state import State, read_state

REPLAYS = f"{TOPIC}.replay"
STATES = f"{TOPIC}.state"
TOPIC_ID = "the-topic"
PARTITIONS = (TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1), TopicPartition(REPLAYS, 0))
SCHEMA_ID = 7  # the only schema that the world's registry may come to have


def _event(action: str, **attributes: object) -> bytes:
    attributes = {"number": 1, **attributes}
    return CODEC.encode({"action": action, "model": "Item", "product": {"id": 1}, "attributes": attributes})


EVENTS = {
    "created": _event("created"),
    "updated": _event("updated"),  # one subscription does not always want these
    "double": _event("created", parent=2),  # two requests
    "silent": _event("created", parent=0),  # none
    "broken": _event("created", title="unrenderable"),
    "referring": refer(SCHEMA_ID),
    "cut": _event("created")[:-3],  # nobody can read it, although routing can
    "poison": b"poison",
}
UNREADABLE = frozenset({"cut", "poison"})


class Log:
    """Two topics whose offsets have holes, and what transactions have left."""

    def __init__(self) -> None:
        self.records: dict[TopicPartition, list[Record]] = {tp: [] for tp in PARTITIONS}
        self.ends = dict.fromkeys(PARTITIONS, 0)
        self.largest = 0  # bytes of a record, its headers included
        self.committed: dict[TopicPartition, int] = {}
        self.states: dict[tuple[str, TopicPartition], State] = {}
        self.letters: dict[str, DeadLetter] = {}
        self.control: list[Record] = []
        self.notes: dict[TopicPartition, str] = {}  # the metadata of what was committed

    def say(self, word: Word) -> None:
        """Write a word on a subscription."""
        self._keep_word(write_word(CONTROL, word))

    def _keep_word(self, record: Outgoing) -> None:
        self.control.append(Record(CONTROL, 0, len(self.control), record.key, record.value, 0))

    def append(self, tp: TopicPartition, key: bytes | None, value: bytes, headers: Headers = ()) -> Record:
        """Write a record at the end."""
        record = Record(tp.topic, tp.partition, self.ends[tp], key, value, 1_699_999_999_000, headers)
        self.records[tp].append(record)
        self.ends[tp] += 1
        self.largest = max(self.largest, record.size)
        return record

    def skip(self, tp: TopicPartition, offsets: int) -> None:
        """Let offsets stay empty, as a transaction's markers do."""
        self.ends[tp] += offsets

    def read(self, tp: TopicPartition, offset: int, most: int) -> tuple[list[Record], int]:
        """Return up to `most` records from an offset on, and up to where these are all there are."""
        begin = bisect_left(self.records[tp], offset, key=lambda record: record.offset)
        records = self.records[tp][begin : begin + most]
        at_the_end = begin + most >= len(self.records[tp])
        return records, max(offset, self.ends[tp]) if at_the_end else records[-1].offset + 1 if records else offset

    def finished(self, tp: TopicPartition) -> bool:
        """Whether everything of a partition is committed."""
        records = self.records[tp]
        return not records or self.committed.get(tp, 0) > records[-1].offset

    def states_of(self, tp: TopicPartition) -> list[State]:
        """Return what those who owned a partition left owed."""
        return [state for state in self.states.values() if state.partition == tp]

    def owes(self, subscription: str, tp: TopicPartition, offset: int) -> bool:
        """Whether it is durable that a subscription is owed this offset."""
        state = self.states.get((subscription, tp))
        if state is None:
            return False
        return (state.next is not None and offset >= state.next) or any(owed.offset == offset for owed in state.owed)

    def commit(self, cycle: Cycle) -> list[DeadLetter]:
        """Make a transaction durable; returns its dead letters."""
        letters = list(self._keep(cycle.records))
        for tp, offset in cycle.offsets.items():
            assert offset <= self.ends[tp], f"{tp}: committed {offset}, which nobody has written"
            self.committed[tp] = offset
            self.notes[tp] = cycle.commits[tp].metadata
        return letters

    def _keep(self, records: Iterable[Outgoing]) -> Iterable[DeadLetter]:
        for record in records:
            stored = Record(record.topic, record.partition or 0, 0, record.key, record.value, 0, record.headers)
            if record.topic == LETTERS:
                letter = read_dead_letter(stored)
                assert letter.key == record.key
                self.letters[letter.id] = letter
                yield letter
            elif record.topic == CONTROL:
                self._keep_word(record)
            else:
                assert record.topic == STATES
                self._keep_state(record, stored)

    def _keep_state(self, record: Outgoing, stored: Record) -> None:
        subscription, topic, partition = (record.key or b"").decode().split("|")
        tp = TopicPartition(topic, int(partition))
        assert record.partition == tp.partition, f"the state of {tp} went to partition {record.partition}"
        if record.value is None:
            self.states.pop((subscription, tp), None)
        else:
            self.states[subscription, tp] = read_state(stored)
