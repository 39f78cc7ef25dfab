"""What happened, in words: every documented payload and action, and whatever else a payload may hold."""

from __future__ import annotations

import copy
import functools
import operator
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from payloads import NAMES, documented, payloads

from services import Payload
from services._messages import Field, Message, Reference, message, name_of, refer
from services._text import cut, excerpt, fitted, listed, plain

STORY = '"As a user, I want outbound service hooks so that I will see new items announced in Slack or HipChat." (#1212)'
BLOCKED = '"As a customer, I want to be notified before my CC expires so that I can update my billing details." (#2222)'
FAVORITE = '"As a user, I want a global filter UI so that I can use filters on the dashboard and timelines." (#1111)'
SPINNER = '"Change the spinner to our glowing running man."'


def told(name: str, **changes: Any) -> Message:
    payload = documented(name)
    payload["attributes"].update(changes.pop("attributes", {}))
    return message({**payload, **changes})


@pytest.mark.parametrize(
    ("name", "action", "expected"),
    [
        ("item", "created", f"Joe S. created the story {STORY}"),
        ("item", "updated", f"The story {STORY} was updated"),
        ("item", "deleted", f"The story {STORY} was deleted"),
        ("comment", "created", f"Joe S. commented on the task {SPINNER} (#1212)"),
        ("comment", "updated", f"The comment by Joe S. on the task {SPINNER} (#1212) was updated"),
        ("comment", "deleted", f"The comment by Joe S. on the task {SPINNER} (#1212) was deleted"),
        ("favorite", "created", f"Joe S. favorited the story {FAVORITE}"),
        ("favorite", "updated", f"The favorite by Joe S. on the story {FAVORITE} was updated"),
        ("favorite", "deleted", f"Joe S. unfavorited the story {FAVORITE}"),
        ("block", "created", f"Joe S. blocked the story {BLOCKED} because of the task {SPINNER} (#2222)"),
        ("block", "updated", f"The block on the story {BLOCKED} by the task {SPINNER} (#2222) was updated"),
        ("block", "deleted", f"The block on the story {BLOCKED} by the task {SPINNER} (#2222) was deleted"),
        ("deploy", "created", "Joe S. deployed version 2012.33.1 to production"),
        ("deploy", "updated", "The deploy of version 2012.33.1 to production was updated"),
        ("deploy", "deleted", "The deploy of version 2012.33.1 to production was deleted"),
    ],
)
def test_every_model_and_action_is_a_sentence(name: str, action: str, expected: str) -> None:
    assert told(name, action=action).sentence() == expected


@pytest.mark.parametrize("action", ["created", "updated"])
def test_a_block_that_is_over_is_told_so(action: str) -> None:
    expected = f"Joe S. unblocked the story {BLOCKED} that was blocked by the task {SPINNER} (#2222)"
    assert told("block", action=action, attributes={"unblocked": True}).sentence() == expected


def test_a_block_that_is_over_and_deleted_is_deleted() -> None:
    said = told("block", action="deleted", attributes={"unblocked": True}).sentence()
    assert said == f"The block on the story {BLOCKED} by the task {SPINNER} (#2222) was deleted"


@pytest.mark.parametrize(
    ("model", "attributes", "expected"),
    [
        ("Item", {}, "Someone created an item"),
        ("Item", {"number": 7}, "Someone created the item #7"),
        ("Item", {"number": 0, "type": "test"}, "Someone created the test #0"),
        ("Comment", {}, "Someone commented on an item"),
        ("Favorite", {"item": None}, "Someone favorited an item"),
        ("Block", {}, "Someone blocked an item"),
        ("Block", {"blocked": {"number": 1}}, "Someone blocked the item #1"),
        ("Block", {"item": {"number": 2}}, "Someone blocked an item because of the item #2"),
        ("Deploy", {}, "Someone deployed"),
        ("Deploy", {"environment": "staging"}, "Someone deployed to staging"),
        ("Deploy", {"version": "1.2"}, "Someone deployed version 1.2"),
    ],
)
def test_a_bare_payload_still_is_a_sentence(model: str, attributes: dict[str, Any], expected: str) -> None:
    assert message({"model": model, "product": {"id": 1}, "attributes": attributes}).sentence() == expected


