"""Signatures by Standard Webhooks 1.0: a message id, a time and a body become three headers.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import hmac
import time
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable
from typing import Annotated, TypeAlias
from uuid import uuid4

import requests
from pydantic import AfterValidator
from requests.auth import AuthBase

from services._errors import ServiceError
from services._options import Secret, one_or_many, reveal
from services._redaction import KEY_PREFIX

AnySecret: TypeAlias = str | Secret

SHORTEST_KEY, LONGEST_KEY = 24, 64
"""Bytes; both from the specification's table of signature schemes."""
MOST_SECRETS = 4
"""A rotation takes two; more are there for one that is begun before the last has ended. Each costs time an attempt."""


def signing_key(secret: AnySecret) -> bytes:
    """Return the key that a secret holds in base64, `whsec_` before it or not; raises ValueError."""
    encoded = reveal(secret).removeprefix(KEY_PREFIX)
    try:
        key = a2b_base64(encoded.encode("ascii"), strict_mode=True)
    except ValueError:  # not ASCII, or not base64
        raise ValueError("not base64, with or without whsec_ before it") from None
    if not SHORTEST_KEY <= len(key) <= LONGEST_KEY:
        raise ValueError(f"its key has {len(key)} bytes instead of {SHORTEST_KEY} to {LONGEST_KEY}")
    return key


def signing_keys(secrets: AnySecret | Iterable[AnySecret]) -> tuple[bytes, ...]:
    """Return the keys of one secret or of up to 4 different ones, in their order.

    Raises ValueError with all that is wrong, each by its number where there are several secrets.
    """
    given = (secrets,) if isinstance(secrets, AnySecret) else tuple(secrets)
    if not 1 <= len(given) <= MOST_SECRETS:
        raise ValueError(f"{len(given)} secrets instead of 1 to {MOST_SECRETS}")
    numbers: dict[bytes, int] = {}
    problems = []
    for number, secret in enumerate(given, 1):
        try:
            first = numbers.setdefault(signing_key(secret), number)
        except ValueError as error:
            problems.append(f"number {number}: {error}" if len(given) > 1 else str(error))
        else:
            problems += [f"numbers {first} and {number} are the same secret"] * (first != number)
    if problems:
        raise ValueError("; ".join(problems))
    return tuple(numbers)


def _hold_keys(secrets: tuple[Secret, ...]) -> tuple[Secret, ...]:
    signing_keys(secrets)
    return secrets


SigningSecrets = Annotated[tuple[Secret, ...], one_or_many("a secret", "secrets"), AfterValidator(_hold_keys)]
"""An option for StandardWebhook: a secret, or up to 4 different ones while they change; a tuple once it is read."""


class StandardWebhook(AuthBase):
    """`auth=StandardWebhook(secret)` signs a request; with several secrets, by each of them.

    A receiver then accepts it that knows one of them, so that a secret can be changed while requests are under way.
    On its own it takes a new message id for each request. The consumer's engine calls `headers` itself, for
    each attempt anew and with the delivery's id. Raises ValueError for a secret that holds no key, for the same one
    twice and for more than 4.
    """

    def __init__(self, secret: AnySecret | Iterable[AnySecret]) -> None:
        self._keys = signing_keys(secret)

    def headers(self, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
        """Return the three headers; `message_id` has no dot, `timestamp` is in seconds since 1970 (UTC).

        Several signatures stand one after the other, apart by spaces, as the specification has it.
        """
        seconds = str(timestamp)
        signed = f"{message_id}.{seconds}.".encode() + body
        signatures = ""
        for key in self._keys:  # mostly one, and no list is made for it: this is done at every attempt
            digest = b2a_base64(hmac.digest(key, signed, "sha256"), newline=False)
            signatures += f" v1,{digest.decode()}"
        return {
            "webhook-id": message_id,
            "webhook-timestamp": seconds,
            "webhook-signature": signatures[1:],
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
