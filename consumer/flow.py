"""One subscription in one partition: its lanes, and what it is owed there.

A lane is a chain of deliveries of which only the head is ever ready, in flight or waiting, so the order in a lane holds
whatever its heads do. A lane is owed as a whole or not at all: followers of an owed head are owed as well. Live, a flow
takes events as the partition is read; behind, it is owed everything from `next` on and reads it by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from consumer.delivery import Delivery, Place
from consumer.state import Owed, State

if TYPE_CHECKING:
    from consumer.channel import Channel
    from consumer.partition import Partition


ALL = 2**63  # above every offset
ENDING = (Place.FLYING, Place.ENDING)  # where a delivery ends soon, one way or the other


class Held:
    """An owed lane: its head, and how many are in it."""

    __slots__ = ("count", "head")

    def __init__(self, head: Delivery) -> None:
        self.head = head
        self.count = 0


class Flow:
    """The unfinished deliveries of one subscription in one partition.

    `version` counts the changes of what is owed; `durable` is the version that the state topic has, as far as is known.
    """

    __slots__ = (
        "_tails",
        "_wanted",
        "bodies",
        "channel",
        "durable",
        "expiring",
        "floor",
        "floor_version",
        "hand",
        "held",
        "next",
        "owed",
        "partition",
        "probing",
        "refused",
        "taken_over",
        "told_version",
        "uncovered",
        "version",
        "written",
    )

    def __init__(self, channel: Channel, partition: Partition) -> None:
        self.channel = channel
        self.partition = partition
        self.hand: dict[int, Delivery] = {}  # offset -> unfinished delivery
        self._tails: dict[int, Delivery] = {}  # lane -> its last
        self.held: dict[int, Held] = {}  # lane -> what is owed of it
        self.owed = 0  # of those in hand
        self.uncovered: dict[Delivery, None] = {}  # owed ones that no durable state holds yet
        self.next: int | None = None
        self.floor: int | None = None  # from here on it is owed by a `next` that is not durable: no watermark may pass
        self.floor_version = 0
        self.expiring = -1  # what lies below is about to leave the log: it becomes a dead letter
        self.taken_over: set[int] = set()  # what a take-over found owed, as far as reading has not come to it
        self._wanted: list[int] = []  # a heap of offsets whose bodies are to be read; some may be wanted no more
        self.bodies = 0  # events in memory that were read again
        self.probing = False  # whether it may read one event, for a probe
        self.told_version = 0  # as of the last word of the control topic that changed it
        self.version = 0
        self.durable = 0
        self.refused = 0  # how many were owed when the broker refused the state for its size; 0 if it did not
        self.written = False  # whether the state topic may hold a record of it

    # -- lanes

    def add(self, delivery: Delivery) -> bool:
        """Take a delivery in hand, at its place in its lane; True if it is the lane's head."""
        self.hand[delivery.offset] = delivery
        lane = delivery.lane
        if lane is None:
            return True
        tail = self._tails.get(lane)
        if tail is not None and delivery.offset < tail.offset:
            return self._insert(delivery, lane)
        self._tails[lane] = delivery
        if tail is None:
            return True
        tail.follower = delivery
        if tail.owed:
            self.owe(delivery)
        return False

    def _insert(self, delivery: Delivery, lane: int) -> bool:
        """Take in what lies before others of its lane: after a take-over, what was finished but not committed.

        It is delivered again as its lane's head, or after it, and delays nobody else's first delivery.
        """
        head = self.held[lane].head  # what is owed alone can lie above what comes
        if delivery.offset < head.offset and head.place in (Place.WAITING, Place.WANTING, Place.READY):
            delivery.follower = head
            head.place = Place.FOLLOWING
            self.held[lane].head = delivery
            self.owe(delivery)
            return True
        before = head
        while before.follower is not None and before.follower.offset < delivery.offset:
            before = before.follower
        delivery.follower, before.follower = before.follower, delivery
        if delivery.follower is None:
            self._tails[lane] = delivery
        self.owe(delivery)
        return False

    def leave(self, delivery: Delivery) -> Delivery | None:
        """Take a finished head out of hand; return the follower whose turn it is now."""
        del self.hand[delivery.offset]
        delivery.place = Place.DONE
        follower, lane = delivery.follower, delivery.lane
        if delivery.owed:
            self.owed -= 1
            self.partition.owed -= 1
            self.uncovered.pop(delivery, None)
        if self.next is not None:
            self.partition.reading[self] = None  # there is more room now
        if lane is None:
            return None
        held = self.held.get(lane)
        if held is not None:
            held.count -= 1
            if follower is None:
                del self.held[lane]
            else:
                held.head = follower
        if follower is None and self._tails.get(lane) is delivery:
            del self._tails[lane]
        return follower

    def has_body(self, lane: int | None) -> bool:
        """Whether the head of an owed lane has its event."""
        return lane is not None and self.held[lane].head.event is not None

    def heads(self) -> Iterator[Delivery]:
        """Yield the heads of all lanes, and what is in none, in the order of the log."""
        return (delivery for delivery in self.hand.values() if delivery.place is not Place.FOLLOWING)

    # -- what is owed

    def owe(self, delivery: Delivery) -> int:
        """Make a delivery and its followers owed; returns how many newly are."""
        count = 0
        owed: Delivery | None = delivery
        while owed is not None and not owed.owed:
            owed.owed = True
            self.owed += 1
            count += 1
            if not owed.covered:
                self.uncovered[owed] = None
            if owed.lane is not None:
                held = self.held.get(owed.lane)
                if held is None:
                    held = self.held[owed.lane] = Held(owed)
                held.count += 1
            if owed.place is Place.READY:
                self.want(owed)
            elif owed.place is Place.FOLLOWING:
                owed.detach()
            owed = owed.follower
        if count:
            self.partition.owed += count
            self.touch()
        return count

    def fall_behind(self, offset: int) -> None:
        """Read no further with the partition: what is in hand is owed, and so is everything from `offset` on."""
        self.next = offset
        self.partition.blocked.pop(self, None)
        if self.floor is None:  # else it fell behind, and was back, since the last durable transaction
            self.floor = offset
        for delivery in list(self.hand.values()):
            self.owe(delivery)
        self.touch()
        self.floor_version = self.version
        self.partition.floors[self] = None
        self.partition.reading[self] = None

    def rewind(self, offset: int) -> None:
        """Forget what lies from `offset` on and was never owed: the next owner reads it. All else becomes owed."""
        for delivery in [d for d in self.hand.values() if d.offset >= offset and not d.owed]:
            self._remove(delivery)
        for delivery in list(self.hand.values()):
            if delivery.follower is not None and delivery.follower.place is Place.DONE:
                delivery.follower = None
            self.owe(delivery)

    def _remove(self, delivery: Delivery) -> None:
        """Take out of hand what nothing is to become of here."""
        del self.hand[delivery.offset]
        delivery.detach()
        delivery.place = Place.DONE
        self.channel.in_hand -= 1

    def passes(self, offset: int) -> bool:
        """Whether reading passes an event by, since it is in hand, or a take-over found it owed; it may be finished."""
        if offset in self.taken_over:
            self.taken_over.discard(offset)
            return True
        return offset in self.hand

    def go_back(self, offset: int) -> None:
        """Read once more from an earlier offset on; what is in hand stays there, and is not taken twice."""
        self.taken_over.clear()  # they come again, if they do not wait still
        if self.next is None:
            self.fall_behind(self.partition.position)
        if self.next is None or offset < self.next:
            self.next = offset
        self.partition.reading[self] = None
        self.touch()

    def mark(self, offset: int) -> None:
        """Note that the word at this offset of the control topic has changed what is owed."""
        self.touch()
        self.told_version = self.version
        self.partition.told.setdefault(self, offset)

    def drop(self, below: int) -> int:
        """Finish, undelivered, what is in hand below an offset and is not just ending; returns how many."""
        heads = list(self.heads())
        dropped = 0
        for delivery in [d for d in self.hand.values() if d.offset < below and d.place not in ENDING]:
            dropped += 1
            self._remove(delivery)
            self.taken_over.discard(delivery.offset)
            self.uncovered.pop(delivery, None)
            if delivery.owed:
                self.owed -= 1
                self.partition.owed -= 1
            if not delivery.covered:
                self.partition.offsets.finished(delivery.offset)
        if dropped:
            self.touch()
            for head in heads:
                self._close_ranks(head)
        return dropped

    def _close_ranks(self, head: Delivery) -> None:
        """Leave those out of a lane that are finished."""
        lane, left = head.lane, [each for each in _chain(head) if each.place is not Place.DONE]
        if lane is None:
            return
        self.held.pop(lane, None)
        self._tails.pop(lane, None)
        for before, after in zip(left, [*left[1:], None], strict=False):
            before.follower = after
        if left:
            self._tails[lane] = left[-1]
            if left[0].owed:
                held = self.held[lane] = Held(left[0])
                held.count = len(left)
            if left[0].place is Place.FOLLOWING:
                self.want(left[0])

    def expire(self, head: Delivery, offset: int) -> None:
        """Have what lies below `offset` in an owed lane become dead letters, one after the other."""
        delivery: Delivery | None = head
        while delivery is not None and delivery.offset < offset:
            delivery.verdict = "expired"
            delivery = delivery.follower
        self.want(head)

    def reach(self, offset: int) -> None:
        """Go on reading, behind the partition, from `offset`."""
        if self.next is not None and offset > self.next:
            self.next = offset
            self.touch()

    def catch_up(self) -> None:
        """Read with the partition again; what is in hand stays owed."""
        self.next = None
        self.probing = False
        self.touch()

    def forgive(self) -> None:
        """Forget which of the retry delays were waited for."""
        late = [delivery for delivery in self.hand.values() if delivery.delays]
        for delivery in late:
            delivery.delays = 0
        if late:
            self.touch()

    def retire(self) -> None:
        """Leave its partition: what is owed is durable, and waits there for somebody to take it over."""
        partition = self.partition
        partition.owed -= self.owed
        partition.reading.pop(self, None)
        for delivery in self.hand.values():
            delivery.detach()
            delivery.place = Place.DONE

    def touch(self) -> None:
        """Note that what is owed has changed: its state has to be written."""
        self.version += 1
        self.partition.dirty[self] = None

    def clean(self, version: int) -> None:
        """Take in that the state of this version is durable."""
        self.durable = version
        dirty = self.partition.dirty
        dirty.pop(self, None)
        if version != self.version:
            dirty[self] = None  # behind the others: where not all fit into a cycle, they take turns
        if self.floor is not None and version >= self.floor_version:
            self.floor = None
            self.partition.floors.pop(self, None)
        if version >= self.told_version:
            self.partition.told.pop(self, None)

    @property
    def is_too_large(self) -> bool:
        """Whether its state was refused for its size, and is not much smaller now: it would fail every cycle."""
        return 0 < self.refused < 2 * self.owed

    # -- bodies to be read from the log

    @property
    def needs(self) -> bool:
        """Whether it may want something read."""
        return bool(self._wanted) or self.next is not None

    def want(self, delivery: Delivery) -> None:
        """Have the body of a head read from the log again."""
        self.let_go(delivery)
        delivery.place = Place.WANTING
        heappush(self._wanted, delivery.offset)
        self.partition.reading[self] = None

    def let_go(self, head: Delivery) -> None:
        """Let go of the bodies of a head and of those read with it: while it has none, others have the room."""
        delivery: Delivery | None = head
        while delivery is not None:
            delivery.detach()
            delivery = delivery.follower if self.bodies else None

    def freed(self) -> None:
        """Take in that one event less that was read again is in memory: there is room for another one."""
        self.bodies -= 1
        if self.needs and not self.partition.gone and not self.channel.gone:
            self.partition.reading[self] = None

    def wanted(self, most: int) -> list[int]:
        """Return the lowest offsets whose bodies are wanted, sorted, up to `most`."""
        found: list[int] = []
        while self._wanted and len(found) < most:
            offset = heappop(self._wanted)
            delivery = self.hand.get(offset)
            if delivery is not None and delivery.place is Place.WANTING and offset not in found[-1:]:
                found.append(offset)
        for offset in found:
            heappush(self._wanted, offset)
        return found

    # -- its state

    def load(self, state: State) -> list[Delivery]:
        """Take in what a take-over found; returns the heads."""
        self.next = state.next
        heads = []
        for owed in sorted(state.owed):
            delivery = Delivery(self, owed.offset, owed.lane if self.channel.subscription.ordered else None)
            delivery.attempts, delivery.delays = owed.attempts, owed.delays
            delivery.first_attempt, delivery.due = float(owed.first_attempt), float(owed.due)
            delivery.covered = True
            if self.add(delivery):
                heads.append(delivery)
            self.owe(delivery)
            self.taken_over.add(owed.offset)
        self.written = True
        self.durable = self.version
        self.partition.dirty.pop(self, None)
        if state.failing_since and not 0 < self.channel.failing_since <= state.failing_since:
            self.channel.failing_since, self.channel.last_error = float(state.failing_since), state.last_error
        return heads

    def state(self, topic_id: str, ending: Iterable[Delivery] = ()) -> State:
        """Return what is owed now, without those that are `ending` with the same transaction."""
        gone = {delivery.offset for delivery in ending}
        owed = tuple(
            Owed(d.offset, d.attempts, d.delays, int(d.first_attempt), int(d.due), d.lane)
            for d in self.hand.values()
            if d.owed and d.offset not in gone
        )
        channel = self.channel
        return State(
            channel.subscription.id,
            self.partition.tp,
            topic_id,
            self.next,
            owed,
            int(channel.failing_since),
            channel.last_error,
        )


def _chain(head: Delivery) -> Iterator[Delivery]:
    """Yield a lane's deliveries from its head on."""
    delivery: Delivery | None = head
    while delivery is not None:
        yield delivery
        delivery = delivery.follower
