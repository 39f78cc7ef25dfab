"""A share of the processor for processes, by Linux's control groups, of either version."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

MOUNTED = Path("/sys/fs/cgroup")
PERIOD = 100_000  # µs, the kernel's own default
ENDING = 10.0  # seconds until the processes of a group are gone


class Unavailable(Exception):
    """Here no control group can be made; the text says why."""


class Group(NamedTuple):
    """A control group."""

    folder: Path

    def take_in(self, pid: int) -> None:
        """Have a process, with all its threads, run within the group's limits from now on."""
        (self.folder / "cgroup.procs").write_text(f"{pid}\n")


class Limit(NamedTuple):
    """Where groups are made, and what is written into which of a group's files."""

    parent: Path
    files: dict[str, str]


@contextmanager
def share(cores: float, mounted: Path = MOUNTED) -> Iterator[Group]:
    """Make a group that has so many cores until the block ends; its processes have to end before.

    Raises Unavailable.
    """
    limit = limit_to(cores, mounted)
    folder = limit.parent / f"bench-{uuid.uuid4().hex[:10]}"
    try:
        folder.mkdir()
    except OSError as error:
        raise Unavailable(f"no control group can be made in {limit.parent}: {error.strerror}") from None
    try:
        for name, value in limit.files.items():
            _write(folder / name, value)
        yield Group(folder)
    finally:
        _remove(folder)


def limit_to(cores: float, mounted: Path = MOUNTED) -> Limit:
    """Return how a group is limited on the version that is mounted. Raises Unavailable where none is."""
    quota = round(cores * PERIOD)
    if (mounted / "cpu" / "cpu.cfs_quota_us").exists():
        return Limit(mounted / "cpu", {"cpu.cfs_period_us": f"{PERIOD}", "cpu.cfs_quota_us": f"{quota}"})
    if (mounted / "cgroup.controllers").exists():
        handed_on = mounted / "cgroup.subtree_control"
        if "cpu" not in handed_on.read_text().split():
            _write(handed_on, "+cpu")
        return Limit(mounted, {"cpu.max": f"{quota} {PERIOD}"})
    raise Unavailable(f"no control groups for processors are mounted in {mounted}")


def _write(file: Path, value: str) -> None:
    try:
        file.write_text(value)
    except OSError as error:
        raise Unavailable(f"{file} cannot be written: {error.strerror}") from None


def _remove(folder: Path) -> None:
    """Remove a group as soon as the kernel has let go of its processes, which have ended."""
    deadline = time.monotonic() + ENDING
    while True:
        try:
            folder.rmdir()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
