"""A reader of Avro's binary encoding, compiled from the writer's schema into straight-line Python.

What comes in is a record's schema and the bytes that were written with it; what goes out is the record as a payload, or
Unreadable. Each record, array and map of the schema becomes one function, written out field by field:

    def read_2(b, p, end, depth):
        record = {}
        n = b[p]                              # {"name": "id", "type": "long"}
        p += 1
        if n > 127: …                         # a number of several bytes
        record['id'] = (n >> 1) ^ -(n & 1)
        …
        return record, p

`b` are the bytes, `p` is where to read on, `end` is `len(b)`: to read past it is an IndexError, except in a slice, for
which it is checked. `n` is a number as the wire has it: zigzag, so that an odd one is negative. All that gets from the
schema into the source are field names and symbols, as literals of strings, and sizes, as digits.

JSON has fewer types than Avro. Bytes and fixed become strings of one character for each byte, as in Avro's own JSON
encoding, and a logical type is what it is made of: a date its number of days, a UUID its string. Only `explicit-null`
means something: see docs/events.md.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from textwrap import indent
from typing import Any, TypeAlias

from consumer.event import Payload
from consumer.unrolled import MAX_DEPTH, TOO_DEEP, Node, is_explicit_null, recursive

Read: TypeAlias = Callable[[bytes, int, int, int], tuple[Any, int]]

# One byte or two are common, more are not.
NUMBER = """
n = b[p]
p += 1
if n > 127:
    if b[p] < 128:
        n = n & 127 | b[p] << 7
        p += 1
    else:
        n, p = number(b, p - 1)
"""

# From here to `e`. A length of several bytes takes the slower way, and so does a negative one.
LENGTH = """
n = b[p]
p += 1
if n & 129:
    n, p = length(b, p - 1)
e = p + (n >> 1)
if e > end:
    raise EOFError
"""

# How a value is read and assigned to `{to}`.
PRIMITIVES = {
    "boolean": "n = b[p]\np += 1\nif n > 1:\n    raise no_boolean(n)\n{to} = n == 1",
    "int": NUMBER + "{to} = (n >> 1) ^ -(n & 1)",
    "long": NUMBER + "{to} = (n >> 1) ^ -(n & 1)",
    "float": "[{to}] = float_at(b, p)\np += 4",
    "double": "[{to}] = double_at(b, p)\np += 8",
    "bytes": LENGTH + "{to} = b[p:e].decode('latin-1')\np = e",
    "string": LENGTH + "{to} = b[p:e].decode()\np = e",
}

FIXED = """
e = p + {size}
if e > end:
    raise EOFError
{to} = b[p:e].decode('latin-1')
p = e
"""

ENUM = f"""{NUMBER}
if n & 1 or n >= {{count}} * 2:
    raise no_choice(n)
{{to}} = {{symbols}}[n >> 1]
"""

CALL = "{to}, p = {function}(b, p, end, depth)"

RECORD = """
def {function}(b, p, end, depth):
    {deeper}
    record = {{}}
    {fields}
    return record, p
"""

# What follows in records whose beginning has been read.
REST = """
def {function}(b, p, end, record, inner):
    depth = 0
    {fields}
    return p
"""

DEEPER = f"""
depth += 1
if depth > {MAX_DEPTH}:
    raise Unreadable('malformed: {TOO_DEEP["name"]}')
"""

# Items come in blocks, each headed by their count; the last one has none.
ARRAY = """
def {function}(b, p, end, depth):
    items = []
    count, p = block(b, p)
    while count:
        for _ in range(count):
            {item}
            items.append(item)
        count, p = block(b, p)
    return items, p
"""

MAP = """
def {function}(b, p, end, depth):
    values = {{}}
    count, p = block(b, p)
    while count:
        for _ in range(count):
            {key}
            {value}
        count, p = block(b, p)
    return values, p
