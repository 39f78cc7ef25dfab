"""The requests of the slack service: every documented payload and action, and the variants that matter, as files.

`tests/services/slack/` holds each request as Slack gets it, to be looked through. After a change that is meant, write
them anew and read the difference:

    WRITE_REQUESTS=1 python -m pytest tests/services/test_slack.py
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from onfile import compare
from payloads import NAMES, NOT_WRITTEN, changed, documented, hostile, payloads, without
from receivers import Receiver

from services import Judgement, Meaning, OptionsError, Payload, RateLimit
from services._mrkdwn import escape
from services.slack import Service

FOLDER = Path(__file__).parent / "slack"
KEPT = (*NOT_WRITTEN, "type")
URL = "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX"
HOSTILE = (
    "<!channel> <script>alert(1)</script> [x](http://evil) @everyone *a* &amp; `c` ~d~\n> \u202e_e_ <http://evil|f>"
)


ACTIONS = ("created", "updated", "deleted")
PERSON = {"id": 1111, "first_name": "Joe", "last_name": None, "email": "joe@example.com"}
PAYLOADS: dict[str, Payload] = {
    **{
        f"{name}-{action}": {**documented(name), "action": action}
        for name in NAMES
        for action in ("created", "updated")
    },
    **{f"{name}-deleted": {**documented(name), "action": "deleted"} for name in NAMES},
    "item-archived": {**documented("item"), "action": "archived"},
    "item-bare": {"model": "Item", "product": {"id": 1111}, "attributes": {"number": 1212}},
    "item-hostile": hostile(documented("item"), HOSTILE, KEPT),
    "item-with-integer-parent": changed("item", parent=1100, tags=["ios", "ipad"]),
    "item-with-parent": changed("item", parent={"number": 1100, "type": "story", "title": "Tell the world"}),
    "item-without-address": without(documented("item"), "short_url"),
    "item-without-assignee": changed("item", assigned_to=None),
    "item-without-last-name": changed("item", created_by=PERSON),
    "item-without-title": without(documented("item"), "title"),
    "item-with-long-title": changed("item", title="Make the running man glow. " * 20),
    "comment-hostile": hostile(documented("comment"), HOSTILE, KEPT),
    "comment-long": changed(
        "comment", body="@[Craig](pk:12): the running man glows, but only from black to blue.\nWhy?"
    ),
    "block-hostile": hostile(documented("block"), HOSTILE, KEPT),
    "block-over": changed("block", unblocked=True),
    "favorite-of-nothing": without(documented("favorite"), "item", "user"),
    "deploy-bare": {"model": "Deploy", "product": {"id": 1111}, "attributes": {}},
    "deploy-hostile": hostile(documented("deploy"), HOSTILE, KEPT),
    "deploy-of-many": changed("deploy", items=[{"number": n, "title": f"Item {n}"} for n in range(1, 14)]),
    "milestone-created": {**documented("item"), "model": "Milestone"},
}


def the_request(payload: Payload, **options: str) -> requests.Request:
    [request] = Service({"url": URL, **options}).requests_for(payload)
    return request


def the_body(payload: Payload, **options: str) -> dict[str, Any]:
    body = the_request(payload, **options).json
    assert isinstance(body, dict)
    return body


def written(request: requests.Request) -> str:
    """Return all that the request says, to be read; the invisible joiner is written as an escape."""
    whole = {"method": request.method, "url": request.url, "headers": dict(request.headers), "body": request.json}
    return json.dumps(whole, indent=2, ensure_ascii=False).replace("\u2060", "\\u2060") + "\n"


@pytest.mark.parametrize("name", PAYLOADS)
def test_the_request_is_the_one_on_file(name: str) -> None:
    compare(written(the_request(PAYLOADS[name])), FOLDER / f"{name}.json")


def test_every_file_is_compared() -> None:
    assert {file.stem for file in FOLDER.iterdir()} == set(PAYLOADS)


def test_the_fallback_is_the_sentence_and_the_address() -> None:
    [attachment] = the_body(documented("item"))["attachments"]
    assert attachment["fallback"] == (
        'Joe S. created the story "As a user, I want outbound service hooks so that I will see new items announced in '
        'Slack or HipChat." (#1212) http://sprint.ly/i/1/116550/'
    )


def test_an_address_is_escaped_wherever_it_stands() -> None:
    [attachment] = the_body(changed("item", short_url="http://sprint.ly/?a=1&lt;=2"))["attachments"]
    assert attachment["fallback"].endswith(" http://sprint.ly/?a=1&amp;lt;=2")
    assert "<http://sprint.ly/?a=1&amp;lt;=2|#1212>" in attachment["pretext"]
    assert attachment["title_link"] == "http://sprint.ly/?a=1&lt;=2"


def test_without_a_title_the_number_is_the_link() -> None:
    payload = changed("comment", item={"number": 7, "short_url": "http://sprint.ly/i/1/7/"})
    [attachment] = the_body(payload)["attachments"]
    assert {"title", "title_link"}.isdisjoint(attachment)
    assert attachment["pretext"] == "Joe S. commented on the item <http://sprint.ly/i/1/7/|#7>"


def test_a_channel_is_named_if_it_is_given() -> None:
    assert the_body(documented("item"), channel="#dev")["channel"] == "#dev"
    assert "channel" not in the_body(documented("item"))


def test_new_things_are_announced() -> None:
    assert Service.events == ("*.created",)


def test_no_more_is_sent_than_slack_takes() -> None:
    assert Service.rate == RateLimit(per_second=1, burst=4)


def test_alone_it_posts_json() -> None:
    with Receiver() as receiver:
        Service({"url": f"{receiver.url}/services/T/B/X"}).send(documented("item"))
    [request] = receiver.requests
    assert (request.path, request.headers["content-type"]) == ("/services/T/B/X", "application/json")
    assert json.loads(request.body) == the_body(documented("item"))


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (404, b"no_service", Judgement(Meaning.GONE, "no_service")),
        (403, b"no_team\n", Judgement(Meaning.GONE, "no_team")),
        (410, b"channel_is_archived", Judgement(Meaning.GONE, "channel_is_archived")),
        (400, b"invalid_payload", Judgement(Meaning.PERMANENT, "invalid_payload")),
        (500, b"channel_not_found", Judgement(Meaning.PERMANENT, "channel_not_found")),
        (403, b"action_prohibited", Judgement(Meaning.PERMANENT, "action_prohibited")),
        (500, b"rollup_error", None),
        (429, b"rate_limited", None),
        (200, b"ok", None),
        (503, b"\xff<html>no_service</html>", None),
    ],
)
def test_answers_are_judged(status: int, body: bytes, expected: Judgement | None) -> None:
    assert Service({"url": URL}).judge(status, body) == expected


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "slack: url is missing"),
        ({"url": "hooks.slack.com/x"}, "slack: url is wrong: not an http or https address with a host"),
        ({"url": URL, "room": "#dev"}, "slack: room is not an option of this service, which has channel, url"),
        ({"url": URL, "channel": 1}, "slack: channel is wrong: input should be a valid string"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], problem: str) -> None:
    with pytest.raises(OptionsError) as caught:
        Service(options)
    assert str(caught.value) == problem


def test_the_address_is_a_secret() -> None:
    service = Service({"url": URL})
    assert URL not in repr(service.options)
    assert service.redact(f"no answer from {URL}") == "no answer from **********"


def test_the_instructions_name_every_option() -> None:
    assert (Service.name, Service.title) == ("slack", "Slack")
    assert all(f"`{name}`" in Service.description for name in Service.Options.model_fields)


# --- What Slack would make of it ---

SPAN = re.compile(r"(?<![A-Za-z0-9])([*_~＊＿])(?=\S).*?(?<=\S)\1(?![A-Za-z0-9])|[`｀].+?[`｀]")  # noqa: RUF001
ACTIVE = {
    "control": re.compile(r"<[^>]*>|[<>]|&(?!amp;|lt;|gt;)"),
    "formatting": SPAN,
    "quotation": re.compile(r"^(&gt;|＞)", re.MULTILINE),  # noqa: RUF001
    "address": re.compile(r"\w+://|\w\.[a-z]{2,}|www\.|\w@\w", re.IGNORECASE),
    "mention": re.compile(r"@\w"),
    "direction": re.compile("[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]"),
}


def markup(text: str) -> list[str]:
    """Return whatever in the text Slack would not show as it is."""
    return [f"{kind} {found[0]}" for kind, pattern in ACTIVE.items() for found in pattern.finditer(text)]


def shown(payload: Payload) -> Iterator[str]:
    """Return each text of the message, without the links that the template makes of the items' addresses."""
    body = the_body(payload)
    assert set(body) == {"attachments"}
    for attachment in body["attachments"]:
        assert attachment.pop("mrkdwn_in") == []
        assert re.fullmatch("#[0-9a-fA-F]{6}", attachment.pop("color"))
        url = attachment.pop("title_link", "http://sprint.ly/")
        assert url.startswith(("http://sprint.ly/", "https://sprint.ly/"))
        attachment["fallback"] = re.sub(r" https?://sprint\.ly/\S*$", "", attachment["fallback"])
        attachment["pretext"] = re.sub(r"<https?://sprint\.ly/[^|>]*\|(#-?\d+)>", r"\1", attachment["pretext"])
        for field in attachment.pop("fields", []):
            assert isinstance(field["short"], bool)
            yield from (field["title"], field["value"])
        yield from attachment.values()


