"""What a replica asks of its own process before it runs: files, garbage collection, memory."""

from __future__ import annotations

import ctypes
import gc
import resource

from consumer.logs import get_logger

OTHER_FILES = 256  # Kafka's connections, logs, health checks

# Options of mallopt and what they are set to: https://man7.org/linux/man-pages/man3/mallopt.3.html
_MALLOPT = (
    (-8, 2),  # M_ARENA_MAX
    (-3, 256 * 1024),  # M_MMAP_THRESHOLD, in bytes
    (-1, 8 * 1024 * 1024),  # M_TRIM_THRESHOLD, in bytes
)


def allow_many_connections(in_flight: int) -> None:
    """Raise the soft limit of open files to what so many attempts need, as far as the hard one allows, or warn."""
    needed = 2 * in_flight + OTHER_FILES  # as many again may be kept open, idle
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < needed:
        get_logger("consume").warning("too few open files allowed: attempts may fail", allowed=allowed, needed=needed)


def collect_garbage_rarely() -> None:
    """Let Python look for garbage in cycles less often, and never in what was loaded at the start.

    Events are many small dicts that are freed without its help: looking through thousands of them every 700 new objects
    took a seventh of the time (202 µs a delivery against 172, the median of four pairs of runs).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def give_memory_back() -> None:
    """Have glibc give large pieces back as soon as they are free, whatever records of odd sizes come; else do nothing.

    By itself it lets the limit above which a piece is given back grow with the largest one seen, and spreads pieces
    over eight arenas a processor: a stream of large and small records then leaves holes that nobody fills.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # musl and macOS have none, and need none
        for option, value in _MALLOPT:
            libc.mallopt(option, value)
