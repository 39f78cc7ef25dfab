"""Globs over `Model.action`, as in `Item.created` or `*.created`: which events are wanted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any, TypeVar

EVERYTHING: tuple[str, ...] = ("*.*",)

_PART = r"(?:[\w*?-]|\[!?[\w-]+\])+"
_GLOB = re.compile(rf"{_PART}\.{_PART}")
_Send = TypeVar("_Send", bound=Callable[..., Any])


def is_glob(text: str) -> bool:
    """Return whether the text is a glob for a model, one dot, and a glob for an action."""
    return _GLOB.fullmatch(text) is not None


def matches(globs: Iterable[str], model: str, action: str) -> bool:
    """Return whether any of the globs fits the event; upper and lower case differ, as in the payload."""
    return any(_matches(glob, model, action) for glob in globs)


def _matches(glob: str, model: str, action: str) -> bool:
    # Part by part: a model that has a dot in its name must not be taken for a model and an action.
    wanted_model, _, wanted_action = glob.partition(".")
    return fnmatchcase(model, wanted_model) and fnmatchcase(action, wanted_action)


def listen_to(*globs: str) -> Callable[[_Send], _Send]:
    """Declare which events `send` wants when its subscription does not say: `@listen_to("*.created")`.

    Raises ValueError for no globs at all and for one that is not `Model.action`.
    """
    if not globs:
        raise ValueError("listen_to needs at least one Model.action glob")
    for glob in globs:
        if not is_glob(glob):
            raise ValueError(f"listen_to({glob!r}) is not a Model.action glob, as Item.created or *.created are")

    def declare(send: _Send) -> _Send:
        send.__dict__["events"] = globs
        return send

    return declare
