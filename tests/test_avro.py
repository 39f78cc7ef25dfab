"""The reader of Avro: it says what fastavro says of whatever was written well, and Unreadable of anything else."""

from __future__ import annotations

import itertools
from io import BytesIO
from typing import Any

import orjson
import pytest
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from hypothesis import given, settings
from hypothesis import strategies as st
from payloads import payloads

import schemas
from consumer.avro import Reader, Unreadable
from consumer.codec import Codec
from consumer.unrolled import MAX_DEPTH

TRUNCATED = "truncated: the value ends before the event does"


def record(name: str, /, **fields: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": key, "type": kind} for key, kind in fields.items()]}


def array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def reader(schema: Any) -> Reader:
    named: dict[str, Any] = {}
    parsed: Any = parse_schema(schema, named)
    return Reader(parsed, named)


NOTHING_TWICE = {"one": {}, "other": {}}
EVENT: Any = parse_schema(schemas.load())
EVENT_READER = reader(schemas.load())
CODEC = Codec()


def read(kind: Any, value: bytes) -> Any:
    """Return the value of one type, which has to end where the bytes end."""
    result, end = reader(record("R", x=kind)).read(value, 0)
    assert end == len(value)
    return result.get("x", "absent")


def why(kind: Any, value: bytes) -> str:
    with pytest.raises(Unreadable) as caught:
        read(kind, value)
    return str(caught.value)


# Random schemas. The fields of records begin with f and the keys of maps with k, so that what fastavro read, in which
# absent fields are None and explicit nulls empty, can be told apart without the schema. Maps are never empty.

PRIMITIVES: dict[str, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32, allow_nan=False),
    "double": st.floats(allow_nan=False),
    "string": st.text(max_size=80),
    "bytes": st.binary(max_size=80),
}
CONTAINERS = ["record", "array", "map", "union"]
BRANCHES = ["null", "explicit null", "boolean", "long", "double", "string", "bytes", "enum", "fixed"]


class Schemas:
    """Draws schemas, and for each of them a strategy of data that fits."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self._names = (f"N{number}" for number in itertools.count())

    def record(self, depth: int) -> tuple[Any, st.SearchStrategy[Any]]:
        fields = {f"f{at}": self.any(depth + 1) for at in range(self._draw(st.integers(1, 4)))}
        schema = record(next(self._names), **{name: kind for name, (kind, _) in fields.items()})
        return schema, st.fixed_dictionaries({name: data for name, (_, data) in fields.items()})

    def any(self, depth: int) -> tuple[Any, st.SearchStrategy[Any]]:
        kinds = [*PRIMITIVES, "enum", "fixed", *(CONTAINERS if depth < 4 else [])]
        return self.of(self._draw(st.sampled_from(kinds)), depth)

    def of(self, kind: str, depth: int) -> tuple[Any, st.SearchStrategy[Any]]:
        match kind:
            case "null":
                return "null", st.none()
            case "explicit null":
                return {**record(next(self._names)), "logicalType": "explicit-null"}, st.just({})
            case "enum":
                symbols = ["A", "B", "C"]
                return {"type": "enum", "name": next(self._names), "symbols": symbols}, st.sampled_from(symbols)
            case "fixed":
                return {"type": "fixed", "name": next(self._names), "size": 3}, st.binary(min_size=3, max_size=3)
            case "record":
                return self.record(depth)
            case "array":
                items, data = self.any(depth + 1)
                return array(items), st.lists(data, max_size=4)
            case "map":
                values, data = self.any(depth + 1)
                keys = st.text(max_size=5).map("k{}".format)
                return {"type": "map", "values": values}, st.dictionaries(keys, data, min_size=1, max_size=4)
            case "union":
                return self.union(depth)
        return kind, PRIMITIVES[kind]

    def union(self, depth: int) -> tuple[Any, st.SearchStrategy[Any]]:
        kinds = [*BRANCHES, "record", "array", "map"] if depth < 4 else BRANCHES
        drawn = self._draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=4, unique=True))
        branches = [self.of(kind, depth + 1) for kind in drawn]
        return [kind for kind, _ in branches], st.one_of(*(named(kind, data) for kind, data in branches))


def named(kind: Any, data: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return a union's data with the branch they are of."""
    name = kind if isinstance(kind, str) else kind.get("name", kind["type"])
    return data.map(lambda datum: datum if datum is None else (name, datum))


@st.composite
def written(draw: st.DrawFn) -> tuple[Any, bytes]:
    """A schema and a value that was written with it."""
    schema, data = Schemas(draw).record(0)
    out = BytesIO()
    schemaless_writer(out, parse_schema(schema), draw(data))
    return schema, out.getvalue()


