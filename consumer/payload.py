"""What a payload must look like: checks one against the event schema, and words what is wrong with it.

What comes in is a payload as JSON gives it; what goes out is the datum that fastavro writes, in which every branch
of a union is named, so that nothing is left to guessing, or an InvalidPayload that names the place.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeAlias

from consumer.errors import InvalidPayload
from consumer.unrolled import Node, is_explicit_null, is_trap

Conform: TypeAlias = Callable[[Any], Any]  # a JSON value → its datum; raises _Misfit

SHOWN = 60  # characters that an error quotes of a wrong value
INT64 = range(-(2**63), 2**63)

# Kinds of JSON values as errors name them, and the kind that an Avro type takes. `any` is checked elsewhere.
NOUNS = {
    "object": "an object",
    "list": "a list",
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "a boolean",
    "null": "null",
}
KINDS = {"record": "object", "array": "list", "string": "string", "long": "integer", "boolean": "boolean"}
ANY = "any"


class Shape:
    """The shape that an unrolled event schema gives to payloads."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        compiler = _Compiler()
        [attributes] = [field["type"] for field in schema["fields"] if field["name"] == "attributes"]
        self._models = {_short(branch): (branch["name"], compiler.conform(branch)) for branch in attributes}
        self._event = compiler.conform({**schema, "fields": [_opened(field) for field in schema["fields"]]})

    def fit(self, payload: object) -> dict[str, Any]:
        """Return the datum to write for a payload; raises InvalidPayload, with the path of what is wrong."""
        try:
            datum = self._event(payload)
            return {**datum, "attributes": self._attributes(datum["model"], datum["attributes"])}
        except _Misfit as misfit:
            raise InvalidPayload(misfit.path, misfit.problem) from None

    def _attributes(self, model: str, attributes: object) -> tuple[str, Any]:
        if model not in self._models:
            raise _Misfit(f"unknown model {_quoted(model)}; there are {', '.join(self._models)}", "model")
        name, conform = self._models[model]
        return name, _within("attributes", conform, attributes)


class _Misfit(Exception):
    """A value does not fit. Its path grows from the inside out: each level that it leaves adds its part."""

    def __init__(self, problem: str, *parts: str | int) -> None:
        super().__init__(problem)
        self.problem = problem
        self.parts = list(parts)

    @property
    def path(self) -> str:
        text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in reversed(self.parts))
        return text.removeprefix(".")


class _Compiler:
    """Makes a function of each type in the tree, once for each node."""

    def __init__(self) -> None:
        self._made: dict[int, Conform] = {}

    def conform(self, node: Node) -> Conform:
        """Return the function that checks a value of any kind against the node."""
        if node == ANY:
            return _as_it_is
        if id(node) not in self._made:
            self._made[id(node)] = self._union(node) if isinstance(node, list) else self._single(node)
        return self._made[id(node)]

    def _single(self, node: Node) -> Conform:
        kind, inner = _kind(node), self._inner(node)

        def conform(value: Any) -> Any:
            if _kind_of(value) != kind:
                raise _Misfit(_unexpected([kind], value))
            return inner(value)

        return conform

    def _union(self, branches: list[Node]) -> Conform:
        """Make the function for a field that may be absent: each value takes the branch of its kind."""
        by_kind = {_kind(node): (_name(node), self._inner(node)) for node in branches if node != "null"}

        def conform(value: Any) -> tuple[str, Any]:
            branch = by_kind.get(_kind_of(value))
            if branch is None:
                hint = "; leave the field out instead" if value is None else ""
                raise _Misfit(_unexpected(by_kind, value) + hint)
            return branch[0], branch[1](value)

        return conform

    def _inner(self, node: Node) -> Conform:
        """Return the function for a value that already is of the node's kind."""
        if isinstance(node, str):
            return _PRIMITIVES[node]
        if is_explicit_null(node):
            return _nothing
        if is_trap(node):
            return _refusal(node["name"])
        return self._array(node) if node["type"] == "array" else self._record(node)

    def _record(self, node: Node) -> Conform:
        name = _short(node)
        fields = {field["name"]: self.conform(field["type"]) for field in node["fields"]}
        required = [field["name"] for field in node["fields"] if "default" not in field]

        def conform(value: Mapping[Any, Any]) -> dict[str, Any]:
            for key in value:
                if key not in fields:
                    raise _Misfit(f"unknown field of {name}{_meant(key, fields)}", str(key))
            for key in required:
                if key not in value:
                    raise _Misfit(f"missing, though every {name} has it", key)
            return {key: _within(key, fields[key], part) for key, part in value.items()}

        return conform

    def _array(self, node: Node) -> Conform:
        item = self.conform(node["items"])
        return lambda value: [_within(index, item, part) for index, part in enumerate(value)]


def _within(part: str | int, conform: Conform, value: Any) -> Any:
    try:
        return conform(value)
    except _Misfit as misfit:
        misfit.parts.append(part)
        raise


def _as_it_is(value: Any) -> Any:
    return value


def _nothing(_: None) -> dict[str, Any]:
    return {}


def _integer(value: int) -> int:
    if value not in INT64:
        raise _Misfit(f"{_quoted(value)} does not fit into 64 bits")
    return value


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _Misfit(f"a lone surrogate at character {error.start}, which UTF-8 cannot carry") from None
    return value


def _refusal(problem: str) -> Conform:
    def conform(_: Any) -> Any:
        raise _Misfit(problem)

    return conform


_PRIMITIVES: dict[str, Conform] = {"string": _text, "long": _integer, "boolean": _as_it_is}


def _opened(field: Mapping[str, Any]) -> dict[str, Any]:
    return {**field, "type": ANY} if field["name"] == "attributes" else dict(field)


def _name(node: Node) -> str:
    return node if isinstance(node, str) else str(node.get("name", node["type"]))


def _short(node: Node) -> str:
    return _name(node).rpartition(".")[2]


def _kind(node: Node) -> str:
    if isinstance(node, str):
        return KINDS[node]
    return "null" if is_explicit_null(node) else KINDS[node["type"]]


def _kind_of(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case str():
            return "string"
        case list():
            return "list"
        case Mapping():
            return "object"
        case float():
            return "number"
    return f"a Python {type(value).__name__}"


def _unexpected(kinds: Iterable[str], value: object) -> str:
    wanted = " or ".join(NOUNS[kind] for kind in sorted(kinds, key=list(NOUNS).index))
    kind = _kind_of(value)
    noun = NOUNS.get(kind, kind)
    quotable = kind in ("string", "integer", "number", "boolean")
    return f"expected {wanted}, got {f'{_quoted(value)} ({noun})' if quotable else noun}"


def _quoted(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _meant(key: object, fields: Iterable[str]) -> str:
    close = get_close_matches(str(key), fields, n=1)
    return f"; did you mean {close[0]}?" if close else ""
