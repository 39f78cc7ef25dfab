"""When a destination is believed down: outcomes and the time go in, whether attempts may begin comes out.

While it is open, nothing is attempted but probes, one at a time; what fails then uses up no attempts.
"""

from __future__ import annotations

from dataclasses import dataclass

from consumer.retry import Doubling


@dataclass(frozen=True)
class BreakerSettings:
    """When a breaker opens, and how often it probes (DESIGN 2.4); seconds."""

    failures: int = 10  # in a row
    refusals: int = 20  # permanent answers in a row
    lanes: int = 3  # over which either must have come: one bad item is no outage
    silence: float = 600.0  # of attempts that delivered nothing
    first_probe: float = 5.0
    longest_pause: float = 300.0


class Breaker:
    """The breaker of one subscription, in one replica."""

    __slots__ = ("_failing", "_failures", "_lanes", "_pauses", "_refusals", "_settings", "open", "probe_at", "probes")

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._pauses = Doubling(settings.first_probe, settings.longest_pause)
        self._failures = 0  # in a row
        self._refusals = 0
        self._lanes: set[object] = set()  # of the failures in a row, as many as matter
        self._failing: float | None = None  # when the first attempt failed after which nothing was delivered
        self.open = False
        self.probes = 0  # that failed since it opened
        self.probe_at = 0.0

    def succeeded(self) -> bool:
        """Take in a delivery; True if that closes the breaker."""
        was_open = self.open
        if self._failing is not None:
            self._forget()
        return was_open

    def doubt(self) -> None:
        """Close it for want of evidence: what fails may be a few bad items only, and has to show so by itself."""
        self._forget()

    def _forget(self) -> None:
        self._failures = self._refusals = self.probes = 0
        self._lanes.clear()
        self._failing = None
        self.open = False

    def failed(self, now: float, lane: object, *, refused: bool) -> bool:
        """Take in a failure, `refused` if the answer was permanent; True if that opens the breaker."""
        if self._failing is None:
            self._failing = now
        if len(self._lanes) < self._settings.lanes:
            self._lanes.add(lane)
        if refused:
            self._refusals += 1
        else:
            self._failures += 1
        if self.open or not self._too_many(now):
            return False
        self.trip(now)
        return True

    def _too_many(self, now: float) -> bool:
        settings = self._settings
        many = self._failures >= settings.failures or self._refusals >= settings.refusals
        if many and len(self._lanes) >= settings.lanes:
            return True
        # One item alone never makes a silence: with nothing to tell it from an outage it would never be exhausted.
        silent = self._failing is not None and now - self._failing >= settings.silence
        return silent and len(self._lanes) > 1

    def trip(self, now: float) -> None:
        """Open it, whatever was counted."""
        if self._failing is None:
            self._failing = now
        self.open = True
        self.probes = 0
        self.probe_at = now + self._pauses.after(1)

    def probe_failed(self, now: float) -> None:
        """Take in that the destination is still down: the next probe comes after twice the pause."""
        self.probes += 1
        self.probe_at = now + self._pauses.after(self.probes + 1)
