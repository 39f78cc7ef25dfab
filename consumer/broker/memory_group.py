"""The consumer groups of the fake broker: who owns which partitions, and what was committed.

Partitions move one by one, as under Kafka's own protocol: a member first gives up what others are to have, and only
then do they get it. All that happens to a member happens inside its own `poll` and `close`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from consumer.broker import Rebalance
from consumer.broker.memory_log import Log
from consumer.errors import CycleAborted
from consumer.event import Commit, Record, TopicPartition


class MemoryMembership(NamedTuple):
    """A member as it was at one moment: of no more use once its partitions have changed."""

    member: MemoryConsumer
    generation: int


class Group:
    """One consumer group; whoever calls it holds the broker's lock."""

    def __init__(self, log: Log, changed: threading.Condition) -> None:
        self.log = log
        self.changed = changed
        self.members: list[MemoryConsumer] = []
        self.owners: dict[TopicPartition, MemoryConsumer] = {}
        self.committed: dict[TopicPartition, Commit] = {}

    def target(self, member: MemoryConsumer) -> set[TopicPartition]:
        """Return what `member` is to have: each partition goes to the next of those that want its topic."""
        mine: set[TopicPartition] = set()
        for topic in sorted(self.log.topics):
            takers = [taker for taker in self.members if topic in taker.topics]
            if member in takers:
                turn, count = takers.index(member), len(self.log.topics[topic])
                mine.update(TopicPartition(topic, number) for number in range(turn, count, len(takers)))
        return mine

    def owned(self, member: MemoryConsumer) -> set[TopicPartition]:
        """Return what `member` has."""
        return {tp for tp, owner in self.owners.items() if owner is member}

    def release(self, partitions: Iterable[TopicPartition]) -> None:
        """Make partitions free for others."""
        for tp in partitions:
            self.owners.pop(tp, None)
        self.changed.notify_all()

    def leave(self, member: MemoryConsumer) -> None:
        """Take a member and all it has out of the group."""
        if member in self.members:
            self.members.remove(member)
        self.release(self.owned(member))

    def check(self, membership: MemoryMembership | None) -> None:
        """Refuse offsets of who is no member, or had other partitions then. Raises CycleAborted."""
        member = membership and membership.member
        if membership is None or member not in self.members or membership.generation != membership.member.generation:
            raise CycleAborted("the transaction was aborted: the member's partitions have changed since")


class MemoryConsumer:
    """One member of a consumer group of the fake broker; see the protocol `GroupConsumer`."""

    def __init__(self, group: Group, topics: Sequence[str], rebalance: Rebalance) -> None:
        """Join `group`; whoever calls holds the broker's lock."""
        self.topics = frozenset(topics)
        self.generation = 0
        self._group = group
        self._changed = group.changed
        self._rebalance = rebalance
        self._assigned: set[TopicPartition] = set()  # as this member believes
        self._next: dict[TopicPartition, int] = {}  # of those that have begun, the offset that comes next
        self._paused: set[TopicPartition] = set()
        group.members.append(self)
        self._changed.notify_all()

    def poll(self, timeout: float, most: int) -> list[Record]:
        """Return up to `most` records, waiting up to `timeout` seconds for the first; serves rebalances."""
        deadline = time.monotonic() + timeout
        while True:
            self._keep_up()
            with self._changed:
                records = self._fetch(most)
                left = deadline - time.monotonic()
                if records or left <= 0:
                    return records
                if not self._moves():
                    self._changed.wait(left)

    def begin(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Deliver the records of assigned partitions from these offsets on; others are ignored."""
        mine = {tp: offset for tp, offset in offsets.items() if tp in self._assigned}
        self._next |= mine
        self._paused.difference_update(mine)

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Deliver nothing further from these partitions."""
        self._paused.update(partitions)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Deliver from these partitions again, from where they were paused."""
        self._paused.difference_update(partitions)

    def ends(self) -> dict[TopicPartition, int]:
        """Return where the logs of partitions end that are being fetched."""
        with self._changed:
            return {tp: self._group.log.end(tp) for tp in self._next.keys() - self._paused}

    def membership(self) -> MemoryMembership:
        """Return the proof of membership as of now; cheap, and safe on any thread."""
        return MemoryMembership(self, self.generation)

    def close(self) -> None:
        """Leave the group; what is still assigned is revoked first."""
        self._lose()
        self._give_up(self._assigned.copy())
        with self._changed:
            self._group.leave(self)

    # -- the rebalance; the callbacks run without the lock, since they wait for threads that want it

    def _keep_up(self) -> None:
        """Bring what this member has to what it is to have, as far as the others have let go of it."""
        self._lose()
        with self._changed:
            surplus = self._assigned - self._group.target(self)
        self._give_up(surplus)
        with self._changed:
            gained = sorted(self._group.target(self) - set(self._group.owners))
            self._take(gained)
        if gained:
            self._rebalance.on_assigned(gained)

    def _moves(self) -> bool:
        """Whether `_keep_up` has something to do."""
        group = self._group
        target = group.target(self)
        free = target - self._assigned - set(group.owners)
        return bool(self._assigned - target or free or self not in group.members)

    def _take(self, gained: Iterable[TopicPartition]) -> None:
        for tp in gained:
            self._group.owners[tp] = self
            self._assigned.add(tp)
            self.generation += 1

    def _give_up(self, partitions: set[TopicPartition]) -> None:
        if partitions:
            self._rebalance.on_revoked(sorted(partitions), self.membership())
            with self._changed:
                self._forget(partitions)
                self._group.release(partitions & self._group.owned(self))

    def _lose(self) -> None:
        """Take in that we were thrown out, and join again."""
        with self._changed:
            if self in self._group.members:
                return
            lost = sorted(self._assigned)
            self._forget(lost)
        if lost:
            self._rebalance.on_lost(lost)
        with self._changed:
            self._group.members.append(self)
            self._changed.notify_all()

    def _forget(self, partitions: Iterable[TopicPartition]) -> None:
        self.generation += 1
        for tp in partitions:
            self._assigned.discard(tp)
            self._next.pop(tp, None)

    def _fetch(self, most: int) -> list[Record]:
        records: list[Record] = []
        log = self._group.log
        for tp in sorted(self._next.keys() - self._paused):
            self._next[tp] = log.place(tp, self._next[tp])
            some = log.after(tp, self._next[tp], most - len(records))
            if some:
                self._next[tp] = some[-1].offset + 1
                records += some
        return records