"""

MOST_WEIGHTLESS = 1_000  # values of no bytes in one record: each costs time, whatever the wire holds
# A few bytes could announce 2^62 of them.
WEIGHTLESS = "raise Unreadable('malformed: array items of no bytes')"


class Unreadable(ValueError):
    """The bytes are not what the schema describes; the text is a reason: `truncated: …` or `malformed: …`."""


FAILURES = (IndexError, EOFError, struct.error, UnicodeDecodeError, RecursionError)


def _unreadable(error: Exception) -> Unreadable:
    if isinstance(error, UnicodeDecodeError):
        return Unreadable("malformed: a string is not UTF-8")
    if isinstance(error, RecursionError):  # lists of lists of lists … in each level
        return Unreadable("malformed: nested too deeply")
    return Unreadable("truncated: the value ends before the event does")


class Reader:
    """Reads the record `schema`; `named` holds the definition of each type that it names.

    Raises TypeError, ValueError or LookupError for a schema that is none.
    """

    def __init__(self, schema: Mapping[str, Any], named: Mapping[str, Any]) -> None:
        source = _Source(named)
        self._record: Read = source.compiled(source.record(schema))

    def read(self, value: bytes, start: int) -> tuple[Payload, int]:
        """Return the record that begins at `start`, and where it ends; raises Unreadable, whatever the bytes are.

        A field whose union's branch is null is left out. Records that can contain themselves nest up to MAX_DEPTH.
        """
        try:
            return self._record(value, start, len(value), 0)
        except FAILURES as error:
            raise _unreadable(error) from None


class Rest:
    """Reads on in a record of which a Reader has read the beginning: all fields up to one, and of that one's own some.

    `fields` are those of the record that follow, `inner` those that follow in the field `name`. Neither record may be
    one that can contain itself.
    """

    def __init__(self, fields: list[Node], name: str, inner: list[Node], named: Mapping[str, Any]) -> None:
        source = _Source(named)
        self._name = name
        self._rest: Callable[[bytes, int, int, Payload, Payload], int] = source.compiled(source.rest(fields, inner))

    def read(self, value: bytes, start: int, record: Payload) -> int:
        """Read the other fields, from `start` on, into the record, and return where it ends; raises Unreadable."""
        try:
            return self._rest(value, start, len(value), record, record[self._name])
        except FAILURES as error:
            raise _unreadable(error) from None


class _Source:
    """The source of a schema's functions. Its methods return statements, or the name of the function they add."""

    def __init__(self, named: Mapping[str, Any]) -> None:
        self._named = named
        self._recursive = recursive(named)
        self._names: dict[int, str] = {}  # of the function made for a definition, by the definition's identity
        self._functions: list[str] = []
        self._weights: dict[str, tuple[int, bool]] = {}  # of the records by name, as `_weigh` returns them

    def compiled(self, name: str) -> Any:
        """Return one of the functions, ready to be called."""
        namespace: dict[str, Any] = dict(HELPERS)
        exec(compile("\n".join(self._functions), "<Avro schema>", "exec"), namespace)
        return namespace[name]

    def record(self, node: Mapping[str, Any]) -> str:
        if id(node) in self._names:
            return self._names[id(node)]
        if self._weigh(node)[0] > MOST_WEIGHTLESS:
            raise ValueError(f"{node['name']} holds more than {MOST_WEIGHTLESS:,} values that take no bytes")
        name = self._name(node)
        fields = [self._field(field["name"], field["type"]) for field in node["fields"]]
        deeper = DEEPER if node["name"] in self._recursive else ""
        return self._add(RECORD, name, deeper=deeper, fields="\n".join(fields))

    def rest(self, fields: list[Node], inner: list[Node]) -> str:
        parts = [self._field(field["name"], field["type"], "inner") for field in inner]
        parts += [self._field(field["name"], field["type"]) for field in fields]
        return self._add(REST, "rest", fields="\n".join(parts))

    def _field(self, name: object, node: Node, record: str = "record") -> str:
        if not isinstance(name, str):
            raise TypeError(f"a field's name is no string: {name!r}")
        return self._value(node, f"{record}[{name!r}]", null="pass")

    def _array(self, node: Mapping[str, Any]) -> str:
        item = WEIGHTLESS if self._weigh(node["items"])[1] else self._value(node["items"], "item", null="item = None")
        return self._add(ARRAY, self._name(node), item=item)

    def _map(self, node: Mapping[str, Any]) -> str:
        value = self._value(node["values"], "values[key]", null="values[key] = None")
        return self._add(MAP, self._name(node), key=PRIMITIVES["string"].format(to="key"), value=value)

    def _name(self, node: Mapping[str, Any]) -> str:
        return self._names.setdefault(id(node), f"read_{len(self._names)}")

    def _add(self, template: str, name: str, **parts: str) -> str:
        self._functions.append(_filled(template, function=name, **parts))
        return name

    def _value(self, node: Node, to: str, null: str) -> str:
        """Return the statements that read a value and assign it to `to`, or do what `null` says."""
        node = self._resolved(node)
        if isinstance(node, list):
            return self._union(node, to, null)
        kind = node if isinstance(node, str) else node["type"]
        match kind:
            case "null":
                return null
            case "record" | "error" if is_explicit_null(node):
                return f"{to} = None"
            case "record" | "error":
                return CALL.format(to=to, function=self.record(node))
            case "array":
                return CALL.format(to=to, function=self._array(node))
            case "map":
                return CALL.format(to=to, function=self._map(node))
            case "enum":
                symbols = tuple(map(str, node["symbols"]))
                return ENUM.format(to=to, count=len(symbols), symbols=repr(symbols))
            case "fixed":
                return FIXED.format(to=to, size=_size(node))
        return PRIMITIVES[kind].format(to=to)

    def _union(self, branches: list[Node], to: str, null: str) -> str:
        source = NUMBER
        for index, branch in enumerate(branches):
            if isinstance(branch, list):
                raise TypeError("a union in a union")
            source += f"{'elif' if index else 'if'} n == {index * 2}:\n"
            source += indent(self._value(branch, to, null).strip("\n"), "    ") + "\n"
        return source + ("else:\n    raise no_choice(n)" if branches else "raise no_choice(n)")

    def _resolved(self, node: Node) -> Node:
        return self._named.get(node, node) if isinstance(node, str) else node

    def _weigh(self, node: Node) -> tuple[int, bool]:
        """Return how many values within one of this type take no bytes on the wire, and whether it takes none itself.

        Nothing that is read bounds those: records that hold another one twice, which holds another one twice, are
        millions after twenty levels. What comes in unions, arrays and maps is not among them, since these take bytes.
        """
        node = self._resolved(node)
        if not isinstance(node, dict):
            return int(node == "null"), node == "null"
        if node["type"] in ("record", "error"):
            return self._weigh_record(node)
        weightless = node["type"] == "null" or (node["type"] == "fixed" and node["size"] == 0)
        return int(weightless), weightless

    def _weigh_record(self, node: Mapping[str, Any]) -> tuple[int, bool]:
        name = node["name"]
        if name not in self._weights:
            self._weights[name] = 0, False  # while it is weighed: one that needs itself has no value
            fields = [self._weigh(field["type"]) for field in node["fields"]]
            weightless = name not in self._recursive and all(weightless for _, weightless in fields)
            self._weights[name] = sum(count for count, _ in fields) + weightless, weightless
        return self._weights[name]


