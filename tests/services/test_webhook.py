"""The webhook service, recorded and for real."""

from __future__ import annotations

import json

import pytest
from receivers import Receiver

from services import OptionsError, StandardWebhook
from services.webhook import Service

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OLD = "whsec_YW5vdGhlciBhbm90aGVyIGV4YW1wbGUh"
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


def test_with_several_secrets_it_carries_the_signatures_of_all() -> None:
    [request] = Service({"urls": "https://a.example/hook", "secret": [SECRET, OLD]}).requests_for(PAYLOAD)
    assert isinstance(request.auth, StandardWebhook)
    assert request.auth.headers("id", 1, b"{}") == StandardWebhook([SECRET, OLD]).headers("id", 1, b"{}")


@pytest.mark.parametrize("secret", [None, SECRET, [SECRET], [SECRET, OLD]])
def test_a_secret_is_one_or_a_list_or_left_out(secret: object) -> None:
    read = Service({"urls": "http://a/", "secret": secret}).options.secret
    given = [secret] if isinstance(secret, str) else secret
    assert (read and [one.get_secret_value() for one in read]) == given


def test_no_secret_of_several_shows_with_or_without_what_stands_before_it() -> None:
    service = Service({"urls": "http://a/", "secret": [SECRET, OLD.removeprefix("whsec_")]})
    assert "whsec" not in f"{service.options} {service.options!r} {service.options.model_dump_json()}"
    said = service.redact(f"{SECRET} {OLD} {SECRET.removeprefix('whsec_')} {OLD.removeprefix('whsec_')}")
    assert said == "********** whsec_********** ********** **********"


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
            {"urls": "http://a", "secret": {"whsec": 1}},
            "webhook: secret is wrong: neither a secret nor a list of secrets",
        ),
        ({"urls": "http://a", "secret": []}, "webhook: secret is wrong: neither a secret nor a list of secrets"),
        ({"urls": "http://a", "secret": [SECRET, 5]}, "webhook: secret[1] is wrong: input should be a valid string"),
        (
            {"urls": "http://a", "secret": [SECRET, "hunter2", OLD, "aHVudGVyMg=="]},
            "webhook: secret is wrong: number 2: not base64, with or without whsec_ before it; "
            "number 4: its key has 7 bytes instead of 24 to 64",
        ),
        (
            {"urls": "http://a", "secret": [SECRET, OLD, SECRET.removeprefix("whsec_")]},
            "webhook: secret is wrong: numbers 1 and 3 are the same secret",
        ),
        ({"urls": "http://a", "secret": [SECRET] * 5}, "webhook: secret is wrong: 5 secrets instead of 1 to 4"),
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
