"""Events as large, as many-parted and as deep as a record holds, through every service: bounded bodies, and an end."""

from __future__ import annotations

import time
from typing import Any

import pytest
from payloads import documented

from consumer.codec import Codec
from consumer.event import Event, Payload, Record
from consumer.render import render
from consumer.unrolled import MAX_DEPTH
from services import RecordingSession, get_available_services
from services.email import Service as Email

LARGE = 400_000  # characters of a text; two of them fill most of a record, which holds a megabyte
MANY = 900_000  # empty texts in a list: a byte each
ITEMS = 40_000
LONGEST = 20.0  # seconds of the processor; all but what is quadratic ends within one
CODEC = Codec()
SERVICES = [service for service in get_available_services().values() if not service.blocking]
# What markups, escaping and the search for mentions and links stumble over when it comes a hundred thousand times.
PIECES = ("[", "*", "<", "@[", "](", "[a](", "@[a](pk:1) ", "`", "&", "|", "~", "\\", "_a", "# ", "> ", "- ", "\n", " ")


def item(**attributes: object) -> Payload:
    payload = documented("item")
    return {**payload, "action": "created", "attributes": {**payload["attributes"], **attributes}}


def deep(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {"number": 1}
    for number in range(levels):
        found = {"number": number, "parent": found}
    return found


def events() -> dict[str, Payload]:
    found = {}
    for piece in (*PIECES, "http://a ", "\U0001f600", "x"):
        text = piece * (LARGE // len(piece.encode()))
        found[f"a text of {piece!r}"] = item(title=text, description=text)
    deploy = documented("deploy")
    return found | {
        "tags": item(tags=[""] * MANY),
        "items": {**deploy, "attributes": {**deploy["attributes"], "items": [{"number": n} for n in range(ITEMS)]}},
        "ancestors": {**documented("item"), "attributes": deep(MAX_DEPTH - 2)},
    }


EVENTS = {name: CODEC.encode(payload) for name, payload in events().items()}


@pytest.mark.parametrize("name", EVENTS)
def test_a_huge_event_is_read_and_rendered_in_bounds(name: str) -> None:
    value, began = EVENTS[name], time.process_time()
    payload = CODEC.decode(value)
    assert isinstance(payload, dict)
    payload.setdefault("action", "created")
    for service in SERVICES:
        bound = service(service.Options.examples()[0], RecordingSession())
        rendered = render(bound, Event(Record("t", 0, 0, None, value, 0), payload), "id")
        assert sum(len(each.body or b"") for each in rendered) < 8 * len(value), service.name
    options = {"host": "mail.example", "sender": "a@a.example", "recipients": "b@b.example"}
    assert len(bytes(Email(options, RecordingSession()).mail(payload, "b@b.example"))) < 8 * len(value)
    assert time.process_time() - began < LONGEST
