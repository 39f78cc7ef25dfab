"""Operators' words: a subscription waits, goes on, skips, or is read once more; what is not durable is done again."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from harness import CONTROL, DOWN, OK, TOPIC, Attempt, Replica, answered, destinations_down, place, subscription, value
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.breaker import BreakerSettings
from consumer.control import NOTHING, Kind, Note, Word, read_note, read_word
from consumer.core import CoreSettings
from consumer.dispatcher import Bounds
from consumer.event import TopicPartition
from consumer.router import Router
from consumer.state import Owed, State, state_key
from consumer.steward import COMING
from consumer.wire import Answer

P0 = TopicPartition(TOPIC, 0)
SMALL = CoreSettings(bounds=Bounds(in_hand_per_partition=20), catch_up=10)


def replica(*ids: str, log_of: Replica | None = None, settings: CoreSettings | None = None) -> Replica:
    """Return a replica; given another one, it takes over from the same log at the same time."""
    made = Replica(
        [subscription(id_) for id_ in ids or ("a", "b")],
        log=log_of and log_of.log,
        clock=log_of and log_of.clock,
        settings=settings,
    )
    made.assign(0)
    return made


def write(r: Replica, count: int, keys: int = 5) -> None:
    for number in range(count):
        r.log.append(value(), key=b"%d" % (number % keys))


def say(r: Replica, word: Word) -> None:
    """Have something said of a subscription, and heard."""
    r.log.say(word)
    r.hear()


def off(id_: str = "a") -> Word:
    return Word(id_, Kind.SWITCH, enabled=False)


def on(id_: str = "a", *, skip: bool = False) -> Word:
    return Word(id_, Kind.SWITCH, skip=skip)


def backfill(offset: int, id_: str = "a", at: float = 0.0) -> Word:
    return Word(id_, Kind.BACKFILL, offsets=((0, offset),), at=at)


def of(id_: str, seen: Sequence[str]) -> list[int]:
    """Return the offsets that a subscription got, in order."""
    return [int(where.rpartition(":")[2]) for where in seen if where.startswith(f"{id_}:")]


def in_lanes(offsets: Sequence[int], keys: int = 5) -> bool:
    """Whether events of one key came in their order."""
    lanes = [[offset for offset in offsets if offset % keys == key] for key in range(keys)]
    return all(lane == sorted(lane) for lane in lanes)


def test_a_disabled_subscription_waits_without_probes_and_costs_nobody_anything() -> None:
    r = replica(settings=SMALL)
    say(r, off())
    write(r, 200)
    seen = r.live(600)
    assert of("b", seen) == list(range(200))
    assert of("a", seen) == []
    assert r.log.committed[P0] == 200
    assert r.core.disabled == 1
    state = r.log.state("a")
    assert state is not None
    assert (state.next, state.owed) == (0, ())
    assert r.log.state_records == 1, "one record, however many events pass"


def test_enabled_it_gets_all_of_it_in_order() -> None:
    r = replica(settings=SMALL)
    write(r, 10)
    r.live(1)
    say(r, off())
    write(r, 200)
    assert of("a", r.live(30)) == []
    say(r, on())
    seen = of("a", r.live(30))
    assert sorted(seen) == list(range(10, 210))
    assert in_lanes(seen)
    assert r.log.states == {}
    assert r.core.disabled == 0


def test_enabled_with_skip_it_goes_on_from_now() -> None:
    r = replica(settings=SMALL)
    say(r, off())
    write(r, 200)
    r.live(10)
    say(r, on(skip=True))
    write(r, 7)
    assert of("a", r.live(10)) == list(range(200, 207))
    assert (r.log.states, r.log.committed[P0], r.core.in_hand, r.core.owed) == ({}, 207, 0, 0)


def test_what_is_under_way_when_it_is_disabled_ends_as_it_may() -> None:
    r = replica()
    write(r, 10, keys=1)
    r.fetch()
    first, other = r.turn()
    say(r, off())
    r.answer(first if place(first).startswith("a") else other)
    r.answer(other if place(first).startswith("a") else first)
    assert of("a", r.live(20)) == []
    state = r.log.state("a")
    assert state is not None
    assert [owed.offset for owed in state.owed] == list(range(1, 10))
    say(r, on())
    assert of("a", r.live(20)) == list(range(1, 10))
    assert r.log.committed[P0] == 10


def test_a_partition_that_stood_at_its_bound_goes_on_when_it_is_disabled() -> None:
    r = replica(settings=SMALL)
    write(r, 100)

    def hang(attempt: Attempt) -> Answer | None:
        return None if place(attempt).startswith("a") else OK

    r.live(1, hang)
    assert r.log.committed.get(P0, 0) < 100
    say(r, off())
    assert of("b", r.live(20, hang))[-1] == 99


def test_enabling_closes_the_breaker_and_attempts_at_once_what_waits() -> None:
    r = replica(settings=CoreSettings(breaker=BreakerSettings(first_probe=1000, longest_pause=1000)))
    write(r, 30)
    r.live(10, {"a": DOWN})
    assert destinations_down(r.core) == 1
    say(r, on())
    assert of("a", r.live(3)) == list(range(30))
    assert destinations_down(r.core) == 0


def test_a_delivery_that_is_due_in_hours_is_attempted_when_it_is_enabled() -> None:
    r = replica()
    write(r, 3, keys=1)

    def first_fails(attempt: Attempt) -> Answer:
        return DOWN if place(attempt) == "a:0:0" else OK

    r.live(60, first_fails)
    assert r.core.owed == 3
    say(r, on())
    assert of("a", r.live(3)) == [0, 1, 2]


@pytest.mark.parametrize("skip", [False, True])
def test_who_takes_over_carries_out_what_was_said_meanwhile(skip: bool) -> None:
    r = replica(settings=SMALL)
    say(r, off())
    write(r, 50)
    r.live(10)
    r.log.say(on(skip=skip))  # and nobody hears it
    new = replica(log_of=r, settings=SMALL)
    write(new, 5)
    expected = range(50, 55) if skip else range(55)
    assert sorted(of("a", new.live(20))) == list(expected)
    assert read_note(new.log.notes[P0]) == Note(2)


def test_a_word_that_was_carried_out_and_is_not_durable_is_carried_out_again() -> None:
    r = replica(settings=SMALL)
    say(r, off())
    write(r, 50)
    r.live(10)
    say(r, on(skip=True))
    cycle = r.core.cycle()
    assert read_note(cycle.commits[P0].metadata) == Note(2), "the state goes along"
    assert [record.key for record in cycle.records] == [state_key("a", P0)]
    new = replica(log_of=r, settings=SMALL)  # that cycle never became durable
    assert of("a", new.live(20)) == []
    assert (new.log.states, read_note(new.log.notes[P0])) == ({}, Note(2))


def test_a_note_says_no_more_than_the_states_that_go_along() -> None:
    """A state that has to wait for another cycle holds the note, as it holds the watermark."""
    r = replica("a", "b", "c", settings=CoreSettings(bounds=Bounds(in_hand_per_partition=100), cycle_bytes=600))
    for id_ in ("a", "b", "c"):
        say(r, off(id_))
    write(r, 60)
    r.live(20)
    for id_ in ("a", "b", "c"):
        r.log.say(backfill(0, id_))
    r.log.say(off("c"))
    r.hear()
    notes = []
    for _ in range(4):
        r.commit()
        notes.append(read_note(r.log.notes[P0]))
    assert notes[-1] == Note(7)
    assert notes == sorted(notes, key=lambda note: note or NOTHING)


def test_where_nobody_knows_what_was_carried_out_only_what_still_holds_does() -> None:
    r = replica()
    r.log.say(off())
    r.log.say(backfill(0, "b"))
    r.log.notes[P0] = ""
    r.log.committed[P0] = 3
    write(r, 5)
    new = replica(log_of=r)
    seen = new.live(20)
    assert (of("a", seen), of("b", seen)) == ([], [3, 4])
    assert read_note(new.log.notes[P0]) == Note(2)


def test_of_a_control_topic_made_anew_before_a_replica_began_all_is_carried_out() -> None:
    r = replica()
    write(r, 5)
    r.log.notes[P0] = '{"control": 99}'
    r.log.say(off())
    new = replica(log_of=r)
    assert of("a", new.live(10)) == []
    assert "made anew" in str(new.core.notices())
    assert read_note(new.log.notes[P0]) == Note(1)


def test_a_control_topic_made_anew_while_a_replica_runs_is_read_whole_and_what_the_former_said_is_void() -> None:
    r = replica()
    for word in (off("a"), off("b"), on("b")):
        r.log.say(word)
    r.core.told(r.log.control, 3, "first")
    write(r, 10)
    seen = r.live(5)
    assert (of("a", seen), of("b", seen)) == ([], list(range(10)))
    assert read_note(r.log.notes[P0]) == Note(3, "first")
    r.log.control.clear()
    r.log.say(off("b"))
    r.core.told(r.log.control, 1, "second")
    write(r, 10)
    seen = r.live(20)
    assert (of("a", seen), of("b", seen)) == (list(range(20)), [])
    assert read_note(r.log.notes[P0]) == Note(1, "second")
    (notice,) = [notice for notice in r.core.notices() if "made anew" in notice.event]
    assert (notice.level, notice.fields) == ("error", {"enabled": ["a"], "disabled_before": 1})


def test_who_takes_over_with_a_note_of_a_former_control_topic_carries_out_all_of_the_new_one() -> None:
    r = replica("a", settings=SMALL)
    write(r, 10)
    r.live(5)
    r.log.notes[P0] = '{"control": 1, "topic": "first"}'
    r.log.say(backfill(4))
    r.log.say(on())
    new = Replica([subscription("a")], log=r.log, clock=r.clock, settings=SMALL)
    new.core.told(r.log.control, 2, "second")
    new.assign(0)
    assert of("a", new.live(10)) == list(range(4, 10))
    assert read_note(new.log.notes[P0]) == Note(2, "second")


# -- backfill


def test_a_new_subscription_gets_what_was_written_before_it() -> None:
    r = replica("b", settings=SMALL)
    write(r, 300)
    r.live(5)
    new = replica("a", "b", log_of=r, settings=SMALL)
    write(new, 5)
    assert of("a", new.live(3)) == list(range(300, 305))
    say(new, backfill(100))
    write(new, 20)
    seen = new.live(30)
    assert of("b", seen) == list(range(305, 325))
    got = of("a", seen)
    assert sorted(got) == list(range(100, 325))
    assert in_lanes(got)
    assert new.log.states == {}


@pytest.mark.parametrize("comes", [True, False])
def test_a_backfill_said_just_before_its_subscription_comes_waits_for_it_with_what_is_said_later(comes: bool) -> None:
    r = replica("b")
    write(r, 10)
    assert of("b", r.live(5)) == list(range(10))
    r.log.say(backfill(4, "new", at=r.clock.time()))
    say(r, off("b"))
    write(r, 10)
    assert of("b", r.live(5)) == list(range(10, 20)), "the later word is not heard yet"
    assert read_note(r.log.notes[P0]) == Note(0)
    if comes:
        r.core.subscribe(Router([subscription("b"), subscription("new")]))
    else:
        r.clock.advance(COMING)
    r.hear()
    write(r, 10)
    seen = r.live(20)
    assert (of("b", seen), of("new", seen)) == ([], list(range(4, 30)) if comes else [])
    assert read_note(r.log.notes[P0]) == Note(2)


def test_a_backfill_of_what_is_in_hand_takes_none_of_it_in_hand_twice() -> None:
    r = replica("a", settings=SMALL)
    write(r, 40)
    r.fetch()
    flying = r.turn()
    assert len(flying) == 5
    say(r, backfill(0))
    r.read_again()
    assert r.core.in_hand <= 40
    assert r.turn() == [], "of each lane one is under way"
    for attempt in flying:
        r.answer(attempt)
    seen = of("a", [place(attempt) for attempt in flying]) + of("a", r.live(30))
    assert set(seen) == set(range(40))
    assert max(seen.count(offset) for offset in seen) <= 2
    assert in_lanes(list(dict.fromkeys(seen)))
    assert r.log.committed[P0] == 40
    assert r.log.states == {}


def test_a_disabled_subscription_is_read_once_more_when_it_is_enabled() -> None:
    r = replica(settings=SMALL)
    write(r, 30)
    r.live(5)
    say(r, off())
    say(r, backfill(10))
    assert of("a", r.live(5)) == []
    say(r, on())
    assert sorted(of("a", r.live(10))) == list(range(10, 30))


def test_a_backfill_for_nobody_or_of_what_is_still_to_come_changes_nothing() -> None:
    r = replica()
    write(r, 10)
    r.live(5)
    for word in (backfill(0, "unknown"), backfill(10), Word("a", Kind.BACKFILL, offsets=((7, 0),))):
        say(r, word)
    assert r.live(10) == []
    assert r.log.states == {}


@settings(max_examples=60)
@given(st.data())
def test_whatever_is_said_nothing_is_lost_and_lanes_are_in_order(data: st.DataObject) -> None:
    """Words, failures, crashes at any moment: without a skip, everything arrives, and the first time in order."""
    r = replica(settings=SMALL)
    seen: dict[str, list[int]] = {"a": [], "b": []}
    down = False

    def take(places: list[str]) -> None:
        for id_ in seen:
            seen[id_] += of(id_, places)

    def answers(attempt: Attempt) -> Answer:
        return DOWN if down and place(attempt).startswith("a") else OK

    lowest = 1000  # from which on a backfill has said that all comes again
    for _ in range(data.draw(st.integers(1, 12))):
        move = data.draw(st.sampled_from(["write", "off", "on", "backfill", "live", "lost", "crash", "down"]))
        if move == "write":
            write(r, data.draw(st.integers(1, 30)))
        elif move in ("off", "on"):
            say(r, off() if move == "off" else on())
        elif move == "backfill":
            lowest = min(lowest, data.draw(st.integers(0, 40)))
            say(r, backfill(lowest))
        elif move == "live":
            r.live(data.draw(st.integers(1, 12)), lambda attempt: _note(attempt, answers(attempt), take))
        elif move == "lost":
            r.core.cycle()
        elif move == "crash":
            r = replica(log_of=r, settings=SMALL)
        else:
            down = not down
    down = False
    say(r, on())
    for _ in range(10):
        r.live(20, lambda attempt: _note(attempt, answers(attempt), take))
    count = len(r.log.records.get(P0, []))
    for id_, offsets in seen.items():
        assert set(offsets) == set(range(count)), id_
        first = list(dict.fromkeys(offsets))
        for key in {record.key for record in r.log.records.get(P0, [])}:
            lane = [offset for offset in first if r.log.records[P0][offset].key == key]
            assert lane == sorted(lane), id_
    assert (r.log.states, r.log.committed.get(P0, 0)) == ({}, count)


def _note(attempt: Attempt, answer: Answer, take: object) -> Answer:
    if answer is OK:
        take([place(attempt)])  # type: ignore[operator]
    return answer


# -- destinations that are gone


def test_gone_disables_the_subscription_and_says_so_to_all() -> None:
    r = replica()
    write(r, 10, keys=1)
    r.live(5, {"a": answered(410)})
    (word,) = [read_word(record) for record in r.log.control]
    assert (word.subscription, word.kind, word.enabled) == ("a", Kind.SWITCH, False)
    assert word.reason == "the receiver answered 410"
    assert r.log.letters == []
    assert r.core.disabled == 0, "it was not heard yet"
    r.hear()
    assert r.core.disabled == 1
    assert of("a", r.live(600)) == []
    other = replica(log_of=r)
    assert other.core.disabled == 1
    say(other, on())
    assert of("a", other.live(10)) == list(range(10))


def test_gone_is_said_again_until_it_is_durable() -> None:
    r = replica("a")
    write(r, 1)
    r.serve({"a": answered(410)})
    for _ in range(2):
        assert [record.topic for record in r.core.cycle().records if record.topic == CONTROL] == [CONTROL]
    r.commit()
    assert [record for record in r.core.cycle().records if record.topic == CONTROL] == []


# -- subscriptions that are gone


def test_what_is_owed_to_one_that_is_gone_stays_until_it_is_forgotten() -> None:
    r = replica(settings=SMALL)
    say(r, off())
    write(r, 50)
    r.live(10)
    without = replica("b", log_of=r)
    without.live(10)
    assert without.log.state("a") is not None
    say(without, Word("a", Kind.FORGET))
    cycle = without.core.cycle()
    assert [(record.key, record.value) for record in cycle.records] == [(state_key("a", P0), None)]
    assert P0 in cycle.offsets, "its offsets fence a former owner"
    without.commit()
    assert without.log.states == {}
    assert not without.core.cycle()
    assert read_note(without.log.notes[P0]) == Note(2)


def test_it_goes_on_when_it_comes_back() -> None:
    r = replica()
    say(r, off())
    write(r, 20)
    r.live(10)
    without = replica("b", log_of=r)
    without.live(5)
    back = replica(log_of=without)
    say(back, on())
    assert of("a", back.live(10)) == list(range(20))


def test_forgetting_one_that_is_there_drops_what_it_is_owed() -> None:
    r = replica(settings=SMALL)
    say(r, off())
    write(r, 50)
    r.live(5)
    say(r, Word("a", Kind.FORGET))
    write(r, 5)
    say(r, on())
    r.live(5)
    assert r.log.states == {}
    assert r.core.in_hand == 0


# -- what leaves the log


def test_a_disabled_one_is_passed_over_by_what_expires_and_it_is_counted() -> None:
    r = replica()
    write(r, 4, keys=1)
    r.fetch()
    flying = r.turn()
    say(r, off())
    for attempt in flying:
        r.answer(attempt, OK if place(attempt).startswith("b") else DOWN)
    r.live(20)
    write(r, 50)
    r.live(20)
    r.core.log_begins(P0, 0, 30)
    r.live(2)
    assert r.log.letters == [], "nobody waits for them"
    assert r.metrics.expired.value("ping") == 30
    say(r, on())
    assert sorted(of("a", r.live(30))) == list(range(30, 54))


def test_what_one_that_is_gone_was_owed_goes_with_the_log() -> None:
    r = replica()
    r.log.states[state_key("x", P0)] = State("x", P0, "", 10, (Owed(3),))
    r.log.states[state_key("y", P0)] = State("y", P0, "", None, (Owed(3), Owed(40)))
    new = replica(log_of=r)
    assert P0 in new.core.owing()
    new.core.log_begins(P0, 20, 25)
    new.commit()
    assert [state.subscription for state in new.log.states.values()] == ["y"]
    new.core.log_begins(P0, 41, 45)
    new.commit()
    assert new.log.states == {}
