"""The production core with attempts in flight, reads under way, a place in each partition, perhaps a cycle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from itertools import islice, product
from typing import TYPE_CHECKING

from harness import LETTERS, OK, TOPIC
from simulated.audit import DELAYS
from simulated.log import SCHEMA_ID, STATES, TOPIC_ID
from simulated.receivers import Flight, Item

import schemas
from consumer.breaker import BreakerSettings
from consumer.catchup import Order
from consumer.codec import Codec, WriterSchema, compile_schema
from consumer.control import NOTHING, Kind, Word, Words, read_note, write_note
from consumer.core import Core, CoreSettings
from consumer.cycle import Cycle
from consumer.delivery import Place
from consumer.dispatcher import Bounds
from consumer.event import TopicPartition
from consumer.metrics import Metrics
from consumer.partition import Partition
from consumer.patience import Limits
from consumer.router import Router
from consumer.subscriptions import Subscription
from consumer.wire import Answer, AnswerKind

if TYPE_CHECKING:
    from simulated.world import World

WRITER = compile_schema(WriterSchema(schemas.load()))
BOUNDS = Bounds(
    in_flight=6,
    in_flight_per_subscription=4,
    first_in_flight=2,
    in_hand=9,
    in_hand_per_partition=6,
    ready=3,
    threads=2,
    threads_per_subscription=1,
)
SETTINGS = CoreSettings(
    topic=TOPIC,
    dead_letter_topic=LETTERS,
    state_topic=STATES,
    bounds=BOUNDS,
    breaker=BreakerSettings(failures=4, refusals=5, lanes=2, silence=60, first_probe=2, longest_pause=20),
    max_buffered=1200,
    quick_attempts=2,
    quick_window=3.0,
    retry_delays=DELAYS,
    limits=Limits(hold=5, owed=14, followers=3, attempt=15),
    catch_up=3,
    cycle_bytes=1200,
)
GRAIN = 0.3  # seconds by which time may be taken less exactly
SLACK = 4  # by which a bound may be passed: by what one record adds, by a probe, by what a take-over finds
LOST = Answer(AnswerKind.TRANSIENT, error="connection reset")


class Fate(Enum):
    """What becomes of a transaction. In doubt: it is durable, and its writer is told that it is not."""

    DURABLE = "durable"
    ABORTED = "aborted"
    IN_DOUBT = "in doubt"


@dataclass
class Writing:
    """A cycle on its way: with the membership from before its snapshot, and whether its offsets are sent."""

    cycle: Cycle
    epoch: int
    sent: bool = False


class Replica:
    """One member of the group; a zombie is one that the group does not know any more."""

    def __init__(self, world: World, shifting: Subscription | None, subscriptions: tuple[Subscription, ...]) -> None:
        self.world = world
        self.shifting = shifting
        self.subscriptions = {each.id: each for each in subscriptions}
        self.aside: frozenset[str] = frozenset()
        self.core = Core(SETTINGS, Codec(registry=True), Router(subscriptions), world.clock, Metrics())
        self.epoch = 0  # as the group has told it
        self.flights: list[Flight] = []
        self.orders: list[Order] = []
        self.read: dict[TopicPartition, int] = {}  # of those that have begun
        self.paused: set[TopicPartition] = set()
        self.rewound: dict[TopicPartition, bool] = {}  # of those that are being given up: whether time is over
        self.writing: Writing | None = None
        self.heard = Words()
        self.passed: dict[tuple[str, TopicPartition], int] = {}  # up to where an operator had it pass over events
        self._positions: dict[Partition, list[tuple[float, int]]] = {}  # how far each was let in, by the time

    # -- subscriptions

    def change(self, id_: str, now: Subscription | None, *, aside: bool = False) -> None:
        """Have another subscription come in under an id; or none; or the same, set aside."""
        self.subscriptions.pop(id_, None)
        if now is not None:
            self.subscriptions[id_] = now
        if id_ == "shifting":
            self.shifting = now
        self.aside = (self.aside - {id_}) | ({id_} if aside and now is not None else set())
        self.core.subscribe(Router(tuple(self.subscriptions.values())), self.aside)
        if id_ == "shifting":
            for tp in self.read:
                self._declined(tp, self.core._partitions[tp].position)

    def _declined(self, tp: TopicPartition, end: int, begin: int = 0) -> None:
        """Tell the audit that what lies there may be passed over as not wanted, unless that is a zombie's doing."""
        if self in self.world.epochs:
            self.world.audit.declined(tp, begin, end, self.shifting)

    # -- partitions

    def assign(self, tp: TopicPartition) -> None:
        self.core.assigned([tp])
        self.paused.discard(tp)
        self.read.pop(tp, None)

    def begin(self, tp: TopicPartition) -> None:
        """Begin where the committed offset is, with what is owed."""
        log = self.world.log
        self.read[tp] = log.committed.get(tp, 0)
        applied = read_note(log.notes.get(tp, write_note(NOTHING)))
        if not self.core.told_up_to.covers(applied or NOTHING):
            self.hear()  # it must know as much as those before it
        self.core.begin(tp, self.read[tp], log.states_of(tp), TOPIC_ID, applied)
        words = self.heard.since(self.heard.end if applied is None else applied.offset)
        for word in words:
            if word.kind is Kind.BACKFILL:
                self.world.audit.said_again(word.subscription, tp)
        self._carried_out([tp], words)

    def hear(self) -> None:
        """Take in what was said of subscriptions since the last time, and carry it out."""
        log, begin = self.world.log, self.core.told_up_to.offset
        words, _ = self.heard.take(log.control[begin:], len(log.control))
        self.core.told(log.control[begin:], len(log.control))
        self._carried_out([tp for tp in self.read if self.core._partitions[tp].begun], words)

    def _carried_out(self, partitions: Iterable[TopicPartition], words: Iterable[Word]) -> None:
        """Tell the audit what operators' words do to partitions, unless it is a zombie's doing."""
        audit, member = self.world.audit, self in self.world.epochs
        for word, tp in product(words, partitions):
            partition, id_ = self.core._partitions[tp], word.subscription
            if partition.draining:
                continue
            if word.skip:
                self.passed[id_, tp] = partition.position
                if member:
                    audit.skipped(id_, tp, partition.position)
            elif word.kind is Kind.BACKFILL and member and tp.topic == TOPIC and id_ in self.world.steady:
                audit.wanted_again(id_, tp, dict(word.offsets)[tp.partition], partition.position)

    def drain(self, tp: TopicPartition) -> None:
        self.rewound[tp] = False
        self.core.drain([tp])

    def rewind(self, tp: TopicPartition) -> None:
        self.rewound[tp] = True
        self.core.rewind([tp])

    def release(self, tp: TopicPartition) -> None:
        self.core.release([tp])
        self.read.pop(tp, None)
        self.rewound.pop(tp, None)

    # -- work

    def fetch(self, most: int) -> None:
        """Take in the next records of what is not paused; a zombie goes on with what it had fetched."""
        for tp in list(self.read):
            if tp in self.paused:
                continue
            records, self.read[tp] = self.world.log.read(tp, self.read[tp], most)
            self.core.received(records)

    def turn(self, most: int) -> bool:
        """Let in, begin and ask for what there is; True if that was anything."""
        staged = {partition: list(partition.staged) for partition in self.core._partitions.values()}
        self.core.admit()
        for partition, records in staged.items():
            for record in records[: len(records) - len(partition.staged)]:
                self.world.audit.shown(record, self.shifting, owed=self._owes(partition, record.offset))
        more = self.core.could_admit
        started = list(islice(self.core.attempts(), most))
        for attempt in started:
            self._begun(attempt)
        orders = list(self.core.reads())
        self.orders += orders
        pause, resume = self.core.pauses()
        self.paused = (self.paused | set(pause)) - set(resume)
        return bool(more or started or orders)

    def _owes(self, partition: Partition, offset: int) -> bool:
        """Whether the changing subscription will get an event although it is not there: what is in memory counts."""
        flow = partition.flows.get("shifting")
        if flow is None:
            return self.world.log.owes("shifting", partition.tp, offset)
        return offset in flow.hand or (flow.next is not None and offset >= flow.next)

    def _begun(self, attempt: object) -> None:
        delivery = attempt.delivery  # type: ignore[attr-defined]
        event, flow = delivery.event, delivery.flow
        origin = event.origin
        if delivery.lane is not None:
            lanes = [(f.attempt.delivery.flow, f.attempt.delivery.lane) for f in self.flights]
            assert (flow, delivery.lane) not in lanes, f"two attempts of one lane at once: {event.record}"
        id_ = flow.channel.subscription.id
        assert not self.heard.is_off(id_), f"{id_} is disabled"
        assert id_ not in self.aside, f"{id_} is set aside"
        assert id_ in self.subscriptions, f"{id_} is gone"
        tp = TopicPartition(event.record.topic, event.record.partition)
        self.world.audit.attempted(id_, event.record, self.shifting, self.passed.get((id_, tp), 0))
        item = Item(id_, TopicPartition(origin.topic, origin.partition), origin.offset)
        last = delivery.requests is None or delivery.step == len(delivery.requests) - 1
        self.flights.append(Flight(attempt, item, self.world.clock.monotonic(), last))  # type: ignore[arg-type]

    def answer(self, index: int, *, lost: bool = False, wait: str | None = None) -> bool:
        """End an attempt, if its destination lets it end; what was delivered may look as if it had been `lost`."""
        if not self.flights:
            return False
        flight = self.flights[index % len(self.flights)]
        answer = self.world.receivers.answer(flight, self.world.clock.monotonic(), wait)
        if answer is None:
            return False
        self.flights.remove(flight)
        if answer is OK and flight.last:
            self.world.audit.got(flight.item)
        self._learn_of(flight, LOST if answer is OK and lost else answer)
        return True

    def _learn_of(self, flight: Flight, answer: Answer) -> None:
        """Take in an answer; what fails while its destination is believed down uses up no attempt."""
        delivery = flight.attempt.delivery
        down, attempts = delivery.flow.channel.breaker.open, delivery.attempts
        self.core.answered(delivery, answer)
        if down and answer is not OK and answer.kind is not AnswerKind.BROKEN and not flight.gone:
            assert delivery.attempts == attempts, f"{flight.item}: an outage used up an attempt"
            assert delivery.place is not Place.ENDING, f"{flight.item} was given up in an outage"

    def read_log(self, index: int, most: int, *, fails: bool = False) -> None:
        """Carry out an order to read the log again, as far as `most` records."""
        if not self.orders:
            return
        order = self.orders.pop(index % len(self.orders))
        if fails:
            self.core.read_failed(order)
        else:
            records = self.world.log.read(order.partition.tp, order.offset, min(most, order.most))
            self._declined(order.partition.tp, records[1], order.offset)
            self.core.read_again(order, *records)

    def end(self) -> None:
        """Let all that is under way end, whatever it was."""
        for flight in self.flights:
            self.core.answered(flight.attempt.delivery, LOST)
        self.flights.clear()
        while self.orders:
            self.read_log(0, 3)

    def tick(self) -> None:
        self.core.tick()
        self.core.notices()
        self._check_hold()

    def learn(self, *, there: bool) -> None:
        """Have the registry answer."""
        if not self.core.awaited:
            return
        if there:
            self.core.learned(SCHEMA_ID, WRITER)
        else:
            self.core.refused(SCHEMA_ID, "not found")

    # -- cycles

    def begin_cycle(self) -> None:
        """Take the membership, then the snapshot: in this order."""
        if self.writing is None:
            epoch = self.epoch
            cycle = self.core.cycle()
            self.writing = Writing(cycle, epoch) if cycle else None

    def send_cycle(self) -> None:
        """Have the broker take the offsets; one of a membership that is over is fenced. Without any it is not asked."""
        writing = self.writing
        if writing is None or writing.sent:
            return
        if writing.cycle.offsets and self.world.epochs.get(self) != writing.epoch:
            self.writing = None
        else:
            writing.sent = True

    def end_cycle(self, fate: Fate) -> None:
        """Let the transaction become what it may."""
        self.send_cycle()
        writing, self.writing = self.writing, None
        if writing is None or fate is Fate.ABORTED:
            return
        self.world.commit(writing.cycle, self)
        if fate is Fate.DURABLE:
            self.core.durable(writing.cycle)

    def cycle(self, fate: Fate = Fate.DURABLE) -> bool:
        """Write a whole cycle; False if there is nothing to write."""
        self.begin_cycle()
        there = self.writing is not None
        self.end_cycle(fate)
        return there

    # -- what has to hold

    def check(self) -> None:
        """Check that all bounds are kept."""
        core = self.core
        assert core.in_flight == len(self.flights), f"it believes {core.in_flight} of {len(self.flights)} in flight"
        assert core.in_flight <= BOUNDS.in_flight, f"{core.in_flight} in flight"
        flying = Counter(flight.item.subscription for flight in self.flights)
        assert not flying or max(flying.values()) <= BOUNDS.in_flight_per_subscription, f"{flying} in flight"
        assert flying["threaded"] <= BOUNDS.threads_per_subscription, "more threads than a subscription may have"
        budget = SETTINGS.max_buffered // 4
        assert core.read_again_bytes <= budget + self.world.log.largest, (
            f"{core.read_again_bytes} bytes read again are in memory"
        )
        for partition in core._partitions.values():
            for flow in partition.flows.values():
                most = BOUNDS.in_hand_per_partition + SLACK
                assert len(flow.hand) <= most, f"{flow.channel.subscription.id} has {len(flow.hand)} in hand"

    def _check_hold(self) -> None:
        """Check that nothing that was let in long ago holds a watermark and is not owed."""
        now = self.world.clock.monotonic()
        for partition in self.core._partitions.values():
            self._positions.setdefault(partition, []).append((now, partition.position))
        for partition, positions in list(self._positions.items()):
            if partition.gone or partition.draining:
                del self._positions[partition]
                continue
            held = [position for at, position in positions if at <= now - SETTINGS.limits.hold - GRAIN][-1:]
            for flow in partition.flows.values() if held else ():
                late = [
                    delivery.offset
                    for delivery in flow.hand.values()
                    if delivery.offset < held[0] and not delivery.owed
                ]
                assert not late, (
                    f"{flow.channel.subscription.id}: {late} of {partition.tp} hold the watermark for too long"
                )

    def check_empty(self) -> None:
        """Check that nothing is left in memory."""
        core = self.core
        left = (core.in_hand, core.buffered, core.in_flight, core.read_again_bytes, core.owed)
        assert not any(left), f"in hand, buffered, in flight, read again, owed: {left}"
        assert not core.awaited
