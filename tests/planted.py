"""Secrets planted in options, and where they turn up again: marks that nothing else holds, in whatever encoding.

Which options of a service are secret is found by introspection of its `Options`. The search knows nothing of how the
consumer masks: it looks for the marks, and pieces of them, in each encoding that leaves them legible.
"""

from __future__ import annotations

import base64
import html
import itertools
import json
import re
import secrets
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args
from urllib.parse import quote, quote_plus, unquote, urlsplit

from pydantic import BaseModel

from services import Secret, SecretUrl, ServiceBase

MARK = 18  # characters; letters and digits only, so that percent-encoding, JSON and HTML leave them as they are
PIECE = 8  # characters of a mark that are as good as all of it


def secret_options(service: type[ServiceBase]) -> dict[str, type]:
    """Return the names of a service's options that are or hold secrets, each with Secret or SecretUrl."""
    found = {}
    for name, option in service.Options.model_fields.items():
        kinds = set(_kinds([option.annotation, *option.metadata]))
        if kinds:
            found[name] = SecretUrl if SecretUrl in kinds else Secret
    return found


def _kinds(annotations: list[Any]) -> Iterator[type]:
    for annotation in annotations:
        if isinstance(annotation, type) and issubclass(annotation, Secret):
            yield SecretUrl if issubclass(annotation, SecretUrl) else Secret
        elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from _kinds([inner.annotation for inner in annotation.model_fields.values()])
        else:
            yield from _kinds(list(get_args(annotation)))


@dataclass
class Garden:
    """Makes secrets of marks, and finds these marks again."""

    marks: dict[str, str] = field(default_factory=dict)
    """Each mark, and where it was planted."""

    def mark(self, where: str) -> str:
        """Return a new mark."""
        made = "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(MARK))
        self.marks[made] = where
        return made

    def secret(self, where: str) -> str:
        """Return a secret with characters in it that each encoding writes in its own way."""
        return f'{self.mark(where)}/+"%41&{self.mark(where)}'

    def key(self, where: str) -> str:
        """Return a signing key: base64 of marks; the base64 is a secret, and what it means as well."""
        key = base64.b64encode((self.mark(where) + self.mark(where)).encode()).decode()
        return f"whsec_{key}"

    def url(self, base: str, where: str) -> str:
        """Return an address below `base` with a mark in each of its parts but the host."""
        marks = [self.mark(f"{where}, {part}") for part in ("user", "password", "path", "query", "fragment")]
        user, password, path, query, fragment = marks
        scheme, rest = base.split("://")
        return f"{scheme}://{user}:%2B{password}@{rest}/hooks/{path}%2F/send?token={query}%26+&x=1#{fragment}"

    def found(self, texts: Mapping[str, bytes]) -> list[str]:
        """Return what was found of the marks, a sentence each: nothing where all is well."""
        pieces = {form: where for mark, where in self.marks.items() for form in _forms(mark)}
        lengths = {len(form) for form in pieces}
        return [
            f"{pieces[form]} stands in {place}, as {form!r}: {around!r}"
            for place, text in texts.items()
            for form, around in _seen(pieces, lengths, text)
        ]


def _forms(mark: str) -> Iterator[str]:
    """Yield each piece of a mark as it is, in hexadecimal, and in base64."""
    for first in range(MARK - PIECE + 1):
        piece = mark[first : first + PIECE]
        yield from (piece, piece.lower(), piece.upper(), piece.encode().hex(), *base64_of(piece))


def _seen(pieces: Mapping[str, str], lengths: set[int], text: bytes) -> Iterator[tuple[str, str]]:
    """Yield the first piece that stands in each word of a text, however it is escaped, and what is around it."""
    written = text.decode("utf-8", "replace")
    escaped = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), written)
    for reading in dict.fromkeys((written, unquote(written), html.unescape(written), escaped)):
        for word in re.finditer(r"[A-Za-z0-9+/_-]{8,}", reading):
            for length, at in itertools.product(lengths, range(len(word[0]))):
                if (form := word[0][at : at + length]) in pieces:
                    yield form, reading[max(0, word.start() - 100) : word.end() + 100]
                    break


def base64_of(text: str) -> Iterator[str]:
    """Yield the characters that a text decides in base64, wherever in three bytes it begins."""
    data = text.encode()
    for shift in range(3):
        coded = base64.b64encode(bytes(shift) + data + bytes(2)).decode()
        yield coded[-(-shift * 8 // 6) : (shift + len(data)) * 8 // 6]


def _all_escaped(text: str) -> Iterator[str]:
    yield "".join(f"%{ord(c):02x}" for c in text)
    yield "".join(f"\\u{ord(c):04x}" for c in text)
    yield "".join(f"&#{ord(c)};" for c in text)
    yield "".join(f"&#x{ord(c):x};" for c in text)


def echoes(text: str) -> Iterator[str]:
    """Yield a text in the forms in which receivers repeat what they got."""
    whole = base64.b64encode(text.encode()).decode()
    yield from (text, quote(text), quote(text, safe=""), quote(text, safe="").lower(), quote_plus(text))
    yield from (json.dumps(text), json.dumps(text).replace("/", "\\/"), json.dumps(json.dumps(text)))
    yield from (html.escape(text), text.upper(), text.encode().hex(), *_all_escaped(text))
    yield from (whole, quote(whole, safe=""), base64.urlsafe_b64encode(text.encode()).decode())
    yield from (base64.b64encode(f"{before}{text}".encode()).decode() for before in ("a:", "user:", "ab:"))
    yield base64.encodebytes(text.encode()).decode()


def secrets_of_url(url: str) -> list[str]:
    """Return an address and what of it a receiver may repeat by itself."""
    parts = urlsplit(url)
    return [url, url.partition("#")[0], parts.path, parts.query, parts.username or "", parts.password or ""]
