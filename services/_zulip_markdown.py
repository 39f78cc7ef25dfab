"""Zulip's Markdown: plain text comes in, markup goes out that Zulip shows as exactly that text.

What it formats: https://zulip.com/help/format-your-message-using-markdown
"""

from __future__ import annotations

import re

from services._lines import Markup

# Zulip has no escape by backslashes. But it passes the entities of HTML through, after all that looks for marks
# (https://github.com/zulip/zulip/blob/main/zerver/lib/markdown/__init__.py: "entity"), so each ASCII mark becomes one.
# That covers emphasis, code, links, mentions (@**all**), channels (#**dev**), emoji, formulas, times, lists,
# quotations, tables and headings, and addresses, whose dots and colons are marks, too. Commas and quotes mean nothing.
_MARK = re.compile(r"""[!-/:-@\[-`{-~](?<![,'"])""")

# Within the brackets of a link these would end it, or be markup to a pattern that comes before links.
_IN_ADDRESS = re.compile(r"[()\[\]*$&]")


def escape(text: str) -> str:
    """Return markup for the text that formats, links and mentions nothing."""
    return _MARK.sub(lambda mark: f"&#{ord(mark[0])};", text)


def link(url: str, text: str) -> str:
    """Return a link to an address, with a text that is escaped already."""
    # The & as an entity, since an address with &lt; in it would otherwise become one with <.
    quoted = _IN_ADDRESS.sub(lambda mark: "&amp;" if mark[0] == "&" else f"%{ord(mark[0]):02X}", url)
    return f"[{text}]({quoted})"


def strong(text: str) -> str:
    """Return text, escaped already, in bold."""
    return f"**{text}**"


MARKDOWN = Markup(escape, link, strong)
