"""The matrix service: its messages, read by an HTML parser, its transactions, and what its answers mean."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

import htmls
import pytest
from announced import DELIVERY, KINDS, compare, endless, hostile_payloads, recorded
from payloads import documented
from receivers import Receiver, Reply

from services import Judgement, Meaning, OptionsError, Payload, RecordingSession, record
from services.matrix import Service

OPTIONS = {"url": "https://matrix.example.org", "access_token": "t0ken", "room_id": "!abc:example.org"}


def the_body(payload: Payload) -> dict[str, Any]:
    body = recorded(Service, OPTIONS, payload).json
    assert isinstance(body, dict)
    return body


@pytest.mark.parametrize("name", KINDS)
def test_the_request_is_the_one_on_file(name: str) -> None:
    compare(Service, OPTIONS, name)


def test_one_delivery_is_one_transaction_however_often_it_is_made() -> None:
    service = Service(OPTIONS, RecordingSession())
    first, again, other = (
        record(service, documented("item"), delivery)[0].url for delivery in (DELIVERY, DELIVERY, "other")
    )
    assert first == again != other
    assert first.endswith(f"/send/m.room.message/{DELIVERY}")


def test_a_server_gets_one_transaction_twice() -> None:
    with Receiver([500, Reply(200, b'{"event_id": "$a"}')]) as receiver:
        service = Service({**OPTIONS, "url": receiver.url})
        service.session.delivery_id = DELIVERY
        with pytest.raises(OSError, match="500"):
            service.send(documented("item"))
        service.send(documented("item"))
    first, again = receiver.requests
    assert (first.method, first.path, first.body) == (again.method, again.path, again.body)
    assert first.headers["authorization"] == "Bearer t0ken"


def test_without_a_delivery_each_message_is_a_transaction_of_its_own() -> None:
    service = Service(OPTIONS, RecordingSession())
    first, other = (str(service.requests_for(documented("item"))[0].url).rpartition("/")[2] for _ in range(2))
    assert first != other
    assert uuid.UUID(first).version == 4


def test_an_alias_is_no_room() -> None:
    with pytest.raises(OptionsError) as caught:
        Service({**OPTIONS, "room_id": "#dev:example.org"})
    assert str(caught.value) == "matrix: room_id is wrong: string should match pattern '^!'"


def test_nobody_writes_markup_into_a_message() -> None:
    for payload in hostile_payloads():
        body = the_body(payload)
        assert set(body) == {"msgtype", "body", "format", "formatted_body", "m.mentions"}
        assert (body["msgtype"], body["format"], body["m.mentions"]) == ("m.notice", "org.matrix.custom.html", {})
        page = htmls.read(body["formatted_body"])
        assert page.names <= {"a", "b", "br"}
        assert all(set(attributes) <= {"href"} for _, attributes in page.tags)
        assert all(str(address).startswith(("http://sprint.ly/", "https://sprint.ly/")) for address in page.links)
        assert (page.other, page.automatic) == ([], [])
        assert htmls.AUTOMATIC.findall(re.sub(r" https?://sprint\.ly/\S*$", "", body["body"])) == []


def test_an_event_fits() -> None:
    cut = 0
    for character in ("x", "&", '"', "\U0001d41a."):
        for payload in endless(character):
            body = the_body(payload)
            assert len(body["formatted_body"]) <= 10_000
            assert len(json.dumps(body)) < 65_536 - 4_096  # the rest of an event stands around it
            cut += body["formatted_body"].endswith("<br>...")
    assert cut


def failure(code: str, **more: Any) -> bytes:
    return json.dumps({"errcode": code, "error": "said", **more}).encode()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"event_id": "$a"}', None),
        (200, b"not JSON", None),
        (429, failure("M_LIMIT_EXCEEDED", retry_after_ms=2500), (Meaning.THROTTLED, "M_LIMIT_EXCEEDED: said", 2.5)),
        (429, failure("M_LIMIT_EXCEEDED"), (Meaning.THROTTLED, "M_LIMIT_EXCEEDED: said", None)),
        (401, failure("M_UNKNOWN_TOKEN"), (Meaning.PERMANENT, "M_UNKNOWN_TOKEN: said")),
        (403, failure("M_FORBIDDEN"), (Meaning.PERMANENT, "M_FORBIDDEN: said")),
        (400, b'{"errcode": "M_BAD_JSON"}', (Meaning.PERMANENT, "M_BAD_JSON")),
        (429, failure("M_OTHER"), None),
        (500, failure("M_UNKNOWN"), None),
        (404, b"", None),
    ],
)
def test_an_answer_means_what_its_body_says(status: int, body: bytes, expected: Any) -> None:
    judgement = Service(OPTIONS, RecordingSession()).judge(status, body)
    assert judgement == (expected and Judgement(*expected))
