"""Addresses that a service puts together: a configured base and parts of the path come in, one address goes out."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator

from services._options import SecretUrl


def _checked(base: str) -> str:
    SecretUrl(base)  # raises ValueError for what is no address
    parts = urlsplit(base)
    if parts.username is not None or parts.password is not None:
        raise ValueError("it holds a name or a password, which everybody may see here")
    if parts.query or parts.fragment:
        raise ValueError("it has a query or a fragment, behind which no path can stand")
    return base


BaseUrl = Annotated[str, AfterValidator(_checked)]
"""An option: the http or https address that an API's paths stand behind; it is no secret."""


def under(base: str, *parts: object, safe: str = "") -> str:
    """Return the address of the parts below the base, each quoted so that it stays one; `safe` is left unquoted."""
    return "/".join([base.rstrip("/"), *(quote(str(part), safe=safe) for part in parts)])
