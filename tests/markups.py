"""What targets make of a text, by their own rules: text comes in, what is more than text in it comes out.

Each function returns `Found`s in order: links with their address, mentions, emoji, formatting. A text that is shown as
it was written gives none. The rules are those of the targets' parsers where these are public.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from html.parser import HTMLParser
from typing import Any, NamedTuple


class Found(NamedTuple):
    """Something that is not shown as text: what it is, and the text or the address that makes it so."""

    kind: str
    text: str


def unexpected(found: Iterable[Found], address: str = "http://sprint.ly/") -> list[Found]:
    """Return what no template makes: everything but links into the product."""
    return [one for one in found if one.kind != "link" or not one.text.startswith(address)]


def _all(rules: dict[str, str], text: str, flags: int = 0) -> list[Found]:
    return [
        Found(kind, match[0]) for kind, pattern in rules.items() for match in re.finditer(pattern, text, flags | re.M)
    ]


# --- Discord ---

# In the order of its parser, which tries each rule at each place: https://github.com/brussell98/discord-markdown
_DISCORD = {
    "escape": r"\\([^0-9A-Za-z\s])",
    "link": r"\[(?:\\.|\[(?:\\.|[^\\\]])*\]|[^\\\[\]])*\]\(\s*<?(?P<url>(?:\([^)]*\)|[^\s\\)]|\\.)*?)>?\s*\)",
    "address": r"<(?:\w+:/{0,2}|\+)[^ >]+>|https?://[^\s<]+",
    "mention": r"<@[!&]?\d+>|<#\d+>|<id:\w+>|</[^:>]+:\d+>|@everyone|@here",
    "time": r"<t:-?\d+(?::\w)?>",
    "emoji": r"<a?:\w+:\d+>|:[\w+-]+:",
    "bracket": r"[\[\]]",  # it could begin a link of somebody's, or end one of the template
    "formatting": r"(?P<mark>\*\*?\*?|__?|~~|\|\||`+)(?=\S)(?:\\.|[^\\])+?(?P=mark)",
}
_DISCORD_RULE = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in _DISCORD.items()), re.DOTALL)
_DISCORD_LINES = {"heading": r"^(#{1,3}|-#)\s+\S", "list": r"^\s*([-*+]|\d{1,9}[.)])\s+\S", "quotation": r"^\s*>{1,3} "}


def discord(text: str) -> list[Found]:
    """Return what Discord finds in the Markdown of an embed's title, description or field."""
    found = _all(_DISCORD_LINES, text)
    for match in _DISCORD_RULE.finditer(text):
        if match.lastgroup == "link" or match["link"]:
            found.append(Found("link", match["url"]))
            found += [one for one in discord(match[0][1 : match[0].rindex("](")]) if one.kind != "link"]
        elif not match["escape"]:
            found.append(Found(next(kind for kind in _DISCORD if match[kind]), match[0]))
    return found


# --- Mattermost ---

_SCHEME = r"[A-Za-z][A-Za-z\d.+-]*:(?:/{1,3}|[^\W_]|%)"
_MATTERMOST = {
    "escape": r"\\[`*{}\[\]()#+\-.!_>|~\\]",  # https://github.com/mattermost/marked: not before < : @ $ and =
    "entity": r"&(?:#\d+|#x[0-9a-f]+|\w+);",
    "link": r"!?\[(?:\\.|\[(?:\\.|[^\\\]])*\]|[^\\\[\]])*\]\((?P<url>[^()\s]*)\)",
    "address": rf"<[^ >]+(?:@|:/)[^ >]+>|\b{_SCHEME}|\bwww\d{{0,3}}\.|[\w.-]+\.[^\W\d_]{{2,4}}/",
    "tag": r"<[A-Za-z/!?][^>]*>",
    "bracket": r"[\[\]]",
    "formatting": r"(?P<mark>\*\*?|__?|~~|`+)(?=[^\s])(?:\\.|[^\\])+?(?P=mark)",
    "formula": r"\$[^$\n]+\$(?!\w)",
}
_MATTERMOST_RULE = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in _MATTERMOST.items()), re.DOTALL)
_MATTERMOST_LINES = {
    "heading": r"^ *#{1,6} +\S|^[=-]+ *$",
    "list": r"^ *(?:[*+-]|\d+[.)]) ",
    "quotation": r"^ *>",
    "rule": r"^( *[-*_]){3,} *$",
    "code": r"^(?: {4}|```|~~~)",
    "table": r"^ *\|.*\|",
}
# What is done to the text that is left: text_formatting.tsx and emoticons.tsx of https://github.com/mattermost/mattermost
_MATTERMOST_TEXT = {
    "mention": r"@[a-z0-9.\-_]",
    "channel": r"(?:^|\W)~[a-z0-9_]",
    "hashtag": r"(?:^|\W)#[^\W\d_][\w.-]+",
    "mail": r"[\w!#$%&'*+/=?^`{|}~.-]+@[\w.-]+\.\w{2,5}",
    "emoji": r"(?<!\w):[\w+-]+:(?!\w)",
    "emoticon": r"(?<![a-z0-9_])[:;]-?[()\]\[@|/$]|(?<![a-z0-9_]):(?:-?[odpsx]\b|[`'\u2019]-?\()|\bx-d\b|</?3\b",
}
_MATTERMOST_SERVER = {"announcement": r"<!\w+>|<@\w+>"}  # Slack's mentions, which the server makes its own of


