"""The core at work: broker, transport and time joined to it on one asyncio loop.

    intake (thread) ── records ──▶ core ── attempts ──▶ transport
                                    │ ◀──── answers ─────┘
                                    └── once a second ──▶ cycle (thread): one transaction

Everything that the core decides, it decides on the loop; nothing on the loop blocks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from consumer.broker import Broker, Membership, Writer
from consumer.core import Core
from consumer.cycle import Cycle
from consumer.ends import Ends
from consumer.errors import BrokerError, BrokerUnreachable, CycleAborted, KeysMissing, LoginRefused, RecordTooLarge
from consumer.event import Record, TopicPartition
from consumer.fetcher import SchemaFetcher, SchemaSource
from consumer.intake import Intake
from consumer.peak import Peak
from consumer.reload import Reload
from consumer.reminder import Reminder
from consumer.retention import Retention
from consumer.retry import Doubling
from consumer.scanner import Scanner
from consumer.sidethread import SideThread, aside
from consumer.tail import Tail
from consumer.takeover import TakeOver

if TYPE_CHECKING:
    from consumer.clock import Clock
    from consumer.delivery import Delivery
    from consumer.health import Health
    from consumer.metrics import Metrics
    from consumer.reload import Source
    from consumer.subscriptions import Subscription
    from consumer.tracecontext import TraceContext
    from consumer.transport import Transport
    from consumer.wire import Answer
    from consumer.workers import Workers


# Attempts that one turn begins: the answers that have come meanwhile are taken in before the next ones begin.
STARTS = 64
WATCH = 0.25  # seconds between two looks at whether all goes well
COUNT = 60.0  # seconds between two looks at how many partitions there are
AGAIN = 2.0  # seconds until an unreachable broker, or a missing topic, is looked for again
LAST_CYCLE = 5.0  # seconds that the last cycle may be tried for, beyond the time for what was in flight
LEAVE = 10.0  # seconds that leaving the group may take: `close` is known to hang
FITS = 64 * 1024  # bytes that remain of a dead letter that the broker refused for its size


@dataclass(frozen=True)
class Timing:
    """The seconds of DESIGN 2.4 that the pipeline keeps to, and those for a schema registry."""

    cycle_interval: float = 1.0
    cycle_stall: float = 3.0  # without a durable cycle for so long, nothing is taken in and no attempt starts
    revoke_timeout: float = 5.0
    drain_timeout: float = 25.0
    registry_pauses: tuple[float, float] = (0.5, 5.0)  # the first and the longest, while it does not answer
    registry_patience: float = 15.0
    retry_span: float = 97_200.0  # all retry delays together: what is owed has to be in the log for so long


class Topics(NamedTuple):
    """The topics that a replica reads and writes."""

    events: str
    replays: str
    letters: str
    states: str
    control: str

    @property
    def rights(self) -> dict[str, tuple[str, ...]]:
        """Which operations on each topic a replica has to be allowed, in the words of Kafka's ACLs."""
        return {
            self.events: ("Read", "DescribeConfigs"),
            self.replays: ("Read", "DescribeConfigs"),
            self.letters: ("Write",),
            self.states: ("Read", "Write"),
            self.control: ("Read", "Write"),
        }


