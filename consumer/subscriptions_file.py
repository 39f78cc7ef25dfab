"""The subscriptions file, as a replica sees it: read as a whole, and looked at again whenever it may have changed.

So are the files that options refer to. What has changed is told by the files themselves (which one it is, its size and
times, links followed), so it does not matter whether they are written, replaced, or reached by a link that is set anew.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

from consumer.entries import Refusal, nobody
from consumer.errors import ConfigurationError
from consumer.reload import Found
from consumer.subscriptions import Services, Subscription, load_subscriptions
from consumer.watch import Watch

SETTLED = 0.1  # seconds without a change after which a file is read: who writes it may not have come to its end
LOOKS = 4  # at most, before it is read all the same

Signature: TypeAlias = Mapping[Path, tuple[int, ...]]


class SubscriptionsFile:
    """One subscriptions file, and the files that its options refer to."""

    topic = ""

    def __init__(
        self, path: Path, environ: Mapping[str, str], services: Services | None = None, refusal: Refusal = nobody
    ) -> None:
        """Read `path`; references are looked up in `environ`.

        `services` are all that are available unless given; `refusal` says of one why it may not be used, "" where it
        may.
        """
        self.name = str(path)
        self._path = path
        self._environ = environ
        self._services = services
        self._refusal = refusal
        self._watch = Watch()
        self._paths = {path}
        self._seen: Signature = {}  # as it was before it was read last

    async def wait(self) -> None:
        """Wait until it may have changed, half a second at most."""
        await self._watch.wake({folder for path in self._paths for folder in (path.parent, _real(path).parent)})

    async def close(self) -> None:
        """Watch it no longer."""
        await self._watch.close()

    def read(self) -> Found:
        """Return what is there now. Raises ConfigurationError with everything that is wrong."""
        seen, opened = _signature(self._paths), {self._path}
        try:
            found = Found(self._usable(load_subscriptions(self._path, self._environ, self._services, opened=opened)))
        except ConfigurationError:
            opened |= self._paths  # what it refers to may be what has to be mended
            raise
        finally:
            # Of a file that is new among them it is not known whether it has changed since: then it is read once more.
            self._seen = {path: seen[path] for path in opened} if opened <= seen.keys() else {}
            self._paths = opened
        return found

    def look(self, *, anew: bool = False) -> Found | None:
        """Return what is there if it has changed since it was read, or `anew` in any case; None if it has not.

        Raises ConfigurationError with everything that is wrong.
        """
        if not anew and _signature(self._paths) == self._seen:
            return None
        self._settle()
        return self.read()

    def _settle(self) -> None:
        seen = _signature(self._paths)
        for _ in range(LOOKS):
            time.sleep(SETTLED)
            before, seen = seen, _signature(self._paths)
            if before == seen:
                return

    def _usable(self, found: tuple[Subscription, ...]) -> tuple[Subscription, ...]:
        if problems := refused(found, self._refusal):
            raise ConfigurationError(*(f"{self._path}: {problem}" for problem in problems))
        return found


def refused(subscriptions: Iterable[Subscription], refusal: Refusal) -> list[str]:
    """Return a sentence for each subscription whose service may not be used."""
    reasons = [(each.id, refusal(type(each.service))) for each in subscriptions]
    return [f"subscription {id_}: {reason}" for id_, reason in reasons if reason]


def _signature(paths: Iterable[Path]) -> Signature:
    return {path: _stat(path) for path in paths}


def _stat(path: Path) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _real(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # a link to itself, say
        return path
