"""Answers in JSON: the bytes of a body come in, plain values go out, whatever it holds."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

LARGEST = 1e9
"""What stands for any greater number, of which JSON has some that are no float."""


def fields(body: bytes) -> Mapping[str, Any]:
    """Return the fields of an answer that is a JSON object; anything else has none."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, Mapping) else {}


def inner(answer: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a field that is an object itself, else one without fields."""
    value = answer.get(name)
    return value if isinstance(value, Mapping) else {}


def text(answer: Mapping[str, Any], name: str) -> str:
    """Return a field that is text, else nothing."""
    value = answer.get(name)
    return value if isinstance(value, str) else ""


def number(answer: Mapping[str, Any], name: str) -> float | None:
    """Return a field that is a number from 0 on, else None."""
    value = answer.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        return None
    return float(min(value, LARGEST))
