"""The zulip service: its messages, read as Zulip reads them, and what its answers mean."""

from __future__ import annotations

import html
import json
import re
import string
from typing import Any
from urllib.parse import parse_qs

import htmls
import pytest
import requests
from announced import KINDS, compare, endless, hostile_payloads, recorded
from hypothesis import given
from hypothesis import strategies as st
from payloads import changed, documented
from receivers import Receiver, Reply

from services import Judgement, Meaning, Payload, RateLimit, RecordingSession
from services._zulip_markdown import escape, link
from services.zulip import Service

OPTIONS = {"url": "https://acme.zulipchat.com", "email": "b@acme.example", "api_key": "k3y", "channel": "dev"}

# What Zulip acts on, in its own order: blocks, then spans. It knows no escapes but the entities of HTML.
# https://zulip.com/help/format-your-message-using-markdown
ACTIVE = {
    "block": re.compile(r"^ {0,3}(#{1,6}\s|>|[-*+]\s|\d+[.)]\s|```|~~~|\|)|^ {4}|^[-*_ ]{3,}$|\|", re.MULTILINE),
    "code": re.compile("`"),
    "mention": re.compile(r"@_?\*"),
    "channel": re.compile(r"#\*\*"),
    "formula": re.compile(r"\$\$"),
    "time": re.compile("<time:"),
    "link": re.compile(r"\[[^\]]*\]\("),
    "address": re.compile(r"\w+://|\w\.[^\W\d_]|\w@\w", re.IGNORECASE),
    "emphasis": re.compile(r"\*|~~"),
    "emoji": re.compile(r":[\w+-]+:"),
    "emoticon": re.compile(r"(?<!\S)(:\)|:\(|<3|:/)(?!\S)"),
}
LINK = re.compile(r"\[([^\[\]]*)\]\((https?://sprint\.ly/[^()\[\]*$\s]*)\)")
STRONG = re.compile(r"^\*\*([A-Z][a-z ]+)\*\*(?=: )", re.MULTILINE)


def active(markdown: str) -> list[str]:
    return [f"{kind} {match[0]}" for kind, pattern in ACTIVE.items() for match in pattern.finditer(markdown)]


def the_form(payload: Payload, **options: Any) -> dict[str, Any]:
    form: Any = recorded(Service, {**OPTIONS, **options}, payload).data
    assert set(form) == {"type", "to", "topic", "content"}
    return dict(form)


@pytest.mark.parametrize("name", KINDS)
def test_the_request_is_the_one_on_file(name: str) -> None:
    compare(Service, OPTIONS, name)


def test_alone_it_posts_a_form() -> None:
    with Receiver([Reply(200, b'{"result": "success"}')]) as receiver:
        Service({**OPTIONS, "url": receiver.url}).send(documented("item"))
    [request] = receiver.requests
    form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert request.headers["authorization"].startswith("Basic ")
    assert form == the_form(documented("item"))


@pytest.mark.parametrize(("channel", "expected"), [("dev", '"dev"'), ("12", '"12"'), (12, "12")])
def test_a_channel_has_a_name_or_a_number(channel: object, expected: str) -> None:
    assert the_form(documented("item"), channel=channel)["to"] == expected


def test_the_topic_is_the_item_unless_another_is_given() -> None:
    assert the_form(changed("item", title="Glow"))["topic"] == "#1212 Glow"
    assert the_form(changed("item", title="Glow"), topic="Sprints")["topic"] == "Sprints"
    assert the_form({"model": "Deploy", "product": {"id": 1, "name": "Acme"}, "attributes": {}})["topic"] == "Acme"
    assert the_form({"model": "Deploy", "product": {"id": 1}, "attributes": {}})["topic"] == "Sprint.ly"


def test_a_long_topic_is_cut_visibly() -> None:
    topic = the_form(changed("item", title="x" * 99))["topic"]
    assert len(topic) == 60
    assert topic.endswith("...")