class Pipeline:
    """One replica, from its start to its orderly end."""

    def __init__(
        self,
        core: Core,
        broker: Broker,
        transport: Transport,
        topics: Topics,
        *,
        workers: Workers | None = None,
        schemas: SchemaSource | None = None,
        source: Source | None = None,
        active: Sequence[Subscription] | None = None,
        timing: Timing = Timing(),
        clock: Clock,
        health: Health,
        metrics: Metrics,
    ) -> None:
        """Read and write `topics`.

        `schemas` is what the core's codec may refer to: a schema registry, where there is one. `workers` run blocking
        services; without them there must be none. `source` is where subscriptions stand and may change: `active` are
        those of it that the core has already, without which they are read before anything begins. Without a source the
        core's subscriptions stay as they are.
        """
        self._core = core
        self._broker = broker
        self._transport = transport
        self._topics = topics
        self._workers = workers
        self._timing = timing
        self._clock = clock
        self._health = health
        self._metrics = metrics
        metrics.in_flight.read_from(lambda: core.in_flight)
        metrics.in_hand.read_from(lambda: core.in_hand)
        metrics.disabled.read_from(lambda: core.disabled)
        metrics.buffered_bytes.read_from(lambda: core.buffered + core.read_again_bytes)
        metrics.assigned_partitions.read_from(lambda: len(core.partitions))
        metrics.awaiting_schema.read_from(lambda: len(core.awaited))
        metrics.poisoned.read_from(lambda: core.poisoned is not None)
        metrics.cycle_age.read_from(lambda: clock.monotonic() - self._last_durable)
        metrics.loop_delay.read_from(lambda: max(self._delays.highest, clock.monotonic() - self._watch_due))
        metrics.ready.read_from(lambda: not health.not_ready())
        metrics.look_first(self._count)
        self._fetcher: SchemaFetcher | None = None
        if schemas is not None:
            self._fetcher = SchemaFetcher(
                core,
                schemas,
                self._soon,
                pauses=Doubling(*timing.registry_pauses),
                patience=timing.registry_patience,
                clock=clock,
                health=health,
                metrics=metrics,
            )
        self._reload: Reload | None = None
        if source is not None:
            self._reload = Reload(core, source, active, self._soon, clock=clock, health=health, metrics=metrics)
        self._log = structlog.get_logger("pipeline")
        self._writer: Writer | None = None
        self._cycle_thread = SideThread("cycle")
        self._cycle_lock = asyncio.Lock()
        self._last_durable = clock.monotonic()
        self._watch_due = inf  # when the loop is to watch again (monotonic); while it does, nothing is
        self._delays = Peak()  # by how many seconds it was late for that
        self._ends = Ends(broker, topics.events, lambda: core.partitions, clock)
        self._trouble = "no answer from Kafka"  # why the last cycle failed
        self._doubt = False  # whether the last cycle failed, and none has become durable since
        self._poison_reminder = Reminder(clock)
        self._kafka_reminder = Reminder(clock)
        self._stopping = asyncio.Event()
        self._progress = asyncio.Event()  # set at each turn, for those who wait for an end
        self._turning = False
        self._timer: asyncio.TimerHandle | None = None
        self._leaving = False  # once true, nothing is waited for any more
        self._failure: BaseException | None = None
        self._partitions_there = 0  # of the topic with the events
        self._moved = asyncio.Event()  # set when partitions came or went: there may be more than before
        self._loop: asyncio.AbstractEventLoop
        self._intake: Intake
        self._take_over: TakeOver
        self._tail: Tail
        self._scanner: Scanner

    async def run(self) -> None:
        """Work until `stop`, then end in order. Raises what made it impossible to go on."""
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._unhandled)
        self._health.set("start", "not started yet")
        if await self._patiently(self._what_is_missing) and await self._patiently(self._read_subscriptions):
            await self._work()
        if self._reload is not None:
            self._reload.close()
        self._cycle_thread.close()
        await self._transport.aclose()
        if self._workers is not None:
            await self._workers.aclose()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Begin the orderly end: take nothing in, finish what was begun, commit, leave the group."""
        self._stopping.set()

    def reload(self) -> None:
        """Have the subscriptions read again, whether or not they seem to have changed."""
        if self._reload is not None:
            self._reload.now()

    async def _work(self) -> None:
        core, broker, topics = self._core, self._broker, self._topics
        reads = [topics.events, topics.replays]
        self._intake = Intake(broker, reads, self, self._loop, partial(self._health.beat, "kafka"))
        self._tail = Tail(broker, topics.control, core, self._soon, clock=self._clock, health=self._health)
        self._take_over = TakeOver(
            core,
            broker,
            topics.states,
            self._intake.begin,
            self._tail.reach,
            clock=self._clock,
            health=self._health,
        )
        self._scanner = Scanner(broker, core, self._soon, self._loop)
        retention = Retention(broker, core, self._timing.retry_span)
        self._last_durable = self._clock.monotonic()
        self._scanner.start()
        self._intake.start()
        self._health.clear("start")
        works = [self._cycles(), self._watch(), self._count_partitions(), retention.run(), self._tail.run()]
        works += [self._ends.run()]
        works += [self._fetcher.run()] if self._fetcher else []
        works += [self._reload.run()] if self._reload else []
        tasks = [asyncio.create_task(work) for work in works]
        for task in tasks:
            task.add_done_callback(self._task_ended)
        await self._stopping.wait()
        await self._end()
        for task in tasks:
            task.cancel()
        self._tail.close()
        self._scanner.close()

    # -- turns: let in, begin, pause

    def _soon(self) -> None:
        """Have one turn, however many answers and records ask for it."""
        if not self._turning and not self._leaving:
            self._turning = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turning = False
        core = self._core
        core.admit()
        if core.awaited and self._fetcher is not None:
            self._fetcher.wake()
        started = self._begin()
        for order in core.reads():
            self._scanner.read(order)
        self._intake.steer(*core.pauses())
        self._set_timer()
        self._say()
        self._progress.set()
        if started == STARTS or core.could_admit:
            self._soon()

    def _begin(self) -> int:
        """Begin a turn's attempts; returns how many.

        Before each it is looked whether cycles have stalled: a process that stood still (SIGSTOP, a paused machine)
        does not know for how long, and may have lost everything to others meanwhile.
        """
        started = 0
        if self._stalls():
            return started
        for delivery, request, trace in self._core.attempts():
            if request is None:
                self._send_blocking(delivery, trace)
            else:
                self._transport.start(request, partial(self._answered, delivery))
            started += 1
            if started == STARTS or self._stalls():
                break
        return started

    def _send_blocking(self, delivery: Delivery, trace: TraceContext | None) -> None:
        assert self._workers is not None
        assert delivery.event is not None
        service = delivery.flow.channel.subscription.service
        answered = partial(self._answered, delivery)
        self._workers.start(service, delivery.event.payload, delivery.id, answered, trace)

    def _answered(self, delivery: Delivery, answer: Answer) -> None:
        if not self._leaving:
            self._core.answered(delivery, answer)
            self._soon()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self._core.next_due
        if due is not None:
            self._timer = self._loop.call_later(max(0.0, due - self._clock.monotonic()), self._soon)

    # -- what the intake tells

    def received(self, records: Sequence[Record]) -> None:
        """Take records in."""
        self._core.received(records)
        self._soon()

    def assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """Take partitions over; who is stopping leaves them to others: what it began there would never be committed."""
        self._log.info("partitions assigned", partitions=[str(tp) for tp in partitions])
        self._metrics.rebalances.add("assigned")
        self._health.clear("kafka")
        if self._stopping.is_set():
            return
        self._core.assigned(partitions)
        self._spread()
        self._take_over.start(partitions, self._taken_over)

    def _taken_over(self, task: asyncio.Task[None]) -> None:
        self._task_ended(task)
        self._soon()

    async def _count_partitions(self) -> None:
        """Notice that the topic was given more partitions: then this replica's are less of them all."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._moved.wait(), COUNT)
            self._moved.clear()
            try:
                there = (await aside(self._broker.partitions, AGAIN)).get(self._topics.events, 0)
            except BrokerError:
                continue  # who cannot be asked is told of elsewhere, and asked again
            if there > self._partitions_there:
                self._log.info("there are more partitions", before=self._partitions_there, now=there)
                self._partitions_there = there
                self._spread()

    def _spread(self) -> None:
        """Take as much of declared rates as this replica has of the partitions."""
        self._moved.set()
        ours = sum(tp.topic == self._topics.events for tp in self._core.partitions)
        self._core.spread(ours / max(1, ours, self._partitions_there))

    async def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """Give partitions up in order: what is in flight gets some seconds, then one last cycle."""
        self._log.info("partitions revoked", partitions=[str(tp) for tp in partitions])
        self._metrics.rebalances.add("revoked")
        self._take_over.leave(partitions)
        if not self._leaving:
            self._core.drain(partitions)
            await self._finish(partitions, self._timing.revoke_timeout)
        self._core.release(partitions)
        self._spread()

    def lost(self, partitions: Sequence[TopicPartition]) -> None:
        """Forget partitions that are others' already."""
        self._log.warning("partitions lost", partitions=[str(tp) for tp in partitions])
        self._metrics.rebalances.add("lost")
        self._take_over.leave(partitions)
        self._core.release(partitions)
        self._spread()

    def ends(self, ends: Mapping[TopicPartition, int]) -> None:
        """Take in where logs end."""
        self._ends.take(ends)

    def trouble(self, sentence: str) -> None:
        """Note what the client itself tries to mend."""
        self._log.warning("kafka", trouble=sentence)
        self._health.set("kafka", sentence)

    def failed(self, error: BaseException) -> None:
        """Stop: this replica cannot go on."""
        if self._failure is None:
            self._failure = error
            self._log.error("this replica cannot go on", error=str(error))
        self._stopping.set()

    # -- the orderly end

    async def _end(self) -> None:
        self._log.info("stopping", in_flight=self._core.in_flight)
        self._health.set("stop", "stopping")
        self._take_over.close()
        self._core.drain()
        if self._failure is None:
            await self._finish(None, self._timing.drain_timeout)
        self._leaving = True
        self._intake.stop()
        if not await asyncio.to_thread(self._intake.join, LEAVE):
            self._log.warning("leaving the group took too long: the broker will notice by itself", seconds=LEAVE)
        self._say()
        self._log.info("stopped")

    async def _finish(self, partitions: Sequence[TopicPartition] | None, timeout: float) -> None:
        """Give what is in flight in draining partitions `timeout` seconds; what is not finished then becomes owed."""
        deadline = self._clock.monotonic() + timeout
        while not self._core.drained(partitions) and (left := deadline - self._clock.monotonic()) > 0:
            await self._wait_for_progress(left)
        self._core.rewind(partitions)
        deadline = max(deadline, self._clock.monotonic()) + LAST_CYCLE
        while not self._core.settled(partitions) and (left := deadline - self._clock.monotonic()) > 0:
            if not await self._cycle_within(left):
                await asyncio.sleep(WATCH)

    async def _cycle_within(self, seconds: float) -> bool:
        """Make durable what there is; False if that failed, or takes longer.

        Then it goes on by itself. Whoever gets the partitions waits for its transaction, or fences it: it was begun
        with the metadata of a member that has them.
        """
        cycle = asyncio.create_task(self._cycle())
        cycle.add_done_callback(self._task_ended)
        done, _ = await asyncio.wait({cycle}, timeout=seconds)
        return cycle in done and cycle.result()

    async def _wait_for_progress(self, timeout: float) -> None:
        self._progress.clear()
        try:
            await asyncio.wait_for(self._progress.wait(), timeout)
        except TimeoutError:
            return

    # -- cycles

    async def _cycles(self) -> None:
        while True:
            await asyncio.sleep(min(WATCH, self._timing.cycle_interval) if self._doubt else self._timing.cycle_interval)
            await self._cycle()

    async def _cycle(self) -> bool:
        """Make durable what there is; False if that failed."""
        async with self._cycle_lock:
            # The order matters: with metadata from before the snapshot, a partition that was lost in between is fenced.
            membership = self._intake.membership()
            cycle = self._core.cycle(prove=self._doubt)
            if not cycle:
                self._last_durable = self._clock.monotonic()
                return True
            if membership is None or not await self._write(cycle, membership):
                return False
            self._core.durable(cycle)
            self._doubt = False
            self._metrics.cycles.add("durable")
            self._last_durable = self._clock.monotonic()
            self._health.clear("cycle")
            self._soon()
            return True

    async def _write(self, cycle: Cycle, membership: Membership) -> bool:
        """Write a cycle by its thread. When it fails the memory stays: the next cycle says it all again."""
        began = self._clock.monotonic()
        try:
            await self._cycle_thread.do(self._transact, cycle, membership)
        except RecordTooLarge as error:
            self._metrics.cycles.add("refused")
            self._log.warning("a record is made to fit", error=str(error))
            self._trouble = str(error)
            self._core.shrink(error.keys, FITS)
        except CycleAborted as error:
            self._metrics.cycles.add("aborted")
            self._log.warning("a cycle did not become durable", error=str(error))
            self._trouble = str(error)
            self._doubt = True
        else:
            return True
        finally:
            self._metrics.cycle_seconds.observe("", self._clock.monotonic() - began)
        return False

    def _transact(self, cycle: Cycle, membership: Membership) -> None:
        if self._writer is None:
            self._writer = self._broker.writer()
        self._writer.write(cycle.records, cycle.commits, membership)

    # -- watching

    async def _watch(self) -> None:
        looked = 0.0
        while True:
            self._watch_due = self._clock.monotonic() + WATCH
            await asyncio.sleep(WATCH)
            now = self._clock.monotonic()
            self._delays.add(now, max(0.0, now - self._watch_due))
            self._watch_due = inf
            self._health.beat("loop")
            self._stalls()
            self._say_poisoned()
            self._core.tick()
            self._say()
            self._soon()
            if self._health.has("kafka") and now - looked > AGAIN:
                looked = now
                await self._look_again()

    def _say(self) -> None:
        """Log what the core has written down."""
        for level, event, fields in self._core.notices():
            getattr(self._log, level)(event, **fields)

    def _stalls(self) -> bool:
        """Whether nothing becomes durable: what were delivered now would be delivered again after a crash.

        After a cycle that failed nothing begins before another one is durable, however short that takes: a replica that
        catches up would deliver thousands meanwhile.
        """
        seconds = self._clock.monotonic() - self._last_durable
        if seconds > self._timing.cycle_stall:
            consequence = "nothing is taken in and no attempt starts"
            self._health.set("cycle", f"nothing became durable for {seconds:.0f} s, so {consequence}: {self._trouble}")
        self._core.held = self._doubt or seconds > self._timing.cycle_stall
        return self._core.held

    def _say_poisoned(self) -> None:
        """Say loudly, and again and again, that no event is taken in any more: somebody has to look at the producer."""
        stop = self._core.poisoned
        if stop is None or not self._poison_reminder.is_due():
            return
        advice = "mend what writes them, then restart; SPRINTLY_POISON_LIMIT=off goes on"
        self._health.set("poison", f"no event is taken in: {stop}; {advice}")
        self._log.error(
            "no event is taken in: its producer must be broken",
            trouble=stop.what + " cannot be read",
            partition=str(stop.tp),
            offset=stop.offset,
            reason=stop.reason,
            advice=advice,
        )

    async def _look_again(self) -> None:
        """See whether a trouble that came by itself is over: the client does not say so."""
        try:
            await aside(self._broker.partitions, AGAIN)
            trouble = await self._what_is_not_allowed()
        except BrokerError as error:
            trouble = str(error)
        if not trouble:
            self._health.clear("kafka")
            return
        self._health.set("kafka", trouble)
        if self._kafka_reminder.is_due():
            self._log.error("Kafka is not well", trouble=trouble)

    async def _what_is_not_allowed(self) -> str:
        look = partial(self._broker.lacking, member=True)
        rights = {**self._topics.rights, **dict.fromkeys(self._subscriptions_topics, ("Read",))}
        return "; ".join(await aside(look, rights, AGAIN))

    @property
    def _subscriptions_topics(self) -> tuple[str, ...]:
        """The topic in which subscriptions stand, where they stand in one."""
        return (self._reload.topic,) if self._reload is not None and self._reload.topic else ()

    async def _patiently(self, attempt: Callable[[], Awaitable[str]]) -> bool:
        """Attempt something with Kafka until there is no trouble; False if it was told to stop before."""
        reminder = Reminder(self._clock)
        while not self._stopping.is_set():
            try:
                trouble = await attempt()
            except LoginRefused as error:
                self.failed(error)
                return False
            if not trouble:
                self._health.clear("kafka")
                return True
            self._health.set("kafka", trouble)
            if reminder.is_due():
                self._log.error("waiting for Kafka", trouble=trouble)
            try:
                await asyncio.wait_for(self._stopping.wait(), AGAIN)
            except TimeoutError:
                continue
        return False

    async def _what_is_missing(self) -> str:
        try:
            there = await aside(self._broker.partitions, AGAIN)
        except BrokerUnreachable as error:
            return str(error)
        self._partitions_there = there.get(self._topics.events, 0)
        if not_allowed := await self._what_is_not_allowed():  # then topics cannot even be seen
            return not_allowed
        wanted = {*self._topics, *self._subscriptions_topics}
        missing = sorted(wanted - set(there))
        if missing:
            return f"no topic {', '.join(missing)}: `sprintly-services topics create` makes what is missing"
        return await self._why_nothing_can_be_written()

    async def _why_nothing_can_be_written(self) -> str:
        """Make the writer, which shows it; else something would be delivered first, again after each restart."""
        try:
            self._writer = await self._cycle_thread.do(self._broker.writer)
        except CycleAborted as error:
            return str(error)
        return ""

    async def _read_subscriptions(self) -> str:
        if self._reload is None:
            return ""
        try:
            await self._reload.begin()
        except (BrokerError, KeysMissing) as error:
            return f"the subscriptions cannot be read: {error}"
        return ""

    def _count(self) -> None:
        """Say what gauges with labels say now; called from the thread that serves metrics."""
        metrics, tally = self._metrics, self._core.tally()
        metrics.owed.replace(tally.owed)
        metrics.behind.replace(tally.behind)
        metrics.behind_records.replace(tally.behind_records)
        metrics.oldest_owed.replace(tally.oldest)
        metrics.breakers.replace(tally.breakers)
        lags = self._ends.lags(self._core.watermarks())
        metrics.lag.replace({(str(tp.partition),): lag for tp, lag in lags.items()})
        metrics.not_ready.replace({(check,): 1 for check in self._health.not_ready()})

    # -- what must never happen

    def _task_ended(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.failed(task.exception() or RuntimeError("a task ended"))

    def _unhandled(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A callback raised: a defect of ours. Going on could lose something; a restart cannot."""
        error = context.get("exception")
        message = str(context.get("message")).partition("(")[0]  # what a callback was called with stays unsaid
        self._log.error("defect", message=message, exc_info=error)
        self.failed(error or RuntimeError(message))
