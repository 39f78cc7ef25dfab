"""The hipchat service: its notifications, read by an HTML parser."""

from __future__ import annotations

from typing import Any

import htmls
import pytest
from announced import KINDS, compare, endless, hostile_payloads, recorded
from payloads import changed

from services import Payload, RateLimit
from services.hipchat import Service

OPTIONS = {"auth_token": "t0ken", "room_id": 1234}


def the_body(payload: Payload) -> dict[str, Any]:
    body = recorded(Service, OPTIONS, payload).json
    assert isinstance(body, dict)
    return body


@pytest.mark.parametrize("name", KINDS)
def test_the_request_is_the_one_on_file(name: str) -> None:
    compare(Service, OPTIONS, name)


@pytest.mark.parametrize(
    ("kind", "colour"),
    [("story", "green"), ("task", "gray"), ("defect", "red"), ("test", "purple"), ("epic", "yellow")],
)
def test_the_colour_is_one_that_hipchat_has(kind: str, colour: str) -> None:
    assert the_body(changed("item", type=kind))["color"] == colour


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({"room_id": "Acme / Dev"}, "https://api.hipchat.com/v2/room/Acme%20%2F%20Dev/notification"),
        ({"url": "https://chat.acme.example/"}, "https://chat.acme.example/v2/room/1234/notification"),
    ],
)
def test_the_room_may_have_a_name_and_the_server_may_be_ones_own(options: dict[str, Any], url: str) -> None:
    assert recorded(Service, {**OPTIONS, **options}, KINDS["item-created"]).url == url


def test_nobody_writes_markup_into_a_message() -> None:
    for payload in hostile_payloads():
        page = htmls.read(the_body(payload)["message"])
        assert page.names <= {"a", "b", "br"}
        assert all(set(attributes) <= {"href"} for _, attributes in page.tags)
        assert all(str(address).startswith(("http://sprint.ly/", "https://sprint.ly/")) for address in page.links)
        assert (page.other, page.automatic) == ([], [])


def test_a_message_fits() -> None:
    cut = 0
    for character in ("x", "&", '"', "\U0001d41a."):
        for payload in endless(character):
            message = the_body(payload)["message"]
            assert 1 <= len(message) <= 10_000
            cut += message.endswith("<br>...")
    assert cut


def test_in_no_minute_are_there_more_than_hipchat_takes() -> None:
    assert Service.rate == RateLimit(per_second=0.4, burst=6)
    assert Service.rate.burst + 60 * Service.rate.per_second <= 30
