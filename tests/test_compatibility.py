"""Compatibility: each obstacle is named by its field, and the verdict is what resolving real data comes to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from io import BytesIO
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from hypothesis import event, given
from hypothesis import strategies as st

import schemas
from consumer.codec import WriterSchema
from consumer.compatibility import problems, shortcomings
from consumer.errors import ConfigurationError

EVENT = schemas.load()
PRODUCT = EVENT["fields"][2]["type"]
Change = Callable[[Any], object]


def record(*fields: dict[str, Any], name: str = "R", **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields), **more}


def field(name: str, type_: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": type_, **more}


def enum(*symbols: str, **more: Any) -> dict[str, Any]:
    return {"type": "enum", "name": "E", "symbols": list(symbols), **more}


def found(reader: Any, writer: Any) -> list[str]:
    return problems(WriterSchema(reader), WriterSchema(writer))


def changed(change: Change) -> Any:
    """Return the event schema after a change to it."""
    copy = deepcopy(EVENT)
    change(copy)
    return copy


def of(event_schema: Any, name: str) -> dict[str, Any]:
    """Return a field of the event's Item."""
    fields = event_schema["fields"][3]["type"][0]["fields"]
    return next(each for each in fields if each["name"] == name)


# What was done to the event schema, and what the new one then cannot read.
CHANGES: dict[str, tuple[Change, list[str]]] = {
    "nothing": (lambda event_: None, []),
    "a field with a default": (
        lambda event_: event_["fields"].append(field("version", ["null", "string"], default=None)),
        [],
    ),
    "a field without a default": (
        lambda event_: event_["fields"].append(field("version", "string")),
        ["version: a new field without a default"],
    ),
    "a nested field without a default": (
        lambda event_: event_["fields"][2]["type"]["fields"].append(field("owner", "string")),
        ["product.owner: a new field without a default"],
    ),
    "a field taken away": (lambda event_: event_["fields"][3]["type"][0]["fields"].pop(), []),
    "another type": (
        lambda event_: of(event_, "number").update(type="string"),
        ['attributes.Item.number: was "long", is "string"'],
    ),
    "a narrower type": (
        lambda event_: event_["fields"][2]["type"]["fields"][0].update(type="int"),
        ['product.id: was "long", is "int"'],
    ),
    "a wider type": (lambda event_: of(event_, "number").update(type="double"), []),
    "another type of an optional field": (
        lambda event_: of(event_, "status").update(type=["null", "int"]),
        ['attributes.Item.status: "string" is no longer among its types, which are "null", "int"'],
    ),
    "no null any more": (
        lambda event_: of(event_, "status").update(type="string", default=""),
        ['attributes.Item.status: "null" is no longer allowed, only "string"'],
    ),
    "no explicit null any more": (
        lambda event_: of(event_, "score").update(type=["null", "string"]),
        ['attributes.Item.score: the record Null is no longer among its types, which are "null", "string"'],
    ),
    "other items of a list": (
        lambda event_: of(event_, "tags").update(type=["null", {"type": "array", "items": "long"}]),
        ['attributes.Item.tags[]: was "string", is "long"'],
    ),
    "a field of a record that stands in many places": (
        lambda event_: of(event_, "created_by")["type"][1]["fields"].append(field("role", "string")),
        ["attributes.Item.created_by.role: a new field without a default"],
    ),
    "a model taken away": (
        lambda event_: event_["fields"][3]["type"].pop(),
        [
            "attributes: the record Deploy is no longer among its types, which are the record Item, the record Comment,"
            " the record Favorite, the record Block"
        ],
    ),
    "a new model": (
        lambda event_: event_["fields"][3]["type"].append(record(field("id", "long"), name="Sprint")),
        [],
    ),
    "several things": (
        lambda event_: (of(event_, "number").update(type="string"), event_["fields"].append(field("version", "int"))),
        ['attributes.Item.number: was "long", is "string"', "version: a new field without a default"],
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_to_the_event_schema_is_named_by_its_field(name: str) -> None:
    change, expected = CHANGES[name]
    assert found(changed(change), EVENT) == expected


LINKED = record(field("number", "long"), field("parent", ["null", "Item", "long"], default=None), name="Item")

# Readers and writers of one field `f`, and what is wrong with them.
PAIRS: dict[str, tuple[Any, Any, list[str]]] = {
    "int to long": ("long", "int", []),
    "long to float": ("float", "long", []),
    "float to double": ("double", "float", []),
    "string to bytes": ("bytes", "string", []),
    "bytes to string": ("string", "bytes", []),
    "long to int": ("int", "long", ['f: was "long", is "int"']),
    "double to float": ("float", "double", ['f: was "double", is "float"']),
    "int to boolean": ("boolean", "int", ['f: was "int", is "boolean"']),
    "a logical type": ({"type": "long", "logicalType": "timestamp-millis"}, "long", []),
    "symbols": (enum("a"), enum("a", "test", "b"), ['f: the symbol "test" is gone', 'f: the symbol "b" is gone']),
    "symbols with a default": (enum("a", default="a"), enum("a", "test"), []),
    "more symbols": (enum("a", "b"), enum("b"), []),
    "another enum": ({**enum("a"), "name": "F"}, enum("a"), ["f: was the enum E, is the enum F"]),
    "an enum for text": (enum("a"), "string", ['f: was "string", is the enum E']),
    "an enum of another namespace": ({**enum("a"), "namespace": "n"}, enum("a"), []),
    "an enum by alias": ({**enum("a"), "name": "F", "aliases": ["E"]}, enum("a"), []),
    "an alias is in its type's namespace": (
        {**enum("a"), "name": "n.F", "aliases": ["E"]},
        {**enum("a"), "name": "n.E"},
        [],
    ),
    "an alias of another namespace": (
        {**enum("a"), "name": "n.F", "aliases": ["E"]},
        {**enum("a"), "name": "m.E"},
        ["f: was the enum E, is the enum F"],
    ),
    "longer fixed": (
        {"type": "fixed", "name": "X", "size": 16},
        {"type": "fixed", "name": "X", "size": 8},
        ["f: was 8 bytes long, is 16"],
    ),
    "values of a map": (
        {"type": "map", "values": "int"},
        {"type": "map", "values": "string"},
        ['f{}: was "string", is "int"'],
    ),
    "a map for a list": (
        {"type": "map", "values": "int"},
        {"type": "array", "items": "int"},
        ['f: was "array", is "map"'],
    ),
    "a union of what it was": (["null", "int"], "int", []),
    "a union of something else": (["null", "int"], "string", ['f: was "string", is "null", "int"']),
    "a union that promotes": (["null", "double"], "int", []),
    "one of a union": ("int", ["null", "int"], ['f: "null" is no longer allowed, only "int"']),
    "one that takes all of a union": ("double", ["int", "float"], []),
    "an empty union": ([], "int", ['f: was "int", is nothing']),
    "one of the same full name is preferred": (
        [record(field("x", "int"), name="a.S"), record(name="b.S")],
        record(name="b.S"),
        [],
    ),
    "a field by alias": (record(field("new", "int", aliases=["old"])), record(field("old", "int")), []),
    "a field by alias, of another type": (
        record(field("new", "int", aliases=["old"])),
        record(field("old", "string")),
        ['f.new: was "string", is "int"'],
    ),
    "an enum's default is none of its field's": (
        record(field("kind", enum("a", default="a"))),
        record(),
        ["f.kind: a new field without a default"],
    ),
    "a default of null": (record(field("kind", "null", default=None)), record(), []),
    "a record in itself": (LINKED, LINKED, []),
    "a record in itself, changed": (
        record(*LINKED["fields"], field("title", "string"), name="Item"),
        LINKED,
        ["f.title: a new field without a default"],
    ),
    "a record in itself, changed in depth": (
        record(LINKED["fields"][0], field("parent", ["null", "Item"], default=None), name="Item"),
        LINKED,
        ['f.parent: "long" is no longer among its types, which are "null", the record Item'],
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_types_are_resolved_by_avros_rules(name: str) -> None:
    reader, writer, expected = PAIRS[name]
    assert found(record(field("f", reader), name="Root"), record(field("f", writer), name="Root")) == expected


def test_another_record_is_named() -> None:
    assert found(record(name="New"), record(name="Old")) == ["the schema: was the record Old, is the record New"]
    assert found(record(name="New", aliases=["Old"]), record(name="Old")) == []


def test_what_a_schema_refers_to_is_looked_into() -> None:
    person = record(field("id", "long"), name="Person")
    by = record(field("by", "Person"), name="Root")
    other = record(field("id", "string"), name="Person")

    assert problems(WriterSchema(by, (person,)), WriterSchema(by, (person,))) == []
    assert problems(WriterSchema(by, (person,)), WriterSchema(by, (other,))) == ['by.id: was "string", is "long"']


@pytest.mark.parametrize("wrong", [5, None, {}, [], "string", record(field("f", "nothing"))])
def test_what_is_no_schema_of_a_record_is_a_mistake(wrong: Any) -> None:
    with pytest.raises(ConfigurationError):
        found(wrong, EVENT)
    with pytest.raises(ConfigurationError):
        found(EVENT, wrong)
    with pytest.raises(ConfigurationError):
        shortcomings(WriterSchema(wrong))


# What was done to the event schema, and what the consumers then miss.
MISSED: dict[str, tuple[Change, list[str]]] = {
    "nothing": (lambda event_: None, []),
    "no action": (lambda event_: event_["fields"].pop(0), []),
    "a model of symbols": (lambda event_: event_["fields"][1].update(type=enum("Item")), []),
    "a map of attributes": (lambda event_: event_["fields"][3].update(type={"type": "map", "values": "string"}), []),
    "no model": (lambda event_: event_["fields"].pop(1), ["model: the consumers need a string here, in every event"]),
    "an optional model": (
        lambda event_: event_["fields"][1].update(type=["null", "string"]),
        ["model: the consumers need a string here, in every event"],
    ),
    "a numeric action": (
        lambda event_: event_["fields"][0].update(type=["null", "int"]),
        ["action: the consumers need a string, or nothing, here, in every event"],
    ),
    "a product's number alone": (
        lambda event_: (
            event_.update(name="E"),
            event_.update(fields=[*event_["fields"][:2], field("product", "long")]),
        ),
        [
            "product.id: the consumers need an integer here, in every event",
            "attributes: the consumers need a record here, in every event",
        ],
    ),
    "an optional product": (
        lambda event_: event_["fields"].__setitem__(
            2, field("product", ["null", record(field("id", "long"), name="ly.sprint.events.Product")])
        ),
        ["product.id: the consumers need an integer here, in every event"],
    ),
    "a product's name": (
        lambda event_: event_["fields"][2]["type"]["fields"][0].update(type="string"),
        ["product.id: the consumers need an integer here, in every event"],
    ),
    "attributes that may be null": (
        lambda event_: event_["fields"][3]["type"].append("null"),
        ["attributes: the consumers need a record here, in every event"],
    ),
    "attributes that may be an explicit null": (
        lambda event_: event_["fields"][3]["type"].append("Null"),
        ["attributes: the consumers need a record here, in every event"],
    ),
}


@pytest.mark.parametrize("name", MISSED)
def test_what_the_consumers_need_is_named(name: str) -> None:
    change, expected = MISSED[name]
    assert shortcomings(WriterSchema(changed(change))) == expected


# Schemas made up: a named type is called after where it stands, so that those of two schemas can meet.
PRIMITIVES = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"]
VALUES = {
    "null": None,
    "boolean": True,
    "int": 1,
    "long": 2**40,
    "float": 0.5,
    "double": 0.25,
    "bytes": b"b",
    "string": "s",
}


@st.composite
def types(draw: st.DrawFn, place: str = "f", depth: int = 2) -> Any:
    nested = ["array", "map", "record", "union"] if depth else []
    kind = draw(st.sampled_from([*PRIMITIVES, "enum", "fixed", *nested]))
    match kind:
        case "enum":
            symbols = draw(st.lists(st.sampled_from("abc"), min_size=1, unique=True))
            default = draw(st.sampled_from([{}, {"default": symbols[0]}]))
            return {"type": "enum", "name": f"enum_{place}", "symbols": symbols, **default}
        case "fixed":
            return {"type": "fixed", "name": f"fixed_{place}", "size": draw(st.integers(1, 2))}
        case "array":
            return {"type": "array", "items": draw(types(place, depth - 1))}
        case "map":
            return {"type": "map", "values": draw(types(place, depth - 1))}
        case "union":
            branches = draw(st.lists(st.sampled_from(PRIMITIVES), max_size=3, unique=True))
            inner = draw(st.sampled_from([[], [draw(records(f"{place}_u", depth - 1))]]))
            return [*branches, *inner] or ["null"]
        case "record":
            return draw(records(place, depth - 1))
    return kind


@st.composite
def records(draw: st.DrawFn, place: str, depth: int = 2) -> dict[str, Any]:
    fields = []
    for name in draw(st.lists(st.sampled_from("xyz"), unique=True)):
        made = field(name, draw(types(f"{place}_{name}", depth)))
        fields.append(made | draw(st.sampled_from([{}, {"default": default(made["type"])}])))
    return record(*fields, name=f"record_{place}")


@st.composite
def pairs(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """A reader's schema and a writer's, of which some fields are the same."""
    reader, writer = draw(records("root")), draw(records("root"))
    same = draw(st.sets(st.sampled_from("xyz")))
    kept = [each for each in writer["fields"] if each["name"] in same]
    others = [each for each in reader["fields"] if each["name"] not in same]
    return {**reader, "fields": kept + others}, writer


def default(node: Any) -> Any:
    """The JSON of one value of a type."""
    if isinstance(node, list):
        return default(node[0])
    if isinstance(node, str):
        return "b" if node == "bytes" else VALUES[node]
    match node["type"]:
        case "record":
            return {each["name"]: default(each["type"]) for each in node["fields"]}
        case "enum":
            return node["symbols"][0]
        case "fixed":
            return "b" * node["size"]
    return [] if node["type"] == "array" else {}


def witnesses(node: Any) -> Iterator[Any]:
    """Values of a type that together take each branch, each symbol and an item of each list."""
    if isinstance(node, list):
        for branch in node:
            name = branch if isinstance(branch, str) else branch["name"]
            yield from ((name, value) for value in witnesses(branch))
        return
    match node if isinstance(node, str) else node["type"]:
        case "enum":
            yield from node["symbols"]
        case "fixed":
            yield b"b" * node["size"]
        case "array":
            yield from ([value] for value in witnesses(node["items"]))
        case "map":
            yield from ({"k": value} for value in witnesses(node["values"]))
        case "record":
            first = {each["name"]: next(witnesses(each["type"])) for each in node["fields"]}
            yield first
            yield from ({**first, each["name"]: v} for each in node["fields"] for v in witnesses(each["type"]))
        case primitive:
            yield VALUES[primitive]


def reads_all(reader: Any, writer: Any) -> bool:
    """Whether fastavro reads, with one schema, all that it wrote with the other."""
    new, old = parse_schema(deepcopy(reader)), parse_schema(deepcopy(writer))
    for value in witnesses(writer):
        data = BytesIO()
        schemaless_writer(data, old, value)
        data.seek(0)
        try:
            schemaless_reader(data, old, new)
        except Exception:  # noqa: BLE001 - whatever fastavro raises, it could not read it
            return False
    return True


@given(pairs())
def test_the_verdict_is_what_resolving_real_data_comes_to(pair: tuple[Any, Any]) -> None:
    reader, writer = pair
    verdict = found(reader, writer)
    event("compatible" if not verdict else "incompatible")
    assert (not verdict) == reads_all(reader, writer), verdict


@given(records("root", depth=3))
def test_a_schema_reads_what_it_wrote(schema: Any) -> None:
    assert found(schema, schema) == []


@given(records("root"), types("new"))
def test_a_field_with_a_default_can_be_added_and_taken_away(schema: Any, type_: Any) -> None:
    more = record(*schema["fields"], field("new", type_, default=default(type_)), name=schema["name"])
    assert found(more, schema) == []
    assert found(schema, more) == []
    without = record(*schema["fields"], field("new", type_), name=schema["name"])
    assert found(without, schema) == ["new: a new field without a default"]
