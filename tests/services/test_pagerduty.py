"""The events of the pagerduty service, recorded, and posted to a receiver on loopback."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from payloads import NAMES, documented, events, hostile
from receivers import Receiver

from services import OptionsError, Payload, RateLimit, matches
from services.pagerduty import Service

KEY = "0123456789abcdef0123456789abcdef"
HOSTILE = "<b>x</b> [x](http://evil.example) www.evil.example joe@evil.example @everyone \u202e\r\n\x00" * 9
ACTIONS = ("created", "updated", "deleted")


def block(action: str = "created", **attributes: Any) -> Payload:
    payload = {**documented("block"), "action": action}
    payload["attributes"].update(attributes)
    return payload


def event(payload: Payload, **options: Any) -> dict[str, Any]:
    [request] = Service({"routing_key": KEY, **options}).requests_for(payload)
    assert (request.method, request.headers, request.auth) == ("POST", {}, None)
    assert isinstance(request.json, dict)
    return request.json


def test_a_block_opens_an_alert() -> None:
    blocked = (
        '"As a customer, I want to be notified before my CC expires so that I can update my billing details." (#2222)'
    )
    blocker = "#2222 Change the spinner to our glowing running man."
    assert event(block()) == {
        "routing_key": KEY,
        "event_action": "trigger",
        "dedup_key": "sprintly-1111-block-1111",
        "payload": {
            "summary": f"Joe S. blocked the story {blocked} because of the task "
            '"Change the spinner to our glowing running man." (#2222)',
            "source": "sprint.ly product 1111",
            "severity": "warning",
            "class": "block",
            "group": "sprint.ly",
            "custom_details": {
                "Blocked by": blocker,
                "Blocked": "#2222 As a customer, I want to be notified before my CC expires so that I can update my "
                "billing details.",
            },
        },
        "links": [
            {
                "href": "http://sprint.ly/i/1111/1111/",
                "text": "#2222 As a customer, I want to be notified before my CC expires so that I can update my "
                "billing details.",
            },
            {"href": "http://sprint.ly/i/1111/1111/", "text": blocker},
        ],
        "client": "Sprint.ly",
    }


@pytest.mark.parametrize(
    ("payload", "action"),
    [
        (block("created"), "trigger"),
        (block("created", unblocked=True), "resolve"),
        (block("updated"), "trigger"),
        (block("updated", unblocked=True), "resolve"),
        (block("deleted"), "resolve"),
        (block("deleted", unblocked=False), "resolve"),
        (block("archived"), "trigger"),
    ],
)
def test_the_alert_is_open_while_the_block_is_on(payload: Payload, action: str) -> None:
    assert event(payload)["event_action"] == action


def test_a_resolution_names_the_alert_and_nothing_else() -> None:
    assert event(block("updated", unblocked=True)) == {
        "routing_key": KEY,
        "event_action": "resolve",
        "dedup_key": event(block())["dedup_key"],
    }


def test_each_block_of_each_product_has_an_alert_of_its_own() -> None:
    keys = {event(payload)["dedup_key"] for payload in (block(), block(id=2), {**block(), "product": {"id": 2}})}
    assert len(keys) == 3
    assert event(block(id=2**63))["dedup_key"] == f"sprintly-1111-block-{2**63}"


def test_other_models_are_not_listened_to() -> None:
    models = [name.title() for name in NAMES]
    heard = {f"{model}.{action}" for model in models for action in ACTIONS if matches(Service.events, model, action)}
    assert heard == {"Block.created", "Block.updated", "Block.deleted"}


def test_severity_and_region_can_be_chosen() -> None:
    assert event(block(), severity="critical")["payload"]["severity"] == "critical"
    europe = "https://events.eu.pagerduty.com/v2/enqueue"
    for options, url in (({}, "https://events.pagerduty.com/v2/enqueue"), ({"url": europe}, europe)):
        [request] = Service({"routing_key": KEY, **options}).requests_for(block())
        assert request.url == url


def test_a_bare_block_is_an_alert_too() -> None:
    bare = event({"model": "Block", "product": {"id": 1}, "attributes": {"id": 7}})
    assert (bare["payload"]["summary"], bare["links"]) == ("Someone blocked an item", [])


def test_nobody_writes_a_link_into_an_alert() -> None:
    alert = event(hostile(documented("block"), HOSTILE, ("model", "action", "short_url")))
    assert all(link["href"].startswith("http://sprint.ly/") for link in alert.pop("links"))
    texts = [alert["payload"]["summary"], *alert["payload"]["custom_details"].values()]
    assert [found for text in texts for found in re.findall(r"\w+://|\w\.[a-z]{2,}|@\w|[\x00-\x1f\u202e]", text)] == []


@given(events("Block"))
def test_any_block_is_within_the_limits(payload: Payload) -> None:
    made = event(payload)
    assert len(made["dedup_key"]) <= 255
    assert 0 < len(made.get("payload", {"summary": "x"})["summary"]) <= 1024
    assert len(json.dumps(made)) < 512_000


def test_a_long_summary_is_cut_visibly() -> None:
    item = {"title": "a.b" * 200, "number": 1}
    payload = block(blocked=item, item=item)
    assert len(event(payload)["payload"]["summary"]) <= 1024


def test_alone_it_posts_json() -> None:
    with Receiver([202]) as receiver:
        Service({"routing_key": KEY, "url": f"{receiver.url}/v2/enqueue"}).send(block())
    [request] = receiver.requests
    assert (request.path, request.headers["content-type"]) == ("/v2/enqueue", "application/json")
    assert json.loads(request.body) == event(block())


def test_no_more_is_sent_than_pagerduty_takes() -> None:
    assert Service.rate == RateLimit(per_second=1.5, burst=30)
    assert Service.rate.burst + 60 * Service.rate.per_second == 120


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "routing_key is missing"),
        (
            {"routing_key": KEY, "severity": "high"},
            "severity is wrong: input should be 'critical', 'error', 'warning' or 'info'",
        ),
        ({"routing_key": KEY, "url": "ftp://x"}, "url is wrong: not an http or https address with a host"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(OptionsError) as caught:
        Service(options)
    assert str(caught.value) == f"pagerduty: {problem}"


def test_the_key_is_a_secret() -> None:
    service = Service({"routing_key": KEY})
    assert KEY not in repr(service.options)
    assert KEY not in service.redact(f"routing_key {KEY} is wrong")


def test_the_instructions_name_every_option() -> None:
    assert (Service.name, Service.title) == ("pagerduty", "PagerDuty")
    assert all(f"`{name}`" in Service.description for name in Service.Options.model_fields)