def _filled(template: str, **parts: str) -> str:
    """Return a template whose parts, of several lines each, stand as deep as their places do."""
    lines = []
    for line in template.splitlines():
        margin = line[: len(line) - len(line.lstrip())]
        lines.append(indent(line.strip().format(**parts).strip("\n"), margin))
    return "\n".join(lines)


def _size(node: Mapping[str, Any]) -> int:
    size = node["size"]
    if type(size) is not int or size < 0:
        raise ValueError(f"a size of {size!r} bytes")
    return size


# What the functions call, most of it for what is rare on the wire.

SHIFTS = tuple(range(0, 70, 7))  # of a number's ten bytes, the most that 64 bits take


def _number(b: bytes, p: int) -> tuple[int, int]:
    """Return the number at `p` as the wire has it, and where it ends."""
    n = 0
    for shift in SHIFTS:
        byte = b[p]
        p += 1
        n |= (byte & 127) << shift
        if byte < 128:
            break
    if byte > 127 or n >> 64:
        raise Unreadable("malformed: a number of more than 64 bits")
    return n, p


def _length(b: bytes, p: int) -> tuple[int, int]:
    n, p = _number(b, p)
    if n & 1:
        raise Unreadable(f"malformed: a length of {_signed(n)}")
    return n, p


def _block(b: bytes, p: int) -> tuple[int, int]:
    """Return how many items come next. A negative count is followed by their size, for those who skip them."""
    n, p = _number(b, p)
    if n & 1:
        _, p = _number(b, p)
    return abs(_signed(n)), p


def _no_boolean(n: int) -> Unreadable:
    return Unreadable(f"malformed: a boolean of {n}")


def _no_choice(n: int) -> Unreadable:
    return Unreadable(f"malformed: there is no branch or symbol {_signed(n)}")


def _signed(n: int) -> int:
    return (n >> 1) ^ -(n & 1)


HELPERS = {
    "Unreadable": Unreadable,
    "number": _number,
    "length": _length,
    "block": _block,
    "no_boolean": _no_boolean,
    "no_choice": _no_choice,
    "float_at": struct.Struct("<f").unpack_from,
    "double_at": struct.Struct("<d").unpack_from,
}
