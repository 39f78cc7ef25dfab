"""Signatures by Standard Webhooks, against its published example and against the definition."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from services import Secret, ServiceError, StandardWebhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_the_example_of_the_reference_libraries() -> None:
    headers = StandardWebhook(SECRET).headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@given(key=st.binary(min_size=24, max_size=64), body=st.binary(), timestamp=st.integers(0, 2**40))
def test_the_signature_is_the_hmac_of_id_timestamp_and_body(key: bytes, body: bytes, timestamp: int) -> None:
    secret = base64.b64encode(key).decode()
    expected = hmac.new(key, b"id." + str(timestamp).encode() + b"." + body, hashlib.sha256).digest()
    for written in (secret, f"whsec_{secret}", Secret(secret)):
        signature = StandardWebhook(written).headers("id", timestamp, body)["webhook-signature"]
        assert signature == f"v1,{base64.b64encode(expected).decode()}"


@given(keys=st.lists(st.binary(min_size=24, max_size=64), min_size=1, max_size=4, unique=True), body=st.binary())
def test_several_secrets_sign_each_for_itself_in_their_order(keys: list[bytes], body: bytes) -> None:
    secrets = [Secret(f"whsec_{base64.b64encode(key).decode()}") for key in keys]
    alone = [StandardWebhook(secret).headers("id", 7, body) for secret in secrets]
    assert StandardWebhook(iter(secrets)).headers("id", 7, body) == {
        **alone[0],
        "webhook-signature": " ".join(headers["webhook-signature"] for headers in alone),
    }


@pytest.mark.parametrize(
    ("secrets", "problem"),
    [
        ([], "0 secrets instead of 1 to 4"),
        ([SECRET] * 5, "5 secrets instead of 1 to 4"),
        ([SECRET, SECRET], "numbers 1 and 2 are the same secret"),
        (["hunter2"], "not base64, with or without whsec_ before it"),
        ([SECRET, "hunter2"], "number 2: not base64, with or without whsec_ before it"),
    ],
)
def test_what_several_secrets_cannot_be(secrets: list[str], problem: str) -> None:
    with pytest.raises(ValueError) as caught:
        StandardWebhook(secrets)
    assert str(caught.value) == problem


@pytest.mark.parametrize(
    ("secret", "problem"),
    [
        ("hunter2-hunter2-hunter2-hunter2", "not base64, with or without whsec_ before it"),
        ("ünïcode", "not base64, with or without whsec_ before it"),
        ("", "its key has 0 bytes instead of 24 to 64"),
        (base64.b64encode(b"x" * 23).decode(), "its key has 23 bytes instead of 24 to 64"),
        (base64.b64encode(b"x" * 65).decode(), "its key has 65 bytes instead of 24 to 64"),
    ],
)
def test_a_secret_without_a_key_is_refused_and_not_repeated(secret: str, problem: str) -> None:
    with pytest.raises(ValueError) as caught:
        StandardWebhook(secret)
    assert str(caught.value) == problem


@pytest.mark.parametrize("body", [b'{"a": 1}', '{"ä": 1}', None])
def test_a_request_of_its_own_is_signed_under_a_new_id(body: Any) -> None:
    sign = StandardWebhook(SECRET)
    first, second = (requests.Request("POST", "http://x/", data=body, auth=sign).prepare().headers for _ in "12")
    assert first["webhook-id"] != second["webhook-id"]
    sent = body.encode() if isinstance(body, str) else body or b""
    again = sign.headers(first["webhook-id"], int(first["webhook-timestamp"]), sent)
    assert again.items() <= dict(first).items()


def test_a_stream_cannot_be_signed() -> None:
    with pytest.raises(ServiceError, match="a body that is a stream cannot be signed"):
        requests.Request("POST", "http://x/", data=iter([b"a"]), auth=StandardWebhook(SECRET)).prepare()
