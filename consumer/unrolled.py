"""An Avro schema as a finite tree: names resolved, recursion bounded, traps where no value may be.

What comes in is a schema with full names and its named types; what goes out is a plain tree for `payload` to check
against. Checking with it cannot recurse further than the tree is deep, whatever it is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

Node: TypeAlias = Any  # a primitive's name, a list (union) or a dict (any other type), as in Avro's JSON

# Levels of records that can contain themselves: an item, its parent, the parent's parent … Real events have two.
# A payload of all these levels still fits orjson's limit of 254 and Python's own recursion limit.
MAX_DEPTH = 64

# Logical types of records: the schema's own, and the tree's.
EXPLICIT_NULL = "explicit-null"
TRAP = "trap"

TOO_DEEP: Node = {
    "type": "record",
    "name": f"nested deeper than {MAX_DEPTH} levels",
    "fields": [],
    "logicalType": TRAP,
}


def unroll(schema: Mapping[str, Any], named: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record `schema` as a tree; `named` holds the definition of each type that it names.

    TOO_DEEP stands for records deeper than MAX_DEPTH.
    """
    return dict(_Unroller(named).record(schema, depth=0))


def is_trap(node: Node) -> bool:
    """Tell whether a value of this type must not be: the node's name then says why."""
    return isinstance(node, dict) and node.get("logicalType") == TRAP


def is_explicit_null(node: Node) -> bool:
    """Tell whether this type's only value is the null that a payload itself holds."""
    return isinstance(node, dict) and node.get("logicalType") == EXPLICIT_NULL and not node.get("fields")


def recursive(named: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of the types whose values can contain values of the same type."""
    return frozenset(name for name in named if name in _reachable(name, named))


class _Unroller:
    def __init__(self, named: Mapping[str, Any]) -> None:
        self._named = named
        self._recursive = recursive(named)
        self._deepens = {name: bool(_reachable(name, named) & self._recursive) for name in named}
        self._records: dict[tuple[str, int], Node] = {}

    def record(self, definition: Mapping[str, Any], depth: int) -> Node:
        name = definition["name"]
        if name in self._recursive:
            depth += 1
        if depth > MAX_DEPTH:
            return TOO_DEEP
        key = name, depth if self._deepens[name] else 0
        if key not in self._records:
            fields = [{**field, "type": self._node(field["type"], depth)} for field in definition["fields"]]
            self._records[key] = {**definition, "fields": fields}
        return self._records[key]

    def _node(self, node: Node, depth: int) -> Node:
        if isinstance(node, list):
            return [self._node(branch, depth) for branch in node]
        node = self._named.get(node, node) if isinstance(node, str) else node
        match node if isinstance(node, str) else node["type"]:
            case "record":
                return self.record(node, depth)
            case "array":
                return {**node, "items": self._node(node["items"], depth)}
        return node


def _reachable(name: str, named: Mapping[str, Any]) -> frozenset[str]:
    """Return the named types that a value of the type `name` can contain, itself only if it is recursive."""
    found: set[str] = set()
    waiting = list(_mentioned(named[name]))
    while waiting:
        mention = waiting.pop()
        if mention in named and mention not in found:
            found.add(mention)
            waiting += _mentioned(named[mention])
    return frozenset(found)


def _mentioned(node: Node) -> Iterator[str]:
    """Yield the names of the types that a definition's fields, a union's branches, items or values name."""
    if isinstance(node, str):
        yield node
        return
    parts = node if isinstance(node, list) else [field["type"] for field in node.get("fields", ())]
    for part in [*parts, *(node[key] for key in ("items", "values") if key in node)]:
        yield from [part["name"]] if isinstance(part, dict) and "name" in part else _mentioned(part)
