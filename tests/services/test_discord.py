"""The requests of the discord service, and what Discord would make of them.

`tests/services/discord/` holds requests to be looked through. After a change that is meant, write them anew and read
the difference:

    WRITE_REQUESTS=1 python -m pytest tests/services/test_discord.py
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
from markups import discord, unexpected, unmarked
from payloads import changed, documented, payloads
from receivers import Receiver, Reply

from services import Judgement, Meaning, OptionsError, Payload
from services.discord import Service

FOLDER = Path(__file__).parent / "discord"
URL = "https://discord.com/api/webhooks/223704706495545344/3d89bb7572e0fb30d8128367b3b1b44f"


def the_request(payload: Payload, **options: Any) -> requests.Request:
    [request] = Service({"url": URL, **options}).requests_for(payload)
    return request


def the_embed(payload: Payload) -> dict[str, Any]:
    body = the_request(payload).json
    assert body["allowed_mentions"] == {"parse": []}
    assert set(body) == {"embeds", "allowed_mentions"}
    [embed] = body["embeds"]
    assert isinstance(embed, dict)
    return embed


@pytest.mark.parametrize("name", ON_FILE)
def test_the_request_is_the_one_on_file(name: str) -> None:
    compare(the_request(ON_FILE[name]), FOLDER / f"{name}.json")


def test_every_file_is_compared() -> None:
    assert {file.stem for file in FOLDER.iterdir()} == set(ON_FILE)


def test_a_message_that_is_not_saved_is_an_error() -> None:
    assert the_request(documented("item")).params == {"wait": "true"}


@pytest.mark.parametrize("thread", [1138523741234567890, "1138523741234567890"])
def test_a_thread_is_named_if_it_is_given(thread: object) -> None:
    request = the_request(documented("item"), thread_id=thread)
    assert request.params == {"wait": "true", "thread_id": "1138523741234567890"}


def test_everything_is_announced() -> None:
    assert Service.events == ("*.*",)


def texts(embed: dict[str, Any]) -> Iterator[str]:
    """Return each text that takes Markdown, without the quotation that the template makes of what was written."""
    yield embed.get("title", "")
    yield embed["description"].replace("\n> ", "\n", 1)
    for field in embed.get("fields", []):
        yield from (field["name"], field["value"])


def test_nobody_writes_markup_into_a_message() -> None:
    for payload in hostile_payloads():
        embed = the_embed(payload)
        assert unexpected(found for text in texts(embed) for found in discord(text)) == []
        assert embed.get("url", "http://sprint.ly/").startswith("http://sprint.ly/")
        assert unmarked(embed.get("footer", {"text": ""})["text"]) == []


def test_links_are_those_of_the_items() -> None:
    [link] = discord(the_embed(documented("item"))["description"])
    assert link == ("link", "http://sprint.ly/i/1/116550/")


def test_an_address_that_is_none_is_not_linked() -> None:
    embed = the_embed(changed("item", short_url="http://evil/) [x](http://evil"))
    assert "url" not in embed
    assert [found for text in texts(embed) for found in discord(text)] == []


@pytest.mark.parametrize("character", ["a", "*", "@", "ä", "🙃", ".", "]( "])
def test_limits_are_kept_by_cutting(character: str) -> None:
    for payload in longest(character):
        embed = the_embed(payload)
        assert 0 < len(embed.get("title", "a")) <= 256
        assert 0 < len(embed["description"]) <= 4096
        assert len(embed.get("fields", [])) <= 25
        assert all(
            0 < len(field["name"]) <= 256 and 0 < len(field["value"]) <= 1024 for field in embed.get("fields", [])
        )
        assert sum(map(len, texts(embed))) + len(embed["footer"]["text"]) <= 6000


def test_a_cut_is_visible_and_halves_no_escape() -> None:
    embed = the_embed(changed("item", title="*" * 240))
    assert embed["title"] == "\\*" * 126 + "..."


@given(payloads)
def test_any_payload_is_one_message(payload: Payload) -> None:
    assert the_embed(payload)["description"]


def test_the_footer_takes_no_markup() -> None:
    payload = documented("item")
    payload["product"]["name"] = "a_b*c"
    assert the_embed(payload)["footer"] == {"text": "a_b*c"}


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (
            429,
            b'{"message": "You are being rate limited.", "retry_after": 64.57, "global": false}',
            Judgement(Meaning.THROTTLED, "You are being rate limited.", 64.57),
        ),
        (429, b"<html>error code: 1015</html>", Judgement(Meaning.THROTTLED, "", None)),
        (
            404,
            b'{"message": "Unknown Webhook", "code": 10015}',
            Judgement(Meaning.GONE, "Unknown Webhook"),
        ),
        (
            401,
            b'{"message": "Invalid Webhook Token", "code": 50027}',
            Judgement(Meaning.GONE, "Invalid Webhook Token"),
        ),
        (404, b'{"message": "Unknown Channel", "code": 10003}', None),
        (400, b'{"message": "Invalid Form Body", "code": 50035}', None),
        (200, b'{"id": "1", "code": 10015}', None),
        (204, b"", None),
        (500, b"[[[", None),
    ],
)
def test_answers_are_judged(status: int, body: bytes, expected: Judgement | None) -> None:
    assert Service({"url": URL}).judge(status, body) == expected


def test_alone_it_posts_json() -> None:
    with Receiver([Reply(200, b'{"id": "1"}')]) as receiver:
        Service({"url": f"{receiver.url}/api/webhooks/1/x", "thread_id": 5}).send(documented("item"))
    [request] = receiver.requests
    assert request.path == "/api/webhooks/1/x?wait=true&thread_id=5"
    assert json.loads(request.body) == the_request(documented("item")).json


def test_alone_it_raises_what_is_wrong() -> None:
    with Receiver([500]) as receiver, pytest.raises(requests.HTTPError, match="answered 500"):
        Service({"url": receiver.url}).send(documented("item"))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "discord: url is missing"),
        ({"url": URL, "thread_id": 0}, "discord: thread_id is wrong: input should be greater than 0"),
        ({"url": URL, "thread": 1}, "discord: thread is not an option of this service; did you mean thread_id?"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], problem: str) -> None:
    with pytest.raises(OptionsError) as caught:
        Service(options)
    assert str(caught.value) == problem


def test_the_instructions_name_every_option() -> None:
    assert (Service.name, Service.title) == ("discord", "Discord")
    assert all(f"`{name}`" in Service.description for name in Service.Options.model_fields)
