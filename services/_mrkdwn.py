"""Slack's markup: plain text comes in, markup goes out that Slack shows as exactly that text.

Escaping and formatting: https://docs.slack.dev/messaging/formatting-message-text
"""

from __future__ import annotations

import re

from services._automatic import tamed

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}

# Slack has no escape for its formatting marks, so one that could begin or end something becomes a sign that looks like
# it. Within a word (snake_case) and between spaces a mark formats nothing, and stays. The wide forms of East Asian
# keyboards count for Slack as the marks themselves, as its users found
# (https://github.com/yhatt/jsx-slack/blob/main/docs/about-escape-and-exact-mode.md).
_LOOKALIKES = {
    "*": "\u2217",
    "\uff0a": "\u2217",
    "_": "\u02cd",
    "\uff3f": "\u02cd",
    "~": "\u223c",
    "`": "\u02cb",
    "\uff40": "\u02cb",
}
_SPANS = "*_~\uff0a\uff3f"
_MARK = re.compile(rf"[`\uff40]|(?<![A-Za-z0-9])[{_SPANS}](?=\S)|(?<=\S)[{_SPANS}](?![A-Za-z0-9])")

# At the beginning of a line even an escaped > makes a quotation.
_QUOTE = re.compile(r"^[>\uff1e]", re.MULTILINE)
_NO_QUOTE = "\u203a"


def escape(text: str) -> str:
    """Return markup for the text that has no link, mention, quotation or formatting."""
    unmarked = _QUOTE.sub(_NO_QUOTE, _MARK.sub(lambda mark: _LOOKALIKES[mark[0]], text))
    # Webhooks cannot switch automatic links off: `parse` has no effect there
    # (https://gist.github.com/seanmarpo/723e18a4e2353188ea95f679ae30c3be).
    return entities(tamed(unmarked))


def entities(text: str) -> str:
    """Return the text with its control characters (& < >) escaped; enough for an address, not for people's text."""
    return re.sub("[&<>]", lambda character: _ENTITIES[character[0]], text)


def link(url: str, text: str) -> str:
    """Return a link to an address, with a text that is escaped already."""
    return f"<{entities(url)}|{text}>"
