"""Redaction: secrets come in, and texts of anybody's go out in which none of them can be read, however it is written.

Third parties repeat what they were sent in the notation of their answer. So a text is read several times: as it stands,
and with percent-encoding, backslashes (JSON, JavaScript, Python), HTML's entities, text in base64 or hexadecimal, and
line breaks undone, one after the other and in any order. In each reading the secrets are looked for, and also what they
are in base64 and hexadecimal amid bytes that are no text. What they are found in is masked in the text as it stood. It
costs some ten thousandths of a second, at failures only.
"""

from __future__ import annotations

import base64
import html
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

KEY_PREFIX = "whsec_"
"""What secrets that sign begin with (Standard Webhooks); without it they are as good, and as secret."""
MASK = "**********"
SHORTEST_MASKED = 4
"""Characters; anything shorter is no secret, and masking it would make a text unreadable."""
SHORTEST_PART = 8
"""Characters of a part of an address's path that is masked by itself: others are mostly words."""
SHORTEST_CUT = 8
"""Characters of a secret's beginning that are masked where a text was cut."""
DEEPEST = 3
"""Encodings inside one another that are undone."""
LONGEST_ESCAPE = 12
"""Characters of one that may have been cut."""
MOST_CUTS = 5
"""Ellipses that are looked at."""
MOST_READINGS = 24
"""Of one text: what an honest one needs are far fewer, and a hostile one must not take long."""

_ELLIPSIS = re.compile(r"\.{3,}|\N{HORIZONTAL ELLIPSIS}")
# What is left of an escape, or of a character, that was cut.
_BROKEN = re.compile(
    r"[\ufffd\ud800-\udbff]*(?:%[0-9a-f]?|\\(?:u[0-9a-f]{0,3}|x[0-9a-f]?)?|&#?[0-9a-z]{0,8})?\Z", re.IGNORECASE
)
_PUBLIC = re.compile(r"https?://[^/?#@]*(?:[/?#]|\Z)", re.IGNORECASE)
_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")  # no other changes the length
_UNPRINTED = dict.fromkeys(map(ord, "\0\t\r\n"))  # what texts hold all the same, those in UTF-16 among them
_STANDARD = str.maketrans("-_", "+/")  # base64's alphabet for addresses, as its ordinary one


class _Form(NamedTuple):
    """What a secret may look like; around it `before` and `after` characters more belong to it.

    Of its beginning, `public` characters are no secret by themselves: scheme and host of an address.
    """

    text: str
    before: int = 0
    after: int = 0
    public: int = 0


class _Reading(NamedTuple):
    """A text with some of its escapes undone; `places` says where each character, and the end, was in the original."""

    text: str
    places: Sequence[int]


class Redaction:
    """Masks secrets; each is given as text. An empty one, or a shorter one than `SHORTEST_MASKED`, is none."""

    def __init__(self, secrets: Iterable[str]) -> None:
        texts = {form for secret in secrets for form in _notations(secret)}
        long_enough = [text for text in texts if len(text) >= SHORTEST_MASKED]
        plain = {_Form(text.translate(_LOWER), public=_public(text)) for text in long_enough}
        plain |= {_Form(_bytes(text).hex()) for text in long_enough}
        coded = {form for text in long_enough for form in _base64(_bytes(text))}
        self._kinds = (_Kind(_LOWER, plain), _Kind(_LOWER | _STANDARD, coded))

    def redact(self, text: str) -> str:
        """Return the text with all that is secret as asterisks, and what may be the beginning of it before a cut."""
        spans = sorted({span for reading in _readings(text) for span in self._found(reading)})
        pieces, end = [], 0
        for first, last in spans:
            if first >= end:
                pieces += [text[end:first], MASK]
            end = max(end, last)
        return "".join(pieces) + text[end:]

    def _found(self, reading: _Reading) -> Iterator[tuple[int, int]]:
        places, length = reading.places, len(reading.text)
        for kind in self._kinds:
            for first, last in kind.found(reading.text):
                yield places[max(0, first)], places[min(length, last)]


