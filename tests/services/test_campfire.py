"""The campfire service: its lines, and that nothing in them is a link but the item's address."""

from __future__ import annotations

import re
from typing import Any

import htmls
import pytest
from announced import KINDS, compare, endless, hostile_payloads, recorded
from payloads import documented

from services import OptionsError, Payload, RateLimit
from services.campfire import Service

OPTIONS = {"subdomain": "acme", "auth_token": "t0ken", "room": 1234}


def the_line(payload: Payload) -> str:
    body: Any = recorded(Service, OPTIONS, payload).json
    assert set(body) == {"message"}
    assert set(body["message"]) == {"type", "body"}
    assert body["message"]["type"] == "TextMessage"
    return str(body["message"]["body"])


@pytest.mark.parametrize("name", KINDS)
def test_the_request_is_the_one_on_file(name: str) -> None:
    compare(Service, OPTIONS, name)


def test_a_server_of_ones_own_is_called_instead() -> None:
    request = recorded(Service, {**OPTIONS, "url": "http://chat.acme.example/fire"}, documented("item"))
    assert request.url == "http://chat.acme.example/fire/room/1234/speak.json"


@pytest.mark.parametrize("subdomain", ["evil.example/", "a.b", "", "x#", "acme\n"])
def test_a_subdomain_is_one_name(subdomain: str) -> None:
    with pytest.raises(OptionsError, match="campfire: subdomain is wrong: string should match pattern"):
        Service({**OPTIONS, "subdomain": subdomain})


def test_nothing_is_linked_but_the_item() -> None:
    for payload in hostile_payloads():
        line = the_line(payload)
        assert "\n" not in line
        assert htmls.AUTOMATIC.findall(re.sub(r" https?://sprint\.ly/\S*$", "", line)) == []


def test_a_line_is_bounded() -> None:
    assert max(len(the_line(payload)) for payload in endless("x.")) <= 2_000


def test_in_no_ten_seconds_are_there_more_than_campfire_takes() -> None:
    assert Service.rate == RateLimit(per_second=25, burst=250)
    assert Service.rate.burst + 10 * Service.rate.per_second <= 500
