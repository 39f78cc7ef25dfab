"""A third party's limits: a request's body comes in, a sentence for each place that is too long goes out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

WHOLE = "*"
"""The place that is the whole body, in bytes."""


def exceeded(limits: Mapping[str, int], body: bytes) -> list[str]:
    """Return a sentence for each limit that a body, JSON or a form, does not keep; `ServiceBase.limits` says more."""
    content = _content(body)
    found = ((place, most, size) for place, most in limits.items() for size in _sizes(place, content, body))
    return [f"{place} is {size} long, and {most} is the most" for place, most, size in found if size > most]


def _sizes(place: str, content: Any, body: bytes) -> Iterator[int]:
    if place == WHOLE:
        yield len(body)
        return
    for value in _values(content, place.replace("[]", ".[]").split(".")):
        if isinstance(value, str | list):
            yield len(value)


def _values(value: Any, parts: list[str]) -> Iterator[Any]:
    """Yield what stands at a place; a list is looked into by `[]`, unless that is the last part: then it is meant."""
    if not parts or parts == ["[]"]:
        yield value
    elif parts[0] == "[]" and isinstance(value, list):
        for entry in value:
            yield from _values(entry, parts[1:])
    elif isinstance(value, Mapping) and parts[0] in value:
        yield from _values(value[parts[0]], parts[1:])


def _content(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:  # not JSON
        return dict(parse_qsl(body.decode("utf-8", "replace")))
