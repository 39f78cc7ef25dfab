"""Other people's text for messages: whatever a payload holds comes in, bounded text on one line goes out.

It is plain text still: whoever puts it into a message escapes it for where it goes.
"""

from __future__ import annotations

import re
from collections.abc import Callable

DOTS = "..."
"""What shows that something was cut."""
EXCERPT = 50
"""Characters of a comment that are quoted; the dots come on top."""
MOST_ENTRIES = 10
"""Lines of a list, before it only says how many more there are."""

_MENTION = re.compile(r"@\[([^\[\]]*)\]\(pk:\d+\)")
# Control characters, line and paragraph separators, and halves of surrogate pairs, which no encoding can hold.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
# Unicode's Bidi_Control, which turns the direction of what follows: a title could rearrange the sentence around it.
_TURNS = dict.fromkeys([0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)])


def plain(value: object) -> str:
    """Return text on one line, its mentions as names, without control and direction marks; what is no text is empty."""
    if not isinstance(value, str):
        return ""
    named = _MENTION.sub(r"\1", value)
    return " ".join(_UNPRINTABLE.sub(" ", named).translate(_TURNS).split())


def cut(text: str, limit: int) -> str:
    """Return at most `limit` characters, of which the last three are dots if there was more."""
    return text if len(text) <= limit else _ended(text[: limit - len(DOTS)])


def fitted(text: str, limit: int, escape: Callable[[str], str]) -> str:
    """Return the text escaped, in at most `limit` characters; it is cut before that, so no escape is halved."""
    length, escaped = len(text), escape(text)
    while len(escaped) > limit:
        length -= max(1, (len(escaped) - limit) // 8)  # no escape makes more than eight characters of one
        escaped = escape(cut(text, length))
    return escaped


def excerpt(value: object) -> str:
    """Return the first 50 characters of what somebody wrote, and dots after them if there was more."""
    text = plain(value)
    return text if len(text) <= EXCERPT else _ended(text[:EXCERPT])


def listed(entries: list[str]) -> str:
    """Return a line for each entry: ten at most, and one that says how many more there are."""
    more = len(entries) - MOST_ENTRIES
    return "\n".join(entries[:MOST_ENTRIES] + [f"and {more} more"] * (more > 0))


def _ended(text: str) -> str:
    return text.rstrip(" \u200d") + DOTS  # no zero-width joiner: it would glue the dots to half of an emoji
