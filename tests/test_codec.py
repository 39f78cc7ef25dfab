"""The codec: exact round trips, Avro's framing, and a reason instead of a crash for whatever cannot be decoded."""

from __future__ import annotations

import json
import threading
import tracemalloc
from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from payloads import NAMES, documented, events, nested, payloads

import schemas
from consumer.codec import MAX_FETCHED, Codec, Head, Undecodable, Unfetched, WriterSchema, compile_schema
from consumer.errors import ConfigurationError, InvalidPayload
from consumer.framing import Reference, confluent_frame
from consumer.unrolled import MAX_DEPTH

CODEC = Codec()
FRAME = 10
MODELS = ["Block", "Comment", "Deploy", "Favorite", "Item"]


def reason(result: object) -> str:
    assert isinstance(result, Undecodable)
    return result.reason


def framed(*parts: bytes) -> bytes:
    """Return the bundled schema's frame and a body put together by hand."""
    return CODEC.encode(nested(1))[:FRAME] + b"".join(parts)


# A body's beginning: no action, model "Item", product 1 with nothing but its id, and the branch Item of attributes.
ITEM = b"\x00" + b"\x08Item" + b"\x02" + b"\x00" * 5 + b"\x00"
ITEM_FIELDS = [field["name"] for field in schemas.load()["fields"][3]["type"][0]["fields"]]


def item_up_to(field: str) -> bytes:
    """Return the bytes of item number 1 up to `field`, all before it absent."""
    return b"\x02" + b"\x00" * (ITEM_FIELDS.index(field) - 1)


def ancestry(levels: int) -> bytes:
    """Return an event whose item lies `levels` deep, which no encoder of ours would write."""
    rest = b"\x00" * (len(ITEM_FIELDS) - ITEM_FIELDS.index("parent") - 1)
    return framed(ITEM, (item_up_to("parent") + b"\x02") * (levels - 1), item_up_to("parent"), b"\x00", rest * levels)


# Round trips


@pytest.mark.parametrize("name", NAMES)
def test_the_documented_payloads_come_back_key_for_key(name: str) -> None:
    payload = documented(name)
    assert CODEC.decode(CODEC.encode(payload)) == payload == documented(name)


@pytest.mark.parametrize("model", MODELS)
def test_any_payload_of_documented_fields_comes_back(model: str) -> None:
    @given(events(model))
    def round_trip(payload: dict[str, Any]) -> None:
        decoded = CODEC.decode(CODEC.encode(payload))
        assert decoded == payload
        assert json.dumps(decoded, sort_keys=True) == json.dumps(payload, sort_keys=True)  # True is not 1

    round_trip()


@given(payloads)
def test_head_says_what_decode_says(payload: dict[str, Any]) -> None:
    value = CODEC.encode(payload)
    head = CODEC.head(value)
    assert head == Head(payload["model"], payload.get("action", "created"), payload["product"]["id"])
    assert json.dumps(CODEC.decode(value, (), head)) == json.dumps(CODEC.decode(value))  # the same order of keys, too


def test_an_event_without_action_has_none_and_is_routed_as_created() -> None:
    value = CODEC.encode(nested(1))
    decoded = CODEC.decode(value)
    assert isinstance(decoded, dict)
    assert "action" not in decoded
    assert CODEC.head(value) == Head("Item", "created", 1)


def test_absent_null_and_empty_are_three_things() -> None:
    for item in ({"number": 1}, {"number": 1, "score": None}, {"number": 1, "score": ""}):
        payload = {"model": "Item", "product": {"id": 1}, "attributes": item}
        assert CODEC.decode(CODEC.encode(payload)) == payload


def test_head_does_not_read_the_rest() -> None:
    value = CODEC.encode(documented("block"))
    assert CODEC.head(value[:40]) == Head("Block", "created", 1111)
    assert reason(CODEC.decode(value[:40])).startswith("truncated")


# Framing, checked by an implementation of the Avro specification's own words


