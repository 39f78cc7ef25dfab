"""HTML: plain text comes in, markup goes out that shows exactly that text."""

from __future__ import annotations

import html


def escape(text: str) -> str:
    """Return markup for the text that has no tag, entity or quote of its own; it may stand in an attribute, too."""
    return html.escape(text, quote=True)


def link(url: str, text: str) -> str:
    """Return a link to an address, with a text that is escaped already."""
    return f'<a href="{escape(url)}">{text}</a>'
