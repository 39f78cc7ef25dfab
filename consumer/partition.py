"""What is in memory of one partition for as long as it is assigned; given up as a whole when it goes."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from consumer.event import Record, TopicPartition
from consumer.offsets import Offsets

if TYPE_CHECKING:
    from consumer.delivery import Delivery
    from consumer.dispatcher import Channel
    from consumer.framing import Reference


class Flow:
    """One subscription in one partition: its lanes, and how many of its deliveries are unfinished here.

    A lane is a chain of deliveries; `tails` holds each lane's last, so appending to it needs no list.
    """

    __slots__ = ("channel", "in_hand", "partition", "tails")

    def __init__(self, channel: Channel, partition: Partition) -> None:
        self.channel = channel
        self.partition = partition
        self.in_hand = 0
        self.tails: dict[int, Delivery] = {}


class Partition:
    """One assignment of one partition. A new assignment is a new object, so results of the old one are told apart."""

    __slots__ = (
        "attempted",
        "awaiting",
        "blocked_on",
        "bytes",
        "committed",
        "drain_to",
        "flows",
        "gone",
        "offsets",
        "paused",
        "staged",
        "staged_bytes",
        "tp",
    )

    def __init__(self, tp: TopicPartition) -> None:
        self.tp = tp
        self.offsets = Offsets()
        self.flows: dict[str, Flow] = {}  # subscription id -> flow
        self.staged: deque[Record] = deque()  # fetched, and not yet let in
        self.staged_bytes = 0
        self.bytes = 0  # of the records staged and in hand
        self.blocked_on: Flow | None = None  # whose bound keeps further records out
        self.awaiting: Reference | None = None  # the schema without which its next record cannot be read
        self.paused = False  # as the consumer was told
        self.attempted = -1  # the highest offset of which a delivery was attempted
        self.drain_to: int | None = None  # while it is being given up: nothing above this offset begins
        self.committed: int | None = None  # as far as this assignment has committed
        self.gone = False

    def flow(self, channel: Channel) -> Flow:
        """Return the flow of a subscription in this partition."""
        found = self.flows.get(channel.subscription.id)
        if found is None:
            found = self.flows[channel.subscription.id] = Flow(channel, self)
        return found

    def stage(self, record: Record) -> None:
        """Keep a fetched record until there is room for its deliveries."""
        size = record.size
        self.staged.append(record)
        self.staged_bytes += size
        self.bytes += size

    def unstage(self) -> Record:
        """Take the oldest staged record."""
        record = self.staged.popleft()
        self.staged_bytes -= record.size
        return record

    def put_back(self, record: Record) -> None:
        """Undo `unstage`: this record's turn has not come yet."""
        self.staged.appendleft(record)
        self.staged_bytes += record.size

    def drain(self) -> None:
        """Begin nothing further but what an orderly end needs: all at or below the highest offset attempted.

        What was delivered above an unfinished offset would be delivered again by the next owner.
        """
        if self.drain_to is None:
            self.drain_to = self.attempted
            self.staged.clear()
            self.bytes -= self.staged_bytes
            self.staged_bytes = 0

    @property
    def stopped(self) -> bool:
        """Whether its next record has to wait: for a bound, or for a schema."""
        return self.blocked_on is not None or self.awaiting is not None

    @property
    def drained(self) -> bool:
        """Whether all that was begun is finished."""
        lowest = self.offsets.lowest
        return self.drain_to is not None and (lowest is None or lowest > self.drain_to)
