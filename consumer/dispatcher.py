"""Which delivery is attempted next: lanes in order, bounds kept, failures tried again when they are due.

Fed with events and verdicts and the time, it answers with deliveries to attempt. It does no I/O and reads no clock.
Subscriptions take turns. What is owed gets at most a fifth of the attempts while live events wait.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import TYPE_CHECKING

from consumer.breaker import BreakerSettings
from consumer.channel import Channel, Line
from consumer.delivery import Delivery, Place
from consumer.flow import Flow

if TYPE_CHECKING:
    from consumer.event import Event
    from consumer.partition import Partition
    from consumer.subscriptions import Subscription

RESUME_AT = 0.75  # of a bound: hysteresis, so that a partition is not paused and resumed for every delivery
LONG_REST = 5.0  # seconds; what waits for so long is owed anyway
PROBEABLE = 64  # heads among which a probe is chosen
IDLE = (Place.WANTING, Place.WAITING, Place.READY)  # where a head may be made a probe
LATE_SHARE = 5  # one attempt in so many may be of something owed, while live events wait (DESIGN 2.4)


@dataclass(frozen=True)
class Bounds:
    """How much may be under way at once (DESIGN 2.4)."""

    in_flight: int = 4096
    in_flight_per_subscription: int = 1024
    first_in_flight: int = 64  # of a subscription; then one more with each delivery, as long as its destination is up
    in_hand: int = 4096  # unfinished deliveries of a subscription
    in_hand_per_partition: int = 1000  # of them from one partition
    ready: int = 128  # live deliveries that could begin now; with so many, nothing further is let in
    threads: int = 16  # for services that are blocking
    threads_per_subscription: int = 2


class Dispatcher:
    """Lanes, bounds and retries of all subscriptions of one replica."""

    def __init__(self, bounds: Bounds, breaker: BreakerSettings | None = None) -> None:
        self._bounds = bounds
        self._breaker = breaker or BreakerSettings()
        self.channels: dict[str, Channel] = {}
        self._off: set[str] = set()  # ids of subscriptions that are disabled
        self._aside: frozenset[str] = frozenset()  # ids of those that are set aside
        self._live: deque[Line] = deque()  # those with something ready and room for it, each once: they take turns
        self._late: deque[Line] = deque()
        self._probes: deque[Delivery] = deque()
        self._short_of_threads: deque[Channel] = deque()
        self._turn = 0
        self._waiting: list[tuple[float, int, Delivery | Channel]] = []  # a heap by due time
        self._ticket = count()  # by it those go first that came first
        self._threads = 0  # attempts of blocking services
        self._now = 0.0
        self._wall = 0.0
        self._share = 1.0  # of all partitions, those that this replica reads
        self.in_flight = 0
        self.late_in_flight = 0

    @property
    def in_hand(self) -> int:
        """Unfinished deliveries, of all subscriptions together."""
        return sum(channel.in_hand for channel in list(self.channels.values()))

    @property
    def next_due(self) -> float | None:
        """When `wake` has something to do again (monotonic seconds); None: not before something else happens."""
        return self._waiting[0][0] if self._waiting else None

    def channel(self, subscription: Subscription) -> Channel:
        """Return what is known of a subscription."""
        channel = self.channels.get(subscription.id)
        if channel is None:
            channel = Channel(subscription, self._bounds, self._breaker, self._now)
            self._share_rate(channel)
            self._switch(channel)
            self.channels[subscription.id] = channel
        return channel

    def _switch(self, channel: Channel) -> None:
        id_ = channel.subscription.id
        channel.off = channel.gone or id_ in self._off or id_ in self._aside

    def _share_rate(self, channel: Channel) -> None:
        if channel.tokens is not None:
            channel.tokens.share = self._share

    def flow(self, partition: Partition, subscription: Subscription) -> Flow:
        """Return the flow of a subscription in a partition."""
        flow = partition.flows.get(subscription.id)
        if flow is None:
            channel = self.channel(subscription)
            flow = partition.flows[subscription.id] = Flow(channel, partition)
            channel.flows[flow] = None
        return flow

    def standing(self, id_: str) -> str:
        """Return how a subscription stands: closed, open or probing, as its breaker is, or disabled."""
        channel = self.channels.get(id_)
        if id_ in self._off:
            return "disabled"
        if channel is None or not channel.breaker.open:
            return "closed"
        return "open" if channel.probe is None else "probing"

    def spread(self, share: float) -> None:
        """Take in which share of all partitions this replica reads: of declared rates it takes as much."""
        self._share = share
        for channel in self.channels.values():
            self._share_rate(channel)

    # -- deliveries in

    def add(self, flow: Flow, event: Event, replays: int = 0) -> None:
        """Take a live delivery in hand; at a bound, `partition.blocked` says whose."""
        channel = flow.channel
        lane = event.lane if channel.subscription.ordered else None
        delivery = Delivery(flow, event.record.offset, lane, next(self._ticket))
        delivery.attach(event, replays)
        channel.in_hand += 1
        if flow.add(delivery):
            if delivery.owed:
                flow.want(delivery)
            else:
                self._make_ready(delivery)
        bounds = self._bounds
        if len(flow.hand) >= bounds.in_hand_per_partition or channel.in_hand >= bounds.in_hand:
            flow.partition.blocked[flow] = None

    def add_late(self, flow: Flow, event: Event, replays: int, *, keep: bool) -> Delivery:
        """Take in hand what a flow that is behind has read: owed at once, and covered by a durable `next`.

        Only what is to be kept has its event; `place` says where a head is to go.
        """
        channel = flow.channel
        lane = event.lane if channel.subscription.ordered else None
        delivery = Delivery(flow, event.record.offset, lane, next(self._ticket))
        delivery.covered = True
        channel.in_hand += 1
        head = flow.add(delivery)
        flow.owe(delivery)
        if head:
            flow.want(delivery)
        if keep and (head or flow.has_body(delivery.lane)):
            delivery.attach(event, replays, again=True)
        return delivery

    def arrived(self, delivery: Delivery) -> None:
        """Make a head ready whose body has been read; a probe goes out whatever its subscription rests for."""
        if delivery is delivery.flow.channel.probe:
            delivery.place = Place.READY
            self._probes.append(delivery)
        else:
            self._make_ready(delivery)

    def place_owed(self, delivery: Delivery) -> None:
        """Let an owed head without a body wait until it is due, or want its body now."""
        if delivery.due > self._wall:
            delivery.flow.let_go(delivery)
            self._wait(delivery, self._now + delivery.due - self._wall)
        else:
            delivery.flow.want(delivery)

    # -- attempts

    def has_enough(self) -> bool:
        """Whether so much could begin now that letting in more would only have it wait, decoded, in memory.

        What waits there is cold by its turn: with some thousand events ahead of each, encoding one took five times as
        long. Some of what is counted may have been taken back meanwhile: `take` finds that out.
        """
        ready = 0
        for line in self._live:
            ready += len(line)
            if ready >= self._bounds.ready:
                return True
        return False

    def take(self) -> Iterator[Delivery]:
        """Yield what is to be attempted now; each is in flight from then on, until one of the calls below ends it."""
        most = self._bounds.in_flight
        while self.in_flight < most:
            delivery = self._next_probe() if self._probes else None
            if delivery is None:
                delivery = self._next()
            if delivery is None:
                return
            delivery.place = Place.FLYING
            delivery.late = delivery.owed
            delivery.begun = self._now
            self.in_flight += 1
            self.late_in_flight += delivery.late
            partition = delivery.flow.partition
            partition.flying += 1
            if delivery.offset > partition.attempted:
                partition.attempted = delivery.offset
            channel = delivery.flow.channel
            channel.in_flight += 1
            delivery.threaded = channel.blocking
            self._threads += delivery.threaded
            yield delivery

    def _next_probe(self) -> Delivery | None:
        for _ in range(len(self._probes)):
            delivery = self._probes.popleft()
            channel = delivery.flow.channel
            if self._may_begin(delivery):
                if channel.in_flight < channel.limit and (self._threads < self._bounds.threads or not channel.blocking):
                    return delivery
                self._probes.append(delivery)
        return None

    def _next(self) -> Delivery | None:
        """Take the next line's next delivery; lines that have none to begin now leave the ring."""
        while (ring := self._ring()) is not None:
            line = ring[0]
            if line.channel.blocking and self._threads >= self._bounds.threads:
                self._short_of_threads.append(line.channel)
            elif (delivery := self._next_ready(line)) is not None:
                if line:
                    ring.rotate(-1)  # the others have their turn
                else:
                    self._leave_ring(ring, line)
                return delivery
            self._leave_ring(ring, line)
        return None

    def _leave_ring(self, ring: deque[Line], line: Line) -> None:
        ring.popleft()
        line.queued = False

    def _ring(self) -> deque[Line] | None:
        """Choose between what is live and what is owed."""
        live, late = self._live, self._late
        if not late:
            return live or None
        most = self._bounds.in_flight
        if not live:  # a fifth stays free for live events that may come
            return late if self.late_in_flight * LATE_SHARE < most * (LATE_SHARE - 1) else None
        self._turn += 1
        its_turn = self._turn % LATE_SHARE == 0 and self.late_in_flight * LATE_SHARE < most
        return late if its_turn else live

    def _next_ready(self, line: Line) -> Delivery | None:
        """Take a line's next delivery that may begin, if its subscription may send anything."""
        channel = line.channel
        if channel.in_flight >= channel.limit:
            return None  # its other line has got there before
        while line and not channel.resting:
            if not self._may_begin(line.first):
                line.pop()
            elif channel.tokens is not None and (pause := channel.tokens.take(self._now)):
                self._rest(channel, self._now + pause)
            else:
                return line.pop()
        return None

    def _may_begin(self, delivery: Delivery) -> bool:
        """Whether it is still ready, and its partition still ours for some time."""
        partition = delivery.flow.partition
        return delivery.place is Place.READY and not (partition.gone or partition.draining)

    # -- how attempts end

    def proceed(self, delivery: Delivery) -> None:
        """End an attempt whose delivery has further requests to send: they go first."""
        self._end_attempt(delivery)
        if delivery is delivery.flow.channel.probe:
            self.arrived(delivery)
        else:
            self._make_ready(delivery)

    def retry(self, delivery: Delivery, due: float) -> None:
        """End an attempt that is to be repeated at `due` (monotonic), its event being kept."""
        self._end_attempt(delivery)
        self._wait(delivery, due)

    def owe(self, delivery: Delivery) -> None:
        """End an attempt that is to be repeated when `delivery.due` says, from what the log has."""
        self._end_attempt(delivery)
        delivery.flow.owe(delivery)
        self.place_owed(delivery)

    def throttle(self, delivery: Delivery, due: float) -> None:
        """End an attempt after which the whole subscription rests until `due` (monotonic)."""
        channel = delivery.flow.channel
        if not channel.asked:
            channel.asked = True
            channel.throttles += 1
        self._rest(channel, due)
        if due - self._now > LONG_REST:
            self._shelve(channel)
        self._end_attempt(delivery)
        if delivery.owed:
            delivery.flow.want(delivery)
        else:
            self._make_ready(delivery)

    def attempt_anew(self, delivery: Delivery) -> None:
        """End an attempt that says nothing: it was one at what its subscription was formerly."""
        self._end_attempt(delivery)
        self._probe_no_more(delivery)
        delivery.begin_anew()
        if delivery.owed or delivery.flow.channel.closed:
            delivery.flow.owe(delivery)
            delivery.flow.want(delivery)
        else:
            self._make_ready(delivery)

    def dismiss(self, delivery: Delivery) -> None:
        """End an attempt that is not made after all, and its delivery."""
        self._end_attempt(delivery)
        self.settle(delivery)

    def delivered(self, delivery: Delivery) -> None:
        """End an attempt and its delivery."""
        channel = delivery.flow.channel
        channel.throttles = 0
        if channel.limit < channel.most:
            channel.limit += 1
        self._end_attempt(delivery)
        self.settle(delivery)

    def give_up(self, delivery: Delivery) -> None:
        """End the last attempt, if one is under way; the lane waits until `settle` says that the letter is durable."""
        if delivery.place is Place.FLYING:
            self._end_attempt(delivery)
        delivery.place = Place.ENDING
        self._probe_no_more(delivery)

    def _probe_no_more(self, delivery: Delivery) -> None:
        """Have another probe chosen where this one has ended without saying how the destination does."""
        if delivery.flow.channel.probe is delivery:
            delivery.flow.channel.probe = None

    def settle(self, delivery: Delivery) -> None:
        """Finish a delivery: its lane goes on."""
        flow = delivery.flow
        partition = flow.partition
        if partition.gone or delivery.place is Place.DONE:
            return
        if not delivery.covered:
            partition.offsets.finished(delivery.offset)
        if delivery.owed:
            flow.touch()
        flow.channel.in_hand -= 1
        self._probe_no_more(delivery)
        follower = flow.leave(delivery)
        delivery.detach()
        if follower is None:
            return
        if follower.verdict:
            flow.want(follower)
        elif follower.event is not None:
            self.arrived(follower)
        else:
            self.place_owed(follower)

    # -- subscriptions that rest

    def wake(self, now: float, wall: float) -> None:
        """Make ready again what has waited long enough; `now` is monotonic, `wall` the time of day."""
        self._now, self._wall = now, wall
        while self._waiting and self._waiting[0][0] <= now:
            due, _, waiter = heapq.heappop(self._waiting)
            if isinstance(waiter, Channel):
                if waiter.rests_until <= now:
                    waiter.throttled = waiter.asked = False
                    self.resume(waiter)
            elif waiter.place is Place.WAITING and waiter.wake_at == due:
                self._wake(waiter)

    def _wake(self, delivery: Delivery) -> None:
        if delivery.event is None or delivery.flow.channel.closed:
            delivery.flow.want(delivery)
        else:
            self._make_ready(delivery)

    def disable(self, id_: str) -> None:
        """Let everything of a subscription wait until it is enabled; what is under way ends as it may."""
        self._off.add(id_)
        channel = self.channels.get(id_)
        if channel is None or channel.off:
            return
        self._stop(channel)
        for flow in channel.flows:
            if flow.next is None and flow.hand and not flow.partition.draining:
                flow.fall_behind(flow.partition.position)

    def _stop(self, channel: Channel) -> None:
        """Send nothing more for the time being; what is in hand is owed."""
        channel.off = True
        self._end_probe(channel)
        self.shut(channel)

    def enable(self, id_: str) -> None:
        """Let a subscription go on from where it stopped, and attempt at once what waits for another try."""
        self._off.discard(id_)
        channel = self.channels.get(id_)
        if channel is not None and not channel.gone:
            self._switch(channel)
            self._try_now(channel)

    def _try_now(self, channel: Channel) -> None:
        """Believe a destination to be up, as far as nothing else keeps anything from being sent to it."""
        channel.breaker.doubt()
        channel.failing_since, channel.last_error = 0.0, ""
        self._end_probe(channel)
        channel.touch()
        self.resume(channel)

    def become(self, channel: Channel, subscription: Subscription) -> None:
        """Let a subscription be what it is now; where its service or its options are others, it is tried at once."""
        anew = channel.gone or subscription.service is not channel.subscription.service
        channel.gone = False
        self._switch(channel)
        if not anew:
            channel.subscription = subscription
            return
        channel.adopt(subscription, self._bounds, self._now)
        channel.rest_no_more()
        self._share_rate(channel)
        self._try_now(channel)
        for flow in channel.flows:
            self.begin_anew(flow)

    def begin_anew(self, flow: Flow) -> None:
        """Have attempted at once what waits, its delays all before it: what failed formerly failed somewhere else."""
        flow.forgive()
        self.hurry(flow)

    def set_aside(self, ids: frozenset[str]) -> frozenset[str]:
        """Let these subscriptions wait, and none else that was set aside before; returns who was not yet."""
        newly, self._aside = ids - self._aside, ids
        for channel in self.channels.values():
            was_off = channel.off
            self._switch(channel)
            if channel.off and not was_off:
                self._stop(channel)
            elif was_off and not channel.off:
                self._try_now(channel)
        return newly

    def remove(self, channel: Channel) -> None:
        """Send nothing more of a subscription that is gone: what it has in hand is owed, and nothing else comes."""
        if channel.gone:
            return
        channel.gone = True
        self._stop(channel)
        for flow in channel.flows:
            flow.partition.blocked.pop(flow, None)

    def retire(self, flow: Flow) -> None:
        """Drop what a flow has in hand: all of it is durably owed, and nothing of it under way."""
        channel, partition = flow.channel, flow.partition
        channel.in_hand -= len(flow.hand)
        del channel.flows[flow]
        flow.retire()
        partition.flows.pop(channel.subscription.id)

    def dismantle(self, channel: Channel) -> None:
        """Forget a subscription that is gone and has nothing in hand."""
        self.channels.pop(channel.subscription.id)

    def hurry(self, flow: Flow) -> None:
        """Have attempted at once what is owed and waits for its due time."""
        for head in [head for head in flow.heads() if head.place is Place.WAITING and head.owed]:
            head.due = 0.0
            flow.want(head)

    def _end_probe(self, channel: Channel) -> None:
        """Have nothing tried out any more; a probe that is under way ends as any other attempt."""
        probe, channel.probe = channel.probe, None
        if probe is not None and probe.place is Place.READY:
            probe.flow.want(probe)
        for flow in channel.flows:
            flow.probing = False

    def drop(self, flow: Flow, below: int) -> int:
        """Finish, undelivered, what a flow has in hand below an offset and is not just ending; returns how many."""
        dropped = flow.drop(below)
        probe = flow.channel.probe
        if probe is not None and probe.place is Place.DONE:
            flow.channel.probe = None
        return dropped

    def shut(self, channel: Channel) -> None:
        """Let everything of a subscription be owed: nothing of it is attempted for the time being."""
        channel.start_slowly()
        for flow in channel.flows:
            for delivery in list(flow.hand.values()):
                flow.owe(delivery)
        self._shelve(channel)

    def _shelve(self, channel: Channel) -> None:
        """Let go of the events that were read again for a subscription that will rest for long."""
        for flow in channel.flows:
            for delivery in list(flow.hand.values()) if flow.bodies else ():
                if delivery.read_again and delivery.place is Place.READY:
                    flow.want(delivery)
                elif delivery.read_again and delivery.place is Place.FOLLOWING:
                    delivery.detach()

    def resume(self, channel: Channel) -> None:
        """Let a subscription that rests no more go on."""
        self._requeue(channel)
        for flow in channel.flows:
            if flow.needs:
                flow.partition.reading[flow] = None

    def choose_probe(self, channel: Channel) -> None:
        """Choose what tries whether a destination is back: an owed head, over changing lanes, or what is read next."""
        number = channel.breaker.probes
        behind = [flow for flow in channel.flows if self._has_more(flow)]
        heads = list(islice(self._probeable(channel), PROBEABLE))
        if heads and not (behind and number % 2):  # what is read next has its turn, lest a bad head hold all up
            self.probe(heads[number // 2 % len(heads)])
        elif behind:
            flow = behind[number // 2 % len(behind)]
            flow.probing = True
            flow.partition.reading[flow] = None
        if not behind and self._is_held_up(channel, heads):
            channel.breaker.doubt()
            self.resume(channel)

    def _is_held_up(self, channel: Channel, heads: Sequence[Delivery]) -> bool:
        """Whether so few lanes fill all the room that nothing else can be tried: they may be bad items, and no outage.

        They have to use up their attempts then, else their subscription would wait for them for ever.
        """
        lanes = {head.offset if head.lane is None else head.lane for head in heads}
        return len(lanes) < self._breaker.lanes and any(map(_reads_on, channel.flows))

    def probe(self, head: Delivery) -> None:
        """Let an owed head try whether its destination is back, if it is not under way already."""
        if head.place in IDLE:
            head.flow.channel.probe = head
            if head.event is None:
                head.flow.want(head)
            else:
                self.arrived(head)

    def _has_more(self, flow: Flow) -> bool:
        """Whether a flow that is behind has anything to read, and room for it: probes read on as long as they fail."""
        return _reads_on(flow) and len(flow.hand) < self._bounds.in_hand_per_partition

    def _probeable(self, channel: Channel) -> Iterator[Delivery]:
        for flow in channel.flows:
            if not flow.partition.draining:
                yield from (d for d in flow.hand.values() if d.owed and d.place in IDLE)

    # -- partitions that stand at a bound, or go

    def unblocked(self, partition: Partition) -> bool:
        """Whether a partition that stood at a bound may let in events again."""
        if partition.blocked:
            partition.blocked = {flow: None for flow in partition.blocked if self._is_full(flow)}
        return not partition.blocked

    def _is_full(self, flow: Flow) -> bool:
        """Whether a flow that stood at a bound has not got on far enough yet."""
        here, everywhere = self._bounds.in_hand_per_partition, self._bounds.in_hand
        return len(flow.hand) > RESUME_AT * here or flow.channel.in_hand > RESUME_AT * everywhere

    def is_stuck(self, flow: Flow) -> bool:
        """Whether what fills the bound at which a flow stands does not get on: most of it is owed, or will be.

        It will be where the declared rate makes it wait for longer than anything may: nobody else waits for that.
        """
        tokens = flow.channel.tokens
        if tokens is not None and flow.channel.in_hand > tokens.window:
            return True
        if len(flow.hand) > RESUME_AT * self._bounds.in_hand_per_partition:
            return 2 * flow.owed >= len(flow.hand)
        return 2 * sum(each.owed for each in flow.channel.flows) >= flow.channel.in_hand

    def forget(self, partition: Partition) -> None:
        """Drop all deliveries of a partition that is gone; attempts still in flight end without effect."""
        for flow in partition.flows.values():
            channel = flow.channel
            channel.in_hand -= len(flow.hand)
            del channel.flows[flow]
            for delivery in flow.hand.values():
                delivery.detach()
            for line in (channel.live, channel.late):
                line.forget_gone()
            if channel.probe is not None and channel.probe.flow is flow:
                channel.probe = None
        waiting = [w for w in self._waiting if isinstance(w[2], Channel) or not w[2].flow.partition.gone]
        heapq.heapify(waiting)
        self._waiting = waiting

    def _make_ready(self, delivery: Delivery) -> None:
        delivery.place = Place.READY
        channel = delivery.flow.channel
        line = channel.late if delivery.owed else channel.live
        line.put(delivery)
        if not line.queued:
            self._requeue(channel)

    def _requeue(self, channel: Channel) -> None:
        """Put a channel's lines at the end of their rings if they have something ready, and room for it."""
        live, late = channel.live, channel.late
        if (live.queued or not live) and (late.queued or not late):
            return
        if channel.in_flight >= channel.limit or channel.resting:
            return
        if live and not live.queued:
            live.queued = True
            self._live.append(live)
        if late and not late.queued:
            late.queued = True
            self._late.append(late)

    def _end_attempt(self, delivery: Delivery) -> None:
        channel = delivery.flow.channel
        channel.in_flight -= 1
        delivery.flow.partition.flying -= 1
        self.in_flight -= 1
        self.late_in_flight -= delivery.late
        if delivery.threaded:  # whatever its subscription has become meanwhile
            delivery.threaded = False
            self._threads -= 1
            self._give_thread_away()
        self._requeue(channel)

    def _give_thread_away(self) -> None:
        """Let the first go on that is short of threads and has any use for one."""
        while self._short_of_threads:
            channel = self._short_of_threads.popleft()
            self._requeue(channel)
            if channel.live.queued or channel.late.queued:
                return

    def end_without_effect(self, delivery: Delivery) -> None:
        """End an attempt whose partition is gone: its next owner attempts it again."""
        self._end_attempt(delivery)

    def _rest(self, channel: Channel, due: float) -> None:
        """Let a subscription rest until `due`, or for as long as it rests already."""
        if due > channel.rests_until or not channel.throttled:
            channel.throttled = True
            channel.rests_until = due
            heapq.heappush(self._waiting, (due, next(self._ticket), channel))

    def _wait(self, delivery: Delivery, due: float) -> None:
        delivery.place = Place.WAITING
        delivery.wake_at = due
        heapq.heappush(self._waiting, (due, next(self._ticket), delivery))


def _reads_on(flow: Flow) -> bool:
    """Whether a flow is behind, and has more to read."""
    return flow.next is not None and flow.next < flow.partition.position
