"""A destination that is down is owed everything, probed now and then, and has used up no attempts when it is back."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from harness import (
    DOWN,
    OK,
    TOPIC,
    Attempt,
    Replica,
    answered,
    destinations_down,
    flows_behind,
    place,
    subscription,
    value,
)

from consumer.breaker import Breaker, BreakerSettings
from consumer.core import CoreSettings
from consumer.deadletter import Stage
from consumer.dispatcher import Bounds
from consumer.event import TopicPartition
from consumer.subscriptions import Subscription
from consumer.wire import Answer

P0 = TopicPartition(TOPIC, 0)
GONE = answered(404, b"no such hook")
SETTINGS = BreakerSettings()


# -- the breaker alone


def breaker_after(answers: list[tuple[object, bool]]) -> Breaker:
    """Return a breaker that was told of failures: of which lane, and whether it was refused."""
    breaker = Breaker(SETTINGS)
    for lane, refused in answers:
        breaker.failed(0.0, lane, refused=refused)
    return breaker


def test_ten_failures_in_a_row_open_it() -> None:
    assert not breaker_after([(number % 3, False) for number in range(9)]).open
    assert breaker_after([(number % 3, False) for number in range(10)]).open


def test_twenty_permanent_answers_in_a_row_open_it() -> None:
    assert not breaker_after([(number % 3, True) for number in range(19)]).open
    assert breaker_after([(number % 3, True) for number in range(20)]).open


def test_failures_and_permanent_answers_are_counted_apart() -> None:
    assert not breaker_after([(number % 3, number % 3 > 0) for number in range(27)]).open


@pytest.mark.parametrize("refused", [True, False])
def test_two_items_alone_make_no_outage(*, refused: bool) -> None:
    breaker = breaker_after([(number % 2, refused) for number in range(100)])
    assert not breaker.open
    assert breaker.failed(0.0, "a third", refused=refused)


def test_a_delivery_in_between_begins_the_count_anew() -> None:
    breaker = breaker_after([(number, False) for number in range(9)])
    assert not breaker.succeeded()
    for number in range(9):
        assert not breaker.failed(0.0, number, refused=False)
    assert breaker.failed(0.0, 9, refused=False)


def test_ten_minutes_of_attempts_that_delivered_nothing_open_it() -> None:
    breaker = Breaker(SETTINGS)
    assert not breaker.failed(0.0, "one", refused=False)
    assert not breaker.failed(599.9, "two", refused=False)
    assert breaker.failed(600.0, "two", refused=False)


def test_one_item_alone_is_no_silence_else_it_would_never_be_exhausted() -> None:
    breaker = Breaker(SETTINGS)
    assert not any(breaker.failed(600.0 * number, "one", refused=False) for number in range(50))


def test_it_says_only_once_that_it_opens_and_that_it_closes() -> None:
    breaker = breaker_after([(number, False) for number in range(10)])
    assert not breaker.failed(0.0, 0, refused=False)
    assert breaker.succeeded()
    assert not breaker.succeeded()


def test_pauses_between_probes_double_up_to_five_minutes_and_begin_anew_the_next_time() -> None:
    breaker = breaker_after([(number, False) for number in range(10)])
    due = [breaker.probe_at]
    for _ in range(8):
        breaker.probe_failed(due[-1])
        due.append(breaker.probe_at)
    assert due[0] == 5
    assert [later - sooner for sooner, later in pairwise(due)] == [10, 20, 40, 80, 160, 300, 300, 300]
    breaker.succeeded()
    breaker.trip(10_000.0)
    assert breaker.probe_at == 10_005


# -- what becomes of the deliveries


def replica(*subscriptions: str, log_of: Replica | None = None, **bounds: int) -> Replica:
    return made([subscription(id_) for id_ in subscriptions or ("a",)], log_of, Bounds(**bounds))


def made(subscriptions: list[Subscription], log_of: Replica | None = None, bounds: Bounds | None = None) -> Replica:
    r = Replica(
        subscriptions,
        log=log_of and log_of.log,
        clock=log_of and log_of.clock,
        settings=CoreSettings(bounds=bounds or Bounds()),
    )
    r.assign(0)
    return r


def write(r: Replica, *keys: bytes | None) -> None:
    for key in keys:
        r.log.append(value(), key=key)


def items(count: int, first: int = 0) -> list[bytes]:
    return [b"%d" % number for number in range(first, first + count)]


def broken_down(*subscriptions: str, answer: Answer = DOWN) -> Replica:
    """Return a replica that has just found the destination of `a` down, with 30 items owed."""
    r = replica(*subscriptions or ("a",))
    write(r, *items(30))
    r.live(1, {"a": answer})
    assert destinations_down(r.core) == 1
    return r


def probes(r: Replica, seconds: float, answers: dict[str, Answer] | Callable[[Attempt], Answer]) -> list[float]:
    """Return when something went out to `a` (seconds from now), as long as it answers like this."""
    began, times = r.clock.monotonic(), []
    for _ in range(round(seconds * 2)):
        r.pass_time(0.5)
        times += [r.clock.monotonic() - began for where in r.serve(answers) if where.startswith("a")]
    return times


def test_ten_failures_over_three_lanes_make_all_of_it_owed() -> None:
    r = replica()
    write(r, *items(10))
    assert len(r.serve({"a": DOWN})) == 10
    assert (destinations_down(r.core), r.core.owed) == (1, 10)
    r.commit()
    assert r.log.committed[P0] == 10
    state = r.log.state("a")
    assert state is not None
    assert state.failing_since == int(r.clock.time())
    assert state.last_error == "connection refused"


def test_what_waits_for_its_turn_goes_out_no_more_once_it_is_open() -> None:
    r = replica(in_flight_per_subscription=2)
    write(r, *items(30))
    assert len(r.serve({"a": DOWN})) < 13
    r.pass_time(1)
    assert r.serve({"a": DOWN}) == []


def test_that_a_destination_is_down_and_that_it_is_back_are_told_once() -> None:
    r = broken_down()
    r.live(30, {"a": DOWN})
    (notice,) = [told for told in r.core.notices() if told.event.startswith("a destination")]
    assert (notice.level, notice.fields["subscription"]) == ("warning", "a")
    assert notice.fields["error"] == "connection refused"
    r.live(60)
    (notice,) = [told for told in r.core.notices() if told.event.startswith("a destination")]
    assert (notice.level, notice.fields["subscription"]) == ("info", "a")


def test_while_it_is_open_nothing_goes_out_but_probes_and_their_pauses_double() -> None:
    r = broken_down()
    times = probes(r, 1500, {"a": DOWN})
    pauses = [later - sooner for sooner, later in pairwise([0.0, *times])]
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300]


def test_probes_go_over_changing_lanes() -> None:
    r = broken_down()
    seen = r.live(3000, {"a": DOWN}, step=5)
    assert len(set(seen)) > len(seen) // 3
    assert r.core.owed == 30


def test_a_probe_that_is_delivered_closes_it_and_all_goes_out() -> None:
    r = broken_down()
    r.live(4)
    assert (destinations_down(r.core), r.core.owed) == (1, 30)
    assert len(r.live(3)) == 30
    assert (destinations_down(r.core), r.core.owed) == (0, 0)
    assert r.log.states == {}


def test_what_was_in_flight_and_is_delivered_closes_it_too() -> None:
    r = replica()
    write(r, *items(11))
    r.fetch()
    *failing, slow = r.turn()
    for attempt in failing:
        r.answer(attempt, DOWN)
    assert destinations_down(r.core) == 1
    r.answer(slow)
    assert destinations_down(r.core) == 0
    assert len(r.live(2)) == 10


def test_an_outage_uses_up_no_attempts() -> None:
    r = broken_down()
    r.live(3 * 86_400, {"a": DOWN}, step=60)
    assert r.log.dead == {}
    state = r.log.state("a")
    assert state is not None
    assert max(owed.attempts for owed in state.owed) <= 1
    seen = r.live(310)
    assert {f"a:0:{offset}" for offset in range(30)} == set(seen)
    assert r.log.states == {}


def test_followers_stay_behind_their_heads_through_an_outage() -> None:
    r = replica()
    write(r, *[b"x", b"y", b"z"] * 10)
    r.live(60, {"a": DOWN})
    assert (destinations_down(r.core), r.core.owed) == (1, 30)
    offsets = [int(where.rpartition(":")[2]) for where in r.live(300)]
    for lane in range(3):
        assert [offset for offset in offsets if offset % 3 == lane] == list(range(lane, 30, 3))


def test_a_revoked_url_does_not_fill_the_dead_letters() -> None:
    r = replica()
    write(r, *items(2000))
    r.live(600, {"a": GONE})
    assert destinations_down(r.core) == 1
    assert len(r.log.dead) == SETTINGS.refusals - 1
    write(r, *items(2000, first=2000))
    r.live(3600, {"a": GONE}, step=10)
    assert len(r.log.dead) == SETTINGS.refusals - 1
    assert r.log.committed[P0] == 4000
    seen = r.live(400)
    assert len(set(seen)) == 4000 - len(r.log.dead)
    assert r.log.states == {}


def test_permanent_answers_to_two_items_are_dead_letters_however_many_they_are() -> None:
    r = replica()
    write(r, *[b"x", b"y"] * 30)
    r.live(70, {"a": GONE})
    assert (destinations_down(r.core), len(r.log.dead)) == (0, 60)


def test_in_ten_minutes_of_silence_it_opens_however_few_the_attempts_are() -> None:
    r = replica()
    write(r, b"x", b"y")
    r.live(590, {"a": DOWN})
    assert destinations_down(r.core) == 0
    write(r, b"z")
    r.live(20, {"a": DOWN})
    assert destinations_down(r.core) == 1


def test_a_destination_that_is_down_costs_the_others_nothing() -> None:
    r = broken_down("a", "well")
    write(r, *items(3000, first=30))
    seen = r.live(10, {"a": DOWN})
    assert len([where for where in seen if where.startswith("well")]) == 3000
    assert r.log.committed[P0] == 3030


def test_events_that_come_while_it_is_open_are_covered_by_one_number() -> None:
    r = broken_down()
    write(r, *items(500, first=30))
    r.live(2, {"a": DOWN})
    state = r.log.state("a")
    assert state is not None
    assert (state.next, len(state.owed)) == (30, 30)
    assert r.log.committed[P0] == 530


def test_one_bad_item_among_the_owed_does_not_keep_it_open() -> None:
    r = broken_down()
    write(r, *items(50, first=30))
    r.live(5, {"a": DOWN})

    def answers(attempt: Attempt) -> Answer:
        return GONE if attempt.delivery.offset == 0 else OK

    r.live(400, answers)
    assert destinations_down(r.core) == 0
    assert [letter.origin.offset for letter in r.log.letters] == [0]
    assert r.log.states == {}


def behind() -> Replica:
    """Return a replica whose destination is down with 12 items owed; with the next event it falls behind."""
    r = replica()
    write(r, *items(12))
    r.live(1, {"a": DOWN})
    assert destinations_down(r.core) == 1
    return r


def test_a_probe_may_be_the_next_event_to_be_read() -> None:
    r = behind()
    write(r, *items(100, first=200))
    seen = r.live(600, {"a": DOWN}, step=5)
    assert "a:0:12" in seen
    assert r.core.owed <= 12 + len(seen)
    state = r.log.state("a")
    assert state is not None
    assert state.next is not None
    assert state.next <= 12 + len(seen)


def test_where_what_is_read_next_only_follows_its_lane_is_probed_and_no_more_is_read() -> None:
    r = behind()
    write(r, *[b"5"] * 400)
    seen = r.live(630, {"a": DOWN}, step=0.5)
    assert len(seen) == 7
    state = r.log.state("a")
    assert state is not None
    assert len(state.owed) <= 12 + len(seen)


def test_a_probe_that_its_subscription_does_not_want_any_more_is_followed_by_another() -> None:
    old = replica()
    write(old, b"x")
    for pause in (0, 1, 2):
        old.pass_time(pause)
        old.serve({"a": DOWN})
    old.commit()
    r = made([subscription("a", events=("Item.updated",))], log_of=old)
    for key in items(12):
        r.log.append(value(action="updated"), key=key)
    r.live(1, {"a": DOWN})
    assert (destinations_down(r.core), r.core.owed) == (1, 13)
    assert probes(r, 40, {"a": DOWN}) == [5.5, 15.5, 35.5]  # the one at 5.0 was none
    assert r.core.owed == 12


def test_a_probe_that_cannot_be_rendered_is_followed_by_another() -> None:
    r = behind()
    r.log.append(value(title="unrenderable"), key=b"bad")
    write(r, *items(12, first=20))
    assert len(probes(r, 300, {"a": DOWN})) >= 4  # the first is of what is owed, the second of what is read next
    r.commit()
    assert [letter.stage for letter in r.log.letters] == [Stage.RENDER]
    r.live(400)
    assert destinations_down(r.core) == 0


def test_a_probe_whose_record_has_left_the_log_is_followed_by_another() -> None:
    r = broken_down()
    r.log.begins[P0] = 1
    assert len(probes(r, 80, {"a": DOWN})) == 4
    assert r.core.owed == 29


def test_a_probe_that_was_only_planned_when_it_closed_is_none_when_it_opens_again() -> None:
    r = replica()
    write(r, *items(12))
    r.fetch()
    *failing, slow = r.turn()
    for attempt in failing:
        r.answer(attempt, DOWN)
    write(r, *items(20, first=20))
    r.live(10, {"a": DOWN})
    r.pass_time(5)  # the second probe is to be the next event that is read
    r.answer(slow)
    r.live(10)
    assert (destinations_down(r.core), r.core.owed) == (0, 0)
    write(r, *items(20, first=40))
    r.live(1, {"a": DOWN})
    assert destinations_down(r.core) == 1
    assert len(probes(r, 40, {"a": DOWN})) == 3


def test_when_it_opens_for_the_second_time_it_is_probed_again() -> None:
    r = behind()
    write(r, *items(40, first=200))
    r.live(30, {"a": DOWN})
    r.live(400)
    assert (destinations_down(r.core), flows_behind(r.core), r.core.owed) == (0, 0, 0)
    write(r, *items(20, first=400))
    r.live(1, {"a": DOWN})
    assert destinations_down(r.core) == 1
    assert len(probes(r, 40, {"a": DOWN})) == 3


def test_a_throttled_probe_keeps_it_open_and_comes_again_when_it_was_asked_to() -> None:
    r = broken_down()
    r.live(4, {"a": DOWN})
    answers = {"a": answered(429, retry_after="100")}
    assert probes(r, 100, answers) == [1.0]
    assert destinations_down(r.core) == 1
    assert len(r.live(5)) == 30


def test_after_a_take_over_it_is_found_down_anew_and_nothing_is_lost() -> None:
    old = broken_down()
    write(old, *items(100, first=30))
    old.live(10, {"a": DOWN})
    new = replica(log_of=old)
    new.live(60, {"a": DOWN})
    assert destinations_down(new.core) == 1
    seen = new.live(310)
    assert {f"a:0:{offset}" for offset in range(130)} == set(seen)
    assert new.log.states == {}
    assert new.log.dead == {}


def test_an_expired_head_is_no_dead_end_for_probes() -> None:
    r = broken_down()
    r.live(3, {"a": DOWN})
    r.core.log_begins(P0, 0, 10)
    r.live(2, {"a": DOWN})
    assert {letter.reason for letter in r.log.letters} == {"expired"}
    assert {letter.stage for letter in r.log.letters} == {Stage.DELIVER}
    assert len(r.log.dead) == 10
    assert len(probes(r, 300, {"a": DOWN})) >= 4


def test_a_probe_goes_out_only_once_at_a_time() -> None:
    r = broken_down()
    r.pass_time(5)
    r.fetch()
    (probe,) = r.turn()
    for _ in range(20):
        r.pass_time(1)
        assert r.turn() == []
    assert place(probe) == "a:0:0"
    r.answer(probe)
    assert len(r.serve()) == 29


def test_since_when_it_fails_is_handed_on_until_it_delivers() -> None:
    old = broken_down()
    write(old, *items(40, first=30))
    old.live(2, {"a": DOWN})
    began = old.log.state("a")
    assert began is not None
    assert began.failing_since
    old.clock.advance(3600)
    new = replica(log_of=old)
    new.live(20, {"a": DOWN})
    assert destinations_down(new.core) == 1
    handed_on = new.log.state("a")
    assert handed_on is not None
    assert handed_on.failing_since == began.failing_since
    newest = replica(log_of=new)
    newest.serve(lambda attempt: DOWN if attempt.delivery.offset % 7 == 3 else OK)
    newest.commit()
    back = newest.log.state("a")
    assert back is not None
    assert (back.failing_since, back.last_error) == (0, "")


def test_a_state_that_was_written_before_says_too_that_the_destination_is_down_and_that_it_is_back() -> None:
    r = replica()
    write(r, b"x")
    for pause in (0, 1, 2):
        r.pass_time(pause)
        r.serve({"a": DOWN})
    r.commit()
    write(r, *items(10))
    r.serve({"a": DOWN})
    r.commit()
    state = r.log.state("a")
    assert state is not None
    assert state.failing_since
    r.live(60, lambda attempt: DOWN if attempt.delivery.offset == 0 else OK)
    state = r.log.state("a")
    assert state is not None
    assert [(owed.offset, state.failing_since, state.last_error) for owed in state.owed] == [(0, 0, "")]
