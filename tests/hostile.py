"""Payloads that are events and unpleasant all the same: text that is to do harm, far too much of it, odd types."""

from __future__ import annotations

from typing import Any

from payloads import NAMES, documented

from services import Payload

TEXT = (
    "<!channel> <script>alert(1)</script> [x](http://evil) @everyone *a* &amp; `c` ~d~\n"
    "> \u202e_e_ <http://evil|f> %s {0} ${HOME} \u0000\u001b[31m \U0001f3c3\u200d\u2642\ufe0f"
)
KEPT = ("model", "action", "short_url", "created_at", "type")
"""Keys whose texts only Sprint.ly's backend writes."""
ALWAYS_THERE = ("id", "number")
"""What the schema promises of what happened: whatever else a payload lacks, these are whole numbers."""
MUCH = 2_000
"""Words of a text, and entries of a list: records hold a megabyte at most, and this makes about as much."""
TYPES: dict[str, Any] = {"null": None, "a number": 7, "a text": "x", "a list": [None, 7, "x", {}], "a record": {"x": 1}}


def rewritten(value: Any, text: str, key: str = "") -> Any:
    """Return the value with each text in it that people write replaced."""
    if isinstance(value, dict):
        return {name: rewritten(inner, text, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [rewritten(inner, text, key) for inner in value]
    return text if isinstance(value, str) and key not in KEPT else value


def extended(value: Any) -> Any:
    """Return the value with a key that nobody knows in each record, as upstream may add one any day."""
    if isinstance(value, dict):
        return {**{name: extended(inner) for name, inner in value.items()}, "added_later": {"x": [1, None, "y"]}}
    return [extended(inner) for inner in value] if isinstance(value, list) else value


def of_type(payload: Payload, value: Any) -> Payload:
    """Return the payload with that value for all attributes that it could do without."""
    return {**payload, "attributes": dict.fromkeys(payload["attributes"], value) | needed(payload)}


def needed(payload: Payload) -> dict[str, Any]:
    """Return the attributes that every event of its model has."""
    return {name: value for name, value in payload["attributes"].items() if name in ALWAYS_THERE}


def endless(payload: Payload) -> Payload:
    """Return the payload with far too much of all that there may be much of."""
    long: Payload = rewritten(payload, "glowing " * MUCH)
    return {**long, "attributes": {**long["attributes"], "tags": ["glowing"] * MUCH}}


def crowded(payload: Payload) -> Payload:
    """Return the payload with far more items than anybody deploys."""
    return {**payload, "attributes": {**payload["attributes"], "items": [{"number": 7, "title": "Glow"}] * MUCH}}


def hostile() -> dict[str, Payload]:
    """Return hostile payloads of each model, by what is wrong with them."""
    found: dict[str, Payload] = {}
    for name in NAMES:
        payload = {"action": "created", **documented(name)}
        found[f"{name} of hostile text"] = rewritten(payload, TEXT)
        found[f"{name} of far too much"] = endless(payload)
        found[f"{name} of many"] = crowded(payload)
        found[f"{name} of empty text"] = rewritten(payload, "")
        found |= {f"{name} of {what}": of_type(payload, value) for what, value in TYPES.items()}
        found[f"{name} of nothing"] = {**payload, "attributes": needed(payload), "product": {"id": 1}}
    found["a model of the future"] = {**documented("item"), "action": "created", "model": "Milestone"}
    found["an action of the future"] = {**documented("item"), "action": "archived"}
    return found