def test_a_deploy_without_version_is_one_of_the_product() -> None:
    payload = {"model": "Deploy", "product": {"id": 1, "name": "sprint.ly"}, "attributes": {"environment": "test"}}
    assert message(payload).sentence() == "Someone deployed sprint.ly to test"
    assert message({**payload, "action": "deleted"}).sentence() == "The deploy of sprint.ly to test was deleted"


JOE = {"first_name": "Joe", "last_name": "Stump"}


@pytest.mark.parametrize(
    ("action", "attributes", "expected"),
    [
        ("created", {"user": JOE, "title": "1.0", "number": 3}, 'Joe S. created the release note "1.0" (#3)'),
        ("created", {"title": "1.0"}, 'The release note "1.0" was created'),
        ("renamed", {"user": JOE, "title": "1.0"}, 'The release note "1.0" was renamed'),
        (
            "created",
            {"user": JOE, "item": {"type": "task", "number": 4}},
            "Joe S. created the release note on the task #4",
        ),
        ("created", {}, "The release note was created"),
    ],
)
def test_a_model_that_nobody_knows_yet_is_told(action: str, attributes: dict[str, Any], expected: str) -> None:
    assert message({"model": "ReleaseNote", "action": action, "attributes": attributes}).sentence() == expected


def test_an_action_that_nobody_knows_yet_is_told() -> None:
    assert told("item", action="archived").sentence() == f"The story {STORY} was archived"


def test_without_action_it_was_created() -> None:
    payload = documented("item")
    del payload["action"]
    assert message(payload).sentence() == f"Joe S. created the story {STORY}"


@pytest.mark.parametrize(
    ("person", "expected"),
    [
        ({"first_name": "Joe", "last_name": "Stump"}, "Joe S."),
        ({"first_name": "Joe", "last_name": None}, "Joe"),
        ({"first_name": "Joe"}, "Joe"),
        ({"first_name": "Joe", "last_name": " "}, "Joe"),
        ({"last_name": "Stump"}, "Stump"),
        ({"first_name": "", "email": "joe@example.com"}, "joe"),
        ({"email": "[email protected]"}, ""),
        ({"first_name": "Ole\n", "last_name": "Ångström"}, "Ole Å."),
        ({}, ""),
    ],
)
def test_names(person: dict[str, Any], expected: str) -> None:
    assert name_of(person) == expected


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"title": "T", "who": "user"}, "T"),
        ({"who": "user", "what": "a door", "why": "I can leave"}, "As a user, I want a door so that I can leave"),
        ({"title": "", "who": "user", "what": "a door", "why": None}, "As a user, I want a door"),
        ({"what": "a door", "why": "I can leave"}, "I want a door so that I can leave"),
        ({"who": "user"}, "As a user"),
        ({"title": None}, ""),
    ],
)
def test_titles(item: dict[str, Any], expected: str) -> None:
    assert refer(item).title == expected


@pytest.mark.parametrize("name", ["title", "what"])
def test_a_long_title_is_cut_visibly(name: str) -> None:
    title = refer({name: "x" * 5000}).title
    assert len(title) == 240
    assert title.endswith("x...")


@pytest.mark.parametrize(
    ("kind", "colour"),
    [
        ("story", "#96be60"),
        ("task", "#454545"),
        ("defect", "#D94949"),
        ("test", "#5A96AB"),
        ("epic", "#84b431"),
        (None, "#84b431"),
    ],
)
def test_the_colour_is_that_of_the_item(kind: str | None, colour: str) -> None:
    assert told("item", attributes={"type": kind}).colour == colour
    assert told("comment", attributes={"item": {"type": kind}}).colour == colour
    assert told("block", attributes={"blocked": {"type": kind}}).colour == colour


def test_a_deploy_has_the_other_colour() -> None:
    assert told("deploy").colour == "#84b431"


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("http://sprint.ly/i/1/2/", True),
        ("https://sprint.ly:8443/i/?a=1&b=(2)#c", True),
        ("HTTPS://[::1]/", True),
        ("javascript:alert(1)", False),
        ("ftp://sprint.ly/", False),
        ("http://", False),
        ("http://a/|b", False),
        ("http://a/>b", False),
        ('http://a/"b', False),
        ("http://a/'b", False),
        ("http://a/ b", False),
        ("http://a/\n", False),
        ("http://a/ü", False),
        ("http://a/" + "b" * 500, False),
        (17, False),
        (None, False),
    ],
)
def test_only_addresses_that_cannot_break_a_link_are_kept(url: object, kept: bool) -> None:
    assert refer({"short_url": url}).url == (url if kept else None)


