"""The time, as something that is handed in: tests and the simulation bring their own."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def monotonic(self) -> float:
        """Return seconds that never go back, for intervals."""

    def time(self) -> float:
        """Return seconds since 1970 (UTC), for people and other machines."""


class SystemClock:
    """The machine's own clocks."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)
