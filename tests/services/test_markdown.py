"""Other people's text as Markdown: each sample is something to its target, and nothing once it is escaped."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markups import Found, discord, mattermost, unmarked

from services._automatic import JOINER
from services._markdown import DISCORD, MATTERMOST, Dialect, escape, link, unlinked

# Each takes a character or a place of its own away from `escape`: without it, the sample is not text any more.
DISCORD_SAMPLES = [
    *("*a*", "**a**", "_a_", "__a__", "~~a~~", "||a||", "`a`", "``a``", "# a", "### a", "-# a", "- a", "+ a", "* a"),
    *("1. a", "12) a", "> a", ">>> a", "[a](http://b)", "[a](<http://b>)", "[a](b)", "<http://a>", "http://a"),
    *("<mailto:a@b>", "<@1>", "<@!1>", "<@&1>", "<#1>", "<id:guide>", "</a:1>", "<t:1>", "<t:1:R>", "<:a:1>"),
    *("<a:b:1>", ":tada:", ":+1:", "@everyone", "@here", "a\n# b", "a\n> b", "\\\\*a*", "\\\\[a](b)", "<+15551234>"),
]
MATTERMOST_SAMPLES = [
    *(
        "*a*",
        "**a**",
        "_a_",
        "__a__",
        "~~a~~",
        "`a`",
        "# a",
        "- a",
        "+ a",
        "* a",
        "1. a",
        "1) a",
        "> a",
        "a\n===",
        "a\n=",
    ),
    *("---", "***", "|a|b|", "[a](http://b)", "![a](b)", "<http://a>", "<a@b>", "http://a", "ftp:a", "www.a", "www3.a"),
    *(
        "evil.com/",
        "a@evil.com",
        "<b>",
        "</b>",
        "<!-- a -->",
        "$a$",
        "&lt;b&gt;",
        "&#42;a",
        "@all",
        "@channel",
        "~town",
    ),
    *(
        "#tag",
        ":tada:",
        ":)",
        ";-)",
        ":D",
        ":-x",
        ":'(",
        "<3",
        "</3",
        "x-d",
        ":|",
        ":$",
        ":@",
        ":/",
        "<!here>",
        "<@ab1>",
    ),
    *("\\\\*a*", "\\\\_a_", "\\\\http://a", "~~~\na", "tel:1", "mailto:a"),
]


def seen(text: str) -> list[Found]:
    """An entity is nothing to be found by `mattermost`, which knows those of the escape; here it is one more."""
    return mattermost(text) or [Found("entity", one) for one in re.findall(r"&#?\w+;", text)]


@pytest.mark.parametrize("sample", DISCORD_SAMPLES)
def test_discord_shows_it_as_text(sample: str) -> None:
    assert discord(sample) != []
    assert discord(escape(sample, DISCORD)) == []


@pytest.mark.parametrize("sample", MATTERMOST_SAMPLES)
def test_mattermost_shows_it_as_text(sample: str) -> None:
    assert seen(sample) != []
    assert mattermost(escape(sample, MATTERMOST)) == []


ALPHABET = st.text("*_~`|<>[]()#-+=:;@!.&$/\\{}'\"ab1x3D \n", max_size=30) | st.lists(
    st.sampled_from([*DISCORD_SAMPLES, *MATTERMOST_SAMPLES, "\\", " ", "\n", "a"]), max_size=5
).map("".join)


@given(ALPHABET)
def test_no_text_is_markup_once_it_is_escaped(text: str) -> None:
    text = "\n".join(line.strip() for line in text.split("\n"))  # as `plain` leaves it
    assert discord(escape(text, DISCORD)) == []
    assert mattermost(escape(text, MATTERMOST)) == []


@given(ALPHABET)
def test_it_reads_as_it_was_written(text: str) -> None:
    def shown(markdown: str) -> str:
        return html.unescape(re.sub(r"\\([^0-9A-Za-z\s])", r"\1", markdown).replace(JOINER, ""))

    assert re.sub(r"\\([^0-9A-Za-z\s])", r"\1", escape(text, DISCORD)).replace(JOINER, "") == text
    assert shown(escape(text, MATTERMOST)) == text


@pytest.mark.parametrize("dialect", [DISCORD, MATTERMOST])
def test_plain_words_stay_as_they_are(dialect: Dialect) -> None:
    text = "Don't show item #12, or 3 of them at 12:30, in the Zähler 🙃"
    assert re.sub(r"[\\\u2060]", "", escape(text, dialect)) == text
    assert escape("a plain title", dialect) == "a plain title"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://a/b_c~d?e=f&g#h", "[t](http://a/b_c~d?e=f&g#h)"),
        ("http://a/(b)[c]*d*", "[t](http://a/%28b%29%5Bc%5D%2Ad%2A)"),
        ("http://a/b) [evil](http://evil", "[t](http://a/b%29%20%5Bevil%5D%28http://evil)"),
    ],
)
def test_nothing_in_an_address_ends_its_link(url: str, expected: str) -> None:
    assert link(url, "t") == expected
    assert [one.kind for one in discord(expected)] == ["link"] == [one.kind for one in mattermost(expected)]


@pytest.mark.parametrize("text", ["a [b", "a] b", "a](http://evil)", "[x](http://evil)", "a\\", "!", "*", "`", "<b"])
def test_no_text_ends_the_link_that_it_is_the_text_of(text: str) -> None:
    for dialect, found in ((DISCORD, discord), (MATTERMOST, mattermost)):
        assert found(link("http://sprint.ly/", escape(text, dialect))) == [("link", "http://sprint.ly/")]


def test_no_text_makes_an_image_of_the_link_behind_it() -> None:
    assert mattermost("wow!" + link("http://a/", "t")) == [("image", "http://a/")]
    assert mattermost(escape("wow!", MATTERMOST) + link("http://a/", "t")) == [("link", "http://a/")]


@pytest.mark.parametrize(
    "text",
    [
        "http://evil",
        "www.evil.com",
        "evil.com",
        "joe@evil.com",
        "@all",
        "mailto:a",
        "tel:1",
        "<b>",
        "</b>",
        "<!here>",
        "<@U1>",
    ],
)
def test_text_without_markup_is_unlinked(text: str) -> None:
    assert unmarked(text) != []
    assert unmarked(unlinked(text)) == []
    assert unlinked(text).replace(JOINER, "") == text
