"""The Avro schemas of the events, and examples of them, as data: reads this package's files and knows no Avro library.

`event.avsc` is what is written today. A schema that it replaces stays here under another name (`event.1.avsc`), so
that the events already in the log, or in the dead letters, can still be read.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any, TypeAlias

Schema: TypeAlias = dict[str, Any]

EVENT = "event"


def names() -> list[str]:
    """Return the names of the bundled schemas: the one in use first, then its predecessors by name."""
    found = [entry.name.removesuffix(".avsc") for entry in files(__name__).iterdir() if entry.name.endswith(".avsc")]
    return sorted(found, key=lambda name: (name != EVENT, name))


def load(name: str = EVENT) -> Schema:
    """Return one bundled schema as a fresh dict; raises FileNotFoundError if there is none of that name."""
    return dict(json.loads(files(__name__).joinpath(f"{name}.avsc").read_text("utf-8")))


def examples() -> dict[str, dict[str, Any]]:
    """Return the documented payloads, each fresh, by name: block, comment, deploy, favorite, item."""
    found = sorted(files(__name__).joinpath("examples").iterdir(), key=lambda entry: entry.name)
    return {entry.name.removesuffix(".json"): json.loads(entry.read_text("utf-8")) for entry in found}