def rabin(data: bytes) -> int:
    """CRC-64-AVRO, as the specification defines it."""
    empty = 0xC15D213AA4D7A795
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (empty if byte & 1 else 0)
        table.append(byte)
    crc = empty
    for byte in data:
        crc = (crc >> 8) ^ table[(crc ^ byte) & 0xFF]
    return crc


def canonical(node: Any) -> Any:
    """The parsing canonical form of a schema with a single namespace, as JSON data in the order it prescribes."""
    if isinstance(node, list):
        return [canonical(branch) for branch in node]
    if isinstance(node, str):
        return node if node in {"null", "string", "long", "boolean"} else f"ly.sprint.events.{node}"
    if node["type"] == "array":
        return {"type": "array", "items": canonical(node["items"])}
    if node["type"] == "enum":
        return {"name": f"ly.sprint.events.{node['name']}", "type": "enum", "symbols": node["symbols"]}
    fields = [{"name": field["name"], "type": canonical(field["type"])} for field in node["fields"]]
    return {"name": f"ly.sprint.events.{node['name']}", "type": "record", "fields": fields}


@pytest.mark.parametrize(("schema", "known"), [('"null"', 0x63DD24E7CC258F8A), ('"int"', 0x7275D51A3F395C8F)])
def test_the_fingerprint_gives_the_specifications_examples(schema: str, known: int) -> None:
    assert rabin(schema.encode()) == known


def test_an_event_begins_with_the_marker_and_the_fingerprint_of_its_schema() -> None:
    form = json.dumps(canonical(schemas.load()), separators=(",", ":"))
    value = CODEC.encode(documented("item"))
    assert value[:FRAME] == b"\xc3\x01" + rabin(form.encode()).to_bytes(8, "little")


def test_a_body_put_together_by_hand_is_what_the_encoder_writes() -> None:
    assert CODEC.encode(nested(3)).replace(b"\x04", b"\x02").replace(b"\x06", b"\x02") == ancestry(3)


# What cannot be decoded


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "empty: the record has no value"),
        (b"", "not Avro: the value begins with no bytes, which names no schema"),
        (b'{"model": "Item"}', "not Avro: the value begins with 7b 22 6d 6f, which names no schema"),
        (b"\xc3\x02" + b"\0" * 20, "not Avro: the value begins with c3 02 00 00, which names no schema"),
        (b"\xc3", "truncated: the value is too short to name its schema"),
        (b"\xc3\x01" + b"\1" * 7, "truncated: the value is too short to name its schema"),
        (b"\xc3\x01" + bytes(range(1, 9)) + b"body", "unknown schema: fingerprint 0807060504030201"),
        (b"\0\0\0\0", "truncated: the value is too short to name its schema"),
        (b"\0\0\0\1\2body", "unknown schema: id 258 of a schema registry, and none is configured"),
    ],
)
def test_a_value_whose_schema_nobody_knows_has_a_reason(value: bytes | None, expected: str) -> None:
    assert CODEC.decode(value) == CODEC.head(value) == Undecodable(expected)


@pytest.mark.parametrize("name", NAMES)
def test_an_event_cut_off_anywhere_is_truncated(name: str) -> None:
    value = CODEC.encode(documented(name))
    for length in range(1, len(value)):
        assert reason(CODEC.decode(value[:length])).startswith("truncated"), length


def test_what_follows_an_event_makes_it_undecodable() -> None:
    value = CODEC.encode(documented("item"))
    assert reason(CODEC.decode(value + b"abc")) == "trailing bytes: 3 after the event's end"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"\x02\x06abc\x08Item", "truncated: the value ends before the event does"),
        (b"\x02\x02\xff\x08Item", "malformed: a string is not UTF-8"),
        (b"\x04", "malformed: there is no branch or symbol 2"),
        (b"\x01", "malformed: there is no branch or symbol -1"),
        (b"\x03", "malformed: there is no branch or symbol -2"),
    ],
)
def test_a_malformed_beginning_has_a_reason(body: bytes, expected: str) -> None:
    assert CODEC.head(framed(body)) == CODEC.decode(framed(body)) == Undecodable(expected)


HUGE = b"\x80" * 8 + b"\x40"  # the zigzag number 2^61


