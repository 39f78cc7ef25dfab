"""What the passing of time asks for: nothing waits for ever, and nobody waits for somebody else for long.

A watermark is held for some seconds at most, a subscription that does not get on falls behind, a head that fails while
others are delivered gives way, a destination that was down is probed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from consumer.delivery import Delivery, Place
from consumer.outcome import Outcome, Verdict

if TYPE_CHECKING:
    from consumer.attempts import Attempts
    from consumer.channel import Channel
    from consumer.dispatcher import Dispatcher
    from consumer.partition import Partition


@dataclass(frozen=True)
class Limits:
    """How long and how much may wait (DESIGN 2.4); seconds."""

    hold: float = 5.0  # the longest that a delivery holds its partition's watermark
    owed: int = 200_000  # deliveries that one replica is owed, in lists rather than by a `next`
    followers: int = 250  # of a head that fails while others are delivered; then it gives way
    attempt: float = 15.0  # that an attempt may take; a thread cannot be ended, but it is known that it hangs


class Patience:
    """Looks, some times a second, at what has waited too long."""

    def __init__(self, limits: Limits, dispatcher: Dispatcher, attempts: Attempts, owed: Callable[[], int]) -> None:
        """Ask `owed` how many deliveries are owed in all."""
        self._limits = limits
        self._dispatcher = dispatcher
        self._attempts = attempts
        self._owed = owed

    def tick(self, partitions: Iterable[Partition], now: float) -> None:
        """Do what time asks for; `now` is monotonic."""
        for partition in partitions:
            if partition.begun and not partition.draining:
                self._hold_no_longer(partition, now)
                self._let_blocking_heads_go(partition)
                self.go_on_without(partition)
        for channel in self._dispatcher.channels.values():
            breaker = channel.breaker
            if breaker.open and not channel.off:
                free = channel.in_flight < channel.limit and not channel.throttled
                if channel.probe is None and breaker.probe_at <= now and free:
                    self._dispatcher.choose_probe(channel)
            elif channel.blocking and channel.in_flight >= channel.limit:
                self._watch_threads(channel, now)

    def _hold_no_longer(self, partition: Partition, now: float) -> None:
        """Make owed what has held the watermark for too long."""
        partition.note(now)
        limit = partition.read_before(now - self._limits.hold)
        lowest = partition.offsets.lowest
        if lowest is not None and lowest < limit:
            for flow in partition.flows.values():
                for delivery in [d for d in flow.hand.values() if d.offset < limit and not d.owed]:
                    flow.owe(delivery)

    def _let_blocking_heads_go(self, partition: Partition) -> None:
        """Give up heads that fail while too many wait behind them and their subscription delivers others."""
        for flow in partition.flows.values():
            if flow.owed <= self._limits.followers or flow.channel.closed:
                continue
            for head in [held.head for held in flow.held.values() if held.count > self._limits.followers]:
                waits = head.place in (Place.WAITING, Place.WANTING) and head.attempts and not head.verdict
                if waits and self._holds_up_others(head):
                    head.verdict = "blocking"
                    if head.event is None:
                        flow.want(head)
                    else:
                        self._attempts.concluded(head)

    def _holds_up_others(self, delivery: Delivery) -> bool:
        """Whether a head fails with many behind it, while its destination takes other events."""
        held = None if delivery.lane is None else delivery.flow.held.get(delivery.lane)
        many = held is not None and held.count > self._limits.followers
        return many and delivery.flow.channel.delivered_at > delivery.first_attempt > 0

    def go_on_without(self, partition: Partition) -> None:
        """Let a subscription fall behind that stands at its bound and does not get on: the others go on without it.

        What has waited for `hold` is owed. Where that is the smaller part, the partition waits: backpressure.
        """
        if self._dispatcher.unblocked(partition):
            return
        for flow in list(partition.blocked):
            if self._owed() >= self._limits.owed or self._dispatcher.is_stuck(flow):
                flow.fall_behind(partition.position)

    def _watch_threads(self, channel: Channel, now: float) -> None:
        """Open the breaker of a blocking service all of whose threads hang."""
        flying = [d for flow in channel.flows for d in flow.hand.values() if d.place is Place.FLYING]
        if (
            not channel.breaker.open
            and flying
            and all(now - delivery.begun > self._limits.attempt for delivery in flying)
        ):
            channel.breaker.trip(now)
            self._attempts.opened(channel, Outcome(Verdict.TRANSIENT, "all threads of this subscription hang"))
