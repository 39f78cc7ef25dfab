"""Which delivery is attempted next: lanes in order, bounds kept, failures tried again when they are due.

Fed with events and verdicts and the time, it answers with deliveries to attempt. It does no I/O and reads no clock.

A lane is a chain of deliveries of one subscription and one record key; only its head is ever ready, in flight, waiting
for a retry or waiting for its dead letter to become durable. So the order in a lane holds whatever the heads do.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from consumer.delivery import Delivery

if TYPE_CHECKING:
    from consumer.event import Event
    from consumer.partition import Flow, Partition
    from consumer.subscriptions import Subscription

RESUME_AT = 0.75  # of a bound: hysteresis, so that a partition is not paused and resumed for every delivery


@dataclass(frozen=True)
class Bounds:
    """How much may be under way at once (DESIGN 2.4)."""

    in_flight: int = 4096
    in_flight_per_subscription: int = 1024
    in_hand: int = 4096  # unfinished deliveries of a subscription
    in_hand_per_partition: int = 1000  # of them from one partition


class Channel:
    """What the dispatcher knows of one subscription."""

    __slots__ = ("in_flight", "in_hand", "queued", "ready", "subscription", "throttled", "throttles")

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self.ready: deque[Delivery] = deque()
        self.in_flight = 0
        self.in_hand = 0
        self.queued = False  # whether it stands in the ring of those that may start something
        self.throttled = False  # whether its receiver has asked it to wait
        self.throttles = 0  # how often in a row it did


class Dispatcher:
    """Lanes, bounds and retries of all subscriptions of one replica."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._channels: dict[str, Channel] = {}
        self._ring: deque[Channel] = deque()  # those with something ready and room for it, each once: they take turns
        self._waiting: list[tuple[float, int, Delivery | Channel]] = []  # a heap by due time
        self._ticket = count()  # breaks ties in the heap, first come first
        self.in_flight = 0

    @property
    def in_hand(self) -> int:
        """Unfinished deliveries, of all subscriptions together."""
        return sum(channel.in_hand for channel in self._channels.values())

    @property
    def next_due(self) -> float | None:
        """When `wake` has something to do again (monotonic seconds); None: not before something else happens."""
        return self._waiting[0][0] if self._waiting else None

    def add(self, partition: Partition, event: Event, subscription: Subscription, replays: int = 0) -> None:
        """Take a delivery in hand, at the end of its lane; at a bound, `partition.blocked_on` says whose."""
        channel = self._channels.get(subscription.id)
        if channel is None:
            channel = self._channels[subscription.id] = Channel(subscription)
        flow = partition.flow(channel)
        delivery = Delivery(event, flow, replays)
        self._count_in(flow)
        if event.lane is None or not subscription.ordered:
            self._make_ready(delivery)
            return
        tail = flow.tails.get(event.lane)
        flow.tails[event.lane] = delivery
        if tail is None:
            self._make_ready(delivery)
        else:
            tail.follower = delivery

    def take(self) -> Iterator[Delivery]:
        """Yield what is to be attempted now; each is in flight from then on, until one of the calls below ends it."""
        bounds, ring = self._bounds, self._ring
        while ring and self.in_flight < bounds.in_flight:
            channel = ring.popleft()
            delivery = self._next_ready(channel)
            if delivery is not None:
                channel.in_flight += 1
                self.in_flight += 1
            self._requeue(channel)
            if delivery is not None:
                yield delivery

    def delivered(self, delivery: Delivery) -> bool:
        """End an attempt and its delivery; True when it was the last of its event."""
        self._end_attempt(delivery)
        delivery.flow.channel.throttles = 0
        return self.settle(delivery)

    def proceed(self, delivery: Delivery) -> None:
        """End an attempt whose delivery has further requests to send: they go first."""
        self._end_attempt(delivery)
        self._make_ready(delivery, first=True)

    def retry(self, delivery: Delivery, due: float) -> None:
        """End an attempt that is to be repeated at `due`."""
        self._end_attempt(delivery)
        self._wait_until(due, delivery)

    def throttle(self, delivery: Delivery, due: float) -> None:
        """End an attempt after which the whole subscription rests until `due`."""
        channel = delivery.flow.channel
        if not channel.throttled:
            channel.throttled = True
            channel.throttles += 1
            self._wait_until(due, channel)
        self._end_attempt(delivery)
        self._make_ready(delivery, first=True)

    def give_up(self, delivery: Delivery) -> None:
        """End the last attempt; the lane waits until `settle` says that the dead letter is durable."""
        self._end_attempt(delivery)

    def settle(self, delivery: Delivery) -> bool:
        """Finish a delivery: its lane goes on; True when it was the last of its event."""
        flow = delivery.flow
        if flow.partition.gone:
            return False
        flow.in_hand -= 1
        flow.channel.in_hand -= 1
        lane = delivery.event.lane
        if lane is not None and flow.channel.subscription.ordered:
            self._advance(flow, lane, delivery)
        return flow.partition.offsets.finished(delivery.event.record.offset)

    def wake(self, now: float) -> None:
        """Make ready again what has waited long enough."""
        while self._waiting and self._waiting[0][0] <= now:
            waiter = heapq.heappop(self._waiting)[2]
            if isinstance(waiter, Channel):
                waiter.throttled = False
                self._requeue(waiter)
            elif not waiter.flow.partition.gone:
                self._make_ready(waiter, first=True)

    def unblocked(self, partition: Partition) -> bool:
        """Whether a partition that stood at a bound may let in events again."""
        flow = partition.blocked_on
        if flow is not None:
            if flow.in_hand > RESUME_AT * self._bounds.in_hand_per_partition:
                return False
            if flow.channel.in_hand > RESUME_AT * self._bounds.in_hand:
                return False
            partition.blocked_on = None
        return True

    def forget(self, partition: Partition) -> None:
        """Drop all deliveries of a partition that is gone; attempts still in flight end without effect."""
        for flow in partition.flows.values():
            channel = flow.channel
            channel.in_hand -= flow.in_hand
            channel.ready = deque(d for d in channel.ready if not d.flow.partition.gone)
        waiting = [w for w in self._waiting if isinstance(w[2], Channel) or not w[2].flow.partition.gone]
        heapq.heapify(waiting)
        self._waiting = waiting

    def _count_in(self, flow: Flow) -> None:
        flow.in_hand += 1
        flow.channel.in_hand += 1
        bounds = self._bounds
        if flow.in_hand >= bounds.in_hand_per_partition or flow.channel.in_hand >= bounds.in_hand:
            flow.partition.blocked_on = flow

    def _make_ready(self, delivery: Delivery, *, first: bool = False) -> None:
        channel = delivery.flow.channel
        if first:
            channel.ready.appendleft(delivery)
        else:
            channel.ready.append(delivery)
        if not channel.queued:
            self._requeue(channel)

    def _next_ready(self, channel: Channel) -> Delivery | None:
        """Take the channel's next delivery that may begin; what a draining partition will not begin is passed."""
        channel.queued = False
        ready = channel.ready
        while ready and not channel.throttled:
            delivery = ready.popleft()
            partition = delivery.flow.partition
            offset = delivery.event.record.offset
            if partition.gone or (partition.drain_to is not None and offset > partition.drain_to):
                continue
            partition.attempted = max(partition.attempted, offset)
            return delivery
        return None

    def _requeue(self, channel: Channel) -> None:
        """Put a channel at the end of the ring if it has something ready, and room for it."""
        room = channel.in_flight < self._bounds.in_flight_per_subscription
        if channel.ready and room and not channel.throttled and not channel.queued:
            channel.queued = True
            self._ring.append(channel)

    def _end_attempt(self, delivery: Delivery) -> None:
        channel = delivery.flow.channel
        channel.in_flight -= 1
        self.in_flight -= 1
        if not channel.queued:
            self._requeue(channel)

    def _advance(self, flow: Flow, lane: int, delivery: Delivery) -> None:
        follower = delivery.follower
        if follower is not None:
            self._make_ready(follower)
        elif flow.tails.get(lane) is delivery:
            del flow.tails[lane]

    def _wait_until(self, due: float, waiter: Delivery | Channel) -> None:
        heapq.heappush(self._waiting, (due, next(self._ticket), waiter))
