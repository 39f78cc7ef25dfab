"""Slack's markup: plain text comes in, markup goes out that Slack shows as exactly that text.

Escaping and formatting: https://docs.slack.dev/messaging/formatting-message-text
"""

from __future__ import annotations

import re

from services._automatic import tamed
from services._inert import unformatted

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}

# At the beginning of a line even an escaped > makes a quotation.
_QUOTE = re.compile(r"^[>\uff1e]", re.MULTILINE)
_NO_QUOTE = "\u203a"


def escape(text: str) -> str:
    """Return markup for the text that has no link, mention, quotation or formatting.

    Slack has no escape for its formatting marks, and webhooks cannot keep it from turning bare addresses into links:
    `parse` has no effect there (https://gist.github.com/seanmarpo/723e18a4e2353188ea95f679ae30c3be).
    """
    return entities(tamed(_QUOTE.sub(_NO_QUOTE, unformatted(text))))


def entities(text: str) -> str:
    """Return the text with its control characters (& < >) escaped; enough for an address, not for people's text."""
    return re.sub("[&<>]", lambda character: _ENTITIES[character[0]], text)


def link(url: str, text: str) -> str:
    """Return a link to an address, with a text that is escaped already."""
    return f"<{entities(url)}|{text}>"
