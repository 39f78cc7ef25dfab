"""Files watched: folders come in, a wake-up goes out soon after something has changed there, and every so often.

The kernel tells of changes at once (inotify), where it can. On a network's file system it cannot, nor of a link further
up that is set anew: so whoever is woken looks by itself whether anything is different, and is woken in any case.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path

from consumer.logs import get_logger

EVERY = 0.5  # seconds between two wake-ups at most
TOGETHER = 150  # milliseconds within which changes are one
QUIET = 50  # milliseconds without a further change after which they are over


class Watch:
    """Watches what lies directly in some folders."""

    def __init__(self) -> None:
        self._folders: frozenset[Path] = frozenset()
        self._changes: AsyncGenerator[object, None] | None = None
        self._log = get_logger("watch")

    async def wake(self, folders: Iterable[Path]) -> None:
        """Return once something has changed in `folders` since the last call, or it may have."""
        there = frozenset(filter(_is_folder, folders))
        if there != self._folders:
            await self._begin(there)
        if self._changes is None:
            await asyncio.sleep(EVERY)
            return
        try:
            await anext(self._changes)
        except Exception as error:  # noqa: BLE001 - too many watches, say; whatever it is, one can look instead
            self._changes = None
            self._log.warning("changes of files are not told of, and looked for instead", reason=type(error).__name__)

    async def _begin(self, folders: frozenset[Path]) -> None:
        await self.close()
        self._folders = folders
        if folders:
            from watchfiles import awatch  # takes 50 ms to import, while a replica has more urgent things to do

            self._changes = awatch(
                *folders,
                watch_filter=None,
                debounce=TOGETHER,
                step=QUIET,
                rust_timeout=int(EVERY * 1000),
                yield_on_timeout=True,
                recursive=False,
            )

    async def close(self) -> None:
        """Watch no longer."""
        changes, self._changes = self._changes, None
        if changes is not None:
            await changes.aclose()


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False
