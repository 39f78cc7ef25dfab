"""HTML: plain text comes in, markup goes out that shows exactly that text, in an element or in a quoted attribute.

The characters: https://html.spec.whatwg.org/multipage/syntax.html#character-references
"""

from __future__ import annotations

import html

from services._automatic import tamed
from services._lines import Markup


def escape(text: str) -> str:
    """Return markup for other people's text: no tag, no end of an attribute, and nothing that is linked by itself."""
    return entities(tamed(text))


def entities(text: str) -> str:
    """Return the text with & < > and both quotes as entities; enough for an address, not for people's text."""
    return html.escape(text, quote=True)


def link(url: str, text: str) -> str:
    """Return a link to an http or https address, with a text that is escaped already."""
    return f'<a href="{entities(url)}">{text}</a>'


def strong(text: str) -> str:
    """Return text, escaped already, in bold."""
    return f"<b>{text}</b>"


HTML = Markup(escape, link, strong, newline="<br>")
