"""HTML as the tests read it: markup comes in, its tags and its text go out, by Python's own HTML parser.

page = read('<a href="http://sprint.ly/i/1/">#1</a> &lt;b&gt;')
page.tags == [("a", {"href": "http://sprint.ly/i/1/"})]
page.text == "#1 <b>"
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import NamedTuple

# What a program that shows text would make a link or a mention by itself.
AUTOMATIC = re.compile(r"\w+://|\w\.[a-z]{2,}|www\.|\w@\w|@\w", re.IGNORECASE)


class Page(NamedTuple):
    """What a reader of the markup gets: each start tag with its attributes, and all the text."""

    tags: list[tuple[str, dict[str, str | None]]]
    text: str
    other: list[str]
    """Comments, declarations, instructions, and end tags without a beginning."""

    @property
    def names(self) -> set[str]:
        """The tags' names."""
        return {name for name, _ in self.tags}

    @property
    def links(self) -> list[str | None]:
        """Where the links lead."""
        return [attributes.get("href") for name, attributes in self.tags if name == "a"]

    @property
    def automatic(self) -> list[str]:
        """What of the text would be made a link or a mention."""
        return [found[0] for found in AUTOMATIC.finditer(self.text)]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.other: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("br", "img", "hr"):
            self.texts.append("\n" if tag == "br" else "")
        else:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()
        else:
            self.other.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        self.other.append(f"<!--{data}-->")

    def handle_decl(self, decl: str) -> None:
        self.other.append(f"<!{decl}>")

    def unknown_decl(self, data: str) -> None:
        self.other.append(f"<![{data}]>")

    def handle_pi(self, data: str) -> None:
        self.other.append(f"<?{data}>")


def read(markup: str) -> Page:
    """Return what the markup holds; tags that are left open are among the `other`."""
    reader = _Reader()
    reader.feed(markup)
    reader.close()
    return Page(reader.tags, "".join(reader.texts), reader.other + [f"<{tag}> is left open" for tag in reader.open])
