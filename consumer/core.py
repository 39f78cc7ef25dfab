"""The heart: records, answers and the time go in; attempts, pauses and cycles come out. It does no I/O.

    record ─ decode ─ route ─ dispatch ─ attempt ─ outcome ─ finished, or a dead letter ─ cycle

The broker and the transport carry out what it says, so its guarantees can be tried without either:
nothing is committed above what is unfinished, a lane goes on only when its head is finished, and a dead letter counts
as finished only when the cycle that holds it is durable.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from consumer.awaited import Awaited
from consumer.codec import Head, Undecodable, Unfetched
from consumer.cycle import Cycle, Letter, Outbox
from consumer.deadletter import DeadLetter, Stage, read_dead_letter
from consumer.delivery import Delivery, delivery_id
from consumer.dispatcher import Bounds, Dispatcher
from consumer.event import Event, Record, TopicPartition
from consumer.outcome import Outcome, Verdict, outcome_of
from consumer.partition import Partition
from consumer.render import RenderError, render, request_for
from consumer.retry import Doubling, QuickRetries

if TYPE_CHECKING:
    from consumer.clock import Clock
    from consumer.codec import Codec, Writer
    from consumer.framing import Reference
    from consumer.metrics import Metrics
    from consumer.router import Router
    from consumer.subscriptions import Subscription
    from consumer.wire import Answer, Request

STAGED = 1000  # records fetched ahead of their turn, a partition: enough to bridge a pause and its end
THROTTLE = (1.0, 60.0)  # seconds: the first and the longest rest of a subscription that is told no time
QUANTUM = 25  # records that a partition lets in before it is the next one's turn


@dataclass(frozen=True)
class CoreSettings:
    """The numbers of DESIGN 2.4 that the core keeps to; sizes in bytes, times in seconds."""

    topic: str = "sprintly.events"
    dead_letter_topic: str = "sprintly.events.dlq"
    bounds: Bounds = field(default_factory=Bounds)
    max_buffered: int = 64 * 1024 * 1024
    quick_attempts: int = 3
    quick_window: float = 5.0
    cycle_bytes: int = 8_000_000


class Attempt(NamedTuple):
    """A request to send; its answer belongs to the delivery."""

    delivery: Delivery
    request: Request


class Core:
    """Everything that one replica decides."""

    def __init__(self, settings: CoreSettings, codec: Codec, router: Router, clock: Clock, metrics: Metrics) -> None:
        self._settings = settings
        self._codec = codec
        self._router = router
        self._clock = clock
        self._metrics = metrics
        self._dispatcher = Dispatcher(settings.bounds)
        self._retries = QuickRetries(settings.quick_attempts, settings.quick_window)
        self._throttle = Doubling(*THROTTLE)
        self._partitions: dict[TopicPartition, Partition] = {}
        self._outbox = Outbox(settings.dead_letter_topic, settings.cycle_bytes)
        self._awaited = Awaited()
        self._full = False  # whether the buffer is, with hysteresis
        self.held = False  # while nothing can be made durable, nothing new begins

    # -- assignment

    def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Take partitions over; their records are accepted from now on."""
        for tp in partitions:
            if tp in self._partitions:
                self.release([tp])
            self._partitions[tp] = Partition(tp)

    def drain(self, partitions: Iterable[TopicPartition] | None = None) -> None:
        """Begin to give up partitions (all of them without an argument): take nothing in, finish what was begun."""
        selected = self._select(partitions)
        self._awaited.leave(selected)
        for partition in selected:
            partition.drain()

    def drained(self, partitions: Iterable[TopicPartition] | None = None) -> bool:
        """Whether all that was begun in draining partitions is finished, dead letters being durable."""
        return all(partition.drained for partition in self._select(partitions))

    def release(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget partitions: their next owner begins at the committed watermark."""
        selected = self._select(list(partitions))
        self._awaited.leave(selected)
        for partition in selected:
            partition.gone = True
            del self._partitions[partition.tp]
            self._dispatcher.forget(partition)
            self._outbox.forget(partition)

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
            if partition is not None and partition.drain_to is None:
                partition.stage(record)

    def admit(self) -> bool:
        """Let staged records in, each partition in turn, as far as the bounds allow; True if more could follow."""
        more = False
        for partition in list(self._partitions.values()):
            if partition.staged and partition.awaiting is None and self._dispatcher.unblocked(partition):
                self._admit_some(partition)
                more = more or bool(partition.staged and not partition.stopped)
        return more

    def _admit_some(self, partition: Partition) -> None:
        for _ in range(min(QUANTUM, len(partition.staged))):
            self._take_in(partition, partition.unstage())
            if partition.stopped:
                return

    def _take_in(self, partition: Partition, record: Record) -> None:
        if record.topic == self._settings.topic:
            self._take_in_event(partition, record)
        else:
            self._take_in_replay(partition, record)

    def _take_in_event(self, partition: Partition, record: Record) -> None:
        head = self._codec.head(record.value, record.headers)
        if not isinstance(head, Head):
            self._unreadable(partition, record, head)
            return
        self._metrics.events.add(head.model, head.action)
        subscriptions = self._router.route(head.product, head.model, head.action)
        if not subscriptions:
            self._nothing_to_do(partition, record)
            return
        payload = self._codec.decode(record.value, record.headers)
        if not isinstance(payload, dict):
            self._unreadable(partition, record, payload)
            return
        self._dispatch(partition, Event(record, payload), subscriptions, 0)

    def _take_in_replay(self, partition: Partition, record: Record) -> None:
        """A dead letter that an operator sends again: to the subscription that failed, or to all if none was known."""
        try:
            entry = read_dead_letter(record)
        except ValueError as error:
            self._unreadable(partition, record, Undecodable(str(error)))
            return
        payload = self._codec.decode(entry.origin.value, entry.origin.headers)
        if not isinstance(payload, dict):
            self._unreadable(partition, record, payload, entry)
            return
        event = Event(record, payload, entry.origin)
        subscriptions = self._concerned(event, entry)
        if not subscriptions and entry.subscription:
            self._without_subscription(partition, record, entry)
        elif not subscriptions:
            self._nothing_to_do(partition, record)
        else:
            self._dispatch(partition, event, subscriptions, entry.replays)

    def _concerned(self, event: Event, entry: DeadLetter) -> tuple[Subscription, ...]:
        if not entry.subscription:
            return self._router.route(event.product, event.model, event.action)
        subscription = self._router.by_id(entry.subscription)
        return (subscription,) if subscription is not None and subscription.enabled else ()

    # -- schemas that a registry has to be asked for

    @property
    def awaited(self) -> Awaited:
        """The schemas that partitions wait for; each ends by `learned` or `refused`."""
        return self._awaited

    def learned(self, reference: Reference, writer: Writer) -> None:
        """Take in a schema that was fetched: who waited for it goes on."""
        self._codec.learn(reference, writer)
        self._awaited.arrived(reference)

    def refused(self, reference: Reference, reason: str) -> None:
        """Take in that there is no such schema: what was written with it is poison."""
        self._awaited.refuse(reference, reason, self._clock.monotonic())

    def _unreadable(
        self,
        partition: Partition,
        record: Record,
        why: Undecodable | Unfetched,
        entry: DeadLetter | None = None,
    ) -> None:
        """Hold the partition for a schema that may be had; what nobody can read is a dead letter."""
        if isinstance(why, Undecodable):
            self._undecodable(partition, record, why.reason, entry)
            return
        refusal = self._awaited.refusal(why.reference, self._clock.monotonic())
        if refusal is not None:
            self._undecodable(partition, record, refusal, entry)
        else:
            partition.put_back(record)
            self._awaited.wait(partition, why.reference)

    def _dispatch(
        self, partition: Partition, event: Event, subscriptions: tuple[Subscription, ...], replays: int
    ) -> None:
        partition.offsets.received(event.record.offset, len(subscriptions))
        for subscription in subscriptions:
            self._dispatcher.add(partition, event, subscription, replays)

    def _nothing_to_do(self, partition: Partition, record: Record) -> None:
        partition.offsets.received(record.offset, 0)
        partition.bytes -= record.size

    # -- attempts

    def attempts(self) -> Iterator[Attempt]:
        """Yield the requests to send now; the answer to each is to be brought back by `answered`."""
        self._dispatcher.wake(self._clock.monotonic())
        if self.held:
            return
        for delivery in self._dispatcher.take():
            attempt = self._attempt(delivery)
            if attempt is not None:
                yield attempt

    @property
    def next_due(self) -> float | None:
        """When `attempts` has something to do again by the passing of time alone (monotonic seconds)."""
        return self._dispatcher.next_due

    def answered(self, delivery: Delivery, answer: Answer) -> None:
        """Take in how an attempt ended."""
        outcome = outcome_of(answer, self._clock.time())
        subscription = delivery.flow.channel.subscription
        self._metrics.attempts.add(subscription.service.name, outcome.verdict.value)
        self._metrics.attempt_seconds.observe(subscription.service.name, answer.seconds)
        if delivery.flow.partition.gone:
            self._dispatcher.give_up(delivery)  # its next owner attempts it again: nothing may be concluded here
        elif outcome.verdict is Verdict.DELIVERED:
            self._step_done(delivery)
        else:
            self._failed(delivery, outcome)

    def _attempt(self, delivery: Delivery) -> Attempt | None:
        if delivery.requests is None and not self._render(delivery):
            return None
        if delivery.first_attempt is None:
            delivery.first_attempt = self._clock.monotonic()
        assert delivery.requests is not None
        rendered = delivery.requests[delivery.step]
        return Attempt(delivery, request_for(rendered, delivery.id, int(self._clock.time())))

    def _render(self, delivery: Delivery) -> bool:
        """Ask the service for its requests; False if there are none, or the service failed."""
        try:
            delivery.requests = render(delivery.flow.channel.subscription.service, delivery.event)
        except RenderError as error:
            self._give_up(delivery, Stage.RENDER, "failed", Outcome(Verdict.PERMANENT, str(error)))
            return False
        if not delivery.requests:
            self._finished(delivery, "skipped")
        return bool(delivery.requests)

    def _step_done(self, delivery: Delivery) -> None:
        delivery.step += 1
        if delivery.requests is not None and delivery.step < len(delivery.requests):
            self._dispatcher.proceed(delivery)
        else:
            name = delivery.flow.channel.subscription.service.name
            self._metrics.delivery_seconds.observe(name, self._clock.time() - delivery.event.origin.timestamp / 1000)
            self._finished(delivery, "delivered")

    def _finished(self, delivery: Delivery, outcome: str) -> None:
        event = delivery.event
        self._metrics.deliveries.add(delivery.flow.channel.subscription.service.name, outcome)
        if self._dispatcher.delivered(delivery):
            delivery.flow.partition.bytes -= event.record.size

    def _failed(self, delivery: Delivery, outcome: Outcome) -> None:
        delivery.status, delivery.error = outcome.status, outcome.error
        now = self._clock.monotonic()
        if outcome.verdict is Verdict.THROTTLED:
            times = delivery.flow.channel.throttles + 1
            wait = self._throttle.after(times) if outcome.wait is None else outcome.wait
            self._dispatcher.throttle(delivery, now + wait)
            return
        delivery.attempts += 1
        if outcome.verdict is Verdict.PERMANENT:
            self._give_up(delivery, Stage.DELIVER, "permanent", outcome)
            return
        pause = self._retries.pause(delivery.attempts, now - (delivery.first_attempt or now))
        if pause is None:
            self._give_up(delivery, Stage.DELIVER, "exhausted", outcome)
        else:
            self._dispatcher.retry(delivery, now + pause)

    # -- dead letters

    def _give_up(self, delivery: Delivery, stage: Stage, reason: str, outcome: Outcome) -> None:
        self._dispatcher.give_up(delivery)
        subscription = delivery.flow.channel.subscription
        event, now = delivery.event, self._clock.time()
        since = self._clock.monotonic() - (delivery.first_attempt or self._clock.monotonic())
        letter = DeadLetter(
            id=delivery.id,
            origin=event.origin,
            stage=stage,
            reason=reason,
            error=subscription.service.redact(outcome.error),
            subscription=subscription.id,
            service=subscription.service.name,
            product=event.product,
            model=event.model,
            action=event.action,
            status=outcome.status,
            attempts=delivery.attempts,
            first_attempt_at=now - since if delivery.attempts else 0.0,
            last_attempt_at=now if delivery.attempts else 0.0,
            replays=delivery.replays,
        )
        self._outbox.post(Letter(delivery.flow.partition, event.record, letter, delivery))

    def _undecodable(self, partition: Partition, record: Record, reason: str, entry: DeadLetter | None = None) -> None:
        """Nobody can read this record: it goes to the dead letters as it is, and the partition goes on.

        A replayed entry keeps its id and its subscription: it still concerns nobody else.
        """
        letter = entry or DeadLetter(delivery_id(record, ""), record, Stage.DECODE, "", "")
        self._post_record(partition, record, replace(letter, stage=Stage.DECODE, reason="poison", error=reason))

    def _without_subscription(self, partition: Partition, record: Record, entry: DeadLetter) -> None:
        error = f"the subscription {entry.subscription} is not there any more, or is disabled"
        self._post_record(partition, record, replace(entry, reason="no-subscription", error=error))

    def _post_record(self, partition: Partition, record: Record, letter: DeadLetter) -> None:
        partition.offsets.received(record.offset, 1)
        self._outbox.post(Letter(partition, record, letter))

    # -- cycles

    def cycle(self) -> Cycle:
        """Return what is to be made durable now; an empty cycle (false) when there is nothing.

        It changes nothing: a cycle that fails is simply asked for again.
        """
        return self._outbox.cycle(self._partitions.values())

    def durable(self, cycle: Cycle) -> None:
        """Take in that a cycle is durable: its dead letters are finished and free their lanes."""
        for letter in self._outbox.take(cycle):
            self._count(letter.content)
            if letter.delivery is not None:
                last = self._dispatcher.settle(letter.delivery)
            else:
                last = letter.partition.offsets.finished(letter.record.offset)
            if last:
                letter.partition.bytes -= letter.record.size
        for partition, watermark in cycle.watermarks.items():
            partition.committed = watermark

    def _count(self, letter: DeadLetter) -> None:
        self._metrics.dead_letters.add(letter.stage.value, letter.reason)
        if letter.service:
            self._metrics.deliveries.add(letter.service, "dead")

    def shrink(self, keys: frozenset[bytes], limit: int) -> None:
        """Cut the values of dead letters that the broker refuses for their size: they would fail every cycle."""
        self._outbox.shrink(keys, limit)

    @property
    def has_letters(self) -> bool:
        """Whether a dead letter waits for a cycle, and its lane with it."""
        return bool(self._outbox)

    # -- backpressure

    def pauses(self) -> tuple[list[TopicPartition], list[TopicPartition]]:
        """Return the partitions to pause and those to resume since the last call."""
        self._full = self.buffered > self._settings.max_buffered // (2 if self._full else 1)
        share = self._settings.max_buffered // (2 * max(1, len(self._partitions)))
        pause, resume = [], []
        for partition in self._partitions.values():
            if not partition.paused and self._has_enough(partition, share):
                partition.paused = True
                pause.append(partition.tp)
            elif partition.paused and self._wants_more(partition, share):
                partition.paused = False
                resume.append(partition.tp)
        return pause, resume

    def _has_enough(self, partition: Partition, share: int) -> bool:
        staged = len(partition.staged)
        return partition.drain_to is not None or staged >= STAGED or partition.staged_bytes > share or self._full

    def _wants_more(self, partition: Partition, share: int) -> bool:
        """Ask for more well below the point of pausing: a pause throws away what was prefetched."""
        low = len(partition.staged) < STAGED // 4 and partition.staged_bytes <= share // 4
        return low and partition.drain_to is None and not self._full

    @property
    def buffered(self) -> int:
        """Bytes of records that are staged or in hand."""
        return sum(partition.bytes for partition in self._partitions.values())

    @property
    def in_flight(self) -> int:
        """Attempts under way."""
        return self._dispatcher.in_flight

    @property
    def in_hand(self) -> int:
        """Unfinished deliveries."""
        return self._dispatcher.in_hand

    @property
    def partitions(self) -> tuple[TopicPartition, ...]:
        """What is assigned."""
        return tuple(self._partitions)