def mattermost(text: str) -> list[Found]:
    """Return what Mattermost's server and clients find in the Markdown of an attachment."""
    found = _all(_MATTERMOST_SERVER, text) + _all(_MATTERMOST_LINES, text)
    left, end = "", 0
    for match in _MATTERMOST_RULE.finditer(text):
        left, end = left + text[end : match.start()], match.end()
        if match["link"]:
            found.append(Found("image" if match[0][0] == "!" else "link", match["url"]))
            found += [
                one
                for one in mattermost(match[0][match[0].index("[") + 1 : match[0].rindex("](")])
                if one.kind != "link"
            ]
            left += "\ufffc"
        elif match["escape"] or match["entity"]:
            left += html.unescape(match[0]) if match["entity"] else match[0][1:]
        else:
            found.append(Found(next(kind for kind in _MATTERMOST if match[kind]), match[0]))
    return found + _all(_MATTERMOST_TEXT, left + text[end:], re.IGNORECASE)


# --- HTML, and text without markup ---

_ADDRESSES = {
    "address": r"\w+://|\w\.[^\W\d_]{2,}|\bwww\d*\.|\b(?:mailto|tel):\w",
    "mention": r"@\w",
    "tag": r"<[\w!@#&/?]",
    "direction": "[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]",
}


def unmarked(text: str) -> list[Found]:
    """Return what clients make links or mentions of in a text that takes no markup."""
    return _all(_ADDRESSES, text)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[Found] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        plain = tag in ("b", "i", "br") and not attrs
        link = tag == "a" and [name for name, _ in attrs] == ["href"]
        if link or not plain:
            self.found.append(Found("link" if link else "tag", str(attrs[0][1]) if link else f"{tag} {attrs}"))

    def handle_data(self, data: str) -> None:
        self.found += unmarked(data)

    def handle_comment(self, data: str) -> None:
        self.found.append(Found("comment", data))

    def handle_decl(self, decl: str) -> None:
        self.found.append(Found("declaration", decl))

    def unknown_decl(self, data: str) -> None:
        self.found.append(Found("declaration", data))

    def handle_pi(self, data: str) -> None:
        self.found.append(Found("instruction", data))


def hypertext(text: str) -> list[Found]:
    """Return what there is in a Google card's HTML: tags other than plain <b>, <i> and <br>, addresses, mentions."""
    parser = _Tags()
    parser.feed(text)
    parser.close()
    return parser.found


# --- Adaptive Cards ---

_CARD_PLACES = {"AdaptiveCard", "RichTextBlock", "TextRun", "Action.OpenUrl"}


def adaptive_card(card: dict[str, Any]) -> list[Found]:
    """Return what clients make of a card; its texts may stand in text runs only, which take no Markdown."""
    found = [] if card["type"] in _CARD_PLACES else [Found("element", card["type"])]
    if card["type"] == "TextRun":
        found += unmarked(card["text"]) + _all({"function": r"\{\{(?:DATE|TIME)", "lines": "\n"}, card["text"])
    if "url" in card:
        found.append(Found("link", card["url"]))
    inner = [card.get("selectAction"), *card.get("body", []), *card.get("inlines", [])]
    return found + [one for part in inner if part for one in adaptive_card(part)]
