"""Payloads in files: a path comes in, each payload goes out with the place where it stood; `-` is standard input."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from consumer.errors import ConfigurationError


class Source(NamedTuple):
    """One payload and where it stood."""

    place: str
    payload: Any


def read_payloads(file: Path) -> Iterator[Source]:
    """Yield what a file holds, a JSON document or JSON lines; raises ConfigurationError with the place of a mistake."""
    name = "standard input" if str(file) == "-" else str(file)
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{name}: not UTF-8") from None
    except OSError as error:
        raise ConfigurationError(f"{name}: cannot be read: {error.strerror}") from None
    if not text.strip():
        raise ConfigurationError(f"{name}: holds no event")
    try:
        yield Source(name, _json(text))
    except json.JSONDecodeError as error:
        if not error.msg.startswith("Extra data"):
            raise ConfigurationError(_not_json(name, error)) from None
    else:
        return
    yield from _read_lines(name, text)


def _read_lines(name: str, text: str) -> Iterator[Source]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            place = f"{name}, line {number}"
            try:
                yield Source(place, _json(line))
            except json.JSONDecodeError as error:
                raise ConfigurationError(_not_json(place, error)) from None


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_such_number, object_pairs_hook=_each_key_once)
    except RecursionError:
        raise json.JSONDecodeError("nested too deeply", text, 0) from None


def _no_such_number(name: str) -> NoReturn:
    raise json.JSONDecodeError(f"{name} is no JSON number", name, 0)


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that stands twice: of the two values, json would keep the last and say nothing."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise json.JSONDecodeError(f"the key {name!r} stands twice in one object", name, 0)
        found[name] = value
    return found


def _not_json(place: str, error: json.JSONDecodeError) -> str:
    where = f" at line {error.lineno}, column {error.colno}" if error.pos else ""
    return f"{place}: not JSON: {error.msg}{where}"