@pytest.mark.parametrize(
    "value",
    [
        framed(b"\x02", HUGE),
        framed(ITEM, item_up_to("title"), b"\x02", HUGE),
        framed(ITEM, item_up_to("tags"), b"\x02", HUGE),
        framed(ITEM, item_up_to("tags"), b"\x02", b"\xff" * 9 + b"\x01", HUGE),
    ],
    ids=["action", "title", "tags", "tags by block size"],
)
def test_a_huge_length_takes_no_memory(value: bytes) -> None:
    tracemalloc.start()
    try:
        assert reason(CODEC.decode(value)) == "truncated: the value ends before the event does"
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=200))
def test_random_bytes_are_a_reason(data: bytes) -> None:
    for value in (data, framed(data), b"\xc3\x01" + data, b"\0" + data):
        assert isinstance(CODEC.head(value), Head | Undecodable)
        assert type(CODEC.decode(value)) in (dict, Undecodable)


@given(st.data())
def test_what_is_cut_off_behind_its_head_is_truncated(data: st.DataObject) -> None:
    value = CODEC.encode(documented(data.draw(st.sampled_from(NAMES))))
    cut = value[: data.draw(st.integers(FRAME, len(value) - 1))]
    head = CODEC.head(cut)
    if isinstance(head, Head):
        assert reason(CODEC.decode(cut, (), head)) == "truncated: the value ends before the event does"


@given(st.data())
def test_flipped_bits_are_an_event_or_a_reason(data: st.DataObject) -> None:
    value = bytearray(CODEC.encode(documented(data.draw(st.sampled_from(NAMES)))))
    for at in data.draw(st.lists(st.integers(FRAME * 8, len(value) * 8 - 1), min_size=1, max_size=5)):
        value[at // 8] ^= 1 << at % 8
    decoded, head = CODEC.decode(bytes(value)), CODEC.head(bytes(value))
    assert type(decoded) in (dict, Undecodable)
    if isinstance(head, Head):
        assert CODEC.decode(bytes(value), (), head) == decoded
    if isinstance(decoded, dict):
        assert head == Head(decoded["model"], decoded.get("action", "created"), decoded["product"]["id"])


# Nesting


def test_the_deepest_event_goes_through_and_one_level_more_does_not() -> None:
    deepest, deeper = nested(MAX_DEPTH), nested(MAX_DEPTH + 1)
    assert CODEC.decode(CODEC.encode(deepest)) == deepest
    with pytest.raises(InvalidPayload, match="nested deeper than 64 levels"):
        CODEC.encode(deeper)
    assert isinstance(CODEC.decode(ancestry(MAX_DEPTH)), dict)
    assert reason(CODEC.decode(ancestry(MAX_DEPTH + 1))) == "malformed: nested deeper than 64 levels"


@pytest.mark.parametrize("levels", [20_000, 200_000])
def test_bottomless_nesting_is_a_reason_also_on_a_small_stack(levels: int) -> None:
    """fastavro's reader crashes the process on such bytes; a thread's stack may be as small as this one's."""
    value, results = ancestry(levels), list[object]()
    former = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=lambda: results.extend([CODEC.head(value), CODEC.decode(value)]))
        thread.start()
        thread.join()
    finally:
        threading.stack_size(former)
    assert results == [Head("Item", "created", 1), Undecodable("malformed: nested deeper than 64 levels")]


def test_a_bottomless_payload_is_refused_not_crashed_on() -> None:
    with pytest.raises(InvalidPayload) as caught:
        CODEC.encode(nested(100_000))
    assert caught.value.path == "attributes" + ".parent" * MAX_DEPTH


# What is not encoded


def changed(name: str, path: str, value: Any) -> dict[str, Any]:
    """Return a documented payload with the value at a dotted path replaced."""
    payload = documented(name)
    *way, last = path.split(".")
    inside: Any = payload
    for part in way:
        inside = inside[int(part)] if isinstance(inside, list) else inside[part]
    inside[last] = value
    return payload


