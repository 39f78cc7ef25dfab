"""Who is meant by what an operator types."""

from __future__ import annotations

import pytest
from harness import subscription

from consumer.control import Kind, Word, Words, write_word
from consumer.errors import ConfigurationError
from consumer.event import Record, TopicPartition
from consumer.roster import Roster
from consumer.state import State

P0 = TopicPartition("sprintly.events", 0)


def words(*said: Word) -> Words:
    found = Words()
    found.take([Record("c", 0, n, word.key, write_word("c", word).value, 0) for n, word in enumerate(said)], len(said))
    return found


def roster(*ids: str) -> Roster:
    there = [*map(subscription, ids), subscription("unused", enabled=False)]
    return Roster(there, [State("former", P0, "", 3)], words(Word(ids[0], Kind.SWITCH, enabled=False)))


def test_whoever_is_owed_something_or_subscribed_is_there() -> None:
    known = roster("acme", "other")
    assert known.ids == ["acme", "former", "other", "unused"]
    assert [known.standing(id_) for id_ in known.ids] == ["disabled", "gone", "enabled", "disabled in the file"]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("acme-hook", ["acme-hook"]),
        ("other", ["other"]),
        ("oth", ["other"]),
        ("many", ["many#00000001", "many#00000002"]),
        ("ma", ["many#00000001", "many#00000002"]),
        ("many#00000002", ["many#00000002"]),
        ("form", ["former"]),
    ],
)
def test_an_unambiguous_beginning_will_do_and_an_id_means_all_its_destinations(given: str, meant: list[str]) -> None:
    assert roster("acme-hook", "acme-hook-2", "many#00000001", "many#00000002", "other").find(given) == meant


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("acme", "several subscriptions begin with acme: acme-hook, acme-slack"),
        ("acme-hok", "there is no subscription acme-hok; did you mean acme-hook?"),
        ("zzz", "there is no subscription zzz"),
    ],
)
def test_nobody_or_several_is_said(given: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        roster("acme-hook", "acme-slack").find(given)
    assert str(caught.value) == sentence


def test_without_the_file_an_id_may_be_given_whole() -> None:
    known = Roster(None, [State("former", P0, "", 3)], words(Word("off", Kind.SWITCH, enabled=False)))
    assert known.ids == ["former", "off"]
    assert known.find("acme-hook") == ["acme-hook"]
    assert known.find("form") == ["former"]
    assert [known.standing(id_) for id_ in known.ids] == ["enabled", "disabled"]
    with pytest.raises(ConfigurationError, match="there is no subscription what is this"):
        known.find("what is this")


def test_one_whose_record_cannot_be_used_is_there_with_all_its_destinations() -> None:
    owed = [State("bad#00000001", P0, "", 3)]
    known = Roster([subscription("acme")], owed, words(Word("x", Kind.SWITCH)), {"bad": "the record is not JSON"})
    assert known.ids == ["acme", "bad", "bad#00000001"]
    assert [known.standing(id_) for id_ in known.ids] == ["enabled", "set aside", "set aside"]
