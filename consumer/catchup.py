"""The log read again for what is owed: orders to read go out, records come in, deliveries get their bodies.

One scan a partition serves all who are near it: heads whose time has come, and flows that are behind and have room.
They take turns; those who are full leave, and join a later one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from consumer.codec import Undecodable
from consumer.delivery import Delivery, Place
from consumer.event import Event, Record
from consumer.reading import Unread

if TYPE_CHECKING:
    from consumer.awaited import Awaited
    from consumer.deadletter import DeadLetter
    from consumer.dispatcher import Dispatcher
    from consumer.flow import Flow
    from consumer.framing import Reference
    from consumer.partition import Partition
    from consumer.reading import Reading

RUN = 250  # records that one order reads: some milliseconds of the loop's time
GAP = 50  # offsets between two wanted ones that are read along rather than jumped over
ORDERS = 2  # under way at once: one is read while another is taken in
PREFETCHED = 10  # followers that are read with their head


class Order(NamedTuple):
    """What is to be read: up to `most` records of a partition from `offset` on."""

    partition: Partition
    offset: int
    most: int


class Ends(Protocol):
    """What becomes of deliveries whose record shows that they are not to be attempted."""

    def unmatched(self, delivery: Delivery) -> None:
        """Its subscription does not want such events any more."""

    def unreadable(self, delivery: Delivery, record: Record, why: Undecodable, entry: DeadLetter | None) -> None:
        """Nobody can read its record."""

    def concluded(self, delivery: Delivery) -> None:
        """Its `verdict` was waiting for its body."""

    def vanished(self, flow: Flow, offsets: int) -> None:
        """So many offsets of what a flow was owed are not in the log any more."""


class CatchUp:
    """Plans what is read again, and takes in what was. `bytes` is what it holds of the log in memory."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        reading: Reading,
        ends: Ends,
        refusal: Callable[[Reference], str | None],
        awaited: Awaited,
        *,
        room: int,
        budget: int,
    ) -> None:
        """Let a flow that is behind read on while no more than `room` are unfinished; keep `budget` bytes at most.

        `refusal` says why there is no such schema, as far as that is known; those that may come are `awaited`.
        """
        self._dispatcher = dispatcher
        self._reading = reading
        self._ends = ends
        self._refusal = refusal
        self._awaited = awaited
        self._room = room
        self._budget = budget
        self._under_way = 0
        self.bytes = 0
        self.records = 0  # that were read again

    # -- planning

    def orders(self, partitions: Iterable[Partition]) -> Iterator[Order]:
        """Yield what is to be read now; the records of each are to be brought to `take_in`."""
        for partition in partitions:
            if self.bytes >= self._budget or self._under_way >= ORDERS:
                return
            scan = partition.scan
            if partition.reading and not (scan.under_way or scan.awaiting or partition.draining):
                order = self._order(partition)
                if order is not None:
                    scan.under_way = True
                    self._under_way += 1
                    yield order

    def _order(self, partition: Partition) -> Order | None:
        """Return what the next flow needs that may read now; those that may not leave until something changes."""
        for flow in list(partition.reading):
            del partition.reading[flow]
            if self._meets(flow):
                flow.catch_up()
            need = self._need(flow)
            if need is not None or (flow.next is not None and flow.next > partition.position):
                partition.reading[flow] = None  # at the end: the others have their turn before
            if need is not None:
                return Order(partition, *need)
        return None

    def _meets(self, flow: Flow) -> bool:
        """Whether a flow that was behind has reached the live position, and can go on with the partition."""
        at_the_end = flow.next is not None and flow.next == flow.partition.position
        return at_the_end and len(flow.hand) <= self._room and not flow.channel.closed

    def _need(self, flow: Flow) -> tuple[int, int] | None:
        """Return from where, and how much at most, a flow has to read now."""
        wanted = self._wanted(flow)
        behind = flow.next if self._may_read_on(flow) else None
        if wanted and (behind is None or wanted[0] < behind):
            return wanted[0], _run(wanted)
        return None if behind is None else (behind, RUN)

    def _wanted(self, flow: Flow) -> list[int]:
        """Return the lowest offsets whose bodies may be read now."""
        wanted = flow.wanted(RUN)
        if flow.channel.resting:
            return [offset for offset in wanted if self._is_urgent(flow.hand[offset])]
        return wanted[: max(0, self._window(flow) - flow.bodies)]

    def _is_urgent(self, delivery: Delivery) -> bool:
        """Whether its body is wanted although its subscription rests."""
        return bool(delivery.verdict) or delivery is delivery.flow.channel.probe

    def _may_read_on(self, flow: Flow, offset: int = 0) -> bool:
        """Whether a flow that is behind may take what comes next, which it knows to lie at `offset` or above."""
        channel, position = flow.channel, flow.partition.position
        if flow.next is None or flow.next >= position:
            return False
        if flow.probing or max(flow.next, offset) < flow.expiring:
            return True
        return len(flow.hand) <= self._room and not channel.resting

    def _window(self, flow: Flow) -> int:
        """How many events of a flow may be in memory: of a slow destination's no more than it takes in some seconds."""
        tokens = flow.channel.tokens
        return self._room if tokens is None else tokens.window

    # -- taking in

    def failed(self, order: Order) -> None:
        """Take in that nothing could be read: it is asked for again."""
        self._end(order)

    def _end(self, order: Order) -> None:
        order.partition.scan.under_way = False
        self._under_way -= 1

    def take_in(self, order: Order, records: list[Record], end: int, begin: int = 0) -> None:
        """Take in everything that the log has of a partition from `order.offset` up to `end`.

        What lies below `begin` has expired. Other offsets that are missing never had a record, or were compacted.
        """
        self._end(order)
        partition = order.partition
        if partition.gone or partition.draining:
            return
        self.records += len(records)
        flows = list(partition.reading)
        readers = [flow for flow in flows if self._joins(flow, order.offset, end)]
        for flow in readers:
            self._begin_at(flow, min(begin, partition.position))
        run = Run(partition, readers, self._wants(flows, order.offset, end))
        for record in records:
            if not self._offer(run, record):
                end = record.offset
                break
        for flow in run.readers:
            flow.reach(min(end, partition.position))
        for offset in [offset for offset in run.wants if offset < end]:
            for delivery in run.wants[offset]:
                self._gone(delivery)

    def _joins(self, flow: Flow, offset: int, end: int) -> bool:
        return flow.next is not None and offset <= flow.next < end and self._may_read_on(flow)

    def _begin_at(self, flow: Flow, begin: int) -> None:
        """Report what had left the log before a flow that is behind came to it."""
        if flow.next is not None and flow.next < begin:
            self._ends.vanished(flow, begin - flow.next)
            flow.reach(begin)

    def _wants(self, flows: Iterable[Flow], offset: int, end: int) -> dict[int, list[Delivery]]:
        wants: dict[int, list[Delivery]] = {}
        for flow in flows:
            for wanted in self._wanted(flow):
                if offset <= wanted < end:
                    wants.setdefault(wanted, []).append(flow.hand[wanted])
        return wants

    def _offer(self, run: Run, record: Record) -> bool:
        """Give a record to those who are here for it; False if it has to wait for its schema."""
        readers, wanting = run.at(record.offset)
        if not readers and not wanting:
            return True
        concern = self._reading.concern(record)
        if isinstance(concern, Unread):
            return self._pass_over(run, record, concern)
        ids = {subscription.id for subscription in concern.subscriptions}
        event: Event | None = None
        if any(flow.channel.subscription.id in ids for flow in (*readers, *(delivery.flow for delivery in wanting))):
            found = self._reading.event(record, concern)
            if isinstance(found, Unread):
                return self._pass_over(run, record, found)
            event = found
        run.wants.pop(record.offset, None)
        replays = 0 if concern.entry is None else concern.entry.replays
        room = self.bytes < self._budget
        if event is not None:
            event.account = self
            event.holders = 1  # ours, until it is handed out
            self.bytes += record.size
        for delivery in wanting:
            if room or delivery.flow.channel.subscription.id not in ids:  # else it is read once more, later
                self._give(run, delivery, event if delivery.flow.channel.subscription.id in ids else None, replays)
        for flow in readers:
            taken = event if flow.channel.subscription.id in ids else None
            self._read_on(run, flow, record.offset, taken, replays, room=room)
        if event is not None:
            event.release()
        return True

    def _pass_over(self, run: Run, record: Record, unread: Unread) -> bool:
        """End those that wanted what nobody can read; False if it can be read once its schema has been fetched.

        Who only reads on passes it: it became a dead letter when it was read live.
        """
        why = unread.why
        if not isinstance(why, Undecodable):
            refusal = self._refusal(why.reference)
            if refusal is None:
                self._awaited.wait(run.partition.scan, why.reference)
                return False
            why = Undecodable(refusal)
        for delivery in run.wants.pop(record.offset, ()):
            if delivery.place is Place.WANTING:
                self._ends.unreadable(delivery, record, why, unread.entry)
        return True

    def _give(self, run: Run, delivery: Delivery, event: Event | None, replays: int) -> None:
        """Give a delivery its event, or end it where its subscription does not want such events any more."""
        if delivery.event is not None or delivery.place not in (Place.WANTING, Place.FOLLOWING):
            return
        if event is not None:
            delivery.attach(event, replays, again=True)
        if delivery.place is Place.FOLLOWING:
            return  # read along with its head
        if event is None:
            self._ends.unmatched(delivery)
        else:
            self._arrived(delivery)
            run.prefetch(delivery)

    def _read_on(self, run: Run, flow: Flow, offset: int, event: Event | None, replays: int, *, room: bool) -> None:
        """Have a flow that is behind take what it has come to, as long as it has room."""
        if not self._may_read_on(flow, offset):
            flow.reach(offset)
            run.readers.remove(flow)
        elif event is not None and not flow.passes(offset):
            probing = flow.probing
            self._take(flow, event, replays, room=room)
            if probing:
                flow.probing = False
                flow.reach(offset + 1)
                run.readers.remove(flow)

    def _take(self, flow: Flow, event: Event, replays: int, *, room: bool) -> None:
        expiring = event.record.offset < flow.expiring
        at_once = flow.bodies < self._window(flow) and not flow.channel.throttled
        delivery = self._dispatcher.add_late(flow, event, replays, keep=room and (at_once or expiring or flow.probing))
        if expiring:
            delivery.verdict = "expired"
        if delivery.place is Place.WANTING:  # a head
            if flow.probing:
                flow.channel.probe = delivery
            if delivery.event is not None:
                self._arrived(delivery)
        elif flow.probing and delivery.lane is not None:  # what is before it has to go first
            self._dispatcher.probe(flow.held[delivery.lane].head)

    def _arrived(self, delivery: Delivery) -> None:
        if delivery.verdict:
            self._ends.concluded(delivery)
        else:
            self._dispatcher.arrived(delivery)

    def _gone(self, delivery: Delivery) -> None:
        """A record that was to be in the log is not: it has expired, or its topic was emptied."""
        if delivery.place is Place.WANTING:
            self._ends.vanished(delivery.flow, 1)
            self._dispatcher.settle(delivery)


class Run:
    """Records of one partition in a row, and who is here for them."""

    def __init__(self, partition: Partition, readers: list[Flow], wants: dict[int, list[Delivery]]) -> None:
        self.partition = partition
        self.readers = readers
        self.wants = wants

    def at(self, offset: int) -> tuple[list[Flow], Sequence[Delivery]]:
        """Return the flows that read on at this offset, and the deliveries that want its body."""
        live = self.partition.position
        readers = [flow for flow in self.readers if flow.next is not None and flow.next <= offset < live]
        return readers, self.wants.get(offset, ())

    def prefetch(self, head: Delivery) -> None:
        """Read a lane's followers with its head, as far as the same run has them."""
        follower = head.follower
        for _ in range(PREFETCHED):
            if follower is None:
                return
            if follower.event is None and follower.owed:
                self.wants.setdefault(follower.offset, []).append(follower)
            follower = follower.follower


def _run(wanted: Sequence[int]) -> int:
    """Return how many records from the first wanted offset on hold all that are near each other."""
    last = wanted[0]
    for offset in wanted:
        if offset - last > GAP:
            break
        last = offset
    return min(RUN, last - wanted[0] + 1 + PREFETCHED)