@pytest.mark.parametrize(
    ("item", "quoted", "in_a_list"),
    [
        ({"title": "T", "number": 1}, '"T" (#1)', "#1 T"),
        ({"title": "T"}, '"T"', "T"),
        ({"number": 1}, "#1", "#1"),
        ({"number": True, "title": 2}, "", ""),
    ],
)
def test_what_items_are_called(item: dict[str, Any], quoted: str, in_a_list: str) -> None:
    assert (refer(item).quoted(), refer(item).listed()) == (quoted, in_a_list)


def fields(said: Message) -> dict[str, str]:
    return {field.label: field.text for field in said.fields}


def test_the_details_of_an_item() -> None:
    more = {"tags": ["ios", 3, "", "i pad"], "parent": {"number": 5, "title": "Epic"}, "close_reason": "fixed"}
    assert told("item", attributes=more).fields == (
        Field("Status", "backlog"),
        Field("Assigned to", "Joe S."),
        Field("Score", "~"),
        Field("Closed as", "fixed"),
        Field("Tags", "ios, i pad", short=False),
        Field("Part of", "#5 Epic", short=False),
    )


@pytest.mark.parametrize("missing", ["status", "assigned_to", "score"])
def test_a_detail_that_is_missing_is_left_out(missing: str) -> None:
    labels = {"status": "Status", "assigned_to": "Assigned to", "score": "Score"}
    expected = set(labels.values()) - {labels[missing]}
    assert set(fields(told("item", attributes={missing: None}))) == expected


def test_a_parent_may_be_a_number() -> None:
    assert fields(told("item", attributes={"parent": 1100}))["Part of"] == "#1100"


def test_a_block_names_what_blocks() -> None:
    assert fields(told("block")) == {"Blocked by": "#2222 Change the spinner to our glowing running man."}


def test_a_deploy_lists_its_items_and_quotes_its_notes() -> None:
    said = told("deploy")
    assert said.excerpt == "The running man, at last."
    assert fields(said) == {
        "Environment": "production",
        "Version": "2012.33.1",
        "Items": "#1212 Change the spinner to our glowing running man.\n#1213 Der Zähler zählt rückwärts 🙃",
    }


def test_a_long_deploy_lists_ten_items_and_counts_the_rest() -> None:
    items = [{"number": number, "title": "x" * 300} for number in range(13)]
    lines = fields(told("deploy", attributes={"items": items}))["Items"].split("\n")
    assert lines[10:] == ["and 3 more"]
    assert all(len(line) == 90 and line.endswith("...") for line in lines[:10])


def test_a_comment_is_quoted_with_names_for_mentions() -> None:
    body = "Hey @[Craig](pk:12), ask @[Joe Stump](pk:1)!\n\nThanks"
    assert told("comment", attributes={"body": body}).excerpt == "Hey Craig, ask Joe Stump! Thanks"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x" * 50, "x" * 50),
        ("x" * 51, "x" * 50 + "..."),
        ("x" * 49 + " yz", "x" * 49 + "..."),
        ("@[" + "C" * 50 + "](pk:12)", "C" * 50),
        ("x" * 48 + "👩\u200d🚀", "x" * 48 + "👩..."),
        (None, ""),
        (["x"], ""),
    ],
)
def test_excerpts_have_50_characters(text: object, expected: str) -> None:
    assert excerpt(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\r\n b\tc\x00d\x85e\u2028f\u2029g", "a b c d e f g"),
        ("\u202egnp.exe\u2066 \u200f\u061cx", "gnp.exe x"),
        ("👩\u200d🚀 é", "👩\u200d🚀 é"),
        ("\ud83d half", "half"),
        ("@[Craig](pk:12)s @[no](id:1) @[a[b]](pk:2)", "Craigs @[no](id:1) @[a[b]](pk:2)"),
    ],
)
def test_text_is_on_one_line_and_runs_one_way(text: str, expected: str) -> None:
    assert plain(text) == expected


