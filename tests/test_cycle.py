"""One transaction holds what belongs together, no more than it may, and nothing counts before it is durable."""

from __future__ import annotations

import pytest
from harness import DOWN, LETTERS, OK, TOPIC, Attempt, Replica, answered, place, subscription, value

from consumer.core import CoreSettings
from consumer.cycle import Cycle
from consumer.delivery import delivery_id
from consumer.event import TopicPartition
from consumer.patience import Limits
from consumer.wire import Answer

P0 = TopicPartition(TOPIC, 0)
STATES = f"{TOPIC}.state"


def replica(
    *subscriptions: str, log_of: Replica | None = None, cycle_bytes: int = 8_000_000, max_owed: int = 1000
) -> Replica:
    made = Replica(
        [subscription(id_) for id_ in subscriptions or ("a",)],
        log=log_of and log_of.log,
        clock=log_of and log_of.clock,
        settings=CoreSettings(cycle_bytes=cycle_bytes, limits=Limits(owed=max_owed)),
    )
    made.assign(0)
    return made


def write(r: Replica, *keys: bytes | None) -> None:
    for key in keys:
        r.log.append(value(), key=key)


def owe(r: Replica, answers: dict[str, Answer] | None = None) -> None:
    """Use up the quick attempts of what is there."""
    for pause in (0, 1, 2):
        r.pass_time(pause)
        r.serve({"a": DOWN} if answers is None else answers)


def topics(cycle: Cycle) -> list[str]:
    return sorted(record.topic for record in cycle.records)


# -- the watermark and what is owed


def test_the_watermark_passes_what_is_owed_with_the_transaction_that_writes_its_state() -> None:
    r = replica()
    write(r, b"x")
    owe(r)
    cycle = r.core.cycle()
    assert topics(cycle) == [STATES]
    assert cycle.offsets == {P0: 1}


def test_after_an_aborted_transaction_the_next_one_writes_the_state_again() -> None:
    r = replica()
    write(r, b"x")
    owe(r)
    aborted = r.core.cycle()
    again = r.core.cycle()
    assert again.records == aborted.records
    assert again.offsets == aborted.offsets
    r.commit()
    assert r.log.committed[P0] == 1
    assert not r.core.cycle()


def test_after_an_aborted_transaction_what_was_delivered_meanwhile_is_not_owed_in_the_next() -> None:
    r = replica()
    write(r, b"x", b"y")
    owe(r)
    r.core.cycle()  # aborted, and nobody knows it was: a record may be there
    r.pass_time(40)
    r.serve(lambda attempt: DOWN if attempt.delivery.offset else OK)
    r.commit()
    state = r.log.state("a")
    assert state is not None
    assert [owed.offset for owed in state.owed] == [1]
    assert r.log.committed[P0] == 2


def test_a_transaction_in_doubt_is_written_again_and_at_last_deleted() -> None:
    r = replica()
    write(r, b"x")
    owe(r)
    r.log.commit(r.core.cycle())  # durable, and its writer was told that it is not
    assert r.log.state("a") is not None
    r.pass_time(40)
    r.serve()
    r.commit()
    assert r.log.states == {}
    assert r.log.committed[P0] == 1


def test_a_take_over_after_a_transaction_in_doubt_finds_it_owed() -> None:
    r = replica()
    write(r, b"x")
    owe(r)
    r.log.commit(r.core.cycle())
    new = replica(log_of=r)
    assert new.serve() == []
    new.pass_time(40)
    assert new.serve() == ["a:0:0"]


def test_what_becomes_owed_while_a_transaction_is_written_is_not_passed_by_it() -> None:
    r = replica()
    write(r, b"x", b"y")
    r.fetch()
    first, second = r.turn()
    r.answer(first)
    cycle = r.core.cycle()
    assert cycle.offsets == {P0: 1}
    r.answer(second, DOWN)
    owe(r)
    r.log.commit(cycle)
    r.core.durable(cycle)
    assert r.log.committed[P0] == 1
    assert r.commit().offsets == {P0: 2}


def test_what_changes_while_a_state_is_written_is_written_with_the_next() -> None:
    r = replica()
    write(r, b"x", b"y")
    owe(r)
    cycle = r.core.cycle()
    r.pass_time(40)
    r.serve(lambda attempt: DOWN if attempt.delivery.offset else OK)
    r.log.commit(cycle)
    r.core.durable(cycle)
    r.commit()
    state = r.log.state("a")
    assert state is not None
    assert [(owed.offset, owed.attempts) for owed in state.owed] == [(1, 4)]


