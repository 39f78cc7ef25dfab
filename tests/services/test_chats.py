"""What these chat services have in common: each renders everything, sends it alone, and keeps its secrets."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests
from announced import endless, every_payload, recorded
from hypothesis import given
from hypothesis import strategies as st
from payloads import documented, payloads
from receivers import Receiver, Reply

from consumer.event import Event, Record
from consumer.render import render
from services import OptionsError, Payload, RecordingSession, ServiceBase
from services.campfire import Service as Campfire
from services.flowdock import Service as Flowdock
from services.hipchat import Service as HipChat
from services.matrix import Service as Matrix
from services.telegram import Service as Telegram
from services.zulip import Service as Zulip

SECRET = "s3cr3t-t0ken"
OPTIONS: dict[type[ServiceBase], dict[str, Any]] = {
    HipChat: {"auth_token": SECRET, "room_id": 1234},
    Flowdock: {"auth_token": SECRET},
    Campfire: {"subdomain": "acme", "auth_token": SECRET, "room": 1234},
    Telegram: {"token": f"123456:{SECRET}", "chat_id": -1001234},
    Zulip: {"url": "https://acme.zulipchat.com", "email": "b@acme.example", "api_key": SECRET, "channel": "dev"},
    Matrix: {"url": "https://matrix.example.org", "access_token": SECRET, "room_id": "!abc:example.org"},
}
WHERE = {
    HipChat: ("POST", "/v2/room/1234/notification"),
    Flowdock: ("POST", "/messages"),
    Campfire: ("POST", "/room/1234/speak.json"),
    Telegram: ("POST", f"/bot123456:{SECRET}/sendMessage"),
    Zulip: ("POST", "/api/v1/messages"),
    Matrix: ("PUT", "/_matrix/client/v3/rooms/%21abc%3Aexample.org/send/m.room.message/"),
}
each = pytest.mark.parametrize("service", OPTIONS, ids=lambda service: service.name)


@each
def test_everything_is_one_request(service: type[ServiceBase]) -> None:
    for payload in every_payload() + endless("x"):
        request = recorded(service, OPTIONS[service], payload)
        assert request.json or request.data


@given(st.sampled_from(list(OPTIONS)), payloads)
def test_any_payload_is_one_request_that_can_be_sent(service: type[ServiceBase], payload: Payload) -> None:
    assert recorded(service, OPTIONS[service], payload).prepare().body


@each
def test_new_things_are_announced(service: type[ServiceBase]) -> None:
    assert service.events == ("*.created",)


@each
def test_the_instructions_name_every_option(service: type[ServiceBase]) -> None:
    for name, field in service.Options.model_fields.items():
        assert f"`{name}`" in service.description
        assert field.description


@each
@pytest.mark.parametrize("slash", ["", "/"])
def test_alone_it_sends_to_the_address_that_is_given(service: type[ServiceBase], slash: str) -> None:
    with Receiver([Reply(200, b"{}")]) as receiver:
        service({**OPTIONS[service], "url": receiver.url + slash}).send(documented("item"))
    [request] = receiver.requests
    method, path = WHERE[service]
    assert request.method == method
    assert request.path.startswith(path) if service is Matrix else request.path == path


@each
@pytest.mark.parametrize("status", [302, 400, 500])
def test_alone_it_raises_and_shows_no_secret(service: type[ServiceBase], status: int) -> None:
    with Receiver([status]) as receiver, pytest.raises(requests.HTTPError) as caught:
        service({**OPTIONS[service], "url": receiver.url}).send(documented("item"))
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value)


@each
def test_where_nobody_listens_it_raises_and_shows_no_secret(service: type[ServiceBase]) -> None:
    with Receiver() as receiver:
        url = receiver.url
    with pytest.raises(requests.ConnectionError) as caught:
        service({**OPTIONS[service], "url": url}).send(documented("item"))
    assert SECRET not in str(caught.value)


@each
def test_its_secrets_are_masked(service: type[ServiceBase]) -> None:
    made = service(OPTIONS[service], RecordingSession())
    assert SECRET not in repr(made.options)
    assert SECRET not in repr(vars(made))
    request = recorded(service, OPTIONS[service], documented("item"))
    assert SECRET not in made.redact(f"{request.url} {request.headers} {request.json} {request.auth}")
    assert SECRET not in repr(request)


@each
def test_the_consumer_can_render_it(service: type[ServiceBase]) -> None:
    made = service(OPTIONS[service], RecordingSession())
    event = Event(Record("topic", 0, 0, None, b"", 0), documented("item"))
    [rendered] = render(made, event, "id")
    assert rendered.url.startswith("https://")
    assert rendered.body


@each
@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("hipchat.example.com", "url is wrong: not an http or https address with a host"),
        ("https://joe:pw@example.com", "url is wrong: it holds a name or a password, which everybody may see here"),
        ("https://example.com/?a=b", "url is wrong: it has a query or a fragment, behind which no path can stand"),
    ],
)
def test_a_wrong_base_address_is_named(service: type[ServiceBase], url: str, problem: str) -> None:
    with pytest.raises(OptionsError) as caught:
        service({**OPTIONS[service], "url": url})
    assert str(caught.value) == f"{service.name}: {problem}"


@each
def test_what_is_missing_is_named(service: type[ServiceBase]) -> None:
    with pytest.raises(OptionsError) as caught:
        service({})
    required = [name for name, field in service.Options.model_fields.items() if field.is_required()]
    assert str(caught.value) == f"{service.name}: " + "; ".join(f"{name} is missing" for name in required)


NAMED = [
    *("ok", "error_code", "parameters", "retry_after", "description", "migrate_to_chat_id"),
    *("msg", "code", "result", "retry-after", "errcode", "error", "retry_after_ms"),
]
SCALARS = st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.just("RATE_LIMIT_HIT")
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(NAMED), inner))


@each
@given(body=st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_no_answer_makes_it_raise(service: type[ServiceBase], body: bytes) -> None:
    made = service(OPTIONS[service], RecordingSession())
    for status in (200, 400, 403, 429, 500):
        judgement = made.judge(status, body)
        assert judgement is None or judgement.wait is None or judgement.wait >= 0
