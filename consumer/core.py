"""The heart: records, answers and the time go in; attempts, reads, pauses and cycles come out. It does no I/O.

    record ─ decode ─ route ─ dispatch ─ attempt ─ outcome ─ delivered, owed, or a dead letter ─ cycle

The broker and the transport carry out what it says, so its guarantees can be tried without either:
nothing is committed above what is neither finished nor durably owed, a lane goes on only when its head is finished, and
a dead letter counts as finished only when the cycle that holds it is durable.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from consumer.attempts import Attempt, Attempts, Spans
from consumer.awaited import Awaited
from consumer.breaker import BreakerSettings
from consumer.catchup import CatchUp, Order
from consumer.changeover import Changeover
from consumer.codec import Undecodable, Unfetched
from consumer.control import NOTHING
from consumer.cycle import Cycle, Letter, Outbox, settle_states
from consumer.deadletter import DeadLetter, Stage
from consumer.delivery import Delivery, Place, delivery_id
from consumer.dispatcher import Bounds, Dispatcher
from consumer.event import Event, Record, TopicPartition
from consumer.flow import Flow
from consumer.notices import Notice, Notices
from consumer.partition import Partition
from consumer.patience import Limits, Patience
from consumer.poison import LIMIT, Poison, Stop
from consumer.reading import Concern, Reading, Unread
from consumer.retry import RETRY_DELAYS, Delays, QuickRetries
from consumer.state import state_key
from consumer.steward import Steward
from consumer.story import Story
from consumer.tally import Tally, tally
from consumer.tracecontext import trace_of

if TYPE_CHECKING:
    from consumer.clock import Clock
    from consumer.codec import Codec, Writer
    from consumer.control import Note
    from consumer.framing import Reference
    from consumer.metrics import Metrics
    from consumer.router import Router
    from consumer.state import State
    from consumer.subscriptions import Subscription
    from consumer.wire import Answer

STAGED = 1000  # records fetched ahead of their turn, a partition: enough to bridge a pause and its end
QUANTUM = 25  # records that a partition lets in before it is the next one's turn


@dataclass(frozen=True)
class CoreSettings:
    """The numbers of DESIGN 2.4 that the core keeps to; sizes in bytes, times in seconds."""

    topic: str = "sprintly.events"
    dead_letter_topic: str = "sprintly.events.dlq"
    state_topic: str = "sprintly.events.state"
    control_topic: str = "sprintly.events.control"
    bounds: Bounds = field(default_factory=Bounds)
    breaker: BreakerSettings = field(default_factory=BreakerSettings)
    max_buffered: int = 64 * 1024 * 1024
    quick_attempts: int = 3
    quick_window: float = 5.0
    retry_delays: tuple[float, ...] = RETRY_DELAYS
    limits: Limits = field(default_factory=Limits)
    catch_up: int = 500  # unfinished deliveries with which a flow that is behind still reads on
    cycle_bytes: int = 8_000_000
    poison_limit: int | None = LIMIT  # records in a row that nobody can read; None goes on whatever comes


class Core:
    """Everything that one replica decides."""

    def __init__(
        self,
        settings: CoreSettings,
        codec: Codec,
        router: Router,
        clock: Clock,
        metrics: Metrics,
        *,
        verbose: bool = False,
        spans: Spans | None = None,
    ) -> None:
        """Decide by these settings; with `verbose`, `notices` tell of each attempt. `spans` makes spans of them."""
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._reading = Reading(settings.topic, codec, router)
        self._dispatcher = Dispatcher(settings.bounds, settings.breaker)
        self._partitions: dict[TopicPartition, Partition] = {}
        self._outbox = Outbox(
            settings.dead_letter_topic, settings.state_topic, settings.control_topic, settings.cycle_bytes
        )
        self._awaited = Awaited()
        self._notices = Notices()
        self._story = Story(self._notices, clock, verbose=verbose)
        self._steward = Steward(
            settings.topic,
            self._dispatcher,
            self._reading,
            self._outbox,
            clock=clock,
            metrics=metrics,
            notices=self._notices,
        )
        self._changeover = Changeover(self._dispatcher, self._reading, self._notices)
        self._attempts = Attempts(
            self._dispatcher,
            self._outbox,
            QuickRetries(settings.quick_attempts, settings.quick_window),
            Delays(settings.retry_delays),
            clock=clock,
            metrics=metrics,
            notices=self._notices,
            story=self._story,
            spans=spans,
            gone=self._steward.gone,
        )
        self._catch_up = CatchUp(
            self._dispatcher,
            self._reading,
            self._attempts,
            self._refusal,
            self._awaited,
            room=settings.catch_up,
            budget=settings.max_buffered // 4,
        )
        self._patience = Patience(settings.limits, self._dispatcher, self._attempts, lambda: self.owed)
        self._poison = Poison(settings.poison_limit)
        self._full = False  # whether the buffer is, with hysteresis
        self.held = False  # while nothing can be made durable, nothing new begins, and nothing is let in

    def subscribe(self, router: Router, aside: frozenset[str] = frozenset()) -> None:
        """Deliver to these subscriptions from now on; those of them that are set `aside` wait, as if disabled.

        Subscription and service are compared by identity: who has changed nothing is the same object as before. A new
        subscription begins with the next event that is let in, one that was gone with what it is owed.
        """
        self._dispatcher.wake(self._clock.monotonic(), self._clock.time())
        self._reading.route_by(router)
        self._changeover.carry_out()
        for partition in self._partitions.values():
            back = [id_ for id_ in partition.orphans if self._reading.subscription(id_) is not None]
            for id_ in back if not partition.draining else ():
                self._load(partition, partition.orphans.pop(id_))
                self._dispatcher.begin_anew(partition.flows[id_])
        self._changeover.set_aside(self._partitions.values(), aside)

    # -- assignment

    def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Take partitions over; their records are accepted once `begin` has said what is owed there."""
        for tp in partitions:
            if tp in self._partitions:
                self.release([tp])
            self._partitions[tp] = Partition(tp, self._clock.time())

    def begin(
        self,
        tp: TopicPartition,
        offset: int,
        states: Iterable[State] = (),
        topic_id: str = "",
        applied: Note | None = NOTHING,
    ) -> None:
        """Begin a partition at its committed offset, with what its former owners left owed.

        `applied` is how much of the control topic they have carried out; None where nobody knows.
        What was said since is carried out now, as far as `told` has told it.
        """
        partition = self._partitions.get(tp)
        if partition is None or partition.begun:
            return
        self._dispatcher.wake(self._clock.monotonic(), self._clock.time())
        partition.begin(offset, topic_id, applied)
        states = list(states)
        partition.calendar.remember([s for s in states if not _is_void(partition, s)], self._clock.time())
        for state in states:
            self._load(partition, state)
        self._steward.begin(partition, applied)

    def told(self, records: Iterable[Record], end: int, topic: str = "") -> None:
        """Take in what the control topic has up to `end`, and carry it out.

        The records are those from `told_up_to` on; where the topic's id is not that of the last call, they are all.
        """
        self._dispatcher.wake(self._clock.monotonic(), self._clock.time())
        self._steward.told(self._partitions.values(), records, end, topic)

    @property
    def told_up_to(self) -> Note:
        """How much of the control topic `told` has told."""
        return self._steward.known

    def _load(self, partition: Partition, state: State) -> None:
        subscription = self._reading.subscription(state.subscription)
        if subscription is None:  # its state stays where it is, for the day when it comes back
            self._notices.add("warning", "owed to a subscription that is gone", subscription=state.subscription)
            partition.orphans[state.subscription] = state
            return
        flow = self._dispatcher.flow(partition, subscription)
        if _is_void(partition, state):
            self._notices.add("error", "what was owed of a former topic of this name is void", state=state.subscription)
            flow.written = True
            flow.touch()
            return
        heads = flow.load(state)
        flow.channel.in_hand += len(flow.hand)
        for head in heads:
            self._dispatcher.place_owed(head)
        if flow.next is not None:
            partition.reading[flow] = None

    def spread(self, share: float) -> None:
        """Take in which share of all partitions this replica reads: that much it uses of a rate that is declared."""
        self._dispatcher.spread(share)

    def drain(self, partitions: Iterable[TopicPartition] | None = None) -> None:
        """Begin to give up partitions (all of them without an argument): take nothing in, begin nothing."""
        selected = self._select(partitions)
        self._leave_waiting(selected)
        for partition in selected:
            partition.drain()

    def drained(self, partitions: Iterable[TopicPartition] | None = None) -> bool:
        """Whether nothing is in flight any more in draining partitions."""
        return not any(partition.flying for partition in self._select(partitions))

    def rewind(self, partitions: Iterable[TopicPartition] | None = None) -> None:
        """Make what was begun in draining partitions and is not finished owed; the rest their next owner reads."""
        for partition in self._select(partitions):
            partition.rewind()

    def settled(self, partitions: Iterable[TopicPartition] | None = None) -> bool:
        """Whether all that is to be said of partitions is durable."""
        selected = self._select(partitions)
        return not self._outbox.holds(selected) and all(
            not (partition.dirty or partition.tombstones) and partition.commit(None, set()) == partition.committed
            for partition in selected
            if partition.begun
        )

    def release(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget partitions: their next owner begins at the committed watermark, with what is owed."""
        selected = self._select(list(partitions))
        self._leave_waiting(selected)
        for partition in selected:
            partition.gone = True
            del self._partitions[partition.tp]
            self._dispatcher.forget(partition)
            self._outbox.forget(partition)

    def _leave_waiting(self, partitions: Sequence[Partition]) -> None:
        self._awaited.leave([*partitions, *(partition.scan for partition in partitions)])

    def _select(self, partitions: Iterable[TopicPartition] | None) -> list[Partition]:
        if partitions is None:
            return list(self._partitions.values())
        return [self._partitions[tp] for tp in partitions if tp in self._partitions]

    # -- records in

    def received(self, records: Iterable[Record]) -> None:
        """Take in fetched records; those of partitions that are not (or no longer) ours are left to their owner."""
        partitions = self._partitions
        for record in records:
            partition = partitions.get(TopicPartition(record.topic, record.partition))
            if partition is not None and partition.begun and not partition.draining:
                partition.stage(record)

    def admit(self) -> None:
        """Let staged records in, each partition in turn, until enough could begin."""
        now = self._clock.monotonic()
        for partition in list(self._partitions.values()):
            if self._dispatcher.has_enough():
                break
            if self._is_open(partition):
                self._admit_some(partition, now)
                self._partitions[partition.tp] = self._partitions.pop(partition.tp)  # the others have their turn first

    @property
    def could_admit(self) -> bool:
        """Whether `admit` would let anything in now."""
        return any(map(self._is_open, self._partitions.values())) and not self._dispatcher.has_enough()

    def _is_open(self, partition: Partition) -> bool:
        if not partition.staged or partition.awaiting is not None or self._is_closed(partition):
            return False
        return self._dispatcher.unblocked(partition)

    def _admit_some(self, partition: Partition, now: float) -> None:
        for _ in range(min(QUANTUM, len(partition.staged))):
            record = partition.unstage()
            if record.timestamp >= partition.calendar.due:
                partition.calendar.note(record.offset, record.timestamp / 1000, self._clock.time())
            self._take_in(partition, record)
            if partition.blocked:
                self._patience.go_on_without(partition)
            if partition.stopped or self._is_closed(partition):
                break
        partition.note(now)

    def _is_closed(self, partition: Partition) -> bool:
        """Whether nothing is let in whatever the bounds: nothing becomes durable, or the producer must be broken.

        What an operator replays was not written by that producer, and goes on.
        """
        return self.held or (self._poison.stop is not None and partition.tp.topic == self._settings.topic)

    def _take_in(self, partition: Partition, record: Record) -> None:
        concern = self._reading.concern(record)
        if isinstance(concern, Unread):
            self._unreadable(partition, record, concern)
            return
        if not concern.subscriptions:
            self._nothing_to_do(partition, record, concern)
            return
        # Decoded even where all whom it concerns are behind: they pass what nobody can read, once it is a dead letter.
        event = self._reading.event(record, concern)
        if isinstance(event, Unread):
            self._unreadable(partition, record, event)
            return
        flows = self._takers(partition, record.offset, concern.subscriptions)
        if flows:
            self._dispatch(partition, event, flows, 0 if concern.entry is None else concern.entry.replays)
        else:
            self._nothing_to_do(partition, record, concern)

    def _takers(self, partition: Partition, offset: int, subscriptions: Iterable[Subscription]) -> list[Flow]:
        """Return the flows that take an event now: not those that are behind, or know that it is owed."""
        flows = []
        for subscription in subscriptions:
            flow = partition.flows.get(subscription.id) or self._dispatcher.flow(partition, subscription)
            if flow.next is not None or (flow.taken_over and flow.passes(offset)):
                continue
            if flow.channel.closed or (flow.owed and self.owed >= self._settings.limits.owed):
                flow.fall_behind(offset)
            else:
                flows.append(flow)
        return flows

    def _dispatch(self, partition: Partition, event: Event, flows: Sequence[Flow], replays: int) -> None:
        if event.origin is event.record:
            self._poison.good()
        partition.offsets.received(event.record.offset, len(flows))
        self._metrics.events.add(event.model, event.action)
        event.account = partition
        event.holders = 1  # ours, until it is handed out
        for flow in flows:
            if replays:
                self._tell_of_replay(flow.channel.subscription, event, replays)
            self._dispatcher.add(flow, event, replays)
        event.release()

    def _tell_of_replay(self, subscription: Subscription, event: Event, replays: int) -> None:
        id_ = delivery_id(event.origin, subscription.id)
        self._story.replayed(id_, event, subscription.id, subscription.service.name, replays)

    def _nothing_to_do(self, partition: Partition, record: Record, concern: Concern) -> None:
        entry = concern.entry
        if entry is not None and entry.subscription and self._reading.subscription(entry.subscription) is None:
            error = f"the subscription {entry.subscription} is not there any more, or is disabled"
            self._post_record(partition, record, replace(entry, reason="no-subscription", error=error))
            return
        if concern.head is not None:
            self._poison.good()
            self._metrics.events.add(concern.head.model, concern.head.action)
        partition.offsets.received(record.offset, 0)
        partition.bytes -= record.size

    # -- schemas that a registry has to be asked for

    @property
    def awaited(self) -> Awaited:
        """The schemas that partitions wait for; each ends by `learned` or `refused`."""
        return self._awaited

    def learned(self, reference: Reference, writer: Writer) -> None:
        """Take in a schema that was fetched: who waited for it goes on."""
        self._reading.learn(reference, writer)
        self._awaited.arrived(reference)

    def refused(self, reference: Reference, reason: str) -> None:
        """Take in that there is no such schema: what was written with it is poison."""
        self._awaited.refuse(reference, reason, self._clock.monotonic())

    def _refusal(self, reference: Reference) -> str | None:
        return self._awaited.refusal(reference, self._clock.monotonic())

    def _unreadable(self, partition: Partition, record: Record, unread: Unread) -> None:
        """Hold the partition for a schema that may be had; what nobody can read is a dead letter."""
        why = unread.why
        if isinstance(why, Unfetched):
            refusal = self._refusal(why.reference)
            if refusal is None:
                partition.put_back(record)
                self._awaited.wait(partition, why.reference)
                return
            why = Undecodable(refusal)
        if record.topic == self._settings.topic:
            self._poison.bad(record, why.reason)
        # A replayed entry keeps its id and its subscription: it still concerns nobody else.
        letter = unread.entry or DeadLetter(delivery_id(record, ""), record, Stage.DECODE, "", "")
        self._post_record(partition, record, replace(letter, stage=Stage.DECODE, reason="poison", error=why.reason))

    def _post_record(self, partition: Partition, record: Record, letter: DeadLetter) -> None:
        partition.offsets.received(record.offset, 1)
        partition.attempted = max(partition.attempted, record.offset)  # it must not be left to the next owner
        self._outbox.post(Letter(partition, letter, record=record))

    # -- the log read again

    def reads(self) -> Iterator[Order]:
        """Yield what is to be read from the log now; its records are to be brought back by `read_again`."""
        return iter(()) if self.held else self._catch_up.orders(list(self._partitions.values()))

    def read_again(self, order: Order, records: list[Record], end: int, begin: int = 0) -> None:
        """Take in everything that the log has from `order.offset` up to `end`; `begin` is above it if that expired."""
        self._dispatcher.wake(self._clock.monotonic(), self._clock.time())
        if records:
            last = records[-1]
            order.partition.calendar.note(last.offset, last.timestamp / 1000, self._clock.time())
        self._catch_up.take_in(order, records, end, begin)

    def read_failed(self, order: Order) -> None:
        """Take in that nothing could be read; it will be asked for again."""
        self._catch_up.failed(order)

    def log_begins(self, tp: TopicPartition, begin: int, expiring: int) -> None:
        """Take in where a partition's log begins now, and below which offset it is about to expire."""
        partition = self._partitions.get(tp)
        if partition is None:
            return
        self._steward.expire(partition, begin, expiring)
        for flow in partition.flows.values():
            if flow.next is not None and flow.next < begin:
                self._attempts.vanished(flow, begin - flow.next)
                flow.reach(begin)
            flow.expiring = expiring
            for head in [d for d in flow.heads() if d.offset < expiring and d.place in (Place.WAITING, Place.WANTING)]:
                if head.event is None:
                    flow.expire(head, expiring)
            if flow.next is not None and flow.next < expiring:
                partition.reading[flow] = None

    # -- attempts

    def attempts(self) -> Iterator[Attempt]:
        """Yield the requests to send now; the answer to each is to be brought back by `answered`."""
        self._dispatcher.wake(self._clock.monotonic(), self._clock.time())
        return iter(()) if self.held else self._attempts.begin()

    @property
    def next_due(self) -> float | None:
        """When `attempts` has something to do again by the passing of time alone (monotonic seconds)."""
        return self._dispatcher.next_due

    def answered(self, delivery: Delivery, answer: Answer) -> None:
        """Take in how an attempt ended."""
        self._attempts.answered(delivery, answer)

    def tick(self) -> None:
        """Do what the passing of time asks for; to be called some times a second."""
        now = self._clock.monotonic()
        self._dispatcher.wake(now, self._clock.time())
        self._patience.tick(self._partitions.values(), now)
        self._story.tick()
        self._changeover.retire()

    # -- cycles

    def cycle(self, *, prove: bool = False) -> Cycle:
        """Return what is to be made durable now; an empty cycle (false) when there is nothing.

        It finishes nothing: a cycle that fails is simply asked for again. To `prove` that cycles become durable again,
        there is one wherever a partition has begun.
        """
        return self._outbox.cycle(self._partitions.values(), prove=prove)

    def durable(self, cycle: Cycle) -> None:
        """Take in that a cycle is durable: its dead letters are finished and free their lanes."""
        unchanged = [snapshot.flow for snapshot in cycle.snapshots if snapshot.version == snapshot.flow.version]
        settle_states(cycle)
        self._outbox.settle(cycle)
        for letter in self._outbox.take(cycle):
            self._count(letter.content)
            self._story.dead(letter.content, trace_of(letter.content.origin.headers))
            if letter.delivery is not None:
                self._dispatcher.settle(letter.delivery)
            elif letter.record is not None:
                letter.partition.offsets.finished(letter.record.offset)
                letter.partition.bytes -= letter.record.size
        for flow in unchanged:
            flow.clean(flow.version)  # the states that were written were without these letters
        for partition, watermark in cycle.watermarks.items():
            partition.committed = watermark

    def _count(self, letter: DeadLetter) -> None:
        self._metrics.dead_letters.add(letter.stage.value, letter.reason)
        if letter.service:
            self._metrics.deliveries.add(letter.service, "dead")

    def shrink(self, keys: frozenset[bytes], limit: int) -> None:
        """Cut the values of dead letters that the broker refuses for their size, and set such states aside."""
        self._outbox.shrink(keys, limit)
        for partition in self._partitions.values():
            for flow in partition.dirty:
                if state_key(flow.channel.subscription.id, partition.tp) in keys:
                    flow.refused = flow.owed
                    self._notices.add(
                        "error",
                        "the state topic takes no record of this size: see its max.message.bytes",
                        subscription=flow.channel.subscription.id,
                        partition=str(partition.tp),
                        owed=flow.owed,
                    )

    # -- backpressure

    def pauses(self) -> tuple[list[TopicPartition], list[TopicPartition]]:
        """Return the partitions to pause and those to resume since the last call."""
        self._full = self.buffered > self._settings.max_buffered // (2 if self._full else 1)
        share = self._settings.max_buffered // (2 * max(1, len(self._partitions)))
        pause, resume = [], []
        for partition in self._partitions.values():
            if not partition.begun:
                continue
            if not partition.paused and self._has_enough(partition, share):
                partition.paused = True
                pause.append(partition.tp)
            elif partition.paused and self._wants_more(partition, share):
                partition.paused = False
                resume.append(partition.tp)
        return pause, resume

    def _has_enough(self, partition: Partition, share: int) -> bool:
        staged = len(partition.staged)
        return partition.draining or staged >= STAGED or partition.staged_bytes > share or self._full

    def _wants_more(self, partition: Partition, share: int) -> bool:
        """Ask for more well below the point of pausing: a pause throws away what was prefetched."""
        low = len(partition.staged) < STAGED // 4 and partition.staged_bytes <= share // 4
        return low and not partition.draining and not self._full

    # -- what can be seen

    def notices(self) -> list[Notice]:
        """Return, once, what the person who runs it should read."""
        return self._notices.take()

    @property
    def poisoned(self) -> Stop | None:
        """Why no further event is let in: too many records could not be read. It is so until a restart."""
        return self._poison.stop

    @property
    def buffered(self) -> int:
        """Bytes of records that are staged or in hand."""
        return sum(partition.bytes for partition in list(self._partitions.values()))

    @property
    def read_again_bytes(self) -> int:
        """Bytes of records that were read again and are in memory."""
        return self._catch_up.bytes

    @property
    def in_flight(self) -> int:
        """Attempts under way."""
        return self._dispatcher.in_flight

    @property
    def in_hand(self) -> int:
        """Unfinished deliveries."""
        return self._dispatcher.in_hand

    @property
    def owed(self) -> int:
        """Deliveries in hand that are owed."""
        return sum(partition.owed for partition in list(self._partitions.values()))

    def tally(self) -> Tally:
        """Return what is owed and how subscriptions stand, by service."""
        partitions = list(self._partitions.values())
        return tally(partitions, self._reading.subscriptions, self._dispatcher, self._clock.time())

    def watermarks(self) -> dict[TopicPartition, int]:
        """Return up to where each partition is committed, as far as is known."""
        committed = {tp: partition.committed for tp, partition in list(self._partitions.items())}
        return {tp: commit.offset for tp, commit in committed.items() if commit is not None}

    def owing(self) -> list[TopicPartition]:
        """Return the partitions in which something is owed."""
        return [
            tp
            for tp, partition in self._partitions.items()
            if partition.owed or partition.orphans or any(flow.next is not None for flow in partition.flows.values())
        ]

    @property
    def disabled(self) -> int:
        """Subscriptions that are disabled."""
        return self._steward.disabled

    @property
    def partitions(self) -> tuple[TopicPartition, ...]:
        """What is assigned."""
        return tuple(self._partitions)


def _is_void(partition: Partition, state: State) -> bool:
    """Whether a state is of a former topic of this name."""
    return bool(state.topic_id and partition.topic_id) and state.topic_id != partition.topic_id
