"""When the records of one partition were written, about: notes come in as it is read, times by offset go out.

A delivery that is owed keeps no event, so its age is looked up here. What is owed may be a day old: the older notes
are, the fewer are kept, so that an age is wrong by a sixteenth at most.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from consumer.state import State

GAP = 1.0  # seconds between two notes of what is read live
MOST = 512  # notes; with a sixteenth of their age between one and the next but one, those of a month are 400
SHARE = 16


class Calendar:
    """Notes of one partition, each an offset and the time when its record was written (seconds since 1970).

    Later offsets have no earlier times, so a producer's clock that goes wrong once does no harm. One thread takes
    notes; others may look.
    """

    __slots__ = ("_began", "_notes", "due")

    def __init__(self, began: float = 0.0) -> None:
        """Believe of all records that they were written at `began`, as long as nothing is known."""
        self._began = began
        self._notes: list[tuple[int, float]] = []
        self.due = 1  # milliseconds since 1970: what is read live and was written before needs no note

    def __len__(self) -> int:
        return len(self._notes)

    def note(self, offset: int, written: float, now: float) -> None:
        """Note when the record at an offset was written, which is not later than `now`; 0 or less says nothing."""
        if written <= 0:
            return
        notes = self._notes
        written = min(written, now)
        place = bisect_right(notes, (offset, inf))
        before, after = notes[place - 1] if place else None, notes[place] if place < len(notes) else None
        if after is not None:
            written = min(written, after[1])
        if before is not None and before[0] == offset:
            if written < before[1] and (place < 2 or notes[place - 2][1] <= written):
                notes[place - 1] = offset, written
        else:
            notes.insert(place, (offset, written if before is None else max(written, before[1])))
        self.due = int((notes[-1][1] + GAP) * 1000)
        if len(notes) > MOST:
            self._thin_out()

    def remember(self, states: Iterable[State], now: float) -> None:
        """Note what is told by that which former owners left owed: of each when it was attempted, or found down."""
        known: list[tuple[int, float]] = []
        for state in states:
            if state.owed and (first := min(state.owed)).first_attempt:
                known.append((first.offset, first.first_attempt))
            if state.next is not None and state.failing_since:
                known.append((state.next, state.failing_since))
        for offset, at in sorted(known, reverse=True):  # what lies before was written before
            self.note(offset, at, now)

    def written(self, offset: int) -> float:
        """Return when the record at an offset was written, about; where nothing tells, when the calendar began."""
        notes = self._notes
        place = bisect_right(notes, (offset, inf))
        return notes[max(0, place - 1)][1] if notes else self._began

    def _thin_out(self) -> None:
        """Leave out the notes between two that are near each other for their age; silences stay as they are."""
        notes = self._notes
        newest = notes[-1][1]
        kept = notes[:1]
        for note, after in pairwise(notes[1:]):
            if after[1] - kept[-1][1] > max(GAP, (newest - note[1]) / SHARE):
                kept.append(note)
        self._notes = [*kept, notes[-1]]  # a new list: others may be looking at the old one