# -- dead letters


def test_a_dead_letter_and_the_state_without_it_are_one_transaction() -> None:
    r = replica()
    write(r, b"x", b"x")
    owe(r)
    r.commit()
    r.pass_time(40)
    r.serve({"a": answered(400)})
    cycle = r.core.cycle()
    assert topics(cycle) == [LETTERS, STATES]
    r.log.commit(cycle)
    state = r.log.state("a")
    assert state is not None
    assert [owed.offset for owed in state.owed] == [1]
    assert len(r.log.dead) == 1
    new = replica(log_of=r)  # nobody learnt that it was durable
    assert new.serve() == ["a:0:1"]


def test_a_dead_letter_of_what_was_never_owed_needs_no_state() -> None:
    r = replica()
    write(r, b"x")
    r.serve({"a": answered(400)})
    cycle = r.commit()
    assert topics(cycle) == [LETTERS]
    assert cycle.offsets == {P0: 1}


def test_a_dead_letter_in_an_aborted_transaction_comes_with_the_next_and_its_lane_waits() -> None:
    r = replica()
    write(r, b"x", b"x")
    owe(r)
    r.commit()
    r.pass_time(40)
    r.serve({"a": answered(400)})
    r.core.cycle()
    assert r.serve() == []
    assert topics(r.commit()) == [LETTERS, STATES]
    assert r.serve() == ["a:0:1"]


def test_a_dead_letter_that_fits_no_more_when_its_transaction_is_repeated_is_not_passed() -> None:
    r = replica("a", "b", cycle_bytes=1_100, max_owed=1)
    write(r, b"x")
    owe(r, {"a": DOWN, "b": answered(400)})
    write(r, b"y")
    r.serve({"a": answered(400)})  # fell behind and caught up since the last transaction
    r.pass_time(40)
    r.serve()
    assert topics(r.core.cycle()) == [LETTERS, LETTERS]  # aborted
    write(r, *(b"%d" % number for number in range(10)))
    owe(r, {"b": DOWN})
    cycle = r.commit()  # the state of b has grown, and takes the other letter's room
    assert topics(cycle).count(LETTERS) == 1
    assert replica("a", "b", log_of=r).serve()[:1] == ["a:0:1"]


# -- as much as a transaction may hold


def many_owed(r: Replica, subscriptions: int) -> None:
    write(r, *(b"%d" % number for number in range(4)))
    owe(r, {f"s{number}": DOWN for number in range(subscriptions)})


def test_a_transaction_holds_no_more_than_it_may_and_the_watermark_waits_for_the_states_that_did_not_fit() -> None:
    r = replica(*(f"s{number}" for number in range(20)), cycle_bytes=2_000)
    many_owed(r, 20)
    written, cycles = 0, 0
    while cycle := r.core.cycle():
        assert sum(len(record.value or b"") for record in cycle.records) <= 2_000
        r.log.commit(cycle)
        r.core.durable(cycle)
        written += len(cycle.records)
        cycles += 1
        assert r.log.committed.get(P0, 0) == (4 if written == 20 else 0)
    assert written == 20
    assert cycles == 4


def test_a_state_too_large_for_a_transaction_is_written_alone() -> None:
    r = replica("a", "b", cycle_bytes=100)
    write(r, *(b"%d" % number for number in range(9)))
    owe(r, {"a": DOWN, "b": DOWN})
    assert [len(r.commit().records) for _ in range(2)] == [1, 1]
    assert r.log.committed[P0] == 9


def test_states_that_hold_a_watermark_come_before_those_that_only_changed() -> None:
    r = replica("a", "b", cycle_bytes=100)
    write(r, b"x")
    owe(r, {"a": DOWN})
    r.commit()
    r.pass_time(40)
    r.serve({"a": DOWN})  # one attempt more: nothing waits for that
    write(r, b"y")
    owe(r, {"b": DOWN, "a": OK})
    (record,) = r.commit().records
    assert record.key == b"b|sprintly.events|0"
    assert r.log.committed[P0] == 2


