"""Markdown: plain text comes in, Markdown goes out that its target shows as exactly that text.

Targets differ in what a backslash turns into text, and in what they make of text without marks (addresses, names,
emoji), so `escape` takes the target's dialect:

- `DISCORD`: https://support.discord.com/hc/en-us/articles/210298617
- `MATTERMOST`: https://docs.mattermost.com/collaborate/format-messages.html; its web client's parser is
  https://github.com/mattermost/marked, and its other clients keep to CommonMark

Not for Zulip, which has no backslash escapes, nor for Telegram, whose dialect is another, and not for what takes HTML
or text without any markup.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from services._automatic import JOINER


@dataclass(frozen=True, slots=True)
class Dialect:
    """What one target makes of text."""

    breaks: re.Pattern[str]
    """Finds the places for a joiner."""
    marks: re.Pattern[str]
    """Finds the characters that a backslash in front turns into text."""
    entities: Mapping[str, str] = field(default_factory=dict)
    """Characters that are written as HTML entities, where the target reads such."""


# Addresses; mentions, be it of everyone; and emoji by name, as in :tada:.
_BREAKS = r"(?<=:)(?=//)|(?<=@)(?=\S)|(?<=:)(?=[\w+-]+:)"
# Addresses that have no //.
_NAMES = r"(?<=\.)(?=[^\W\d_])|(?<=\bwww)(?=\d{0,3}\.)|(?<=\bmailto:)|(?<=\btel:)"
# A list may begin with -, + or 1. and a heading with #, at the beginning of a line; anywhere else, the backslash is
# as good and does no harm.
_LEADING = r"(?<!\S)(?:[+-]|#(?=#*(?:\s|$)))|(?<=\d)[.)](?=\s|$)"

DISCORD = Dialect(
    breaks=re.compile(_BREAKS),
    marks=re.compile(rf"[\\`*_~|<>\[\]]|{_LEADING}"),
)
MATTERMOST = Dialect(
    # Any word with a colon may be an address, and a colon begins most emoticons; #word and ~word are links.
    breaks=re.compile(
        rf"{_BREAKS}|{_NAMES}|(?<=[:;])(?=\S)|(?<=#)(?=[^\W\d])|(?<=~)(?=\w)|(?<=<)(?=/?3)|(?<=\bx)(?=-d\b)",
        re.IGNORECASE,
    ),
    # Before a letter or a digit a backslash is text, and one with a backslash in front would be two.
    marks=re.compile(rf"[`*_~|>\[\]!]|\\(?![A-Za-z0-9])|{_LEADING}"),
    # Two dollars make a formula, a line of = a heading of the line above: neither has a backslash escape here.
    entities={"&": "&amp;", "<": "&lt;", "$": "&#36;", "=": "&#61;"},
)


def escape(text: str, dialect: Dialect) -> str:
    """Return Markdown for the text that has no link, mention, formatting, list, quotation or heading.

    It may stand at the beginning of a line, within one, and within the text of a link; not in an address.
    """
    broken = dialect.breaks.sub(JOINER, text)
    marked = dialect.marks.sub(lambda mark: f"\\{mark[0]}", broken)
    return "".join(dialect.entities.get(character, character) for character in marked) if dialect.entities else marked


# Mentions in angle brackets, too: targets that take Slack's messages know Slack's.
_UNMARKED = re.compile(rf"{_BREAKS}|{_NAMES}|(?<=<)(?=[\w!@#&/?])", re.IGNORECASE)


def unlinked(text: str) -> str:
    """Return text for where there is no markup at all, but clients may find an address, a mention or a tag."""
    return _UNMARKED.sub(JOINER, text)


# What could end the address or, for a parser that looks for formatting first, begin some.
_UNSAFE = re.compile(r"[()\[\]<>*\\`|\s]")


def link(url: str, text: str) -> str:
    """Return a link to an http or https address, with a text that is escaped already: the same in each dialect."""
    return f"[{text}]({_UNSAFE.sub(lambda character: f'%{ord(character[0]):02X}', url)})"