class _Kind:
    """Forms that are looked for in a text once `written` has made one of characters that mean the same."""

    def __init__(self, written: Mapping[int, int], forms: Iterable[_Form]) -> None:
        self._written = written
        self._forms = tuple(forms)
        self._all = "\n".join(form.text for form in self._forms)  # to see at once that none holds some characters

    def found(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield where forms stand, and where beginnings of them stand before a cut."""
        written = text.translate(self._written)
        for form in self._forms:
            yield from _occurrences(written, form)
        for end in _cuts(written):
            if written[max(0, end - SHORTEST_CUT) : end] in self._all:
                for form in self._forms:
                    yield from _beginnings(written, end, form)


def texts_of_url(url: str) -> Iterator[str]:
    """Yield what is secret in an address: all of it, and all behind its host and before it, whole and in parts.

    The host itself is not: it alone tells where something goes.
    """
    parts = urlsplit(url)
    yield from (url, urlunsplit(("", "", parts.path, parts.query, "")), parts.query, parts.fragment)
    # The path by itself as well: services add parameters of their own behind it. A slash alone is none.
    yield parts.path
    yield from (part for part in parts.path.split("/") if len(part) >= SHORTEST_PART)
    yield from (value for _, value in parse_qsl(parts.query, keep_blank_values=True))
    yield from (parts.username or "", parts.password or "")
    if parts.username and parts.password:
        yield f"{unquote(parts.username)}:{unquote(parts.password)}"


def _notations(secret: str) -> Iterator[str]:
    """Yield what may be read in place of a secret: itself, and what is left when escapes of its own are undone."""
    for text in {secret, secret.removeprefix(KEY_PREFIX)}:
        for reading in _readings(text):
            yield from (reading.text, reading.text.replace(" ", "+"), reading.text.replace("+", " "))


def _public(text: str) -> int:
    host = _PUBLIC.match(text)
    return host.end() if host else 0


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _base64(secret: bytes) -> Iterator[_Form]:
    """Yield the characters that a secret alone decides, wherever it stands in what is encoded."""
    for shift in range(3):
        first, last = -(-shift * 8 // 6), (shift + len(secret)) * 8 // 6
        padded = bytes(shift) + secret + bytes(-(shift + len(secret)) % 3)
        yield _Form(
            base64.b64encode(padded)[first:last].decode().lower(), int(shift > 0), int((shift + len(secret)) % 3 > 0)
        )


def _occurrences(text: str, form: _Form) -> Iterator[tuple[int, int]]:
    at = text.find(form.text)
    while at >= 0:
        end = at + len(form.text)
        yield at - form.before, end + form.after
        at = text.find(form.text, at + 1)


def _cuts(text: str) -> Iterator[int]:
    """Yield where a secret may have been cut: by whoever wrote the text, or whoever kept its beginning only."""
    for cut in (len(text), *(found.start() for found in itertools.islice(_ELLIPSIS.finditer(text), MOST_CUTS))):
        yield cut
        if broken := _BROKEN.search(text, max(0, cut - LONGEST_ESCAPE), cut):
            yield broken.start()


def _beginnings(text: str, end: int, form: _Form) -> Iterator[tuple[int, int]]:
    """Yield where the text up to `end` ends in a beginning of the form."""
    last = text[max(0, end - SHORTEST_CUT) : end]
    if len(last) < SHORTEST_CUT:
        return
    at = form.text.find(last)
    while at >= 0:
        first = end - at - SHORTEST_CUT
        if first >= 0 and at + SHORTEST_CUT > form.public and text.startswith(form.text[:at], first):
            yield first - form.before, end
        at = form.text.find(last, at + 1)


# -- readings


def _readings(text: str) -> Iterator[_Reading]:
    """Yield the text as it stands, and each other text that undoing escapes makes of it."""
    level = [_Reading(text, range(len(text) + 1))]
    seen = {text}
    yield level[0]
    for _ in range(DEEPEST):
        level = [found for reading in level for found in _undone(reading, seen)]
        yield from level


def _undone(reading: _Reading, seen: set[str]) -> Iterator[_Reading]:
    for pattern, decode in _ESCAPES:
        if len(seen) < MOST_READINGS and pattern.search(reading.text):
            found = _decoded(reading, pattern, decode)
            if found.text not in seen:
                seen.add(found.text)
                yield found


def _decoded(reading: _Reading, pattern: re.Pattern[str], decode: Callable[[str], _Decoded]) -> _Reading:
    """Return the reading with all that matches decoded; a character stands where that which means it began."""
    text, end = reading.text, 0
    pieces: list[str] = []
    places: list[int] = []
    for match in pattern.finditer(text):
        pieces.append(text[end : match.start()])
        places += reading.places[end : match.start()]
        at = match.start()
        for character, size in decode(match[0]):
            pieces.append(character)
            places.append(reading.places[at])
            at += size
        end = match.end()
    return _Reading("".join(pieces) + text[end:], [*places, *reading.places[end:]])


_Decoded = Iterable[tuple[str, int]]
"""Characters, each with how many of the escaped text mean it."""


def _percent(run: str) -> _Decoded:
    data = bytes.fromhex(run.replace("%", ""))
    try:
        return [(character, 3 * len(character.encode())) for character in data.decode()]
    except UnicodeDecodeError as error:
        if error.end == len(data) and error.reason == "unexpected end of data":  # cut within a character
            return [*_percent(run[: 3 * error.start]), *[("\ufffd", 3)] * (error.end - error.start)]
        return [(character, 3) for character in data.decode("latin-1")]


def _utf16(run: str) -> _Decoded:
    data = bytes.fromhex(re.sub(r"\\[uU]", "", run)).decode("utf-16-be", "surrogatepass")
    return [(character, 12 if character > "\uffff" else 6) for character in data]


_ONE = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def _backslash(escape: str) -> _Decoded:
    if escape[1] in "uU":
        return _utf16(escape)
    character = chr(int(escape[2:], 16)) if escape[1] in "xX" else _ONE.get(escape[1], escape[1])
    return [(character, len(escape))]


def _entity(entity: str) -> _Decoded:
    return ((character, 0) for character in html.unescape(entity))


def _base64_text(run: str) -> _Decoded:
    """Decode what is text in base64, wherever in the run it begins; anything else stays as it is."""
    coded = run.rstrip("=").translate(_STANDARD)
    for shift in range(4):
        whole = coded[shift : len(coded) - ((len(coded) - shift) % 4 == 1)]
        if text := _text(base64.b64decode(whole + "=" * (-len(whole) % 4))):
            return _sized(text, shift, 4 / 3)
    return [(character, 1) for character in run]


def _hexadecimal_text(run: str) -> _Decoded:
    """Decode what is text in hexadecimal, wherever in the run it begins; anything else stays as it is."""
    for shift in range(2):
        if text := _text(bytes.fromhex(run[shift : len(run) - (len(run) - shift) % 2])):
            return _sized(text, shift, 2)
    return [(character, 1) for character in run]


def _text(data: bytes) -> str:
    """Return the text that bytes are, its last character perhaps cut; nothing if they are something else."""
    text = data.decode("utf-8", "replace").removesuffix("\ufffd")
    return text if "\ufffd" not in text and text.translate(_UNPRINTED).isprintable() else ""


def _sized(text: str, shift: int, size: float) -> _Decoded:
    """Return characters with their sizes where each byte was written in `size` characters, `shift` behind the start."""
    ends = itertools.accumulate(len(character.encode()) for character in text)
    places = [0, *(shift + int(end * size) for end in ends)]
    return zip(text, (after - before for before, after in itertools.pairwise(places)), strict=True)


def _nothing(_: str) -> _Decoded:
    return ()


_ESCAPES: Sequence[tuple[re.Pattern[str], Callable[[str], _Decoded]]] = (
    (re.compile(r"(?:%[0-9a-f]{2})+", re.IGNORECASE), _percent),
    (re.compile(r"""(?:\\u[0-9a-f]{4})+|\\x[0-9a-f]{2}|\\[\\/"'bfnrt]""", re.IGNORECASE), _backslash),
    (re.compile(r"&(?:#[0-9]+|#x[0-9a-f]+|[a-z][a-z0-9]+);", re.IGNORECASE), _entity),
    (re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}"), _base64_text),
    (re.compile(r"[0-9a-f]{16,}", re.IGNORECASE), _hexadecimal_text),
    # Line breaks with what indents the next line, and what cannot be seen: the zeros of UTF-16, for one.
    (re.compile(r"[\s\0]*[\r\n][\s\0]*|[\x00-\x08\x0b-\x1f\x7f\u00ad\u200b-\u200d\u2060\ufeff]+"), _nothing),
)
