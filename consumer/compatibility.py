"""Whether one schema can read what was written with another: two schemas go in, a sentence for each obstacle comes out.

The rules are those of Avro's schema resolution. Logical types are not looked at, as Avro's own libraries do not either.
https://avro.apache.org/docs/1.12.0/specification/#schema-resolution
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from consumer.codec import WriterSchema, compile_schema
from consumer.unrolled import Node, is_explicit_null

# What a reader's type also takes, beside what was written as that type.
PROMOTIONS = {
    "long": {"int"},
    "float": {"int", "long"},
    "double": {"int", "long", "float"},
    "bytes": {"string"},
    "string": {"bytes"},
}
NAMED = {"record", "enum", "fixed"}

# What routing reads of an event (consumer.codec): where, and what may stand there.
NEEDED = {
    "model": ("a string", {"string", "enum"}),
    "action": ("a string, or nothing,", {"string", "enum", "null"}),
    "product.id": ("an integer", {"int", "long"}),
    "attributes": ("a record", {"record", "map"}),
}


def problems(reader: WriterSchema, writer: WriterSchema) -> list[str]:
    """Return what keeps `reader` from reading what `writer` wrote: sentences, each of which begins with a field's path.

    A type that stands in several places is reported where it stands first. Raises ConfigurationError for a schema that
    is none, or none of a record.
    """
    new, old = compile_schema(reader), compile_schema(writer)
    return list(_Resolution(new.named, old.named).compare(new.schema, old.schema, ""))


def shortcomings(schema: WriterSchema) -> list[str]:
    """Return what the consumers would miss in events that are written with this schema, in sentences as above.

    They read with the writer's schema, whatever else it holds; but they route by model, action and product. Raises
    ConfigurationError like `problems`.
    """
    written = compile_schema(schema)
    types = _Types(written.named)
    return [
        f"{path}: the consumers need {expected} here, in every event"
        for path, (expected, kinds) in NEEDED.items()
        if not {"null" if is_explicit_null(node) else _kind(node) for node in types.at(path, written.schema)} <= kinds
    ]


class _Types:
    """A schema's types by name."""

    def __init__(self, named: Mapping[str, Any]) -> None:
        self._named = named

    def resolved(self, node: Node) -> Node:
        """Return a type, or what stands behind its name."""
        return self._named.get(node, node) if isinstance(node, str) else node

    def branches(self, node: Node) -> list[Node]:
        """Return all that a value of this type may be: a union's branches, or the type alone."""
        node = self.resolved(node)
        return [self.resolved(branch) for branch in node] if isinstance(node, list) else [node]

    def at(self, path: str, record: Node) -> list[Node]:
        """Return all that may stand at a path below a record, with null wherever there may be nothing."""
        found = [record]
        for name in path.split("."):
            found = [branch for node in found for branch in self._field(node, name)]
        return found

    def _field(self, record: Node, name: str) -> list[Node]:
        fields = record["fields"] if _kind(record) == "record" else []
        return next((self.branches(field["type"]) for field in fields if field["name"] == name), ["null"])


class _Resolution:
    """One comparison. `seen` are the pairs of named types that were compared, or are being: each is compared once."""

    def __init__(self, reader: Mapping[str, Any], writer: Mapping[str, Any]) -> None:
        self._reader = _Types(reader)
        self._writer = _Types(writer)
        self._seen: set[tuple[str, str]] = set()

    def compare(self, reader: Node, writer: Node, path: str) -> Iterator[str]:
        """Yield the problems of a reader's type with a writer's, at this path."""
        readers, writers = self._reader.branches(reader), self._writer.branches(writer)
        told_apart = sum(_kind(node) == "record" and bool(node["fields"]) for node in writers) > 1
        for node in writers:
            match = _first_match(readers, node)
            if match is None:
                yield f"{path or 'the schema'}: {_mismatch(readers, node, writers)}"
            elif _kind(match) == _kind(node):
                yield from self._inside(match, node, _below(path, _unqualified(node)) if told_apart else path)

    def _inside(self, reader: Node, writer: Node, path: str) -> Iterator[str]:
        """Yield the problems inside of two types of one kind and, if they have any, of one name."""
        match _kind(writer):
            case "array":
                yield from self.compare(reader["items"], writer["items"], f"{path}[]")
            case "map":
                yield from self.compare(reader["values"], writer["values"], f"{path}{{}}")
            case "fixed" if reader["size"] != writer["size"]:
                yield f"{path}: was {writer['size']} bytes long, is {reader['size']}"
            case "enum" if reader.get("default") is None:
                gone = [symbol for symbol in writer["symbols"] if symbol not in reader["symbols"]]
                yield from (f'{path}: the symbol "{symbol}" is gone' for symbol in gone)
            case "record" if (pair := (reader["name"], writer["name"])) not in self._seen:
                self._seen.add(pair)
                yield from self._fields(reader, writer, path)

    def _fields(self, reader: Node, writer: Node, path: str) -> Iterator[str]:
        written = {field["name"]: field for field in writer["fields"]}
        for field in reader["fields"]:
            names = [field["name"], *field.get("aliases", ())]
            source = next((written[name] for name in names if name in written), None)
            if source is not None:
                yield from self.compare(field["type"], source["type"], _below(path, field["name"]))
            elif "default" not in field:
                yield f"{_below(path, field['name'])}: a new field without a default"


def _first_match(readers: Iterable[Node], writer: Node) -> Node | None:
    """Return the branch that a written value is read as: one of the same full name, else the first that matches."""
    matching = [reader for reader in readers if _matches(reader, writer)]
    same = [reader for reader in matching if _kind(writer) in NAMED and reader["name"] == writer["name"]]
    return next(iter(same + matching), None)


def _matches(reader: Node, writer: Node) -> bool:
    kind = _kind(reader)
    if kind != _kind(writer):
        return _kind(writer) in PROMOTIONS.get(kind, ())
    return kind not in NAMED or _unqualified(reader) == _unqualified(writer) or writer["name"] in _aliases(reader)


def _aliases(node: Node) -> list[str]:
    """Return a named type's aliases as full names: one without a dot is in the type's own namespace."""
    namespace, dot, _ = node["name"].rpartition(".")
    return [alias if "." in alias else f"{namespace}{dot}{alias}" for alias in node.get("aliases", ())]


def _kind(node: Node) -> str:
    kind = str(node["type"] if isinstance(node, dict) else node)
    return "record" if kind == "error" else kind


def _unqualified(node: Node) -> str:
    return str(node["name"]).rpartition(".")[2] if _kind(node) in NAMED else _kind(node)


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _mismatch(readers: list[Node], writer: Node, writers: list[Node]) -> str:
    """Say that a value of this one of the writer's types matches nothing that the reader takes."""
    now = ", ".join(map(_title, readers)) or "nothing"
    if len(writers) == 1:
        return f"was {_title(writer)}, is {now}"
    return (
        f"{_title(writer)} is no longer {'among its types, which are' if len(readers) > 1 else 'allowed, only'} {now}"
    )


def _title(node: Node) -> str:
    kind = _kind(node)
    return f"the {kind} {_unqualified(node)}" if kind in NAMED else f'"{kind}"'
