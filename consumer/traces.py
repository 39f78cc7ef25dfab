"""Tracebacks: an exception comes in, and what may be shown of it goes out: where and what it was, but no values.

What exceptions say may quote what they were given, such as an address with its token. Only this application's own are
written so that they do not.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Iterator

from consumer.errors import SprintlyError


def speak_safely() -> None:
    """Have what nobody catches, in any thread, told on stderr as `told` does, and not as Python would."""

    def tell(error: BaseException | None) -> None:
        if error is not None and not isinstance(error, SystemExit):
            sys.stderr.write(told(error) + "\n")
            sys.stderr.flush()

    sys.excepthook = lambda _kind, error, _trace: tell(error)
    threading.excepthook = lambda ended: tell(ended.exc_value)
    sys.unraisablehook = lambda ignored: tell(ignored.exc_value)


def told(error: BaseException) -> str:
    """Return a traceback of an exception and those behind it; only this application's own errors say their texts."""
    return "\n".join(_told(error, set()))


def _told(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    behind = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if behind is not None and id(behind) not in seen:
        yield from _told(behind, seen)
        yield "\nand then:\n"
    for part in getattr(error, "exceptions", ()):  # of a group
        if id(part) not in seen:
            yield from _told(part, seen)
    if error.__traceback__ is not None:
        yield "Traceback (most recent call last):"
        yield "".join(traceback.format_tb(error.__traceback__)).rstrip()
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    yield f"{name}: {error}" if isinstance(error, SprintlyError) else name
