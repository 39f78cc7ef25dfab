"""When a failed delivery is tried again; tenacity does the arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING

from tenacity import (
    RetryCallState,
    Retrying,
    stop_after_attempt,
    stop_before_delay,
    wait_chain,
    wait_exponential,
    wait_fixed,
    wait_random,
)

if TYPE_CHECKING:
    from tenacity.stop import stop_base
    from tenacity.wait import wait_base

# The first pause; each further one doubles. Jitter is only added: no retry comes sooner than the pause says.
FIRST_PAUSE = 0.5
JITTER = 0.25
RETRY_DELAYS = (30.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 36000.0)  # 27 hours in all (DESIGN 2.4)
GRAIN = 5.0  # seconds to which due times are rounded (DESIGN 2.4)


class QuickRetries:
    """The attempts that follow a failure at once: a few, and only while they begin within a short window."""

    def __init__(self, attempts: int, window: float) -> None:
        """Allow `attempts` in all that begin within `window` seconds of the first."""
        self._stop: stop_base = stop_after_attempt(attempts) | stop_before_delay(window)
        self._wait: wait_base = wait_exponential(multiplier=FIRST_PAUSE) + wait_random(0, JITTER)
        self._policy = Retrying(stop=self._stop, wait=self._wait)

    def pause(self, attempts: int, elapsed: float) -> float | None:
        """Return the seconds until the next attempt, None when there is none.

        `attempts` is how many were made, `elapsed` the seconds since the first began.
        """
        state = RetryCallState(self._policy, None, (), {})
        state.attempt_number = attempts
        state.outcome_timestamp = state.start_time + elapsed
        state.upcoming_sleep = self._wait(state)
        return None if self._stop(state) else state.upcoming_sleep


class Doubling:
    """Pauses of whatever has to be asked again and again: each twice as long as the one before, up to the longest."""

    def __init__(self, first: float, longest: float) -> None:
        """Begin with a pause of `first` seconds."""
        self._wait: wait_base = wait_exponential(multiplier=first, max=longest)
        self._policy = Retrying()

    def after(self, failures: int) -> float:
        """Return the seconds to rest after so many failures in a row."""
        state = RetryCallState(self._policy, None, (), {})
        state.attempt_number = failures
        return self._wait(state)


class Delays:
    """The growing delays after which something owed is tried again, until there is none left."""

    def __init__(self, delays: Sequence[float]) -> None:
        """Wait `delays` (seconds), one after the other."""
        self._wait: wait_base = wait_chain(*(wait_fixed(delay) for delay in delays))
        self._stop: stop_base = stop_after_attempt(len(delays) + 1)
        self._policy = Retrying()

    def due(self, used: int, now: float) -> float | None:
        """Return when the next attempt is due, `used` delays having been waited for; None if all were.

        It is rounded up to `GRAIN` seconds, so that what is due together is read from the log in one go.
        """
        state = RetryCallState(self._policy, None, (), {})
        state.attempt_number = used + 1
        return None if self._stop(state) else ceil((now + self._wait(state)) / GRAIN) * GRAIN
