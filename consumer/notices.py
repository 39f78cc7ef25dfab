"""What the person who runs it should read in the log: the core writes it down, the pipeline logs it."""

from __future__ import annotations

from typing import NamedTuple


class Notice(NamedTuple):
    """One line for the log; `level` is a logger's method."""

    level: str
    event: str
    fields: dict[str, object]


class Notices:
    """Lines that were not logged yet."""

    def __init__(self) -> None:
        self._lines: list[Notice] = []

    def add(self, level: str, event: str, **fields: object) -> None:
        """Write a line down."""
        self._lines.append(Notice(level, event, fields))

    def take(self) -> list[Notice]:
        """Return each line once."""
        lines, self._lines = self._lines, []
        return lines
