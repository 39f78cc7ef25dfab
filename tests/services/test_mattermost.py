"""The requests of the mattermost service, and what Mattermost would make of them.

`tests/services/mattermost/` holds requests to be looked through. After a change that is meant, write them anew and read
the difference:

    WRITE_REQUESTS=1 python -m pytest tests/services/test_mattermost.py
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from chats import ON_FILE, compare, hostile_payloads, longest
from hypothesis import given
from markups import mattermost, unexpected, unmarked
from payloads import changed, documented, payloads
from receivers import Receiver, Reply

from services import Judgement, Meaning, OptionsError, Payload
from services.mattermost import Service

FOLDER = Path(__file__).parent / "mattermost"
URL = "https://chat.example.com/hooks/xxx-generatedkey-xxx"


def the_request(payload: Payload, **options: str) -> requests.Request:
    [request] = Service({"url": URL, **options}).requests_for(payload)
    return request


def the_attachment(payload: Payload) -> dict[str, Any]:
    body = the_request(payload).json
    assert set(body) == {"attachments"}
    [attachment] = body["attachments"]
    assert isinstance(attachment, dict)
    return attachment


@pytest.mark.parametrize("name", ON_FILE)
def test_the_request_is_the_one_on_file(name: str) -> None:
    compare(the_request(ON_FILE[name]), FOLDER / f"{name}.json")


def test_every_file_is_compared() -> None:
    assert {file.stem for file in FOLDER.iterdir()} == set(ON_FILE)


def test_a_channel_a_name_and_a_picture_are_named_if_they_are_given() -> None:
    options = {"channel": "town-square", "username": "Sprint.ly", "icon_url": "https://sprint.ly/icon.png"}
    body = the_request(documented("item"), **options).json
    assert {name: value for name, value in body.items() if name != "attachments"} == options


def test_everything_is_announced() -> None:
    assert Service.events == ("*.*",)


def texts(attachment: dict[str, Any]) -> Iterator[str]:
    """Return each text that takes Markdown."""
    yield attachment["pretext"]
    yield attachment.get("text", "")
    for field in attachment.get("fields", []):
        yield from (field["title"], field["value"])


def test_nobody_writes_markup_into_a_message() -> None:
    for payload in hostile_payloads():
        attachment = the_attachment(payload)
        assert set(attachment) <= {"fallback", "color", "pretext", "text", "fields", "footer"}
        assert unexpected(found for text in texts(attachment) for found in mattermost(text)) == []
        fallback = re.sub(r" https?://sprint\.ly/\S*$", "", attachment["fallback"])
        assert unmarked(fallback) == unmarked(attachment.get("footer", "")) == []


def test_links_are_those_of_the_items() -> None:
    attachment = the_attachment(documented("item"))
    links = [*mattermost(attachment["pretext"]), *mattermost(attachment["text"])]
    assert links == [("link", "http://sprint.ly/i/1/116550/")] * 2


def test_an_address_that_is_none_is_not_linked() -> None:
    attachment = the_attachment(changed("item", short_url="http://evil/) [x](http://evil"))
    assert [found for text in texts(attachment) for found in mattermost(text)] == []


@pytest.mark.parametrize("character", ["a", "*", "@", "&", "=", "🙃", ".", "]( "])
def test_the_message_is_shorter_than_mattermost_takes(character: str) -> None:
    for payload in longest(character):
        assert len(json.dumps(the_attachment(payload), ensure_ascii=False)) <= 16_383
        assert "..." in the_attachment(payload)["pretext"]


@given(payloads)
def test_any_payload_is_one_message(payload: Payload) -> None:
    assert the_attachment(payload)["pretext"]


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (
            400,
            b'{"id": "web.incoming_webhook.invalid.app_error", "message": "Invalid webhook.", "status_code": 400}',
            Judgement(Meaning.GONE, "Invalid webhook."),
        ),
        (
            501,
            b'{"id": "web.incoming_webhook.disabled.app_error", "message": "Disabled by the system admin."}',
            Judgement(Meaning.GONE, "Disabled by the system admin."),
        ),
        (404, b'{"id": "web.incoming_webhook.channel.app_error", "message": "Couldn\'t find the channel."}', None),
        (403, b'{"id": "web.incoming_webhook.channel_locked.app_error"}', None),
        (500, b'{"id": ["odd"]}', None),
        (200, b"ok", None),
        (502, b"<html>", None),
    ],
)
def test_answers_are_judged(status: int, body: bytes, expected: Judgement | None) -> None:
    assert Service({"url": URL}).judge(status, body) == expected


def test_alone_it_posts_json() -> None:
    with Receiver([Reply(200, b"ok")]) as receiver:
        Service({"url": f"{receiver.url}/hooks/x"}).send(documented("item"))
    [request] = receiver.requests
    assert (request.path, request.headers["content-type"]) == ("/hooks/x", "application/json")
    assert json.loads(request.body) == the_request(documented("item")).json


def test_alone_it_raises_what_is_wrong() -> None:
    with Receiver([500]) as receiver, pytest.raises(requests.HTTPError, match="answered 500"):
        Service({"url": receiver.url}).send(documented("item"))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "mattermost: url is missing"),
        ({"url": URL, "icon": "x"}, "mattermost: icon is not an option of this service; did you mean icon_url?"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], problem: str) -> None:
    with pytest.raises(OptionsError) as caught:
        Service(options)
    assert str(caught.value) == problem


def test_the_instructions_name_every_option() -> None:
    assert (Service.name, Service.title) == ("mattermost", "Mattermost")
    assert all(f"`{name}`" in Service.description for name in Service.Options.model_fields)
