"""The escapes of HTML, read back by an HTML parser."""

from __future__ import annotations

import htmls
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services._html import entities, escape, link


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a & b < c > d", "a &amp; b &lt; c &gt; d"),
        ("\"a\" 'b'", "&quot;a&quot; &#x27;b&#x27;"),
        ("&lt;b&gt;", "&amp;lt;b&amp;gt;"),
        ("see http://evil.com/x", "see http:\u2060//evil.\u2060com/x"),
        ("ask @here or joe@example.com", "ask @\u2060here or joe@\u2060example.\u2060com"),
        ("www.evil.com", "www\u2060.\u2060evil.\u2060com"),
        ("version 1.2.3 is out.", "version 1.2.3 is out."),
    ],
)
def test_what_html_would_act_on_is_escaped(text: str, expected: str) -> None:
    assert escape(text) == expected


def test_an_address_keeps_its_characters() -> None:
    page = htmls.read(link("http://sprint.ly/?a=1&lt;=2", "#1"))
    assert page == ([("a", {"href": "http://sprint.ly/?a=1&lt;=2"})], "#1", [])


def test_the_parser_sees_what_is_not_escaped() -> None:
    page = htmls.read('<script>alert(1)</script> <b onclick="x">http://evil @here</i> <!-- c --> <a href="http://x">')
    assert page.names == {"script", "b", "a"}
    assert page.links == ["http://x"]
    assert page.automatic == ["http://", "@h"]
    assert page.other == ["</i>", "<!-- c -->", "<b> is left open", "<a> is left open"]


TEXT = st.text("<>&\"'/=!-? ab1.@:;#xw")


@given(TEXT)
def test_no_text_is_markup_once_it_is_escaped(text: str) -> None:
    page = htmls.read(f"<p>{escape(text)}</p>")
    assert (page.tags, page.other, page.automatic) == ([("p", {})], [], [])
    assert page.text.replace("\u2060", "") == text


@given(TEXT)
def test_no_text_ends_an_attribute(text: str) -> None:
    page = htmls.read(f"<p title=\"{entities(text)}\" lang='{entities(text)}'></p>")
    assert (page.tags, page.other) == ([("p", {"title": text, "lang": text})], [])
