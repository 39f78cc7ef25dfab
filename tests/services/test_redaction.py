"""Redaction: whatever encodes a secret, and whatever stands around it, nothing of it is left in the text."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable
from functools import partial
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services._redaction import MASK, Redaction, texts_of_url

PRINTABLE = st.characters(codec="utf-8", exclude_categories=("C", "Z"))
SECRETS = st.text(PRINTABLE, min_size=12, max_size=40)
# Not what begins an escape: together with a secret behind it, it might be another one.
AROUND = st.text(st.characters(codec="utf-8", exclude_characters="%\\&"), max_size=20)


def in_json(text: str) -> str:
    return json.dumps(text)[1:-1]


def as_php_does(text: str) -> str:
    return in_json(text).replace("/", "\\/")


def each_escaped(text: str) -> str:
    units = text.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def each_an_entity(text: str) -> str:
    return "".join(f"&#{'x' * (number % 2)}{ord(c):{'x' if number % 2 else 'd'}};" for number, c in enumerate(text))


def each_percent(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


ESCAPES: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in capitals": lambda text: text.upper() if text.isascii() else text,
    "percent": quote,
    "percent, slashes too": partial(quote, safe=""),
    "percent in small letters": lambda text: "".join(
        c if len(c) == 1 and c.isalnum() else quote(c, safe="").lower() for c in text
    ),
    "form": quote_plus,
    "each byte percent": each_percent,
    "JSON": in_json,
    "JSON of UTF-8": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "JSON of PHP": as_php_does,
    "JSON's escapes only": each_escaped,
    "HTML": html.escape,
    "HTML's entities only": each_an_entity,
    "in lines": lambda text: "\r\n\t".join(text[at : at + 5] for at in range(0, len(text), 5)),
    "UTF-16": lambda text: "\0".join(text),
}
each_escape = st.sampled_from(list(ESCAPES.values()))


def legible(secret: str, text: str) -> bool:
    """Whether any four characters of a secret in a row are still there; the mask's asterisks are nobody's."""
    shown = text.replace(MASK, " ")
    return any(secret[at : at + 4] in shown for at in range(len(secret) - 3))


@given(SECRETS, AROUND, AROUND, st.lists(each_escape, min_size=1, max_size=2))
def test_no_escape_hides_a_secret(secret: str, before: str, after: str, escapes: list[Callable[[str], str]]) -> None:
    written = secret
    for escape in escapes:
        written = escape(written)
    redacted = Redaction([secret]).redact(before + written + after)
    assert MASK in redacted
    assert not legible(written, redacted.removeprefix(before).removesuffix(after))


@given(
    SECRETS,
    st.binary(max_size=5),
    st.binary(max_size=5),
    AROUND,
    st.booleans(),
    st.sampled_from(
        [
            ESCAPES[name]
            for name in ("as it is", "percent, slashes too", "JSON of PHP", "HTML's entities only", "in lines")
        ]
    ),
)
def test_no_base64_hides_a_secret(
    secret: str, before: bytes, after: bytes, around: str, urlsafe: bool, escape: Callable[[str], str]
) -> None:
    encode = base64.urlsafe_b64encode if urlsafe else base64.b64encode
    written = encode(before + secret.encode() + after).decode()
    redacted = Redaction([secret]).redact(f"{around} {escape(written)} {around}")
    first, last = -(-len(before) * 8 // 6), (len(before) + len(secret.encode())) * 8 // 6
    assert MASK in redacted
    assert not legible(written[first:last], redacted.replace(around, ""))


BEFORE = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="\\"), max_size=5)
"""A backslash before an escape makes another one of it: what follows is not the secret then."""


@given(SECRETS, BEFORE, each_escape, each_escape)
def test_no_escapes_within_base64_or_hexadecimal_hide_a_secret(
    secret: str, before: str, inner: Callable[[str], str], outer: Callable[[str], str]
) -> None:
    coded = base64.b64encode((before + inner(f"/{secret}/") + before).encode()).decode()
    if outer(coded) != coded.upper():  # which is base64 no more
        assert MASK in Redaction([secret]).redact(f"it was {outer(coded)}")
    coded = f"{before}{inner(secret)}".encode().hex()
    assert MASK in Redaction([secret]).redact(f"it was {outer(coded)}")


@given(SECRETS, AROUND, st.booleans())
def test_no_hexadecimal_hides_a_secret(secret: str, around: str, capitals: bool) -> None:
    written = secret.encode().hex()
    redacted = Redaction([secret]).redact(around + (written.upper() if capitals else written) + around)
    assert MASK in redacted
    assert written not in redacted.lower()


@given(SECRETS, st.integers(8, 39), each_escape, st.sampled_from(["", "...", "\u2026", "... (cut)"]))
def test_the_beginning_of_a_secret_is_none_either(
    secret: str, kept: int, escape: Callable[[str], str], end: str
) -> None:
    written = escape(secret)[:kept]
    redacted = Redaction([secret]).redact(f"no such token: {written}{end}")
    whole = escape(secret[:8])
    if written.startswith(whole):
        assert not redacted.startswith(f"no such token: {whole}")


@given(st.lists(SECRETS, max_size=3), st.text())
def test_nothing_else_is_masked(secrets: list[str], text: str) -> None:
    marked = [f"\N{SNOWMAN}{secret}" for secret in secrets]  # none of the other texts has one
    assert Redaction(marked).redact(text.replace("\N{SNOWMAN}", "")) == text.replace("\N{SNOWMAN}", "")


URL = "https://us%C3%ABr:p%40ssword@hooks.example/services/T00000000/B0?token=a%2Bb%20c&sign=s1gn#frag-ment"


@given(SECRETS, st.integers(0, 60), st.sampled_from([base64.b64encode, bytes.hex]))
def test_what_is_cut_within_base64_or_hexadecimal_is_none_either(
    secret: str, more: int, encode: Callable[[bytes], bytes | str]
) -> None:
    coded = encode(f"/bot{quote(secret, safe='')}".encode())
    written = coded.decode() if isinstance(coded, bytes) else coded
    whole = encode(f"/bot{quote(secret[:8], safe='')}".encode())
    kept = len(whole) + more
    assert MASK in Redaction([secret]).redact(f"it was {written[:kept]}")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (f"POST {URL} failed", f"POST {MASK} failed"),
        (URL.upper(), MASK),
        ("no token T00000000 here", f"no token {MASK} here"),
        ("token a+b c, a%2Bb+c or a%2bb%20c", f"token {MASK}, {MASK} or {MASK}"),
        ("sign: s1gn", f"sign: {MASK}"),
        ("p@ssword of usër", f"{MASK} of {MASK}"),
        (base64.b64encode("Basic usër:p@ssword".encode()).decode(), f"QmFzaWMg{MASK}"),
        ("at /services/T00000000/B0", f"at {MASK}"),
        ("at /SERVICES/T00...", f"at {MASK}..."),
        ("#frag-ment", f"#{MASK}"),
        ("hooks.example says that B0 is unknown", "hooks.example says that B0 is unknown"),
        ("no connection to https://hooks.example/", "no connection to https://hooks.example/"),
        ("", ""),
    ],
)
def test_all_of_an_address_but_its_host_is_secret(said: str, shown: str) -> None:
    assert Redaction(texts_of_url(URL)).redact(said) == shown


def test_a_signing_key_is_secret_without_what_marks_it_as_one() -> None:
    redaction = Redaction(["whsec_ZXhhbXBsZSBleGFtcGxlIGV4YW1wbGUh"])
    assert redaction.redact("key ZXhhbXBsZSBleGFtcGxlIGV4YW1wbGUh") == f"key {MASK}"


def test_a_hostile_text_is_not_read_for_ever() -> None:
    redaction = Redaction(["secret-" * 5])
    for text in ("%2525%25" * 100, "&amp;amp;\\\\\\\\u0041\r\n...%25" * 40, "secret-" * 4 + "..." * 200, "\\" * 800):
        assert len(redaction.redact(text)) <= len(text)
