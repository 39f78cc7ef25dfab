"""An Avro schema as a finite tree: names resolved, recursion bounded, traps where no value may be.

What comes in is a schema with full names and its named types; what goes out is a plain tree, for the codec to read
with and for `payload` to check against. Reading with it cannot recurse further than the tree is deep, whatever the
bytes say: fastavro's compiled reader recurses on the C stack, and some 10,000 levels down it kills the process
(fastavro 1.13, stack of 8 MiB).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

Node: TypeAlias = Any  # a primitive's name, a list (union) or a dict (any other type), as in Avro's JSON

# Levels of records that can contain themselves: an item, its parent, the parent's parent … Real events have two.
# A payload of all these levels still fits orjson's limit of 254 and Python's own recursion limit.
MAX_DEPTH = 64

# Logical types of the tree's records, which say what is done with a record that was read.
FIELDS = "fields"
EXPLICIT_NULL = "explicit-null"
TRAP = "trap"

TOO_DEEP: Node = {
    "type": "record",
    "name": f"nested deeper than {MAX_DEPTH} levels",
    "fields": [],
    "logicalType": TRAP,
}
WEIGHTLESS: Node = {"type": "record", "name": "array items of no bytes", "fields": [], "logicalType": TRAP}


def unroll(schema: Mapping[str, Any], named: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record `schema` as a tree; `named` holds the definition of each type that it names.

    Every record is marked FIELDS or EXPLICIT_NULL. In arrays and maps, where nothing is ever absent, an explicit
    null is just null: both take no bytes. Traps stand for records deeper than MAX_DEPTH, and for array items that
    take no bytes, of which a few bytes could announce 2^62.
    """
    return dict(_Unroller(named).record(schema, depth=0))


def is_trap(node: Node) -> bool:
    """Tell whether a value of this type must not be: the node's name then says why."""
    return isinstance(node, dict) and node.get("logicalType") == TRAP


def is_explicit_null(node: Node) -> bool:
    """Tell whether this type's only value is the null that a payload itself holds."""
    return isinstance(node, dict) and node.get("logicalType") == EXPLICIT_NULL and not node.get("fields")


class _Unroller:
    def __init__(self, named: Mapping[str, Any]) -> None:
        self._named = named
        self._reach = {name: _reachable(name, named) for name in named}
        self._records: dict[tuple[str, int], Node] = {}
        self._unions: dict[tuple[int | str, ...], Node] = {}

    def record(self, definition: Mapping[str, Any], depth: int) -> Node:
        name = definition["name"]
        if self._recursive(name):
            depth += 1
        if depth > MAX_DEPTH:
            return TOO_DEEP
        key = name, depth if any(map(self._recursive, self._reach.get(name, ()))) else 0
        if key not in self._records:
            fields = [{**field, "type": self._node(field["type"], depth)} for field in definition["fields"]]
            self._records[key] = {**definition, "type": "record", "fields": fields, "logicalType": FIELDS}
        return self._records[key]

    def _recursive(self, name: str) -> bool:
        return name in self._reach.get(name, ())

    def _node(self, node: Node, depth: int, *, contained: bool = False) -> Node:
        if isinstance(node, list):
            return self._union([self._node(branch, depth, contained=contained) for branch in node])
        node = self._named.get(node, node) if isinstance(node, str) else node
        match node if isinstance(node, str) else node["type"]:
            case "record" | "error":
                return self._nullable(node, depth, contained=contained)
            case "array":
                items = self._node(node["items"], depth, contained=True)
                return {**node, "items": WEIGHTLESS if _weightless(items) else items}
            case "map":
                return {**node, "values": self._node(node["values"], depth, contained=True)}
            case "enum":
                return {**node, "symbols": _checked(node["symbols"])}
        return node

    def _nullable(self, node: Node, depth: int, *, contained: bool) -> Node:
        if not is_explicit_null(node):
            return self.record(node, depth)
        return "null" if contained else node

    def _union(self, branches: list[Node]) -> Node:
        key = tuple(branch if isinstance(branch, str) else id(branch) for branch in branches)
        if key not in self._unions:
            self._unions[key] = _checked(branches)
        return self._unions[key]


def _checked(choices: list[Any]) -> list[Any]:
    """Return the list as one that knows no index but its own: the wire's -1 must not pick the last one.

    Any other index is a KeyError. Each list gets a class whose look-up is a dict's, since a method written in
    Python made reading a fifth slower. Its length is 0, since Cython adds the length to a negative index before it
    looks up; iterating does not ask for it.
    """
    look_up = dict(enumerate(choices)).__getitem__
    body = {"__getitem__": look_up, "__len__": lambda _: 0, "__slots__": ()}
    kind: type[list[Any]] = type("Checked", (list,), body)
    return kind(choices)


def _weightless(node: Node) -> bool:
    """Tell whether a value of this type takes no bytes on the wire."""
    if isinstance(node, dict) and node["type"] == "record" and not is_trap(node):
        return all(_weightless(field["type"]) for field in node["fields"])
    return node == "null" or (isinstance(node, dict) and node.get("size") == 0)


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
