"""A small world around the production core: a log, a group, destinations, and all that can go wrong between them.

Nothing here sleeps and nothing is random: whoever drives it says what happens next. Replicas are the production core;
the world keeps what outlives them (records, committed offsets, dead letters, what receivers got) and fences, as Kafka
does, the transactions of those who have lost a partition.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from clock import FakeClock
from harness import OK, TOPIC, Log, answered, refer, subscription, value

from consumer.codec import Codec
from consumer.core import Attempt, Core, CoreSettings
from consumer.cycle import Cycle
from consumer.deadletter import Stage, read_dead_letter
from consumer.delivery import delivery_id
from consumer.dispatcher import Bounds
from consumer.event import Record, TopicPartition
from consumer.metrics import Metrics
from consumer.router import Router
from consumer.wire import Answer, AnswerKind

PARTITIONS = tuple(TopicPartition(TOPIC, number) for number in range(2))
SUBSCRIPTIONS = (subscription("a"), subscription("b"), subscription("loose", ordered=False))
BOUNDS = Bounds(in_flight=6, in_flight_per_subscription=4, in_hand=8, in_hand_per_partition=5)
CYCLE = 1000  # bytes: two dead letters or three
PATIENCE = 200  # turns after which something has to have come to its end
SCHEMA_ID = 7  # the only schema that the world's registry may come to have


class Answers(Enum):
    """How an attempt may end; only the first brings it to its receiver."""

    DELIVERED = OK
    FAILED = answered(500)
    REFUSED = answered(400)
    THROTTLED = answered(429, retry_after="3")
    RESET = Answer(AnswerKind.TRANSIENT, error="connection reset")


class Fate(Enum):
    """What becomes of a transaction. In doubt: it is durable, and its writer is told that it is not."""

    DURABLE = "durable"
    ABORTED = "aborted"
    IN_DOUBT = "in doubt"


class Got(NamedTuple):
    """A delivery as its receiver saw it."""

    subscription: str
    place: tuple[TopicPartition, int]


@dataclass
class World:
    """What survives crashes, and who owns what."""

    clock: FakeClock = field(default_factory=FakeClock)
    log: Log = field(default_factory=Log)
    received: list[Got] = field(default_factory=list)
    unreadable: set[tuple[TopicPartition, int]] = field(default_factory=set)
    owners: dict[TopicPartition, Replica] = field(default_factory=dict)

    def write(self, partition: int, key: bytes | None, content: str) -> None:
        """Append a record: an `event`, `poison`, or one whose schema the registry may have."""
        data = {"event": value(), "poison": b"poison", "referring": refer(SCHEMA_ID)}[content]
        record = self.log.append(data, key=key, partition=partition)
        if content == "poison":
            self.unreadable.add(where(record))

    def start(self, *partitions: TopicPartition) -> Replica:
        """Give partitions to a new replica; their former owners are not told, and become zombies there."""
        replica = Replica(self)
        replica.assign(partitions)
        return replica

    def commit(self, cycle: Cycle) -> None:
        """Make a transaction durable, and check that nothing unfinished lies below what it commits."""
        self.log.commit(cycle)
        for tp, offset in cycle.offsets.items():
            assert offset <= len(self.log.records.get(tp, [])), f"{tp}: committed {offset}, which nobody has written"
            for record in self.log.records[tp][:offset]:
                assert not self.missing(record), f"{tp}: committed {offset} past {self.missing(record)}"

    def missing(self, record: Record) -> list[str]:
        """Return who has neither got an event nor has a dead letter of it; of what nobody can read, `decode`."""
        if delivery_id(record, "").encode() in self.log.dead:
            return []
        if where(record) in self.unreadable:
            return ["decode"]
        got = {one.subscription for one in self.received if one.place == where(record)}
        return [s.id for s in SUBSCRIPTIONS if s.id not in got and not self.is_dead(record, s.id)]

    def is_dead(self, record: Record, subscription: str) -> bool:
        return delivery_id(record, subscription).encode() in self.log.dead

    def check_order(self) -> None:
        """Check that a lane's first deliveries came in log order, dead letters left out."""
        seen: dict[tuple[str, TopicPartition, bytes], int] = {}
        for got in dict.fromkeys(self.received):
            tp, offset = got.place
            record = self.log.records[tp][offset]
            if got.subscription == "loose" or record.key is None or self.is_dead(record, got.subscription):
                continue
            lane = got.subscription, tp, record.key
            assert seen.get(lane, -1) < offset, f"{got} came after offset {seen[lane]} of its lane"
            seen[lane] = offset

    def check_dead_letters(self) -> None:
        """Check that what is dead failed: nothing whose schema was only not there yet is poison."""
        for letter in self.log.dead.values():
            entry = read_dead_letter(Record(letter.topic, 0, 0, letter.key, letter.value, 0, letter.headers))
            if entry.stage is Stage.DECODE:
                assert where(entry.origin) in self.unreadable, f"{entry.origin} could have been read"


