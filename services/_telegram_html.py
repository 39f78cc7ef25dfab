"""Telegram's HTML: plain text comes in, markup goes out that Telegram shows as exactly that text.

The tags and entities that it knows: https://core.telegram.org/bots/api#html-style
What it finds in any text by itself: https://core.telegram.org/bots/api#messageentity
"""

from __future__ import annotations

import html
import re

from services._automatic import JOINER
from services._html import HTML
from services._html import escape as escape_html

# Telegram finds what others leave alone: #hashtags, $CASHTAGS, /commands and addresses by number.
_AUTOMATIC = re.compile(r"(?<=[#$])(?=\w*[^\W\d])|(?<=/)(?=\w)|(?<=\d\.)(?=\d+\.\d+\.\d)")


def escape(text: str) -> str:
    """Return markup for the text that has no tag, link, mention, hashtag or command."""
    return escape_html(_AUTOMATIC.sub(JOINER, text))


def shown(markup: str) -> int:
    """Return how much of the markup is shown, in units of UTF-16."""
    return len(html.unescape(re.sub("<[^>]*>", "", markup)).encode("utf-16-le")) // 2


TELEGRAM = HTML._replace(escape=escape, newline="\n")
