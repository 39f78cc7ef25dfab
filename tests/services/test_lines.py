"""Messages as lines: what stands in them, and what goes when they are too long."""

from __future__ import annotations

import html

from announced import endless
from payloads import changed, documented

from services._html import HTML
from services._lines import Markup, told
from services._messages import message

PLAIN = Markup(str, lambda url, text: f"{text} <{url}>", str)


def test_the_sentence_comes_first_and_then_the_details() -> None:
    payload = changed("item", title="Glow", tags=["ios", "ipad"], parent=7)
    assert told(message(payload), PLAIN, 999).split("\n") == [
        'Joe S. created the story "Glow" (#1212) <http://sprint.ly/i/1/116550/>',
        "Status: backlog",
        "Assigned to: Joe S.",
        "Score: ~",
        "Tags: ios, ipad",
        "Part of: #7",
    ]


def test_what_was_written_is_quoted() -> None:
    payload = changed("comment", body="It glows.", item={"number": 7})
    assert told(message(payload), PLAIN, 999) == 'Joe S. commented on the item #7\n"It glows."'


def test_a_list_has_a_line_for_each_entry() -> None:
    assert told(message(documented("deploy")), PLAIN, 999).split("\n")[-2:] == [
        "Items: #1212 Change the spinner to our glowing running man.",
        "#1213 Der Zähler zählt rückwärts 🙃",
    ]


def test_lines_that_are_too_many_go_and_dots_say_so() -> None:
    said = message(changed("item", title="Glow"))
    whole = told(said, PLAIN, 999)
    assert told(said, PLAIN, len(whole)) == whole
    assert told(said, PLAIN, len(whole) - 1).split("\n")[-2:] == ["Assigned to: Joe S.", "..."]
    assert told(said, PLAIN, len(whole), size=lambda text: 2 * len(text)).endswith("\n...")


def test_the_first_line_stays_and_is_bounded() -> None:
    for character in ("&", '"', "x.", "\U0001d41a."):
        for payload in endless(character):
            first = told(message(payload), HTML, 0)
            assert len(first) <= 9_500
            shown = html.unescape(HTML.escape(message(payload).sentence()))
            assert len(shown.encode("utf-16-le")) // 2 <= 2_000
