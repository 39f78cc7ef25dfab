"""Words on subscriptions survive in the control topic: written, read back the same, refused when they are not ours."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.control import Kind, Note, Word, Words, read_note, read_word, write_note, write_word
from consumer.event import Record

CONTROL = "sprintly.events.control"

ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,30}(#[0-9a-f]{8})?", fullmatch=True)
offsets = st.integers(0, 2**63 - 1)
words = st.builds(
    Word,
    ids,
    st.sampled_from(Kind),
    st.booleans(),
    st.booleans(),
    st.dictionaries(st.integers(0, 999), offsets, max_size=5).map(lambda found: tuple(found.items())),
    st.text(max_size=20),
    st.floats(0, 2**33),
)


def stored(word: Word, offset: int = 0) -> Record:
    written = write_word(CONTROL, word)
    return Record(CONTROL, written.partition or 0, offset, written.key, written.value, 0)


@given(words, offsets)
def test_what_is_said_is_read_back_the_same(word: Word, offset: int) -> None:
    written = write_word(CONTROL, word)
    assert (written.topic, written.partition) == (CONTROL, 0)
    assert read_word(stored(word, offset)) == word._replace(offset=offset)


@given(st.lists(words, max_size=8))
def test_of_each_kind_on_each_subscription_the_last_word_counts(said: list[Word]) -> None:
    heard = Words()
    new, problems = heard.take([stored(word, n) for n, word in enumerate(said)], len(said))
    assert problems == []
    assert new == [word._replace(offset=n) for n, word in enumerate(said)]
    assert heard.end == len(said)
    last = {(word.subscription, word.kind): n for n, word in enumerate(said)}
    assert [word.offset for word in heard.since(0)] == sorted(last.values())
    assert [word.offset for word in heard.since(3)] == sorted(n for n in last.values() if n >= 3)
    for id_ in {word.subscription for word in said}:
        switches = [word for word in said if word.subscription == id_ and word.kind is Kind.SWITCH]
        assert heard.is_off(id_) == bool(switches and not switches[-1].enabled)
        assert (id_ in heard.off) == heard.is_off(id_)


def test_a_tombstone_takes_a_word_back() -> None:
    heard = Words()
    off = Word("a", Kind.SWITCH, enabled=False)
    heard.take([stored(off), Record(CONTROL, 0, 1, off.key, None, 0)], 2)
    assert not heard.is_off("a")
    assert heard.since(0) == []


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        (b"a", b"{}", "not enough values"),
        (b"a|dance", orjson.dumps({"version": 1}), "'dance' is not a valid Kind"),
        (b"a|switch", orjson.dumps({"version": 2}), "its version is 2, and this release reads version 1"),
        (b"a|switch", b"what", "not a word that can be read"),
        (None, b"{}", "not a word that can be read"),
        (b"a|backfill", orjson.dumps({"version": 1, "enabled": True, "skip": False, "offsets": [1]}), "attribute"),
    ],
)
def test_what_is_no_word_of_ours_is_named_by_its_place(key: bytes | None, value: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match="control offset 7 is not a word that can be read") as caught:
        read_word(Record(CONTROL, 0, 7, key, value, 0))
    assert problem in str(caught.value)


@given(offsets, st.text(max_size=30))
def test_a_note_is_read_back(offset: int, topic: str) -> None:
    note = Note(offset, topic)
    assert read_note(write_note(note)) == note


def test_a_note_of_an_earlier_release_names_no_topic_and_is_of_any() -> None:
    note = read_note('{"control": 7}')
    assert note == Note(7)
    assert not note.is_of_another("5J8QSm1QRbW2Vn9FyR8d6A")
    assert (note.covers(Note(7, "a")), note.covers(Note(8, "a"))) == (True, False)
    assert (Note(7, "a").is_of_another("b"), Note(7, "a").covers(Note(8, "b"))) == (True, True)


@pytest.mark.parametrize("metadata", ["", "hello", "{}", '{"control": "x"}', "[1]", "null"])
def test_what_is_no_note_says_nothing(metadata: str) -> None:
    assert read_note(metadata) is None