REFUSED: list[tuple[str, str, Any, str, str]] = [
    ("item", "model", "Sprint", "model", 'unknown model "Sprint"; there are Item, Comment, Favorite, Block, Deploy'),
    ("item", "model", None, "model", "expected a string, got null"),
    ("item", "model", "Comment", "attributes.archived", "unknown field of Comment"),
    ("item", "payload", {}, "payload", "unknown field of Event"),
    ("item", "attributes", None, "attributes", "expected an object, got null"),
    ("item", "product", {}, "product.id", "missing, though every Product has it"),
    ("item", "product.id", True, "product.id", "expected an integer, got true (a boolean)"),
    ("item", "product.id", 1.0, "product.id", "expected an integer, got 1.0 (a number)"),
    ("item", "product.id", 2**63, "product.id", "9223372036854775808 does not fit into 64 bits"),
    ("item", "product.id", -(2**63) - 1, "product.id", "-9223372036854775809 does not fit into 64 bits"),
    ("item", "attributes.colour", "red", "attributes.colour", "unknown field of Item"),
    ("item", "attributes.Title", "x", "attributes.Title", "unknown field of Item; did you mean title?"),
    ("item", "attributes.score", 5, "attributes.score", "expected a string or null, got 5 (an integer)"),
    ("item", "attributes.assigned_to", "J", "attributes.assigned_to", 'expected an object or null, got "J" (a string)'),
    ("item", "attributes.why", None, "attributes.why", "expected a string, got null; leave the field out instead"),
    (
        "item",
        "attributes.why",
        "a\ud800",
        "attributes.why",
        "a lone surrogate at character 1, which UTF-8 cannot carry",
    ),
    ("item", "attributes.why", b"x", "attributes.why", "expected a string, got a Python bytes"),
    ("item", "attributes.archived", 0, "attributes.archived", "expected a boolean, got 0 (an integer)"),
    (
        "item",
        "attributes.parent",
        "\udc80",
        "attributes.parent",
        'expected an object or an integer, got "\\udc80" (a string)',
    ),
    ("item", "attributes.tags", "x" * 99, "attributes.tags", f'expected a list, got "{"x" * 59}… (a string)'),
    ("item", "attributes.tags", ("ios",), "attributes.tags", "expected a list, got a Python tuple"),
    ("item", "attributes.tags", ["a", "b", 3], "attributes.tags[2]", "expected a string, got 3 (an integer)"),
    ("item", "attributes.tags", [None], "attributes.tags[0]", "expected a string, got null"),
    (
        "comment",
        "attributes.item.created_by",
        {},
        "attributes.item.created_by.id",
        "missing, though every Person has it",
    ),
    ("deploy", "attributes.items.1.number", [], "attributes.items[1].number", "expected an integer, got a list"),
    ("deploy", "attributes.items.0.progress", {1: ""}, "attributes.items[0].progress.1", "unknown field of Progress"),
]


@pytest.mark.parametrize(("name", "at", "value", "path", "problem"), REFUSED)
def test_a_payload_that_does_not_fit_is_refused_by_its_path(
    name: str, at: str, value: Any, path: str, problem: str
) -> None:
    with pytest.raises(InvalidPayload) as caught:
        CODEC.encode(changed(name, at, value))
    assert (caught.value.path, caught.value.problem) == (path, problem)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ([], "expected an object, got a list"),
        ({}, "model: missing, though every Event has it"),
        ({"model": "Item"}, "product: missing, though every Event has it"),
        ({"model": "Item", "product": {"id": 1}}, "attributes: missing, though every Event has it"),
    ],
)
def test_an_incomplete_payload_is_refused(payload: Any, expected: str) -> None:
    with pytest.raises(InvalidPayload) as caught:
        CODEC.encode(payload)
    assert str(caught.value) == expected


# Writers with other schemas


def writer(schema: dict[str, Any], body: bytes) -> tuple[Codec, bytes]:
    """Return a codec that knows a schema of another writer, and a value that is framed as this writer would."""
    form = json.dumps(canonical(schema), separators=(",", ":"))
    return Codec([schema]), b"\xc3\x01" + rabin(form.encode()).to_bytes(8, "little") + body