def payload(value: Any) -> Any:
    """Return what fastavro read as a payload."""
    match value:
        case bytes():
            return value.decode("latin-1")
        case list():
            return [payload(item) for item in value]
        case dict():
            kept = {key: payload(part) for key, part in value.items() if part is not None or key.startswith("k")}
            return kept if value else None
    return value


@settings(deadline=None)
@given(written())
def test_what_was_written_with_any_schema_is_read_as_fastavro_reads_it(case: tuple[Any, bytes]) -> None:
    schema, value = case
    expected = payload(schemaless_reader(BytesIO(value), parse_schema(schema), None))
    result, end = reader(schema).read(b"frame" + value, 5)
    assert end == len(value) + 5
    assert repr(result) == repr(expected)  # True is not 1


@settings(deadline=None)
@given(written())
def test_what_was_cut_off_anywhere_is_truncated(case: tuple[Any, bytes]) -> None:
    schema, value = case
    known = reader(schema)
    for length in range(len(value)):
        with pytest.raises(Unreadable, match=f"^{TRUNCATED}$"):
            known.read(value[:length], 0)


@settings(deadline=None)
@given(written(), st.data())
def test_flipped_bits_are_json_or_unreadable(case: tuple[Any, bytes], data: st.DataObject) -> None:
    schema, value = case[0], bytearray(case[1])
    for at in data.draw(st.lists(st.integers(0, len(value) * 8 - 1), min_size=1, max_size=5)) if value else []:
        value[at // 8] ^= 1 << at % 8
    result = attempted(reader(schema), bytes(value))
    if isinstance(result, str):
        assert result.startswith(("truncated: ", "malformed: "))
    else:
        assert type(orjson.loads(orjson.dumps(result))) is dict


def attempted(known: Reader, value: bytes) -> dict[str, Any] | str:
    """Return what is read, or why nothing is."""
    try:
        return known.read(value, 0)[0]
    except Unreadable as error:
        return str(error)


@settings(deadline=None)
@given(payloads)
def test_documented_events_are_read_as_fastavro_reads_them(event: dict[str, Any]) -> None:
    value = CODEC.encode(event)
    body = BytesIO(value)
    body.seek(10)
    assert EVENT_READER.read(value, 10)[0] == payload(schemaless_reader(body, EVENT, None))


# Values, one type at a time


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("long", b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", 2**63 - 1),
        ("long", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", -(2**63)),
        ("long", b"\x82\x80\x00", 1),
        ("string", b"\x82\x80\x00a", "a"),
        ("float", b"\x00\x00\x80\x3f", 1.0),
        ("bytes", b"\x04\xff\x00", "ÿ\x00"),
        (["null", "string"], b"\x82\x00\x02a", "a"),
        ("null", b"", "absent"),
        (["null"], b"\x00", "absent"),
        ({"type": "fixed", "name": "F", "size": 0}, b"", ""),
        (array("long"), b"\x00", []),
        (array("null"), b"\x00", []),
        (array("long"), b"\x02\x02\x03\x04\x02\x02\x00", [1, 1, 1]),
        (array(["null", "long"]), b"\x04\x00\x02\x02\x00", [None, 1]),
        ({"type": "map", "values": "null"}, b"\x00", {}),
        ({"type": "map", "values": "null"}, b"\x01\x04\x02a\x02\x02b\x00", {"a": None, "b": None}),
        ({"type": "map", "values": array("long")}, b"\x02\x02a\x02\x02\x00\x00", {"a": [1]}),
        ({"type": "long"}, b"\x02", 1),
        ({"type": "error", "name": "E", "fields": []}, b"", {}),
        ({"type": "int", "logicalType": "date"}, b"\x02", 1),
        ({"type": "long", "logicalType": "timestamp-millis"}, b"\x02", 1),
        ({"type": "string", "logicalType": "uuid"}, b"\x02u", "u"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}, b"\x02\x7f", "\x7f"),
    ],
)
def test_a_value_is_read(kind: Any, value: bytes, expected: Any) -> None:
    assert read(kind, value) == expected


