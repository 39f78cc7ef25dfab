"""The checkout that this command runs from, for what only makes sense there."""

from __future__ import annotations

from pathlib import Path

import consumer
from consumer.errors import ConfigurationError


def checkout(what: str) -> Path:
    """Return the root of the project's checkout; raises ConfigurationError where the project is only installed."""
    root = Path(consumer.__file__).resolve().parents[1]
    if not all((root / part).is_dir() for part in ("services", "tests/services", "docs")):
        raise ConfigurationError(
            f"{what} needs a checkout of the project, and runs in its environment: `git clone`, `make test`, then"
            " `.venv/bin/sprintly-services`"
        )
    return root