def test_the_tokenizer_sees_what_slack_sees() -> None:
    assert len(markup("<!channel> *a* `b` http://evil @here\n&gt; c \u202e <http://x|y>")) >= 8
    assert markup("snake_case_name 2 * 3 * 4 a~b~c &lt;b&gt; ~") == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("action", [*ACTIONS, HOSTILE])
def test_nobody_writes_markup_into_a_message(name: str, action: str) -> None:
    texts = list(shown({**hostile(documented(name), HOSTILE, KEPT), "action": action}))
    assert len(texts) >= 4
    assert [found for text in texts for found in markup(text)] == []


def test_a_type_or_a_model_is_no_way_in_either() -> None:
    payload = {**hostile(changed("item", type=HOSTILE), HOSTILE, KEPT), "model": HOSTILE}
    assert [found for text in shown(payload) for found in markup(text)] == []


def test_an_address_that_is_none_is_not_linked() -> None:
    payload = changed("item", short_url="http://evil/|x> <!channel> <http://evil")
    assert "title_link" not in the_body(payload)["attachments"][0]
    assert [found for text in shown(payload) for found in markup(text)] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a & b < c > d", "a &amp; b &lt; c &gt; d"),
        ("<!everyone>", "&lt;!everyone&gt;"),
        ("*a* _b_ ~c~ `d`", "\u2217a\u2217 \u02cdb\u02cd \u223cc\u223c \u02cbd\u02cb"),
        ("＊a＊ ＿b＿ ｀d｀", "\u2217a\u2217 \u02cdb\u02cd \u02cbd\u02cb"),  # noqa: RUF001
        ("__init__ snake_case 2*3 2 * 3 ~", "\u02cd\u02cdinit\u02cd\u02cd snake_case 2*3 2 * 3 ~"),
        ("> a\n>> b\n＞ c", "\u203a a\n\u203a&gt; b\n\u203a c"),  # noqa: RUF001
        ("see http://evil.com/x", "see http:\u2060//evil.\u2060com/x"),
        ("ask @here or joe@example.com", "ask @\u2060here or joe@\u2060example.\u2060com"),
        ("version 1.2.3 is out.", "version 1.2.3 is out."),
    ],
)
def test_what_slack_would_act_on_is_tamed(text: str, expected: str) -> None:
    assert escape(text) == expected


@given(st.text("*_~`>＞＊ ab1.@:/<&;\n"))  # noqa: RUF001
def test_no_text_is_markup_once_it_is_escaped(text: str) -> None:
    assert markup(escape(text)) == []


PLAIN = st.text("abc <>&;\n", max_size=60)


@given(PLAIN)
def test_other_text_reads_as_it_was_written(text: str) -> None:
    unquoted = re.sub("(?m)^>", "\u203a", text)
    assert html.unescape(escape(text)) == unquoted


@given(payloads)
def test_any_payload_is_one_bounded_message(payload: Payload) -> None:
    body = json.dumps(the_body(payload)).encode()
    assert len(body) < 40_000
