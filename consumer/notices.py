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
        self._sums: dict[tuple[str, str, str, tuple[tuple[str, str], ...]], int] = {}

    def add(self, level: str, event: str, **fields: object) -> None:
        """Write a line down."""
        self._lines.append(Notice(level, event, fields))

    def add_up(self, level: str, event: str, unit: str, n: int, **fields: str) -> None:
        """Write down that `n` more are so: where all else is alike it becomes one line, with the sum as `unit`."""
        key = (level, event, unit, tuple(fields.items()))
        self._sums[key] = self._sums.get(key, 0) + n

    def take(self) -> list[Notice]:
        """Return each line once."""
        lines, self._lines = self._lines, []
        sums, self._sums = self._sums, {}
        lines += [Notice(level, event, {**dict(fields), unit: n}) for (level, event, unit, fields), n in sums.items()]
        return lines
