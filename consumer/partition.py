"""What is in memory of one partition for as long as it is assigned; given up as a whole when it goes."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from consumer.calendar import Calendar
from consumer.control import NOTHING, Note, write_note
from consumer.event import Commit, Outgoing, Record, TopicPartition
from consumer.offsets import Offsets
from consumer.scan import Scan

if TYPE_CHECKING:
    from consumer.flow import Flow
    from consumer.framing import Reference
    from consumer.state import State

CHECKPOINT = 0.25  # seconds between two notes of how far it was read then


class Partition:
    """One assignment of one partition. A new assignment is a new object, so results of the old one are told apart."""

    __slots__ = (
        "_checkpoints",
        "applied",
        "attempted",
        "awaiting",
        "begun",
        "blocked",
        "bytes",
        "calendar",
        "committed",
        "dirty",
        "draining",
        "floors",
        "flows",
        "flying",
        "gone",
        "offsets",
        "orphans",
        "owed",
        "paused",
        "reading",
        "scan",
        "staged",
        "staged_bytes",
        "told",
        "tombstones",
        "topic_id",
        "tp",
    )

    def __init__(self, tp: TopicPartition, now: float = 0.0) -> None:
        """Begin the assignment; `now` is in seconds since 1970."""
        self.tp = tp
        self.topic_id = ""
        self.begun = False  # whether it is known what is owed here: before, no record is taken
        self.offsets = Offsets()
        self.flows: dict[str, Flow] = {}  # subscription id -> flow
        self.staged: deque[Record] = deque()  # fetched, and not yet let in
        self.staged_bytes = 0
        self.bytes = 0  # of the records staged and in hand
        self.blocked: dict[Flow, None] = {}  # those whose bounds keep further records out
        self.awaiting: Reference | None = None  # the schema without which its next record cannot be read
        self.paused = False  # as the consumer was told
        self.flying = 0  # attempts under way
        self.attempted = -1  # the highest offset of which a delivery was attempted
        self.draining = False  # while it is being given up: nothing further begins
        self.committed: Commit | None = None  # what is durable of this assignment, as far as is known
        self.gone = False
        self.owed = 0  # deliveries, of all flows
        self.dirty: dict[Flow, None] = {}  # flows whose state has to be written
        self.floors: dict[Flow, None] = {}  # those that fell behind, and whose state does not say so durably yet
        self.reading: dict[Flow, None] = {}  # those that may want something read from the log again
        self.scan = Scan(tp)
        self.calendar = Calendar(now)
        self.applied = NOTHING  # how much of the control topic is carried out
        self.told: dict[Flow, int] = {}  # what words have changed, from which on that is not durable
        self.orphans: dict[str, State] = {}  # of subscriptions that are gone
        self.tombstones: dict[bytes, Outgoing] = {}  # of those that are forgotten
        self._checkpoints: deque[tuple[float, int]] = deque()

    @property
    def position(self) -> int:
        """The offset after the last record that was let in."""
        return self.offsets.position or 0

    def begin(self, offset: int, topic_id: str, applied: Note | None) -> None:
        """Take records in, from `offset` on; `applied` is what was committed with it of the control topic, if any."""
        self.begun = True
        self.topic_id = topic_id
        self.offsets.position = offset
        self.committed = None if applied is None else Commit(offset, write_note(applied))
        self.attempted = offset - 1

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
        """Begin nothing further."""
        if not self.draining:
            self.draining = True
            self.staged.clear()
            self.bytes -= self.staged_bytes
            self.staged_bytes = 0

    def rewind(self) -> None:
        """Leave to the next owner what was never attempted; what was, and is not finished, becomes owed.

        What was finished without an attempt, since it concerned nobody, is not read again: later there may be somebody.
        """
        position = min(self.position, self.offsets.open_after(self.attempted))
        for flow in self.flows.values():
            flow.rewind(position)
        self.offsets.rewind(position)

    @property
    def stopped(self) -> bool:
        """Whether its next record has to wait: for a bound, or for a schema."""
        return bool(self.blocked) or self.awaiting is not None

    # -- time

    def note(self, now: float) -> None:
        """Note how far it was read at this time (monotonic seconds)."""
        position = self.position
        if not self._checkpoints or now - self._checkpoints[-1][0] >= CHECKPOINT:
            self._checkpoints.append((now, position))

    def read_before(self, then: float) -> int:
        """Return an offset below which everything was let in before that time."""
        found = -1
        while len(self._checkpoints) > 1 and self._checkpoints[1][0] <= then:
            self._checkpoints.popleft()
        if self._checkpoints and self._checkpoints[0][0] <= then:
            found = self._checkpoints[0][1]
        return found

    # -- what the next transaction may say

    def commit(self, finishing: dict[int, int] | None, written: set[Flow]) -> Commit:
        """Return what may be committed with a transaction that finishes these and writes these flows' states."""
        known, topic = self.applied
        applied = min([known, *(offset for flow, offset in self.told.items() if flow not in written)])
        return Commit(self.watermark(finishing, written), write_note(Note(applied, topic)))

    def watermark(self, finishing: dict[int, int] | None, written: set[Flow]) -> int:
        """Return how far may be committed with a transaction that finishes these and writes these flows' states."""
        watermark = self.offsets.watermark(finishing)
        lowest = self.position if watermark is None else watermark
        for flow in self.floors:
            if flow not in written and flow.floor is not None and flow.floor < lowest:
                lowest = flow.floor
        return lowest