def test_a_state_that_changes_all_the_time_lets_others_have_their_turn() -> None:
    r = replica("a", "b", cycle_bytes=100)
    write(r, b"x", b"y")
    owe(r, {"a": DOWN, "b": DOWN})
    while r.core.cycle():
        r.commit()
    r.pass_time(40)
    attempts = {place(attempt): attempt for attempt in r.turn()}
    r.answer(attempts["a:0:0"], DOWN)
    r.answer(attempts["b:0:0"], DOWN)
    (record,) = (cycle := r.core.cycle()).records
    assert record.key == b"a|sprintly.events|0"
    r.answer(attempts["a:0:1"], DOWN)  # it changes before that is durable
    r.core.durable(cycle)
    (record,) = r.commit().records
    assert record.key == b"b|sprintly.events|0"
    (record,) = r.commit().records
    assert record.key == b"a|sprintly.events|0"
    assert not r.core.cycle()


def test_a_state_with_a_dead_letter_comes_along_whatever_else_is_to_be_written() -> None:
    r = replica("a", "b", cycle_bytes=900)
    write(r, b"x", b"y")
    owe(r, {"a": DOWN, "b": DOWN})
    while r.core.cycle():
        r.commit()
    r.pass_time(40)
    r.serve({"a": answered(400), "b": DOWN})
    while cycle := r.core.cycle():
        r.log.commit(cycle)
        gone = {key.decode() for key in r.log.dead}
        state = r.log.state("a")
        still = [] if state is None else [owed.offset for owed in state.owed]
        records = r.log.records[P0]
        assert not gone & {delivery_id(records[offset], "a") for offset in still}
        r.core.durable(cycle)
    assert len(r.log.dead) == 2


def test_a_state_that_the_broker_refuses_for_its_size_holds_up_its_watermark_and_nothing_else() -> None:
    r = Replica([subscription("a"), subscription("b")])
    r.assign(0, 1)
    for number in range(8):
        r.log.append(value(), key=b"%d" % number)
        r.log.append(value(), key=b"%d" % number, partition=1)
    owe(r, {"a": DOWN})
    refused = r.core.cycle()
    key = b"a|sprintly.events|0"
    assert key in {record.key for record in refused.records}
    r.core.shrink(frozenset([key]), 1000)
    r.commit()
    assert r.log.committed == {TopicPartition(TOPIC, 1): 8}
    r.live(60, lambda attempt: DOWN if place(attempt) == "a:0:0" else OK)
    assert r.log.committed[P0] == 8
    state = r.log.state("a")
    assert state is not None
    assert [owed.offset for owed in state.owed] == [0]


# -- who has what


def test_only_the_newest_assignment_is_changed_by_a_transaction() -> None:
    r = replica()
    write(r, b"x")
    owe(r)
    cycle = r.core.cycle()
    r.core.release([P0])
    r.assign(0)
    r.core.durable(cycle)
    assert not r.core.cycle()
    assert r.serve() == ["a:0:0"]


def test_a_state_is_written_to_the_partition_of_the_same_number() -> None:
    r = Replica([subscription("a")])
    r.assign(2)
    r.log.append(value(), partition=2)
    owe(r)
    (record,) = r.commit().records
    assert record.partition == 2
    assert r.log.state("a", 2) is not None


@pytest.mark.parametrize("durable", [True, False], ids=["durable", "in doubt"])
def test_whatever_is_known_of_a_transaction_nothing_is_lost_by_a_crash_after_it(*, durable: bool) -> None:
    r = replica("a", "b")
    write(r, b"x", b"x", b"y", b"z")
    r.serve(_mixed)
    owe(r)
    cycle = r.core.cycle()
    r.log.commit(cycle)
    if durable:
        r.core.durable(cycle)
    new = replica("a", "b", log_of=r)
    seen = set(new.live(60))
    finished = {f"{letter.subscription}:0:{letter.origin.offset}" for letter in new.log.letters}
    assert {f"a:0:{offset}" for offset in (0, 1, 3)} <= seen
    assert finished == {"b:0:2"}
    assert new.log.committed[P0] == 4
    assert new.log.states == {}


def _mixed(attempt: Attempt) -> Answer:
    """Let `a` be down but for offset 2, and refuse that to `b`."""
    return {"a:0:2": OK, "b:0:2": answered(400)}.get(place(attempt), DOWN if place(attempt)[0] == "a" else OK)
