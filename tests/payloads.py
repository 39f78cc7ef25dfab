"""Payloads for tests: the documented examples, a Deploy, and hypothesis strategies for every documented field."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from schemas import examples

NAMES = list(examples())
NOT_WRITTEN = ("model", "action", "short_url", "created_at")  # the texts that Sprint.ly makes and no person writes

Strategy = st.SearchStrategy[Any]


def documented(name: str) -> dict[str, Any]:
    """Return a fresh copy of the example `name` (item, comment, favorite, block or deploy)."""
    return examples()[name]


def changed(name: str, **attributes: Any) -> dict[str, Any]:
    """Return a documented payload with other attributes."""
    payload = documented(name)
    payload["attributes"].update(attributes)
    return payload


def without(payload: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return the payload without some of its attributes."""
    for name in names:
        del payload["attributes"][name]
    return payload


def hostile(value: Any, text: str, kept: tuple[str, ...] = NOT_WRITTEN, key: str = "") -> Any:
    """Return the payload with each text replaced by `text`, but for those under the keys `kept`."""
    if isinstance(value, dict):
        return {name: hostile(inner, text, kept, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [hostile(inner, text, kept, key) for inner in value]
    return value if key in kept or not isinstance(value, str) else text


def nested(levels: int) -> dict[str, Any]:
    """Return an Item event whose item has `levels` - 1 ancestors."""
    item: dict[str, Any] = {"number": levels}
    for number in range(levels - 1, 0, -1):
        item = {"number": number, "parent": item}
    return {"model": "Item", "product": {"id": 1}, "attributes": item}


text = st.text(max_size=40)
integers = st.one_of(st.integers(-(2**63), 2**63 - 1), st.sampled_from([0, -1, 2**63 - 1, -(2**63)]))


def _record(required: dict[str, Strategy], optional: dict[str, Strategy], nullable: dict[str, Strategy]) -> Strategy:
    """Build a record: `optional` fields may be absent, `nullable` ones absent or null, and both are told apart."""
    maybe_null = {name: st.none() | strategy for name, strategy in nullable.items()}
    return st.fixed_dictionaries(required, optional={**optional, **maybe_null})


def _texts(*names: str) -> dict[str, Strategy]:
    return dict.fromkeys(names, text)


product = _record(
    {"id": integers},
    {
        **_texts("name", "created_at"),
        **dict.fromkeys(["archived", "admin"], st.booleans()),
        "email": _record({}, _texts("backlog", "defects", "stories", "tasks", "tests"), {}),
    },
    {},
)
person = _record({"id": integers}, _texts("first_name", "email", "created_at"), _texts("last_name", "last_login"))


def _item_with(parent: Strategy) -> Strategy:
    return _record(
        {"number": integers},
        {
            **_texts("type", "status", "title", "who", "what", "why", "short_url", "created_at", "last_modified"),
            **_texts("close_reason"),
            "tags": st.lists(text, max_size=3),
            "archived": st.booleans(),
            "created_by": person,
            "product": product,
            "email": _record({}, _texts("discussion", "files"), {}),
            "parent": parent,
            "progress": _record({}, _texts("triaged_at", "started_at", "closed_at", "accepted_at"), {}),
        },
        {**_texts("description", "score"), "assigned_to": person},
    )


item = st.recursive(_item_with(integers), _item_with, max_leaves=3)
attributes: dict[str, Strategy] = {
    "Item": item,
    "Comment": _record(
        {"id": integers},
        {**_texts("type", "body", "created_at", "last_modified"), "created_by": person, "item": item},
        {},
    ),
    "Favorite": _record({"id": integers}, {**_texts("created_at"), "user": person, "item": item}, {}),
    "Block": _record(
        {"id": integers},
        {**_texts("created_at"), "user": person, "item": item, "blocked": item, "unblocked": st.booleans()},
        {},
    ),
    "Deploy": _record(
        {},
        {**_texts("environment", "notes", "version"), "items": st.lists(item, max_size=2), "user": person},
        {},
    ),
}


def events(model: str) -> Strategy:
    """Build payloads of one model."""
    action = st.sampled_from(["created", "updated", "deleted"]) | text
    required = {"model": st.just(model), "product": product, "attributes": attributes[model]}
    return st.fixed_dictionaries(required, optional={"action": action})


payloads = st.sampled_from(sorted(attributes)).flatmap(events)
