"""Text that does nothing by itself: plain text comes in, text goes out of which no program makes a link or a mention.

Mail programs, phones and chats turn bare addresses into links, and @names into mentions, whatever the markup around
them says. An invisible joiner within breaks such words up: they read as before, and have to be typed anew to be used.
"""

from __future__ import annotations

import re

JOINER = "\u2060"

_AUTOMATIC = re.compile(r"(?<=:)(?=//)|(?<=\w\.)(?=[^\W\d_])|(?<=@)(?=\w)")

# A mark that could begin or end formatting becomes a sign that looks like it. Within a word (snake_case) and between
# spaces a mark formats nothing, and stays. The wide forms of East Asian keyboards count for Slack as the marks
# themselves, as its users found (https://github.com/yhatt/jsx-slack/blob/main/docs/about-escape-and-exact-mode.md).
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
# What follows < may be a tag or Slack's kind of mention, what follows ] the address of a link; and headings, quotations
# and lists begin at the beginning of a line.
_OPENED = re.compile(r"(?<=<)(?=\S)|(?<=\])(?=[(\[:])|^(?=\s*(?:#+\s|[>\uff1e+|=-]|\d+[.)]))", re.MULTILINE)


def unlinked(text: str) -> str:
    """Return the text with addresses, names of hosts and @names broken up."""
    return _AUTOMATIC.sub(JOINER, text)


def unformatted(text: str) -> str:
    """Return the text without marks that make it bold, slanted, struck or code."""
    return _MARK.sub(lambda mark: _LOOKALIKES[mark[0]], text)


def inert(text: str) -> str:
    """Return the text made safe for a place whose markup is not known: in none that is common does it format anything.

    Where the markup is known, escape for it instead.
    """
    return _OPENED.sub(JOINER, unlinked(unformatted(text)))
