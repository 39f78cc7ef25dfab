"""The highest of the values that came in within the last minute."""

from __future__ import annotations

from collections import deque

WINDOW = 60.0  # seconds


class Peak:
    """Values and their times come in, in the order of time; one thread brings them, others may look."""

    def __init__(self, window: float = WINDOW) -> None:
        """Forget what is older than `window` seconds."""
        self._window = window
        self._values: deque[tuple[float, float]] = deque()  # each lower than those before it: the others do not count

    def add(self, now: float, value: float) -> None:
        """Take in a value of this moment."""
        values = self._values
        while values and values[-1][1] <= value:
            values.pop()
        values.append((now, value))
        while values[0][0] < now - self._window:
            values.popleft()

    @property
    def highest(self) -> float:
        """The highest value within the window that ended with the last one; 0 if none came."""
        values = list(self._values)  # a copy made in one step
        return values[0][1] if values else 0.0
