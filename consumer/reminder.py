"""When it is time to say again what is still so: once at first, and then every half minute."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from consumer.clock import Clock

REMIND = 30.0  # seconds between two log lines about the same trouble


class Reminder:
    """Says when a trouble that lasts is to be logged."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._said: float | None = None

    def is_due(self) -> bool:
        """Return whether it is to be said now; then it is not, for REMIND seconds."""
        now = self._clock.monotonic()
        if self._said is not None and now - self._said < REMIND:
            return False
        self._said = now
        return True
