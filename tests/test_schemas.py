"""The event schema: the fields that DESIGN documents, their layout, and what may be absent or null."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import schemas

REQUIRED = {"id", "number", "model"}
NULLABLE = {"assigned_to", "description", "score", "last_name", "last_login"}
FIELDS = {
    "Event": "action model product attributes",
    "Product": "id name archived admin created_at email",
    "ProductEmail": "backlog defects stories tasks tests",
    "Person": "id first_name last_name email created_at last_login",
    "Item": "number type status title who what why description score tags short_url archived created_at created_by "
    "last_modified assigned_to product email parent progress close_reason",
    "ItemEmail": "discussion files",
    "Progress": "triaged_at started_at closed_at accepted_at",
    "Comment": "id type body created_at created_by last_modified item",
    "Favorite": "id created_at user item",
    "Block": "id created_at user item blocked unblocked",
    "Deploy": "environment items notes version user",
    "Null": "",
}


def records(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, list):
        for branch in node:
            yield from records(branch)
    elif isinstance(node, dict):
        if node["type"] == "record":
            yield node
        for part in [*(field["type"] for field in node.get("fields", ())), node.get("items")]:
            yield from records(part)


EVENT = schemas.load()
RECORDS = {record["name"]: record for record in records(EVENT)}
OPTIONAL = [
    (name, field)
    for name, record in RECORDS.items()
    for field in record["fields"]
    if field["name"] not in REQUIRED and (name, field["name"]) not in {("Event", "product"), ("Event", "attributes")}
]


def test_it_holds_the_documented_fields_and_no_others() -> None:
    assert {name: [field["name"] for field in record["fields"]] for name, record in RECORDS.items()} == {
        name: fields.split() for name, fields in FIELDS.items()
    }


def test_what_routing_needs_comes_first() -> None:
    assert [field["name"] for field in EVENT["fields"]] == ["action", "model", "product", "attributes"]
    assert RECORDS["Product"]["fields"][0]["name"] == "id"


@pytest.mark.parametrize(
    ("record", "field"), OPTIONAL, ids=lambda part: part if isinstance(part, str) else part["name"]
)
def test_a_field_may_be_absent_and_only_the_documented_ones_null(record: str, field: dict[str, Any]) -> None:
    assert field["type"][0] == "null"
    assert field["default"] is None
    second = field["type"][1]
    explicit = (second["name"] if isinstance(second, dict) and "name" in second else second) == "Null"
    assert explicit == (field["name"] in NULLABLE)


def test_what_is_required_has_no_default() -> None:
    required = [field for record in RECORDS.values() for field in record["fields"] if field["name"] in REQUIRED]
    assert len(required) == 7
    assert not [field for field in required if "default" in field or isinstance(field["type"], list)]


def test_every_record_says_what_it_is() -> None:
    assert not [name for name, record in RECORDS.items() if not record.get("doc")]


def test_the_schema_in_use_comes_first_and_each_has_a_name_of_its_own() -> None:
    assert schemas.names()[0] == schemas.EVENT
    assert all(schemas.load(name)["name"] == "Event" for name in schemas.names())
    with pytest.raises(FileNotFoundError):
        schemas.load("nothing")
