"""The flowdock service: its messages, read by an HTML parser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import htmls
import pytest
from announced import KINDS, compare, hostile_payloads, recorded
from payloads import changed, documented

from services import Payload
from services.flowdock import Service

OPTIONS = {"auth_token": "t0ken"}


def the_body(payload: Payload) -> dict[str, Any]:
    body = recorded(Service, OPTIONS, payload).json
    assert isinstance(body, dict)
    return body


@pytest.mark.parametrize("name", KINDS)
def test_the_request_is_the_one_on_file(name: str) -> None:
    compare(Service, OPTIONS, name)


def test_the_token_is_no_part_of_the_address() -> None:
    assert recorded(Service, OPTIONS, documented("item")).url == "https://api.flowdock.com/messages"


def test_an_item_is_one_thread_and_all_else_of_a_product_another() -> None:
    threads = {name: the_body(documented(name))["external_thread_id"] for name in ("item", "comment", "deploy")}
    product = documented("item")["product"]["id"]
    assert threads == {"item": f"{product}:1212", "comment": f"{product}:1212", "deploy": f"{product}:"}
    odd = {"model": "Deploy", "product": None, "attributes": {}}
    assert the_body(odd)["external_thread_id"] == "None:"


@pytest.mark.parametrize(
    ("kind", "colour"),
    [("story", "green"), ("task", "grey"), ("defect", "red"), ("test", "cyan"), ("epic", "lime")],
)
def test_the_badge_has_a_colour_that_flowdock_has(kind: str, colour: str) -> None:
    assert the_body(changed("item", type=kind))["thread"]["status"] == {"value": "backlog", "color": colour}


def test_comments_are_discussions() -> None:
    assert the_body(documented("comment"))["event"] == "discussion"
    assert the_body(documented("block"))["event"] == "activity"


def texts(body: dict[str, Any]) -> Iterator[str]:
    """Return each text in which Flowdock takes HTML; the others are the template's."""
    thread = body["thread"]
    assert set(body) <= {"flow_token", "event", "author", "title", "external_thread_id", "thread", "body"}
    assert body["author"] == {"name": "Sprint.ly"}
    assert set(thread) <= {"title", "external_url", "status", "fields"}
    assert thread.get("external_url", "http://sprint.ly/").startswith(("http://sprint.ly/", "https://sprint.ly/"))
    yield from (body["title"], body.get("body", ""), thread["title"], thread.get("status", {}).get("value", ""))
    for field in thread.get("fields", []):
        assert field["label"].replace(" ", "").isalpha()
        yield field["value"]


def test_nobody_writes_markup_into_a_message() -> None:
    for payload in hostile_payloads():
        for text in texts(the_body(payload)):
            page = htmls.read(text)
            assert page.names <= {"a"}
            assert all(set(attributes) == {"href"} for _, attributes in page.tags)
            assert all(str(address).startswith(("http://sprint.ly/", "https://sprint.ly/")) for address in page.links)
            assert (page.other, page.automatic) == ([], [])
