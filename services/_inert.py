"""Text without markup, for places whose markup is Slack's, or is not known: it comes in, and goes out to read the same.

Marks become signs that look like them, and what would begin markup is broken up by an invisible joiner.
"""

from __future__ import annotations

import re

from services._automatic import JOINER, tamed

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


def unformatted(text: str) -> str:
    """Return the text without marks that make it bold, slanted, struck or code."""
    return _MARK.sub(lambda mark: _LOOKALIKES[mark[0]], text)


def inert(text: str) -> str:
    """Return the text made safe for a place whose markup is not known: in none that is common does it format anything.

    Where the markup is known, escape for it instead.
    """
    return _OPENED.sub(JOINER, tamed(unformatted(text)))
