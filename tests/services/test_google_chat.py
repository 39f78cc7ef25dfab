"""The requests of the google_chat service, and what Google Chat would make of them.

`tests/services/google_chat/` holds requests to be looked through. After a change that is meant, write them anew and
read the difference:

    WRITE_REQUESTS=1 python -m pytest tests/services/test_google_chat.py
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
from hypothesis import strategies as st
from markups import hypertext, unexpected, unmarked
from payloads import changed, documented, payloads
from receivers import Receiver, Reply

from services import Judgement, Meaning, OptionsError, Payload, RateLimit
from services.google_chat import Service, escape

FOLDER = Path(__file__).parent / "google_chat"
URL = "https://chat.googleapis.com/v1/spaces/AAAAxxxx/messages?key=k-1234&token=t-5678"


def the_request(payload: Payload) -> requests.Request:
    [request] = Service({"url": URL}).requests_for(payload)
    return request


def the_body(payload: Payload) -> dict[str, Any]:
    body = the_request(payload).json
    assert isinstance(body, dict)
    return body


@pytest.mark.parametrize("name", ON_FILE)
def test_the_request_is_the_one_on_file(name: str) -> None:
    compare(the_request(ON_FILE[name]), FOLDER / f"{name}.json")


def test_every_file_is_compared() -> None:
    assert {file.stem for file in FOLDER.iterdir()} == set(ON_FILE)


def test_what_is_about_one_item_is_in_one_thread() -> None:
    keys = {the_body({**documented("item"), "action": action})["thread"]["threadKey"] for action in "abc"}
    assert keys == {"sprintly-1111-1212"}
    assert the_body(documented("comment"))["thread"] == {"threadKey": "sprintly-1111-1212"}
    assert the_body(changed("item", number=7))["thread"] == {"threadKey": "sprintly-1111-7"}
    request = the_request(documented("item"))
    assert request.params == {"messageReplyOption": "REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD"}


def test_a_deploy_is_no_thread() -> None:
    request = the_request(documented("deploy"))
    assert not request.params
    assert "thread" not in request.json


def test_items_of_several_products_do_not_share_a_thread() -> None:
    other = {**documented("item"), "product": {"id": 2}}
    assert the_body(other)["thread"] == {"threadKey": "sprintly-2-1212"}


def test_everything_is_announced_at_the_pace_of_the_quota() -> None:
    assert Service.events == ("*.*",)
    assert Service.rate == RateLimit(per_second=1)


def texts(body: dict[str, Any]) -> Iterator[str]:
    """Return each text of the card that takes HTML."""
    [whole] = body["cardsV2"]
    [section] = whole["card"]["sections"]
    for widget in section["widgets"]:
        [(kind, inner)] = widget.items()
        assert kind in ("textParagraph", "decoratedText")
        yield from (inner["text"], inner.get("topLabel", ""))


def test_nobody_writes_markup_into_a_message() -> None:
    for payload in hostile_payloads():
        body = the_body(payload)
        assert set(body) <= {"cardsV2", "fallbackText", "thread"}
        assert unexpected(found for text in texts(body) for found in hypertext(text)) == []
        fallback = re.sub(r" https?://sprint\.ly/\S*$", "", body["fallbackText"])
        assert unmarked(fallback) == []


@pytest.mark.parametrize(
    "sample",
    ["<b x>", "<script>", "http://a", "evil.com", "@all", "<!-- a -->", "<!doctype a>", "<?a>", "&lt;users/all>"],
)
def test_markup_is_text_once_it_is_escaped(sample: str) -> None:
    assert hypertext(sample) != []
    assert hypertext(escape(sample)) == []


def test_an_entity_stays_what_was_written_and_a_list_has_lines() -> None:
    assert escape("&lt;b&gt; & c\nd") == "&amp;lt;b&amp;gt; &amp; c<br>d"


@given(st.text("<>&/!-?;\"'ab1.:@ \n", max_size=30))
def test_no_text_is_markup_once_it_is_escaped(text: str) -> None:
    assert hypertext(escape(text)) == []


def test_links_are_those_of_the_items() -> None:
    found = [found for text in texts(the_body(documented("item"))) for found in hypertext(text)]
    assert found == [("link", "http://sprint.ly/i/1/116550/")] * 2


def test_an_address_is_escaped() -> None:
    body = the_body(changed("item", short_url="http://sprint.ly/?a=1&lt;=2"))
    assert {found.text for text in texts(body) for found in hypertext(text)} == {"http://sprint.ly/?a=1&lt;=2"}


@pytest.mark.parametrize("address", ['http://evil/"><b>', "http://evil/'x", "javascript:alert(1)"])
def test_an_address_that_is_none_is_not_linked(address: str) -> None:
    body = the_body(changed("item", short_url=address))
    assert [found for text in texts(body) for found in hypertext(text)] == []


@pytest.mark.parametrize("character", ["a", "&", "@", "ä", "🙃", ".", "<a "])
def test_the_message_is_smaller_than_google_takes(character: str) -> None:
    for payload in longest(character):
        assert len(json.dumps(the_body(payload), ensure_ascii=False).encode()) <= 32_000
        assert "..." in next(texts(the_body(payload)))


@given(payloads)
def test_any_payload_is_one_message(payload: Payload) -> None:
    assert next(texts(the_body(payload)))


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (
            404,
            b'{"error": {"code": 404, "message": "Space not found.", "status": "NOT_FOUND"}}',
            Judgement(Meaning.GONE, "Space not found."),
        ),
        (404, b"<html>Not Found</html>", None),
        (400, b'{"error": {"code": 400, "message": "Invalid JSON", "status": "INVALID_ARGUMENT"}}', None),
        (429, b'{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}}', None),
        (404, b'{"error": "odd"}', None),
        (200, b'{"name": "spaces/A/messages/B"}', None),
    ],
)
def test_answers_are_judged(status: int, body: bytes, expected: Judgement | None) -> None:
    assert Service({"url": URL}).judge(status, body) == expected


def test_alone_it_posts_json() -> None:
    with Receiver([Reply(200, b"{}")]) as receiver:
        Service({"url": f"{receiver.url}/v1/spaces/A/messages?key=k&token=t"}).send(documented("item"))
    [request] = receiver.requests
    option = "messageReplyOption=REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD"
    assert request.path == f"/v1/spaces/A/messages?key=k&token=t&{option}"
    assert json.loads(request.body) == the_body(documented("item"))


def test_alone_it_raises_what_is_wrong() -> None:
    with Receiver([500]) as receiver, pytest.raises(requests.HTTPError, match="answered 500"):
        Service({"url": receiver.url}).send(documented("item"))


def test_the_key_is_a_secret() -> None:
    service = Service({"url": URL})
    assert service.redact(f"{URL}&messageReplyOption=x failed") == "**********&messageReplyOption=x failed"


def test_wrong_options_are_named() -> None:
    with pytest.raises(OptionsError, match="google_chat: url is missing"):
        Service({})


def test_the_instructions_name_every_option() -> None:
    assert (Service.name, Service.title) == ("google_chat", "Google Chat")
    assert all(f"`{name}`" in Service.description for name in Service.Options.model_fields)
