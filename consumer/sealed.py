"""Sealed options: what a subscription's options hold comes in, a text that only the keys' holders can open goes out.

They are sealed by Fernet (AES-128-CBC and HMAC-SHA256, https://github.com/fernet/spec). The subscription's id is sealed
in with them and compared on opening, since who can write to the topic could else put one subscription's options into
another's record, and so have them sent elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from consumer.errors import SealedFast


class SealError(ValueError):
    """Options cannot be sealed or opened; the text says why, without any of them."""


class Seal:
    """Seals by the first of its keys and opens by each, so that keys can be changed one by one."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Work with such keys: 32 bytes each, in urlsafe base64; at least one."""
        self._fernet = MultiFernet([Fernet(key) for key in keys])

    def seal(self, subscription: str, options: Mapping[str, Any]) -> str:
        """Return a subscription's options as a text of letters, digits, '-', '_' and '='. Raises SealError."""
        try:
            content = orjson.dumps({"id": subscription, "options": options}, option=orjson.OPT_NON_STR_KEYS)
        except orjson.JSONEncodeError:
            raise SealError("options cannot be written as JSON") from None
        return self._fernet.encrypt(content).decode()

    def open(self, subscription: str, sealed: str) -> dict[str, Any]:
        """Return a subscription's options. Raises SealError where they are another's, and SealedFast where they
        were sealed by another key."""
        try:
            content = orjson.loads(self._fernet.decrypt(sealed.encode()))
        except InvalidToken:
            reason = "they were changed, or sealed by a key that is not among those of SPRINTLY_OPTIONS_KEY"
            raise SealedFast(f"options cannot be opened: {reason}") from None
        except ValueError:
            content = None
        match content:
            case {"id": str(id_), "options": dict(options), **rest} if not rest:
                if id_ == subscription:
                    return options
                raise SealError("options cannot be used: they were sealed for another subscription")
        raise SealError('options cannot be used: what is sealed is not {"id": …, "options": {…}}')
