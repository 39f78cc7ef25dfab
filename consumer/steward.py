"""Carries out, partition by partition, what operators and replicas say of subscriptions (DESIGN 2.4).

A word counts as carried out in a partition once the states that it changed are durable: the committed offset's metadata
says so in the same transaction. Until then whoever takes the partition over carries it out again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from consumer.control import NOTHING, Kind, Note, Word, Words
from consumer.flow import ALL

if TYPE_CHECKING:
    from consumer.channel import Channel
    from consumer.clock import Clock
    from consumer.cycle import Outbox
    from consumer.dispatcher import Dispatcher
    from consumer.event import Record
    from consumer.flow import Flow
    from consumer.metrics import Metrics
    from consumer.notices import Notices
    from consumer.partition import Partition
    from consumer.reading import Reading

MADE_ANEW = "the control topic was made anew: what it said before is void"
TOLD = 10  # ids that are named one by one
COMING = 15.0  # seconds for which a backfill waits for its subscription; a changed file, or topic, takes one to come in


class Steward:
    """What was said of subscriptions, and how far each partition is with it."""

    def __init__(
        self,
        events: str,
        dispatcher: Dispatcher,
        reading: Reading,
        outbox: Outbox,
        *,
        clock: Clock,
        metrics: Metrics,
        notices: Notices,
    ) -> None:
        """Only what lies in the topic `events` can be backfilled: a replay is not of the time when it was written."""
        self._events = events
        self._dispatcher = dispatcher
        self._reading = reading
        self._outbox = outbox
        self._clock = clock
        self._metrics = metrics
        self._notices = notices
        self._words = Words()
        self._topic = ""  # its id

    @property
    def known(self) -> Note:
        """How much of the control topic is known."""
        return Note(self._words.end, self._topic)

    @property
    def disabled(self) -> int:
        """How many of the subscriptions that there are are disabled."""
        return sum(self._reading.subscription(id_) is not None for id_ in self._words.off)

    def told(self, partitions: Iterable[Partition], records: Iterable[Record], end: int, topic: str) -> None:
        """Take in what the control topic has up to `end`, or up to a word that has to wait, and carry it out."""
        if self.known.is_of_another(topic):
            self._forget_all()
        self._topic = topic or self._topic
        words, problems = self._words.take(records, end, self._waits)
        for problem in problems:
            self._notices.add("error", "a word of the control topic is left alone", problem=problem)
        mine = [partition for partition in partitions if partition.begun and not partition.draining]
        for word in words:
            self._turn(word)
            for partition in mine:
                self._apply(partition, word)
        for partition in mine:
            partition.applied = self.known

    def _forget_all(self) -> None:
        """Begin with a control topic that was made anew: nobody is disabled before somebody says so there."""
        former, self._words = self._words, Words()
        for id_ in former.off:
            self._dispatcher.enable(id_)
        self._notices.add("error", MADE_ANEW, enabled=sorted(former.off)[:TOLD], disabled_before=len(former.off))

    def _waits(self, word: Word) -> bool:
        """Whether a word is on a subscription that may just be coming, since that is set elsewhere."""
        coming = word.kind is Kind.BACKFILL and self._reading.subscription(word.subscription) is None
        return coming and abs(self._clock.time() - word.at) < COMING

    def begin(self, partition: Partition, applied: Note | None) -> None:
        """Carry out in a partition what was said since its last owner; without a note of that, nothing.

        A note from beyond the topic's end is one of a topic that was there before: of this one nothing is done yet.
        """
        known = self.known
        if applied is not None and (applied.is_of_another(known.topic) or applied.offset > known.offset):
            self._notices.add("error", MADE_ANEW, partition=str(partition.tp))
            applied = NOTHING
        if applied is not None:
            for word in self._words.since(applied.offset):
                self._apply(partition, word)
        partition.applied = known

    # -- what a word does

    def _turn(self, word: Word) -> None:
        """Do what concerns a subscription in all partitions."""
        if word.kind is not Kind.SWITCH:
            return
        if word.enabled:
            self._dispatcher.enable(word.subscription)
        else:
            self._dispatcher.disable(word.subscription)
        self._notices.add(
            "warning" if not word.enabled else "info",
            "a subscription is enabled" if word.enabled else "a subscription is disabled",
            subscription=word.subscription,
            reason=word.reason,
        )

    def _apply(self, partition: Partition, word: Word) -> None:
        flow = partition.flows.get(word.subscription)
        if word.kind is Kind.BACKFILL:
            self._backfill(partition, word)
        elif word.kind is Kind.FORGET and flow is None:
            self._forget_orphan(partition, word.subscription)
        elif flow is not None and (word.kind is Kind.FORGET or word.skip):
            self._skip(flow, word)
        elif flow is not None and word.enabled:
            self._dispatcher.hurry(flow)

    def _skip(self, flow: Flow, word: Word) -> None:
        """Finish, undelivered, what a subscription is owed: it goes on with what comes next."""
        begin, position = flow.next, flow.partition.position
        dropped = self._dispatcher.drop(flow, ALL)
        if begin is not None:
            flow.catch_up()
        if dropped or begin is not None:
            flow.mark(word.offset)
            self._count(flow, dropped)
            self._notices.add(
                "warning",
                "what was owed is passed over",
                subscription=word.subscription,
                partition=str(flow.partition.tp),
                one_by_one=dropped,
                offsets=0 if begin is None else position - begin,
            )

    def _backfill(self, partition: Partition, word: Word) -> None:
        """Have a subscription read once more from an earlier offset on."""
        subscription = self._reading.subscription(word.subscription)
        offset = dict(word.offsets).get(partition.tp.partition)
        if subscription is None or offset is None or partition.tp.topic != self._events:
            return
        if offset < partition.position:
            flow = self._dispatcher.flow(partition, subscription)
            flow.go_back(offset)
            flow.mark(word.offset)

    def _forget_orphan(self, partition: Partition, subscription: str) -> None:
        if partition.orphans.pop(subscription, None) is not None:
            self._outbox.bury(partition, subscription)

    # -- what replicas say and do by themselves

    def gone(self, channel: Channel, reason: str) -> None:
        """Disable a subscription whose destination says that it is gone for good; all replicas are told."""
        id_ = channel.subscription.id
        if not channel.off:
            self._dispatcher.disable(id_)
            word = Word(id_, Kind.SWITCH, enabled=False, reason=reason, at=self._clock.time())
            self._outbox.say(word)
            self._notices.add("warning", "a subscription is disabled", subscription=id_, reason=reason)

    def expire(self, partition: Partition, begin: int, expiring: int) -> None:
        """Pass over what a disabled subscription, or one that is gone, is owed and is about to leave the log."""
        for flow in partition.flows.values():
            if flow.channel.off:
                self._pass_over(flow, expiring)
        for state in list(partition.orphans.values()):
            last = max([owed.offset for owed in state.owed], default=-1)
            if last < begin and (state.next is None or state.next < begin):
                self._forget_orphan(partition, state.subscription)
                self._notices.add(
                    "warning",
                    "what a subscription that is gone was owed has left the log",
                    subscription=state.subscription,
                    partition=str(partition.tp),
                )

    def _pass_over(self, flow: Flow, expiring: int) -> None:
        passed = self._dispatcher.drop(flow, expiring)
        if flow.next is not None and flow.next < expiring:
            passed += expiring - flow.next
            flow.reach(expiring)
        if passed:
            flow.touch()
            self._metrics.expired.add(flow.channel.subscription.service.name, n=passed)
            self._notices.add(
                "warning",
                "a disabled subscription is owed less: it is about to leave the log",
                subscription=flow.channel.subscription.id,
                partition=str(flow.partition.tp),
                offsets=passed,
            )

    def _count(self, flow: Flow, deliveries: int) -> None:
        if deliveries:
            self._metrics.deliveries.add(flow.channel.subscription.service.name, "dropped", n=deliveries)