def test_cutting_shows() -> None:
    assert cut("abcdef", 6) == "abcdef"
    assert cut("abcdefg", 6) == "abc..."
    assert listed(list("abcdefghij")) == "\n".join("abcdefghij")
    assert listed(list("abcdefghijk")).endswith("\nj\nand 1 more")


def test_every_text_is_escaped_and_items_are_linked() -> None:
    said = told("block").sentence(str.upper, lambda url, text: f"<{url} {text}>", Reference.short)
    link = "<http://sprint.ly/i/1111/1111/ #2222>"
    assert said == f"JOE S. BLOCKED THE STORY {link} BECAUSE OF THE TASK {link}"


def test_what_has_no_address_is_not_linked() -> None:
    said = told("item", attributes={"short_url": "javascript:alert(1)", "title": "T"})
    assert said.sentence(link=lambda url, text: pytest.fail(url)) == 'Joe S. created the story "T" (#1212)'


def test_a_line_says_it_all() -> None:
    said = "Hey guys, what's the status on this?"
    sentence, address = f"Joe S. commented on the task {SPINNER} (#1212)", "http://sprint.ly/i/1/91594/"
    assert told("comment").line() == f"{sentence}: {said} {address}"
    assert told("comment").line(str.upper) == f"{sentence}: {said}".upper() + f" {address}"
    assert told("comment").line(address=str.title) == f"{sentence}: {said} {address.title()}"


def test_a_line_has_neither_note_nor_address_where_there_is_none() -> None:
    said = message({"model": "Deploy", "attributes": {"environment": "staging"}})
    assert said.line() == said.sentence() == "Someone deployed to staging"


# --- Whatever a payload may hold ---


def texts(said: Message) -> Iterator[str]:
    yield from (said.sentence(), said.actor, said.subject.title, said.product, said.excerpt)
    yield from (field.text for field in said.fields)


def check(payload: Payload) -> None:
    before = copy.deepcopy(payload)
    said = message(payload)
    assert payload == before
    assert said.sentence().strip()
    for text in texts(said):
        assert len(text) <= 1000
        text.encode()
        assert all(line == plain(line) or "@[" in line for line in text.split("\n"))
    assert all(field.text for field in said.fields)


@given(payloads)
def test_any_payload_of_the_schema_is_told(payload: Payload) -> None:
    check(payload)


def paths(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield (*path, key)
        yield from paths(inner, (*path, key))


@pytest.mark.parametrize("name", NAMES)
def test_each_value_may_be_anything_else(name: str) -> None:
    for *outer, last in paths(documented(name)):
        for other in (None, True, -7, 0.5, "", "text", [], [1, {}], {}, {"number": "1", "title": [], "tags": 1}):
            payload = documented(name)
            functools.reduce(operator.getitem, outer, payload)[last] = other
            check(payload)


any_text = st.text(st.characters(codec=None)) | st.text("@[](pk:1)x")
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def damaged(draw: st.DrawFn) -> Payload:
    """Build documented payloads in which some values, at any depth, are missing or something else altogether."""
    payload = documented(draw(st.sampled_from(NAMES)))
    for _ in range(draw(st.integers(1, 4))):
        *outer, last = draw(st.sampled_from(list(paths(payload))))
        place: Any = functools.reduce(operator.getitem, outer, payload)
        if draw(st.booleans()):
            place[last] = draw(anything)
        else:
            del place[last]
    return payload


@given(damaged())
def test_a_payload_that_is_damaged_anywhere_is_told(payload: Payload) -> None:
    check(payload)


@given(st.dictionaries(st.sampled_from(["model", "action", "product", "attributes"]), anything))
def test_what_is_no_payload_at_all_is_told(payload: Payload) -> None:
    check(payload)


@given(st.text("a*&", max_size=60), st.integers(20, 80))
def test_what_is_fitted_is_cut_before_it_is_escaped(text: str, limit: int) -> None:
    def escape(text: str) -> str:
        return text.replace("&", "&amp;").replace("*", "\\*")

    escaped = fitted(text, limit, escape)
    assert len(escaped) <= limit
    assert escaped == escape(text) or escaped.endswith("...")
    assert escape(text).startswith(escaped.removesuffix("..."))
