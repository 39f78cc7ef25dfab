"""Too much of what nobody can read stops a replica: in a row, or within a full window; and nothing else does."""

from __future__ import annotations

from harness import DOWN, TOPIC, Replica, subscription, value
from hypothesis import given
from hypothesis import strategies as st
from replicas import REPLAYS

from consumer.core import CoreSettings
from consumer.deadletter import DeadLetter, Stage
from consumer.event import Record, TopicPartition
from consumer.poison import WINDOW, Poison

RECORD = Record(TOPIC, 3, 17, None, b"?", 0)
BAD, GOOD = b"poison", value()


def after(readable: list[bool], limit: int) -> Poison:
    poison = Poison(limit)
    for good in readable:
        poison.good() if good else poison.bad(RECORD, "why")
    return poison


@given(st.lists(st.booleans(), max_size=120), st.integers(1, 6))
def test_it_stops_where_one_who_looks_at_the_whole_past_would(readable: list[bool], limit: int) -> None:
    """Only what nobody can read can be the last straw; the window counts once it is full."""

    def too_many(past: list[bool]) -> bool:
        row = past[-limit:]
        window = past[-WINDOW * limit :]
        full = len(window) == WINDOW * limit
        return not past[-1] and (row == [False] * limit or (full and window.count(False) >= limit))

    expected = any(too_many(readable[: n + 1]) for n in range(len(readable)))
    assert (after(readable, limit).stop is not None) == expected


def test_it_says_how_many_and_where_and_why() -> None:
    assert (
        str(after([False] * 3, 3).stop)
        == f"3 records in a row cannot be read, the last one at {TOPIC}[3] offset 17: why"
    )
    spread = after([True] * 28 + [False, True, False, True, False], 3)
    assert str(spread.stop).startswith("3 of the last 30 records cannot be read")


def test_without_a_limit_it_never_stops() -> None:
    poison = Poison(None)
    for _ in range(5000):
        poison.bad(RECORD, "why")
    assert poison.stop is None


# -- the core


def replica(limit: int | None = 3) -> Replica:
    made = Replica([subscription("a")], settings=CoreSettings(poison_limit=limit))
    made.assign(0, 1)
    return made


def test_nothing_further_is_let_in_and_all_that_was_goes_on() -> None:
    r = replica()
    r.log.append(GOOD, key=b"x")
    for _ in range(5):
        r.log.append(BAD)
    r.log.append(GOOD, partition=1, key=b"y")
    r.fetch()
    (attempt,) = r.turn()
    assert r.core.poisoned is not None
    assert (r.core.poisoned.tp.partition, r.core.poisoned.offset) == (0, 3)
    r.answer(attempt, DOWN)  # what was let in before is retried
    r.commit()
    r.clock.advance(1)
    (again,) = r.turn()
    r.answer(again)
    r.commit()
    assert len(r.log.letters) == 3
    assert r.log.committed == {TopicPartition(TOPIC, 0): 4}
    assert r.run() == []


def test_what_stays_behind_is_read_by_the_next_owner_who_counts_anew() -> None:
    r = replica()
    for data in (BAD, BAD, BAD, BAD, BAD, GOOD):
        r.log.append(data)
    r.run()
    r.commit()
    other = Replica([subscription("a")], log=r.log, settings=CoreSettings(poison_limit=3))
    other.assign(0, 1)
    assert other.run() == ["a:0:5"]
    other.commit()
    assert (len(r.log.letters), other.core.poisoned) == (5, None)


def test_off_goes_on_whatever_comes() -> None:
    r = replica(None)
    for _ in range(2000):
        r.log.append(BAD)
    r.log.append(GOOD)
    assert r.run() == ["a:0:2000"]


def test_events_that_concern_nobody_count_as_readable_and_so_do_those_that_cannot_be_rendered() -> None:
    r = Replica([subscription("a", product=7)], settings=CoreSettings(poison_limit=2))
    r.assign(0)
    for data in (BAD, value(product=8), BAD, value(product=7, title="unrenderable"), BAD, value(product=7)):
        r.log.append(data, key=None)
    assert r.run() == ["a:0:5"]


def test_a_body_that_cannot_be_read_behind_a_good_beginning_is_poison_as_well() -> None:
    r = replica(2)
    for data in (GOOD[:-1], GOOD[:-2], GOOD):
        r.log.append(data)
    assert r.run() == []
    assert r.core.poisoned is not None
    assert r.core.poisoned.reason.startswith("truncated")


def test_what_is_replayed_does_not_count_and_goes_on_when_events_are_not_let_in() -> None:
    r = replica(2)
    r.assign(0, topic=REPLAYS)

    def replay(data: bytes, offset: int) -> None:
        origin = Record(TOPIC, 0, offset, b"k", data, 1)
        sent = DeadLetter(f"id-{offset}", origin, Stage.DECODE, "poison", "why").replay(REPLAYS)
        r.log.append(sent.value, key=sent.key, topic=REPLAYS, headers=sent.headers)

    for offset in range(5):
        replay(BAD, offset)
    r.run()
    assert r.core.poisoned is None
    r.log.append(BAD)
    r.log.append(BAD)
    r.run()
    assert r.core.poisoned is not None
    replay(GOOD, 9)
    assert len(r.run()) == 1


def test_nothing_is_let_in_or_read_again_while_nothing_becomes_durable() -> None:
    r = replica()
    r.log.append(GOOD)
    r.core.held = True
    assert r.run() == []
    assert r.core.in_hand == 0
    assert not r.core.could_admit
    r.core.held = False
    assert r.run() == ["a:0:0"]