def record(name: str, /, **fields: Any) -> dict[str, Any]:
    parts = [{"name": key, "type": kind} for key, kind in fields.items()]
    return {"type": "record", "name": name, "namespace": "ly.sprint.events", "fields": parts}


def test_a_field_that_was_added_upstream_arrives() -> None:
    schema = schemas.load()
    schema["fields"][3]["type"][0]["fields"].append({"name": "colour", "type": ["null", "string"], "default": None})
    codec, frame = writer(schema, b"")
    body = CODEC.encode(nested(1))[FRAME:]
    expected = nested(1)
    assert codec.decode(frame + body + b"\x00") == expected
    expected["attributes"]["colour"] = "red"
    assert codec.decode(frame + body + b"\x02\x06red") == expected
    assert codec.decode(CODEC.encode(nested(2))) == nested(2)
    assert reason(CODEC.decode(frame + body + b"\x00")).startswith("unknown schema: fingerprint")


def test_a_model_nobody_knows_arrives() -> None:
    schema = record("Event", model="string", product=record("P", id="long"), attributes=record("Sprint", goal="string"))
    codec, value = writer(schema, b"\x0cSprint" + b"\x02" + b"\x06win")
    assert codec.decode(value) == {"model": "Sprint", "product": {"id": 1}, "attributes": {"goal": "win"}}
    head = codec.head(value)
    assert head == Head("Sprint", "created", 1)
    assert isinstance(head, Head)
    assert codec.decode(value, (), head) == codec.decode(value)


def test_a_product_that_can_contain_itself_is_read_as_well() -> None:
    product = {"type": "record", "name": "P", "fields": [{"name": "id", "type": "long"}]}
    product["fields"] += [{"name": "part", "type": ["null", "P"]}]  # type: ignore[operator]
    schema = record("Event", model="string", product=product, attributes=record("Item", number="long"))
    codec, value = writer(schema, b"\x08Item" + b"\x02\x02\x04\x00" + b"\x0e")
    head = codec.head(value)
    assert head == Head("Item", "created", 1)
    assert isinstance(head, Head)
    expected = {"model": "Item", "product": {"id": 1, "part": {"id": 2}}, "attributes": {"number": 7}}
    assert codec.decode(value, (), head) == codec.decode(value) == expected


def test_another_order_of_fields_is_read_as_well() -> None:
    product = ["null", record("P", name="string", id="long")]
    schema = record("Event", attributes=record("Item", number="long"), product=product, action="string", model="string")
    codec, value = writer(schema, b"\x0e" + b"\x02\x02P\x06" + b"\x0eupdated" + b"\x08Item")
    head = codec.head(value)
    assert head == Head("Item", "updated", 3)
    assert isinstance(head, Head)
    assert (
        codec.decode(value, (), head)
        == codec.decode(value)
        == {
            "attributes": {"number": 7},
            "product": {"name": "P", "id": 3},
            "action": "updated",
            "model": "Item",
        }
    )


def test_an_enum_is_read_as_its_symbol_and_no_other_number() -> None:
    model = {"type": "enum", "name": "Model", "namespace": "ly.sprint.events", "symbols": ["Item", "Sprint"]}
    fields = {"model": model, "product": record("P", id="long"), "attributes": record("Goal")}
    codec, frame = writer(record("Event", **fields), b"")
    assert codec.head(frame + b"\x02\x02") == Head("Sprint", "created", 1)
    assert reason(codec.head(frame + b"\x01\x02")) == "malformed: there is no branch or symbol -1"
    assert reason(codec.head(frame + b"\x04\x02")) == "malformed: there is no branch or symbol 2"


def test_in_lists_null_stays_where_it_is() -> None:
    empty = {**record("Null"), "logicalType": "explicit-null"}
    attributes = record("Item", marks={"type": "array", "items": ["null", empty, "string"]}, mark=["null", "Null"])
    codec, value = writer(
        record("Event", model="string", product=record("P", id="long"), attributes=attributes),
        b"\x02I\x02" + b"\x06\x00\x02\x04\x02x\x00" + b"\x02",
    )
    decoded = codec.decode(value)
    assert isinstance(decoded, dict)
    assert decoded["attributes"] == {"marks": [None, None, "x"], "mark": None}


