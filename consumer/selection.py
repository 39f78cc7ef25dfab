"""Which dead letters are meant: conditions that all have to hold, read from what an operator types."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from consumer.errors import ConfigurationError, SprintlyError
from consumer.settings.values import read_duration

if TYPE_CHECKING:
    from consumer.deadletter import DeadLetter
    from consumer.replay import Entry

_RATE = re.compile(r"(\d+(?:\.\d+)?)(?:\s*/\s*([smh]))?", re.IGNORECASE | re.ASCII)
_STATUS = re.compile(r"([1-5])(xx|\d\d)", re.IGNORECASE | re.ASCII)


class Statuses(NamedTuple):
    """A range of HTTP status codes, both ends included."""

    lowest: int
    highest: int


def read_status(text: str) -> Statuses:
    """Return the codes meant by "404" or "5xx". Raises ValueError for anything else."""
    found = _STATUS.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no HTTP status: give a code, as in 404, or a class, as in 5xx")
    hundreds = int(found[1]) * 100
    if found[2].lower() == "xx":
        return Statuses(hundreds, hundreds + 99)
    return Statuses(hundreds + int(found[2]), hundreds + int(found[2]))


def read_moment(text: str, now: float) -> float:
    """Return the time (seconds since 1970) meant by "2026-11-25", "2026-11-25T14:30" (UTC, or with an offset) or "2h".

    A duration is that long before `now`. Raises ValueError for what is neither.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        pass
    else:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    try:
        return now - read_duration(text)
    except ValueError:
        hint = "give a date or time, as in 2026-11-25T14:30 (UTC), or how long ago, as in 2h"
        raise ValueError(f"{text!r} is no time: {hint}") from None


def read_rate(text: str) -> float:
    """Return how many a second "500/s", "30/m", "1000/h" or "500" mean. Raises ValueError for anything else."""
    found = _RATE.fullmatch(text.strip())
    if found is None or float(found[1]) <= 0:
        raise ValueError(
            f"{text!r} is no rate: give a number a second, as in 500/s, a minute (30/m) or an hour (100/h)"
        )
    return float(found[1]) / {"s": 1, "m": 60, "h": 3600}[(found[2] or "s").lower()]


@dataclass(frozen=True)
class Selection:
    """Conditions on dead letters. Of several values of one condition any will do; an empty condition does not narrow.

    `models`, `actions` and `reasons` may hold globs. `since` and `until` (seconds since 1970) bound the time of the
    last attempt, of what was never attempted the time of its event. `grep` looks in error, key and bytes, in any case.
    """

    ids: tuple[str, ...] = ()
    subscriptions: tuple[str, ...] = ()
    products: tuple[int, ...] = ()
    services: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    statuses: tuple[Statuses, ...] = ()
    since: float | None = None
    until: float | None = None
    grep: str = ""
    limit: int | None = None

    @property
    def narrows(self) -> bool:
        """Whether anything is left out at all."""
        return self != Selection()

    def choose(self, entries: Iterable[Entry]) -> list[Entry]:
        """Return the entries that fit, in their order, `limit` at most.

        Raises SprintlyError for an id that none has, ConfigurationError for one that several begin with.
        """
        entries = list(entries)
        if self.ids:
            chosen = {by_prefix(entries, prefix).letter.id for prefix in self.ids}
            entries = [entry for entry in entries if entry.letter.id in chosen]
        return [entry for entry in entries if self.fits(entry.letter)][: self.limit]

    def fits(self, letter: DeadLetter) -> bool:
        """Whether all conditions hold, ids and limit apart."""
        failed = failed_at(letter)
        return (
            (not self.subscriptions or letter.subscription in self.subscriptions)
            and (not self.products or letter.product in self.products)
            and (not self.services or letter.service in self.services)
            and _matches(self.models, letter.model)
            and _matches(self.actions, letter.action)
            and (not self.stages or letter.stage.value in self.stages)
            and _matches(self.reasons, letter.reason)
            and (not self.statuses or any(low <= letter.status <= high for low, high in self.statuses))
            and (self.since is None or failed >= self.since)
            and (self.until is None or failed < self.until)
            and (not self.grep or self._is_in(letter))
        )

    def _is_in(self, letter: DeadLetter) -> bool:
        wanted = self.grep.lower()
        if wanted in letter.error.lower():
            return True
        places = (letter.origin.key, letter.origin.value)
        return any(wanted in place.decode("utf-8", "replace").lower() for place in places if place)


def failed_at(letter: DeadLetter) -> float:
    """Return when it failed last; of what was never attempted, when its event was written (seconds since 1970)."""
    return letter.last_attempt_at or letter.origin.timestamp / 1000


def by_prefix(entries: Iterable[Entry], prefix: str) -> Entry:
    """Return the one entry whose id begins so. Raises SprintlyError if none does, ConfigurationError if several do."""
    found = [entry for entry in entries if entry.letter.id.startswith(prefix.lower())]
    if not found:
        raise SprintlyError(f"there is no dead letter whose id begins with {prefix}")
    if len(found) > 1:
        raise ConfigurationError(f"{len(found)} dead letters have an id that begins with {prefix}: give more of it")
    return found[0]


def _matches(globs: tuple[str, ...], text: str) -> bool:
    return not globs or any(fnmatchcase(text, glob) for glob in globs)
