"""Which offsets of a partition are finished, and so how far may be committed.

Offsets come in and are finished in any order; the watermark is the lowest that is not. The log has holes (compaction,
transaction markers), so offsets are tracked as they were received and never counted.
"""

from __future__ import annotations

from collections.abc import Mapping

from consumer.errors import BrokerError


class Offsets:
    """The unfinished offsets of one partition. `position` is the one after the last received; None before the first."""

    __slots__ = ("_open", "position")

    def __init__(self) -> None:
        self._open: dict[int, int] = {}  # offset -> how many things about it are unfinished, in log order
        self.position: int | None = None

    def __len__(self) -> int:
        return len(self._open)

    def received(self, offset: int, parts: int) -> None:
        """Take in an offset that is finished when `parts` things are (0: it is finished already).

        Raises BrokerError for an offset that is not above all before it: the watermark would be wrong from there on.
        """
        if self.position is not None and offset < self.position:
            raise BrokerError(
                f"offset {offset} came after {self.position - 1}: was the topic made anew while it was read?"
            )
        self.position = offset + 1
        if parts:
            self._open[offset] = parts

    def finished(self, offset: int) -> bool:
        """Count one thing about `offset` as finished; True when it was the last."""
        if self.position is not None and offset >= self.position:
            return False  # it was left to the next owner
        left = self._open[offset] - 1
        if left:
            self._open[offset] = left
            return False
        del self._open[offset]
        return True

    def rewind(self, position: int) -> None:
        """Forget everything from `position` on: it is as if it had never been received."""
        for offset in [offset for offset in self._open if offset >= position]:
            del self._open[offset]
        self.position = position

    def open_after(self, offset: int) -> int:
        """Return the lowest unfinished offset after this one; the position where there is none."""
        return next((each for each in self._open if each > offset), self.position or 0)

    @property
    def lowest(self) -> int | None:
        """The lowest unfinished offset."""
        return next(iter(self._open), None)

    def watermark(self, finishing: Mapping[int, int] | None = None) -> int | None:
        """Return the offset that may be committed: everything below it is finished. None before the first record.

        `finishing` (offset -> how many things) counts as finished what becomes so in the same transaction.
        """
        if not finishing:
            return next(iter(self._open), self.position)
        for offset, parts in self._open.items():
            if finishing.get(offset, 0) < parts:
                return offset
        return self.position
