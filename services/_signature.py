"""Signatures by Standard Webhooks 1.0: a message id, a time and a body become three headers.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import binascii
import hmac
import time
from base64 import b64encode
from uuid import uuid4

import requests
from requests.auth import AuthBase

from services._errors import ServiceError
from services._options import Secret, reveal

PREFIX = "whsec_"
SHORTEST_KEY, LONGEST_KEY = 24, 64
"""Bytes; both from the specification's table of signature schemes."""


def signing_key(secret: str | Secret) -> bytes:
    """Return the key that a secret holds in base64, `whsec_` before it or not; raises ValueError."""
    encoded = reveal(secret).removeprefix(PREFIX)
    try:
        key = binascii.a2b_base64(encoded.encode("ascii"), strict_mode=True)
    except ValueError:  # not ASCII, or not base64
        raise ValueError("not base64, with or without whsec_ before it") from None
    if not SHORTEST_KEY <= len(key) <= LONGEST_KEY:
        raise ValueError(f"its key has {len(key)} bytes instead of {SHORTEST_KEY} to {LONGEST_KEY}")
    return key


class StandardWebhook(AuthBase):
    """`auth=StandardWebhook(secret)` signs a request.

    On its own it takes a new message id for each request. The consumer's engine calls `headers` itself, for
    each attempt anew and with the delivery's id. Raises ValueError for a secret that holds no key.
    """

    def __init__(self, secret: str | Secret) -> None:
        self._key = signing_key(secret)

    def headers(self, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
        """Return the three headers; `message_id` has no dot, `timestamp` is in seconds since 1970 (UTC)."""
        signed = f"{message_id}.{timestamp}.".encode() + body
        digest = b64encode(hmac.digest(self._key, signed, "sha256")).decode("ascii")
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": f"v1,{digest}",
        }

    def __call__(self, prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        """Sign a prepared request now; raises ServiceError for a body that is a stream."""
        body = prepared.body or b""
        if isinstance(body, str):
            body = body.encode()
        if not isinstance(body, bytes):
            raise ServiceError("a body that is a stream cannot be signed")
        prepared.headers.update(self.headers(str(uuid4()), int(time.time()), body))
        return prepared