class Replica:
    """The production core with attempts in flight, a place in each partition, and perhaps a cycle being written."""

    def __init__(self, world: World) -> None:
        self.world = world
        codec = Codec(registry=True)
        settings = CoreSettings(bounds=BOUNDS, cycle_bytes=CYCLE)
        self.core = Core(settings, codec, Router(SUBSCRIPTIONS), world.clock, Metrics())
        self.in_flight: list[Attempt] = []
        self.read: dict[TopicPartition, int] = {}
        self.paused: set[TopicPartition] = set()
        self.delivered: dict[TopicPartition, int] = {}  # the highest offset, as far as it knows
        self.writing: tuple[Cycle, frozenset[TopicPartition]] | None = None  # with what it owned then

    @property
    def owned(self) -> frozenset[TopicPartition]:
        """What the group says it owns; the core of a zombie believes in more."""
        return frozenset(tp for tp, owner in self.world.owners.items() if owner is self)

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        """Take partitions over where their committed offsets are."""
        partitions = list(partitions)
        self.core.assigned(partitions)
        for tp in partitions:
            self.world.owners[tp] = self
            self.read[tp] = self.world.log.committed.get(tp, 0)
            self.paused.discard(tp)
            self.delivered.pop(tp, None)

    def fetch(self, most: int) -> None:
        """Hand over the next records of what is not paused; a zombie goes on with what it had fetched."""
        for tp in self.core.partitions:
            if tp in self.paused:
                continue
            begin = self.read[tp]
            records = self.world.log.records.get(tp, [])[begin : begin + most]
            self.core.received(records)
            self.read[tp] = begin + len(records)

    def turn(self) -> None:
        """Let in and begin what may be begun, and heed the pauses."""
        self.core.admit()
        for attempt in self.core.attempts():
            lane = attempt.delivery.flow, attempt.delivery.event.lane
            if lane[1] is not None and attempt.delivery.flow.channel.subscription.ordered:
                flying = [(a.delivery.flow, a.delivery.event.lane) for a in self.in_flight]
                assert lane not in flying, f"two attempts of one lane at once: {attempt.delivery.event.record}"
            self.in_flight.append(attempt)
        pause, resume = self.core.pauses()
        self.paused = (self.paused | set(pause)) - set(resume)
        assert self.core.in_flight <= BOUNDS.in_flight

    def answer(self, index: int, how: Answers, *, learnt: bool = True) -> None:
        """End an attempt; one that nobody learnt of stays in flight, although its receiver may have got it."""
        attempt = self.in_flight[index % len(self.in_flight)]
        place = tp, offset = where(attempt.delivery.event.record)
        if how is Answers.DELIVERED:
            self.world.received.append(Got(attempt.delivery.flow.channel.subscription.id, place))
        if how is Answers.DELIVERED and learnt and not attempt.delivery.flow.partition.gone:
            self.delivered[tp] = max(self.delivered.get(tp, -1), offset)
        if learnt:
            self.in_flight.remove(attempt)
            self.core.answered(attempt.delivery, how.value)

    def begin_cycle(self) -> None:
        """Take the group's word of what is owned, then the snapshot: in this order, as the pipeline does."""
        if self.writing is None:
            owned = self.owned
            cycle = self.core.cycle()
            self.writing = (cycle, owned) if cycle else None

    def end_cycle(self, fate: Fate) -> bool:
        """Let the transaction become what it may; one of a member that has lost a partition since is fenced."""
        assert self.writing is not None
        (cycle, owned), self.writing = self.writing, None
        fenced = owned != self.owned or not set(cycle.offsets) <= owned
        if fenced or fate is Fate.ABORTED:
            return False
        self.world.commit(cycle)
        if fate is Fate.DURABLE:
            self.core.durable(cycle)
        return fate is Fate.DURABLE

    def cycle(self) -> None:
        """Write a whole cycle that becomes durable, unless it is fenced."""
        self.writing = None
        self.begin_cycle()
        if self.writing is not None:
            self.end_cycle(Fate.DURABLE)

    def give_up(self, partitions: Iterable[TopicPartition], *, in_time: bool) -> None:
        """Have partitions revoked: finish what an orderly end needs, or run out of time, write a cycle, release."""
        partitions = [tp for tp in partitions if tp in self.owned]
        self.core.drain(partitions)
        if in_time:
            self._drain(partitions)
        self.cycle()
        for tp in partitions:
            again = self.delivered.get(tp, -1) >= self.world.log.committed.get(tp, 0)
            assert not (in_time and again), f"{tp}: the next owner will deliver {self.delivered[tp]} again"
        self.core.release(partitions)
        for tp in partitions:
            del self.world.owners[tp]

    def _drain(self, partitions: list[TopicPartition]) -> None:
        for _ in range(PATIENCE):
            if self.core.drained(partitions):
                return
            self.turn()
            for _ in list(self.in_flight):
                self.answer(0, Answers.DELIVERED)
            self.cycle()
            self.world.clock.advance(5)
        raise AssertionError(f"{partitions} are never drained")

    def work_off(self) -> None:
        """Deliver all that is there in its partitions, to receivers that are well."""
        for _ in range(PATIENCE):
            self.fetch(100)
            self.turn()
            for _ in list(self.in_flight):
                self.answer(0, Answers.DELIVERED)
            self.cycle()
            self.world.clock.advance(60)
            ends = {tp: len(self.world.log.records.get(tp, [])) for tp in self.owned}
            if all(self.world.log.committed.get(tp, 0) == end for tp, end in ends.items()):
                return
        raise AssertionError(f"it does not come to rest: {self.world.log.committed} of {ends}")


def where(record: Record) -> tuple[TopicPartition, int]:
    """Return what tells a record from all others."""
    return TopicPartition(record.topic, record.partition), record.offset
