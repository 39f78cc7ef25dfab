"""Text that is to do nothing by itself: what breaks up, and what stays as it was written."""

from __future__ import annotations

import html
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services._automatic import JOINER, tamed
from services._html import escape, link
from services._inert import inert


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see http://evil.com/x", "see http:|//evil.|com/x"),
        ("www.evil.com", "www|.|evil.|com"),
        ("ask @here or joe@example.com", "ask @|here or joe@|example.|com"),
        ("version 1.2.3 is out. So 2 * 3", "version 1.2.3 is out. So 2 * 3"),
    ],
)
def test_addresses_and_mentions_are_broken_up(text: str, expected: str) -> None:
    assert tamed(text) == expected.replace("|", JOINER)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*a* `b` ~c~ snake_case", "\u2217a\u2217 \u02cbb\u02cb \u223cc\u223c snake_case"),
        ("<!channel> <b> 1 < 2", "<|!channel> <|b> 1 < 2"),
        ("[x](y) [z]: w [1]", "[x]|(y) [z]|: w [1]"),
        ("# a\n> b\n- c\n1. d\n=====", "|# a\n|> b\n|- c\n|1. d\n|====="),
        ("#12 a", "#12 a"),
    ],
)
def test_where_markup_is_not_known_none_is_begun(text: str, expected: str) -> None:
    assert inert(text) == expected.replace("|", JOINER)


@given(st.text(alphabet="ab1 .:/@<>[]()#\n-"))
def test_nothing_is_lost(text: str) -> None:
    assert tamed(text).replace(JOINER, "") == text
    assert inert(text).replace(JOINER, "") == text


class Tags(HTMLParser):
    """Collects what is a tag, and what is text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.text = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.text(alphabet="ab<>&\"'/=; #"))
def test_escaped_text_is_text_in_a_page_and_in_an_attribute(text: str) -> None:
    assert html.unescape(escape(text)) == text
    parsed = Tags(f"<p>{escape(text)}</p>")
    assert (parsed.tags, parsed.text) == ([("p", [])], text)
    assert Tags(link(f"http://x/{text}", "here")).tags == [("a", [("href", f"http://x/{text}")])]
