"""The telegram service: its messages, read as Telegram reads them, and what its answers mean."""

from __future__ import annotations

import json
import re
from typing import Any

import htmls
import pytest
import requests
from announced import KINDS, compare, endless, hostile_payloads, recorded
from hypothesis import given
from hypothesis import strategies as st
from payloads import documented
from receivers import Receiver, Reply

from services import Judgement, Meaning, Payload, RateLimit, RecordingSession
from services._telegram_html import escape, shown
from services.telegram import Service

OPTIONS = {"token": "123456:ABC-DEF1234", "chat_id": -1001234}

# What Telegram's servers find in any text: https://core.telegram.org/bots/api#messageentity
FOUND = {
    "mention": re.compile(r"(?<!\w)@\w"),
    "hashtag": re.compile(r"(?<!\w)#\w*[^\W\d]"),
    "cashtag": re.compile(r"(?<!\w)\$[A-Z0-9]*[A-Z]"),
    "command": re.compile(r"(?<![\w/<>])/\w"),
    "address": re.compile(r"\w+://|\w\.[^\W\d_]|\d+\.\d+\.\d+\.\d+|\w@\w"),
}


def found(text: str) -> list[str]:
    return [f"{kind} {match[0]}" for kind, pattern in FOUND.items() for match in pattern.finditer(text)]


def the_body(payload: Payload, **options: Any) -> dict[str, Any]:
    body = recorded(Service, {**OPTIONS, **options}, payload).json
    assert isinstance(body, dict)
    return body


@pytest.mark.parametrize("name", KINDS)
def test_the_request_is_the_one_on_file(name: str) -> None:
    compare(Service, OPTIONS, name)


def test_a_chat_may_have_a_name_and_a_topic() -> None:
    body = the_body(documented("item"), chat_id="@acme", message_thread_id=7)
    assert (body["chat_id"], body["message_thread_id"]) == ("@acme", 7)
    assert "message_thread_id" not in the_body(documented("item"))


def test_a_token_cannot_leave_its_place_in_the_address() -> None:
    request = recorded(Service, {**OPTIONS, "token": "1:a/../b?c"}, documented("item"))
    assert request.url == "https://api.telegram.org/bot1:a%2F..%2Fb%3Fc/sendMessage"


def test_the_finder_sees_what_telegram_sees() -> None:
    text = "@gif #a #12a $USD $1INCH /start /1 http://x a.example 127.0.0.1 joe@x"
    assert len(found(text)) >= 11
    assert found("#1212 100$ 1/2 and/or 1.2.3 @ # $") == []


def test_nobody_writes_markup_into_a_message() -> None:
    for payload in hostile_payloads():
        body = the_body(payload)
        assert (body["parse_mode"], body["link_preview_options"]) == ("HTML", {"is_disabled": True})
        page = htmls.read(body["text"])
        assert page.names <= {"a", "b"}
        assert all(set(attributes) <= {"href"} for _, attributes in page.tags)
        assert all(str(address).startswith(("http://sprint.ly/", "https://sprint.ly/")) for address in page.links)
        assert (page.other, found(page.text)) == ([], [])


@given(st.text("<>&\"'@#$/.:aZ1 _"))
def test_no_text_is_markup_once_it_is_escaped(text: str) -> None:
    page = htmls.read(escape(text))
    assert (page.tags, page.other, found(page.text)) == ([], [], [])
    assert page.text.replace("\u2060", "") == text


@pytest.mark.parametrize("entity", re.findall("&[^;]*;", escape("<>&\"'")))
def test_each_entity_is_one_that_telegram_knows(entity: str) -> None:
    assert entity in ("&lt;", "&gt;", "&amp;", "&quot;") or re.fullmatch("&#(x[0-9a-f]+|[0-9]+);", entity)


def test_a_message_fits() -> None:
    for character in ("x", "&", '"', "\U0001d41a.", "\U0001f643"):
        for payload in endless(character):
            text = htmls.read(the_body(payload)["text"]).text
            assert 1 <= len(text.encode("utf-16-le")) // 2 <= 4096


def test_markup_does_not_count() -> None:
    for payload in endless('"'):
        assert not the_body(payload)["text"].endswith("\n...")


def test_what_counts_is_what_is_shown() -> None:
    assert shown('<a href="http://sprint.ly/">&lt;a&amp;&#x27;</a>\n\U0001f643') == 7


def test_in_no_minute_are_there_more_than_a_group_takes() -> None:
    assert Service.rate == RateLimit(per_second=0.25, burst=5)
    assert Service.rate.burst + 60 * Service.rate.per_second <= 20


def failure(code: int, said: str, **parameters: Any) -> bytes:
    answer = {"ok": False, "error_code": code, "description": said, "parameters": parameters}
    return json.dumps(answer).encode()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"ok": true, "result": {}}', None),
        (200, b"not JSON", None),
        (502, b"<html>", None),
        (429, failure(429, "Too Many Requests: retry after 7", retry_after=7), (Meaning.THROTTLED, 7.0)),
        (200, failure(429, "Too Many Requests: retry after 7", retry_after=7), (Meaning.THROTTLED, 7.0)),
        (429, failure(429, "Too Many Requests"), (Meaning.THROTTLED, None)),
        (403, failure(403, "Forbidden: bot was blocked by the user"), (Meaning.GONE, None)),
        (403, failure(403, "Forbidden: bot was kicked from the supergroup chat"), (Meaning.GONE, None)),
        (403, failure(403, "Forbidden: the group chat was deleted"), (Meaning.GONE, None)),
        (403, failure(403, "Forbidden: user is deactivated"), (Meaning.GONE, None)),
        (403, failure(403, "Forbidden: bot is not a member of the channel chat"), (Meaning.GONE, None)),
        (403, failure(403, "Forbidden: not enough rights"), (Meaning.PERMANENT, None)),
        (400, failure(400, "Bad Request: chat not found"), (Meaning.PERMANENT, None)),
        (401, failure(401, "Unauthorized"), (Meaning.PERMANENT, None)),
        (500, failure(500, "Internal Server Error"), (Meaning.TRANSIENT, None)),
        (200, b'{"ok": false}', (Meaning.TRANSIENT, None)),
        (400, b'{"ok": false, "parameters": 7}', (Meaning.PERMANENT, None)),
    ],
)
def test_an_answer_means_what_its_body_says(
    status: int, body: bytes, expected: tuple[Meaning, float | None] | None
) -> None:
    judgement = Service(OPTIONS, RecordingSession()).judge(status, body)
    assert (judgement and (judgement.meaning, judgement.wait)) == expected
    if judgement is not None and b"description" in body:
        assert judgement.said == json.loads(body)["description"]


def test_a_group_that_has_moved_is_gone_and_its_new_number_is_named() -> None:
    said = "Bad Request: group chat was upgraded to a supergroup chat"
    judgement = Service(OPTIONS, RecordingSession()).judge(400, failure(400, said, migrate_to_chat_id=-1009))
    assert judgement == Judgement(Meaning.GONE, f"{said}: chat_id is -1009 now")


def test_alone_it_raises_on_a_good_status_that_says_no() -> None:
    answer = Reply(200, failure(400, "Bad Request: chat not found"))
    with Receiver([answer]) as receiver, pytest.raises(requests.HTTPError, match="chat not found"):
        Service({**OPTIONS, "url": receiver.url}).send(documented("item"))