def test_the_tokenizer_sees_what_zulip_sees() -> None:
    text = "@**all** @*a* #**dev** `c` ~~d~~ $$x$$ <time:x> [x](y) a.example :smile: :)\n> q\n# h\n- l\n1. n\n| t"
    assert {found.split()[0] for found in active(text)} == set(ACTIVE)
    assert active('It\'s "fine", really (as it is) - 1.2.3 & so on; snake_case') == []


def test_nobody_writes_markup_into_a_message() -> None:
    for payload in hostile_payloads():
        form = the_form(payload)
        text = STRONG.sub(r"\1", LINK.sub(r"\1", form["content"]))
        assert active(text) == []
        assert htmls.AUTOMATIC.findall(form["topic"]) == []
        assert "\n" not in form["topic"]


@given(st.text("`*_~@#$<>[]()!|:;.-+=&\\{}/\"', aZ1\n"))
def test_no_text_is_markup_once_it_is_escaped(text: str) -> None:
    assert active(re.sub(" {2,}|^ +", " ", escape(text), flags=re.MULTILINE)) == []
    assert re.fullmatch(r"[\w\s,'\"]*", re.sub("&#[0-9]+;", "", escape(text)))
    assert html.unescape(escape(text)) == text


def test_every_mark_but_commas_and_quotes_is_an_entity() -> None:
    assert re.sub("&#[0-9]+;", "", escape(string.punctuation)) == "\"',"


def test_no_address_ends_its_link() -> None:
    made = link("http://sprint.ly/?a=(b)[c]*$d&lt;=1", "text")
    assert made == "[text](http://sprint.ly/?a=%28b%29%5Bc%5D%2A%24d&amp;lt;=1)"
    assert LINK.fullmatch(made)


def test_a_message_fits() -> None:
    cut = 0
    for character in ("x", "&", "*", "\U0001d41a."):
        for payload in endless(character):
            content = the_form(payload)["content"]
            assert 1 <= len(content) <= 10_000
            cut += content.endswith("\n...")
    assert cut


def test_in_no_minute_are_there_more_than_zulip_takes() -> None:
    assert Service.rate == RateLimit(per_second=3, burst=20)
    assert Service.rate.burst + 60 * Service.rate.per_second <= 200


def failure(said: str, **more: Any) -> bytes:
    return json.dumps({"result": "error", "msg": said, **more}).encode()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"result": "success", "msg": "", "id": 1}', None),
        (200, b"not JSON", None),
        (429, failure("slow", **{"code": "RATE_LIMIT_HIT", "retry-after": 28.7}), (Meaning.THROTTLED, "slow", 28.7)),
        (200, failure("slow", **{"code": "RATE_LIMIT_HIT", "retry-after": 2}), (Meaning.THROTTLED, "slow", 2.0)),
        (429, failure("slow", code="RATE_LIMIT_HIT"), (Meaning.THROTTLED, "slow", None)),
        (429, failure("slow"), None),
        (400, failure("Channel 'x' does not exist", code="STREAM_DOES_NOT_EXIST"), "Channel 'x' does not exist"),
        (401, failure("Invalid API key", code="INVALID_API_KEY"), "Invalid API key"),
        (200, failure("no"), "no"),
        (500, failure("Internal server error"), None),
    ],
)
def test_an_answer_means_what_its_body_says(status: int, body: bytes, expected: Any) -> None:
    if isinstance(expected, str):
        expected = (Meaning.PERMANENT, expected, None)
    judgement = Service(OPTIONS, RecordingSession()).judge(status, body)
    assert judgement == (expected and Judgement(*expected))


def test_alone_it_raises_on_a_good_status_that_says_no() -> None:
    with Receiver([Reply(200, failure("no"))]) as receiver, pytest.raises(requests.HTTPError, match="no"):
        Service({**OPTIONS, "url": receiver.url}).send(documented("item"))