@pytest.mark.parametrize("items", ["null", record("Nothing"), record("Outer", inner=record("Inner"), other="null")])
def test_a_few_bytes_cannot_announce_a_list_without_end(items: Any) -> None:
    attributes = record("Item", many={"type": "array", "items": items})
    schema = record("Event", model="string", product=record("P", id="long"), attributes=attributes)
    codec, value = writer(schema, b"\x02I\x02" + HUGE + b"\x00")
    assert reason(codec.decode(value)) == "malformed: array items of no bytes"


@pytest.mark.parametrize(
    ("fields", "body", "expected"),
    [
        ({"product": record("P", id="long")}, b"\x02", "model is not a string"),
        ({"model": "long", "product": record("P", id="long")}, b"\x02\x02", "model is not a string"),
        ({"model": "string"}, b"\x02I", "product.id is not an integer"),
        ({"model": "string", "product": "long"}, b"\x02I\x02", "product.id is not an integer"),
        ({"model": "string", "product": record("P", id="boolean")}, b"\x02I\x01", "product.id is not an integer"),
        ({"action": "long", "model": "string"}, b"\x02\x02I", "action is not a string"),
        ({}, b"", "model is not a string"),
    ],
)
def test_what_is_avro_but_no_event_has_a_reason(fields: dict[str, Any], body: bytes, expected: str) -> None:
    codec, value = writer(record("Event", **fields), body)
    assert codec.decode(value) == codec.head(value) == Undecodable(f"not an event: {expected}")


def test_an_event_without_attributes_is_none() -> None:
    codec, value = writer(
        record("Event", model="string", product=record("P", id="long"), attributes="long"), b"\x02I\x02\x02"
    )
    assert codec.head(value) == Head("I", "created", 1)
    assert reason(codec.decode(value)) == "not an event: attributes is not an object"


@pytest.mark.parametrize("schema", [{"type": "string"}, {"type": "record"}, {}, record("Event", item="Item")])
def test_a_schema_that_cannot_be_used_is_a_configuration_error(schema: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="an Avro schema cannot be used"):
        Codec([schema])


# Schemas of a registry

GUID = UUID("1b4e28ba-2fa1-11d2-883f-0016d3cca427")
HEADERS = (("traceparent", b"00-x"), ("__value_schema_id", b"\x01" + GUID.bytes))


def registry_codec(*known: Reference) -> Codec:
    """Return a codec that has fetched the event schema under these references."""
    codec = Codec(registry=True)
    for reference in known:
        codec.learn(reference, compile_schema(WriterSchema(schemas.load())))
    return codec


@given(payloads, st.integers(0, 2**32 - 1))
def test_confluents_framing_is_read_with_the_schema_of_its_id(payload: dict[str, Any], number: int) -> None:
    codec = registry_codec(number)
    value = codec.encode(payload, confluent_frame(number))
    assert value[:5] == b"\x00" + number.to_bytes(4, "big")
    assert codec.decode(value) == payload
    assert codec.head(value) == CODEC.head(CODEC.encode(payload))


@given(payloads)
def test_a_guid_in_the_headers_leaves_the_value_to_the_datum(payload: dict[str, Any]) -> None:
    codec = registry_codec(GUID)
    value = codec.encode(payload, b"")
    assert codec.decode(value, HEADERS) == payload
    assert codec.head(value, HEADERS) == CODEC.head(CODEC.encode(payload))


def test_the_header_goes_before_what_a_datum_happens_to_begin_with() -> None:
    schema = record("Event", number="long", model="string", product=record("P", id="long"), attributes=record("Goal"))
    codec = Codec(registry=True)
    codec.learn(GUID, compile_schema(WriterSchema(schema)))
    value = b"\x00\x00\x02\x00"  # number 0, an empty model, product 1
    long = b"\x00" + b"\x08Item" + b"\x02"  # begins like the frame of an id
    assert codec.decode(long, HEADERS) == {"number": 0, "model": "Item", "product": {"id": 1}, "attributes": {}}
    assert codec.head(value, HEADERS) == reason_of_trailing(codec, value)


