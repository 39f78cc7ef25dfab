"""A message as lines, for chats that have no cards: a `Message` comes in, bounded text in any markup goes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from services._messages import Escape, Link, Message
from services._text import DOTS


class Markup(NamedTuple):
    """How a chat writes."""

    escape: Escape
    link: Link
    strong: Escape
    """Makes text that is escaped already stand out."""
    newline: str = "\n"


def told(said: Message, markup: Markup, limit: int, size: Callable[[str], int] = len) -> str:
    """Return the sentence with its links, what was written, and the details, each on lines of their own.

    If there are more than `limit` characters, as `size` counts them, whole lines go, and dots say so. The first line
    always stays: it is at most 9,500 characters of HTML, of which 1,000 are shown.
    """
    lines = [said.sentence(markup.escape, markup.link)]
    if said.excerpt:
        lines.append(markup.escape(f'"{said.excerpt}"'))
    for field in said.fields:
        label, (first, *more) = markup.strong(field.label), field.text.split("\n")
        lines += [f"{label}: {markup.escape(first)}", *map(markup.escape, more)]
    whole = markup.newline.join(lines)
    while size(whole) > limit and len(lines) > 1:
        lines.pop()
        whole = markup.newline.join([*lines, DOTS])
    return whole