HUGE = b"\x80" * 8 + b"\x40"  # the zigzag number 2^61


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("long", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", "malformed: a number of more than 64 bits"),
        ("long", b"\x80" * 10 + b"\x00", "malformed: a number of more than 64 bits"),
        ("long", b"\x80" * 9, TRUNCATED),
        ("boolean", b"\x02", "malformed: a boolean of 2"),
        ("string", b"\x01", "malformed: a length of -1"),
        ("bytes", b"\xff\x01", "malformed: a length of -128"),
        ("string", b"\x04\xc3", TRUNCATED),
        ("string", b"\x02\xc3", "malformed: a string is not UTF-8"),
        ("string", HUGE, TRUNCATED),
        ("double", b"\x00" * 7, TRUNCATED),
        (["null", "long"], b"\x04", "malformed: there is no branch or symbol 2"),
        (["null", "long"], b"\x81\x01", "malformed: there is no branch or symbol -65"),
        ([], b"\x00", "malformed: there is no branch or symbol 0"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, b"\x02", "malformed: there is no branch or symbol 1"),
        ({"type": "fixed", "name": "F", "size": 4}, b"abc", TRUNCATED),
        (array("long"), HUGE, TRUNCATED),
        (array("long"), b"\x01" + HUGE, TRUNCATED),
        (array({"type": "null"}), HUGE, "malformed: array items of no bytes"),
        (array({"type": "fixed", "name": "F", "size": 0}), HUGE, "malformed: array items of no bytes"),
        ({"type": "map", "values": "null"}, HUGE + b"\x01", "malformed: a length of -1"),
    ],
)
def test_a_value_is_refused(kind: Any, value: bytes, expected: str) -> None:
    assert why(kind, value) == expected


# Nesting


@pytest.mark.parametrize("kind", [array("T"), {"type": "map", "values": "T"}], ids=["array", "map"])
def test_nesting_ends_at_the_same_depth_in_lists_and_maps(kind: Any) -> None:
    known = reader(record("T", inner=kind))
    level = b"\x02" if kind["type"] == "array" else b"\x02\x02k"
    deepest = level * (MAX_DEPTH - 1) + b"\x00" * MAX_DEPTH
    assert known.read(deepest, 0)[1] == len(deepest)
    with pytest.raises(Unreadable, match="malformed: nested deeper than 64 levels"):
        known.read(level * MAX_DEPTH, 0)


def test_a_record_that_cannot_but_contain_itself_is_refused() -> None:
    with pytest.raises(Unreadable, match="malformed: nested deeper than 64 levels"):
        reader(record("T", many=array(record("U", u="U")))).read(b"\x02", 0)


def test_lists_of_lists_on_every_level_are_refused() -> None:
    kind: Any = "T"
    for _ in range(30):
        kind = array(kind)
    with pytest.raises(Unreadable, match="malformed: nested too deeply"):
        reader(record("T", inner=kind)).read(b"\x02" * 30 * MAX_DEPTH, 0)


# Schemas


ODD_NAMES = ["record['x']", "'", '"""', "\\", "\n", "{to}", "{0}", "x'] = 1; raise SystemExit #", "é", "\ud800", ""]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_fields_name_is_never_code(name: str) -> None:
    schema = {"type": "record", "name": "R", "fields": [{"name": name, "type": ["null", array("long")]}]}
    assert reader(schema).read(b"\x02\x00", 0) == ({name: []}, 2)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ({"type": "fixed", "name": "F", "size": "4"}, "a size of '4' bytes"),
        ({"type": "fixed", "name": "F", "size": -4}, "a size of -4 bytes"),
        (["null", ["null", "long"]], "a union in a union"),
    ],
)
def test_a_schema_that_fastavro_lets_pass_is_refused(kind: Any, expected: str) -> None:
    with pytest.raises((TypeError, ValueError), match=expected):
        reader(record("R", x=kind))


def twice(levels: int) -> dict[str, Any]:
    """Return a record that holds another one twice, and that one another one twice …; the last has no fields."""
    inner: Any = record("R0")
    for level in range(1, levels + 1):
        inner = record(f"R{level}", one=inner, other=f"R{level - 1}")
    return record("Whole", inner=inner, end="long")


def test_values_of_no_bytes_are_read_as_far_as_they_are_few() -> None:
    found, end = reader(twice(2)).read(b"\x02", 0)
    assert (found, end) == ({"inner": {"one": NOTHING_TWICE, "other": NOTHING_TWICE}, "end": 1}, 1)


@pytest.mark.parametrize("levels", [12, 200])
def test_a_schema_whose_values_are_millions_of_no_bytes_is_refused(levels: int) -> None:
    with pytest.raises(ValueError, match="Whole holds more than 1,000 values that take no bytes"):
        reader(twice(levels))


def test_a_fields_name_has_to_be_text() -> None:
    with pytest.raises(TypeError, match="a field's name is no string: 5"):
        reader({"type": "record", "name": "R", "fields": [{"name": 5, "type": "long"}]})
