"""YAML without its traps: a text comes in, plain values and a sentence for each thing that is wrong go out."""

from __future__ import annotations

import gc
import re
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import yaml

try:
    from yaml import CSafeLoader as _SafeLoader
except ImportError:  # PyYAML built without libyaml: the same, ten times slower
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]

DEEPEST = 20
"""Levels of nesting; a subscriptions file needs five, and reading is recursive."""
MOST = 2_000_000
"""Values, keys included: 100,000 subscriptions of 20 each. They take 500 to 1,000 bytes each while they are read."""
LONGEST_NAME = 60
"""Characters of a key that a sentence quotes."""

_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
# Dates and keys to merge: nothing here is one, and an id that looks like one is still text.
_NOT_RESOLVED = frozenset({"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:merge"})
# As in YAML 1.1, but without base 60 (1:30 for 90), which takes minutes for a megabyte of digits.
_NUMBERS = {
    _INT: re.compile(r"[-+]?(?:0b[01_]+|0[0-7_]*|[1-9][0-9_]*|0x[0-9a-fA-F_]+)$"),
    _FLOAT: re.compile(
        r"(?:[-+]?(?:(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+][0-9]+)?|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN))$"
    ),
}


def read_yaml(text: str) -> tuple[Any, list[str]]:
    """Return the value and the problems, each one sentence that begins with its line; the value is None if unusable.

    Anchors, aliases and tags are refused: a few lines of them grow to gigabytes. So is a key that stands twice, of
    which YAML would silently drop one. No sentence quotes a value.
    """
    try:
        if problems := list(_forbidden(text)):
            return None, problems
        loader = _Loader(text)
        try:
            with _no_garbage_collected():
                return loader.get_single_data(), loader.problems
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        return None, [_sentence(error)]
    except yaml.reader.ReaderError as error:
        line = text.encode()[: error.position].count(b"\n") + 1
        return None, [f"line {line}: a control character stands in the text"]
    except ValueError:  # 0x_, or more digits than Python converts
        return None, ["a value looks like a number and is none: text is put in quotes"]


class _Loader(_SafeLoader):
    yaml_implicit_resolvers = {
        first: [(tag, _NUMBERS.get(tag, pattern)) for tag, pattern in resolvers if tag not in _NOT_RESOLVED]
        for first, resolvers in _SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.problems: list[str] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            name, line = (key.tag, str(key.value)), _line(key.start_mark)
            if name in lines:
                self.problems.append(f"line {line}: the key {shown(key.value)} stood already on line {lines[name]}")
            lines.setdefault(name, line)
        return super().construct_mapping(node, deep)


def shown(name: object) -> str:
    """Return a key, or a name that is not known, as a sentence may quote it: its beginning, on one line."""
    text = str(name)
    begun = text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 3] + "..."
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in begun)


@contextmanager
def _no_garbage_collected() -> Iterator[None]:
    """Leave garbage alone: millions of new values are looked through again and again, and all of them are needed.

    50,000 subscriptions took 7.2 s with it and 2.0 s without.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _forbidden(text: str) -> Iterator[str]:
    depth = values = 0
    for event in yaml.parse(text, Loader=_SafeLoader):
        if isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.NodeEvent):
            yield from _traps(event)
            values += 1
            depth += isinstance(event, yaml.CollectionStartEvent)
        if depth > DEEPEST:
            yield f"line {_line(event.start_mark)}: nested deeper than {DEEPEST} levels"
            return
        if values > MOST:
            yield f"line {_line(event.start_mark)}: more than {MOST:,} values up to here"
            return


def _traps(event: yaml.NodeEvent) -> Iterator[str]:
    if event.anchor is not None:
        yield f"line {_line(event.start_mark)}: anchors and aliases (& and *) are not allowed; text is put in quotes"
    if getattr(event, "tag", None) is not None:
        yield f"line {_line(event.start_mark)}: tags (!) are not allowed; text is put in quotes"


def _sentence(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    hint = ' (a product of * is written in quotes: "*")' if error.context == "while scanning an alias" else ""
    return f"{where}not YAML: {error.problem}{hint}"


def _line(mark: Any) -> int:
    return int(mark.line) + 1