def reason_of_trailing(codec: Codec, value: bytes) -> Head:
    """The head does not read on to the bytes that follow; the whole does, and finds one too many."""
    assert reason(codec.decode(value, HEADERS)) == "trailing bytes: 1 after the event's end"
    return Head("", "created", 1)


def test_an_id_in_the_headers_is_as_good_as_in_the_value() -> None:
    codec = registry_codec(7)
    assert codec.decode(codec.encode(nested(1), b""), (("__value_schema_id", confluent_frame(7)),)) == nested(1)


@pytest.mark.parametrize("content", [None, b"", b"\x01", b"\x01" + b"x" * 15, b"\x02" + b"x" * 16, b"\x00\x00"])
def test_a_header_that_names_no_schema_is_as_none(content: bytes | None) -> None:
    codec = registry_codec(7)
    value = codec.encode(nested(1), confluent_frame(7))
    assert codec.decode(value, (("__value_schema_id", content),)) == nested(1)


def test_a_reference_has_to_be_fetched_until_it_is_learned() -> None:
    codec = Codec(registry=True)
    value = CODEC.encode(nested(1), confluent_frame(7))
    assert codec.head(value) == codec.decode(value) == Unfetched(7)
    assert codec.head(value, HEADERS) == codec.decode(value, HEADERS) == Unfetched(GUID)
    codec.learn(7, compile_schema(WriterSchema(schemas.load())))
    assert codec.decode(value) == nested(1)
    assert codec.decode(codec.encode(nested(1), confluent_frame(8))) == Unfetched(8)
    assert codec.decode(codec.encode(nested(1))) == nested(1)  # the bundled schema needs no registry


def test_without_a_registry_a_reference_to_one_is_a_reason() -> None:
    value = CODEC.encode(nested(1), b"")
    assert reason(CODEC.decode(b"\x00\x00\x00\x00\x07" + value)).startswith("unknown schema: id 7 of a schema registry")
    assert reason(CODEC.head(value, HEADERS)).startswith(f"unknown schema: GUID {GUID} of a schema registry")
    assert CODEC.decode(CODEC.encode(nested(1)), HEADERS) == nested(1)


def test_only_so_many_fetched_schemas_are_kept_and_the_oldest_is_asked_for_again() -> None:
    codec, writer_ = Codec(registry=True), compile_schema(WriterSchema(schemas.load()))
    for number in range(MAX_FETCHED + 1):
        codec.learn(number, writer_)
    assert codec.decode(codec.encode(nested(1), confluent_frame(0))) == Unfetched(0)
    assert codec.decode(codec.encode(nested(1), confluent_frame(MAX_FETCHED))) == nested(1)


def test_a_schema_may_need_others() -> None:
    event = record("Event", model="string", product="ly.sprint.events.P", attributes="ly.sprint.events.Goal")
    needs = (record("P", id="long"), record("Goal", product="ly.sprint.events.P"))
    codec = Codec(registry=True)
    codec.learn(7, compile_schema(WriterSchema(event, needs)))
    expected = {"model": "G", "product": {"id": 1}, "attributes": {"product": {"id": 2}}}
    assert codec.decode(confluent_frame(7) + b"\x02G\x02\x04") == expected
    with pytest.raises(ConfigurationError, match=r"ly\.sprint\.events\.P"):
        compile_schema(WriterSchema(event))


SCRAPS = st.sampled_from(
    ["record", "type", "name", "fields", "items", "values", "symbols", "size", "array", "map", "enum", "fixed", "long"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | SCRAPS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(SCRAPS | st.text(max_size=3), inner, max_size=5),
    max_leaves=12,
)


@given(st.dictionaries(SCRAPS, JSON, max_size=6), st.lists(JSON, max_size=2))
def test_whatever_a_registry_calls_a_schema_is_compiled_or_refused(fields: Any, needs: list[Any]) -> None:
    for schema in (fields, record("Event", model=fields), {**record("Event"), **fields}):
        with suppress(ConfigurationError):  # and nothing else
            assert compile_schema(WriterSchema(schema, tuple(needs))).schema["type"] == "record"
