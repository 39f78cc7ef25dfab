"""The requests of the teams service, and what Microsoft Teams would make of them.

`tests/services/teams/` holds requests to be looked through. After a change that is meant, write them anew and read the
difference:

    WRITE_REQUESTS=1 python -m pytest tests/services/test_teams.py
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from chats import ON_FILE, compare, hostile_payloads, longest
from hypothesis import given
from markups import adaptive_card, unexpected
from payloads import changed, documented, payloads
from receivers import Receiver

from services import Judgement, Meaning, OptionsError, Payload, RateLimit
from services.teams import Service

FOLDER = Path(__file__).parent / "teams"
URL = "https://prod-00.westeurope.logic.azure.com/workflows/x/triggers/manual/paths/invoke?api-version=2016-06-01&sig=s"


def the_request(payload: Payload) -> requests.Request:
    [request] = Service({"url": URL}).requests_for(payload)
    return request


def the_card(payload: Payload) -> dict[str, Any]:
    body = the_request(payload).json
    assert (set(body), body["type"]) == ({"type", "attachments"}, "message")
    [attachment] = body["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    card = attachment["content"]
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.5")
    assert isinstance(card, dict)
    return card


def lines(card: dict[str, Any]) -> Iterator[str]:
    """Return each line as it reads."""
    return ("".join(run["text"] for run in block["inlines"]) for block in card["body"])


@pytest.mark.parametrize("name", ON_FILE)
def test_the_request_is_the_one_on_file(name: str) -> None:
    compare(the_request(ON_FILE[name]), FOLDER / f"{name}.json")


def test_every_file_is_compared() -> None:
    assert {file.stem for file in FOLDER.iterdir()} == set(ON_FILE)


def test_the_card_reads_as_it_should() -> None:
    assert list(lines(the_card({**documented("block"), "action": "deleted"})))[:3] == [
        "The block on the story #1111 by the task #1212 was deleted".replace("#1111", "#2222").replace(
            "#1212", "#2222"
        ),
        "As a customer, I want to be notified before my CC expires so that I can update my billing details.",
        "Blocked by: #2222 Change the spinner to our glowing running man.",
    ]


@pytest.mark.parametrize(("kind", "colour"), [("story", "good"), ("defect", "attention"), ("odd", "default")])
def test_the_title_has_the_colour_of_the_type(kind: str, colour: str) -> None:
    assert the_card(changed("item", type=kind))["body"][1]["inlines"][0]["color"] == colour


def test_everything_is_announced_at_the_pace_that_teams_takes() -> None:
    assert Service.events == ("*.*",)
    assert Service.rate == RateLimit(per_second=2)


def test_nobody_writes_markup_into_a_message() -> None:
    for payload in hostile_payloads():
        assert unexpected(adaptive_card(the_card(payload))) == []


def test_the_reader_of_cards_sees_what_is_in_them() -> None:
    blocks = [
        {"type": "TextBlock", "text": "*a*"},
        {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": "evil.com {{DATE(2017-02-14T06:00:00Z)}}"}]},
    ]
    found = adaptive_card({"type": "AdaptiveCard", "body": blocks})
    assert [one.kind for one in found] == ["element", "address", "function"]


def test_links_are_those_of_the_items() -> None:
    found = adaptive_card(the_card(documented("item")))
    assert found == [("link", "http://sprint.ly/i/1/116550/")] * 2


def test_an_address_that_is_none_is_not_linked() -> None:
    assert adaptive_card(the_card(changed("item", short_url="javascript:alert(1)"))) == []


@pytest.mark.parametrize("character", ["a", '"', "@", "ä", "🙃", ".", "{"])
def test_the_message_is_smaller_than_teams_takes(character: str) -> None:
    for payload in longest(character):
        assert len(json.dumps(the_request(payload).json, ensure_ascii=False).encode()) <= 28_000
        assert "..." in next(lines(the_card(payload)))


@given(payloads)
def test_any_payload_is_one_message(payload: Payload) -> None:
    assert next(lines(the_card(payload)))


def failed(status: int) -> bytes:
    return f"Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error {status}".encode()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (
            404,
            b'{"error": {"code": "WorkflowNotFound", "message": "The workflow could not be found."}}',
            Judgement(Meaning.GONE, "The workflow could not be found."),
        ),
        (
            400,
            b'{"error": {"code": "WorkflowTriggerIsNotEnabled", "message": "trigger is not enabled"}}',
            Judgement(Meaning.GONE, "trigger is not enabled"),
        ),
        (400, b'{"error": {"code": "TriggerInputSchemaMismatch", "message": "no"}}', None),
        (401, b'{"error": {"code": "DirectApiAuthorizationRequired"}}', None),
        (200, failed(429), Judgement(Meaning.THROTTLED, failed(429).decode())),
        (200, failed(502), Judgement(Meaning.TRANSIENT, failed(502).decode())),
        (200, failed(413), Judgement(Meaning.PERMANENT, failed(413).decode())),
        (200, b"1", None),
        (202, b"", None),
        (502, b'{"error": "odd"}', None),
    ],
)
def test_answers_are_judged(status: int, body: bytes, expected: Judgement | None) -> None:
    assert Service({"url": URL}).judge(status, body) == expected


def test_alone_it_posts_json() -> None:
    with Receiver([202]) as receiver:
        Service({"url": f"{receiver.url}/workflows/x?sig=s"}).send(documented("item"))
    [request] = receiver.requests
    assert (request.path, request.headers["content-type"]) == ("/workflows/x?sig=s", "application/json")
    assert json.loads(request.body) == the_request(documented("item")).json


def test_alone_it_raises_what_is_wrong() -> None:
    with Receiver([500]) as receiver, pytest.raises(requests.HTTPError, match="answered 500"):
        Service({"url": receiver.url}).send(documented("item"))


def test_wrong_options_are_named() -> None:
    with pytest.raises(OptionsError, match="teams: url is missing"):
        Service({})


def test_the_instructions_name_every_option() -> None:
    assert (Service.name, Service.title) == ("teams", "Microsoft Teams")
    assert all(f"`{name}`" in Service.description for name in Service.Options.model_fields)
