"""A clock that moves only when a test says so."""

from __future__ import annotations


class FakeClock:
    """Seconds that stand still; `advance` moves both of its clocks."""

    def __init__(self, start: float = 1_000.0, today: float = 1_700_000_000.0) -> None:
        self._monotonic = start
        self._today = today - start

    def monotonic(self) -> float:
        return self._monotonic

    def time(self) -> float:
        return self._today + self._monotonic

    def advance(self, seconds: float) -> None:
        self._monotonic += seconds
