"""The webhook service, recorded and for real."""

from __future__ import annotations

import json

import pytest
from receivers import Receiver

from services import OptionsError, StandardWebhook
from services.webhook import Service

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PAYLOAD = {"action": "created", "model": "Item", "product": {"id": 1}, "attributes": {"title": "ö", "new": [None]}}


def test_the_body_is_the_payload_itself() -> None:
    [request] = Service({"urls": "https://a.example/hook"}).requests_for(PAYLOAD)
    assert (request.method, request.url) == ("POST", "https://a.example/hook")
    assert request.json is PAYLOAD
    assert request.auth is None


def test_with_a_secret_the_request_carries_its_signature() -> None:
    [request] = Service({"urls": "https://a.example/hook", "secret": SECRET}).requests_for(PAYLOAD)
    assert isinstance(request.auth, StandardWebhook)
    expected = StandardWebhook(SECRET).headers("id", 1, b"{}")
    assert request.auth.headers("id", 1, b"{}") == expected


def test_several_addresses_each_get_it_in_order() -> None:
    requests = Service({"urls": ["http://a/", "http://b/"]}).requests_for(PAYLOAD)
    assert [request.url for request in requests] == ["http://a/", "http://b/"]
    assert all(request.json is PAYLOAD for request in requests)


def test_alone_it_posts_signed_json_to_every_address() -> None:
    with Receiver() as receiver:
        Service({"urls": [f"{receiver.url}/1", f"{receiver.url}/2"], "secret": SECRET}).send(PAYLOAD)
    assert [request.path for request in receiver.requests] == ["/1", "/2"]
    for request in receiver.requests:
        assert json.loads(request.body) == PAYLOAD
        assert request.headers["content-type"] == "application/json"
        signed = {name: value for name, value in request.headers.items() if name.startswith("webhook-")}
        timestamp = int(signed["webhook-timestamp"])
        assert signed == StandardWebhook(SECRET).headers(signed["webhook-id"], timestamp, request.body)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "webhook: urls is missing"),
        ({"urls": []}, "webhook: urls is wrong: neither an address nor a list of addresses"),
        (
            {"urls": "http://a", "secret": "hunter2"},
            "webhook: secret is wrong: not base64, with or without whsec_ before it",
        ),
        (
            {"url": "http://a"},
            "webhook: urls is missing; url is not an option of this service; did you mean urls?",
        ),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], problem: str) -> None:
    with pytest.raises(OptionsError) as caught:
        Service(options)
    assert str(caught.value) == problem


def test_the_instructions_name_every_option() -> None:
    assert Service.name == "webhook"
    assert Service.title == "Webhook"
    for name, field in Service.Options.model_fields.items():
        assert f"`{name}`" in Service.description
        assert field.description
