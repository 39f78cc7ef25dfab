"""What could not be delivered is owed: tried again from the log after growing delays, in order, by whoever owns it."""

from __future__ import annotations

from collections.abc import Callable

from harness import DOWN, OK, TOPIC, Attempt, Replica, answered, flows_behind, place, subscription, value

from consumer.core import CoreSettings
from consumer.deadletter import Stage
from consumer.delivery import Place
from consumer.event import TopicPartition, lane_of
from consumer.patience import Limits
from consumer.retry import GRAIN, RETRY_DELAYS
from consumer.state import Owed
from consumer.wire import Answer

P0 = TopicPartition(TOPIC, 0)
BROKEN_ITEM = b"bad"


def replica(*subscriptions: str, log_of: Replica | None = None, settings: CoreSettings | None = None) -> Replica:
    """Return a replica; given another one, it takes over from the same log at the same time."""
    made = Replica(
        [subscription(id_) for id_ in subscriptions or ("a",)],
        log=log_of and log_of.log,
        clock=log_of and log_of.clock,
        settings=settings,
    )
    made.assign(0)
    return made


def write(r: Replica, *keys: bytes | None) -> None:
    for key in keys:
        r.log.append(value(), key=key)


def use_up_quick_attempts(r: Replica, answer: Answer = DOWN) -> None:
    """Fail three times in a row, in less than five seconds, whatever is attempted first; all else is well."""
    failing: list[str] = []

    def answers(attempt: Attempt) -> Answer:
        if not failing:
            failing.append(place(attempt))
        return answer if place(attempt) in failing else OK

    for pause in (0, 1, 2):
        r.pass_time(pause)
        r.serve(answers)


def fails(key: bytes) -> Callable[[Attempt], Answer]:
    """Let a destination refuse one item and take all others."""

    def answers(attempt: Attempt) -> Answer:
        assert attempt.delivery.event is not None
        return DOWN if attempt.delivery.event.record.key == key else OK

    return answers


# -- what becomes owed, and when it is tried again


def test_after_three_quick_attempts_it_is_owed_and_the_watermark_passes() -> None:
    r = replica()
    write(r, b"x")
    use_up_quick_attempts(r)
    assert r.core.owed == 1
    r.commit()
    assert r.log.committed[P0] == 1
    state = r.log.state("a")
    assert state is not None
    (owed,) = state.owed
    assert (owed.offset, owed.attempts, owed.delays, owed.lane) == (0, 3, 1, lane_of(b"x"))
    assert owed.first_attempt == int(r.clock.time()) - 3
    assert state.next is None


def test_its_due_time_is_rounded_up_to_five_seconds_and_it_is_tried_then_and_not_before() -> None:
    r = replica()
    write(r, b"x")
    r.clock.advance(2)
    use_up_quick_attempts(r)
    r.commit()
    state = r.log.state("a")
    assert state is not None
    due = state.owed[0].due
    assert due % 5 == 0
    assert 30 <= due - r.clock.time() < 30 + GRAIN
    r.pass_time(due - r.clock.time() - 0.1)
    assert r.serve() == []
    r.pass_time(0.1)
    assert r.serve() == ["a:0:0"]


def test_its_body_is_dropped_and_read_again_when_it_is_due() -> None:
    r = replica()
    r.log.append(value(title="x" * 1000))
    r.fetch()
    (attempt,) = r.turn()
    body = attempt.request and attempt.request.body
    r.answer(attempt, DOWN)
    use_up_quick_attempts(r)
    assert (r.core.owed, r.core.buffered, r.core.read_again_bytes) == (1, 0, 0)
    r.pass_time(35)
    (again,) = r.turn()
    assert again.request is not None
    assert again.request.body == body
    assert r.core.read_again_bytes > 1000
    r.answer(again)
    assert (r.core.owed, r.core.read_again_bytes) == (0, 0)


def test_what_is_due_together_is_read_in_one_run() -> None:
    r = replica()
    write(r, *(b"%d" % number for number in range(8)))
    for pause in (0, 1, 2):
        r.pass_time(pause)
        r.run(DOWN)
    assert r.core.owed == 8
    r.pass_time(40)
    (order,) = r.core.reads()
    assert (order.offset, order.most >= 8) == (0, True)


def test_followers_are_owed_with_their_head_and_go_out_after_it() -> None:
    r = replica()
    write(r, b"x", b"x", b"y", b"x")
    use_up_quick_attempts(r)
    r.commit()
    state = r.log.state("a")
    assert state is not None
    assert [(owed.offset, owed.attempts) for owed in state.owed] == [(0, 3), (1, 0), (3, 0)]
    write(r, b"x")  # what comes now follows an owed one
    assert r.serve() == []
    assert r.core.owed == 4
    r.pass_time(40)
    assert r.serve() == ["a:0:0", "a:0:1", "a:0:3", "a:0:4"]


def test_order_in_a_lane_holds_across_a_take_over() -> None:
    old = replica()
    write(old, b"x", b"x")
    use_up_quick_attempts(old)
    old.commit()
    write(old, b"x", b"y")
    new = replica(log_of=old)
    assert new.serve() == ["a:0:3"]
    new.pass_time(40)
    assert new.serve() == ["a:0:0", "a:0:1", "a:0:2"]
    new.commit()
    assert new.log.committed[P0] == 4
    assert new.log.states == {}


def test_an_owed_head_of_one_subscription_costs_another_one_nothing() -> None:
    r = replica("down", "well")
    write(r, *[b"x"] * 5)
    seen = r.serve({"down": DOWN})
    assert [where for where in seen if where.startswith("well")] == [f"well:0:{offset}" for offset in range(5)]


def test_a_delivery_without_a_key_is_owed_alone() -> None:
    r = replica()
    write(r, None, None)
    use_up_quick_attempts(r)
    r.commit()
    state = r.log.state("a")
    assert state is not None
    assert [(owed.offset, owed.lane) for owed in state.owed] == [(0, None)]


def test_nothing_about_a_healthy_subscription_is_ever_written() -> None:
    r = replica("a", "b")
    write(r, *(b"%d" % (number % 7) for number in range(200)))
    r.live(20)
    assert r.log.committed[P0] == 200
    assert r.log.state_records == 0


def test_what_is_owed_for_less_than_a_cycle_is_never_written() -> None:
    r = replica()
    write(r, b"x")
    use_up_quick_attempts(r)
    assert r.core.owed == 1
    r.pass_time(40)
    assert r.serve() == ["a:0:0"]
    r.commit()
    assert r.log.committed[P0] == 1
    assert r.log.state_records == 0


def test_once_nothing_is_owed_the_state_is_a_tombstone() -> None:
    r = replica()
    write(r, b"x")
    use_up_quick_attempts(r)
    r.commit()
    r.pass_time(40)
    r.serve()
    (record,) = r.commit().records
    assert record.value is None
    assert r.log.states == {}
    assert not r.core.cycle()


# -- exhaustion


def test_a_delivery_that_always_fails_is_exhausted_after_three_quick_attempts_and_all_delays() -> None:
    r = replica()
    write(r, b"x", b"x")
    began = r.clock.time()
    use_up_quick_attempts(r)
    seen: list[str] = []
    while not r.log.dead:
        seen += r.live(60, {"a": DOWN}, step=60)
    assert seen == ["a:0:0"] * 7
    (letter,) = r.log.letters
    assert (letter.reason, letter.stage, letter.attempts) == ("exhausted", Stage.DELIVER, 3 + len(RETRY_DELAYS))
    assert letter.first_attempt_at == began
    assert letter.last_attempt_at - letter.first_attempt_at >= sum(RETRY_DELAYS)


def test_attempts_and_delays_are_counted_on_across_a_take_over() -> None:
    old = replica()
    write(old, b"x")
    use_up_quick_attempts(old)
    old.commit()
    old.live(3600, {"a": DOWN}, step=20)  # 30 s, 5 min and 30 min are used
    new = replica(log_of=old)
    attempts = new.live(27 * 3600, {"a": DOWN}, step=60)
    assert len(attempts) == 4
    (letter,) = new.log.letters
    assert (letter.reason, letter.attempts) == ("exhausted", 10)
    assert new.log.states == {}


def test_a_take_over_begins_anew_with_the_first_of_several_requests() -> None:
    old = replica()
    old.log.append(value(parent=3))
    old.fetch()
    (attempt,) = old.turn()
    old.answer(attempt)
    use_up_quick_attempts(old)
    old.commit()
    new = replica(log_of=old)
    new.pass_time(40)
    (again,) = new.turn()
    assert again.request is not None
    assert again.request.url.endswith("/0")


def test_a_permanent_answer_ends_what_is_owed_and_its_followers_go_on() -> None:
    r = replica()
    write(r, b"x", b"x")
    use_up_quick_attempts(r)
    r.commit()
    r.pass_time(40)
    assert r.serve(lambda attempt: answered(400) if attempt.delivery.offset == 0 else OK) == ["a:0:0"]
    r.commit()
    assert r.serve() == ["a:0:1"]
    assert [(letter.reason, letter.attempts) for letter in r.log.letters] == [("permanent", 4)]


# -- nothing holds a watermark for long


def test_what_holds_the_watermark_for_five_seconds_is_owed_and_still_delivered_once() -> None:
    r = replica()
    write(r, b"x", b"y", b"y")
    r.fetch()
    slow, other = r.turn()
    r.answer(other)
    (last,) = r.turn()
    r.answer(last)
    r.pass_time(4.9)
    r.commit()
    assert P0 not in r.log.committed
    r.pass_time(0.1)
    r.commit()
    assert r.log.committed[P0] == 3
    state = r.log.state("a")
    assert state is not None
    assert [owed.offset for owed in state.owed] == [0]
    r.answer(slow)
    assert r.serve() == []
    (record,) = r.commit().records
    assert record.value is None
    assert r.log.states == {}


def test_what_is_owed_while_it_is_in_flight_keeps_its_quick_attempts() -> None:
    r = replica()
    write(r, b"x")
    r.fetch()
    (attempt,) = r.turn()
    r.pass_time(3)
    r.answer(attempt, DOWN)
    r.pass_time(2)
    assert r.core.owed == 1
    assert r.serve() == ["a:0:0"]
    assert r.core.owed == 0


def test_a_crash_after_a_delivery_was_owed_in_flight_delivers_it_again() -> None:
    r = replica()
    write(r, b"x")
    r.fetch()
    r.turn()
    r.pass_time(5)
    r.commit()
    assert r.log.committed[P0] == 1
    assert replica(log_of=r).serve() == ["a:0:0"]


# -- a head that holds up too many


def blocked(r: Replica, followers: int) -> None:
    """Let one item fail, with so many followers behind it."""
    write(r, *[BROKEN_ITEM] * (followers + 1))
    for pause in (0, 1, 2):
        r.pass_time(pause)
        r.serve(fails(BROKEN_ITEM))
    r.commit()


def test_a_head_that_holds_up_250_while_others_are_delivered_is_a_dead_letter() -> None:
    r = replica()
    blocked(r, followers=250)
    write(r, b"well")
    r.serve(fails(BROKEN_ITEM))
    r.pass_time(1)
    assert r.serve(fails(BROKEN_ITEM)) == []
    r.commit()
    (letter,) = r.log.letters
    assert (letter.reason, letter.stage, letter.attempts) == ("blocking", Stage.DELIVER, 3)
    assert letter.origin.offset == 0
    assert r.serve()[0] == "a:0:1"


def test_with_one_follower_less_it_goes_on_being_tried() -> None:
    r = replica()
    blocked(r, followers=249)
    write(r, b"well")
    r.live(20, fails(BROKEN_ITEM))
    assert r.log.dead == {}


def test_while_nothing_else_is_delivered_a_head_may_hold_up_as_many_as_it_likes() -> None:
    r = replica()
    write(r, b"well")
    r.serve()
    r.pass_time(1)
    blocked(r, followers=400)
    r.live(20, fails(BROKEN_ITEM))
    assert r.log.dead == {}


def test_a_blocking_head_is_found_after_a_take_over_too() -> None:
    old = replica()
    blocked(old, followers=260)
    new = replica(log_of=old)
    new.live(2, fails(BROKEN_ITEM))
    assert new.log.dead == {}
    write(new, b"well")
    new.live(2, fails(BROKEN_ITEM))
    (letter,) = new.log.letters
    assert (letter.reason, letter.attempts, letter.origin.offset) == ("blocking", 3, 0)
    assert letter.error


def test_a_blocking_head_whose_next_attempt_is_under_way_is_left_alone() -> None:
    r = replica()
    blocked(r, followers=250)
    r.pass_time(40)
    (attempt,) = r.turn()
    write(r, b"well")
    r.serve()
    r.pass_time(1)
    r.commit()
    assert r.log.dead == {}
    assert attempt.delivery.place is Place.FLYING


# -- as much as may be owed


def test_a_replica_that_is_owed_too_much_lets_a_subscription_fall_behind_instead() -> None:
    r = replica(settings=CoreSettings(limits=Limits(owed=5), catch_up=3))
    write(r, *[b"x"] * 5)
    use_up_quick_attempts(r)
    assert (r.core.owed, flows_behind(r.core)) == (5, 0)
    write(r, *[b"x"] * 20)
    r.serve()
    r.commit()
    assert (r.core.owed, flows_behind(r.core)) == (5, 1)
    state = r.log.state("a")
    assert state is not None
    assert (state.next, len(state.owed)) == (5, 5)
    assert r.log.committed[P0] == 25
    seen = r.live(60)
    assert seen == [f"a:0:{offset}" for offset in range(25)]
    assert (r.core.owed, flows_behind(r.core), r.log.states) == (0, 0, {})


# -- what can be seen


def test_a_state_says_what_it_is_owed_in_few_bytes() -> None:
    r = replica()
    write(r, b"x")
    use_up_quick_attempts(r)
    (record,) = r.commit().records
    assert (record.topic, record.partition) == ("sprintly.events.state", 0)
    assert record.key == b"a|sprintly.events|0"
    assert len(record.value or b"") < 200


def test_a_replayed_entry_that_fails_is_owed_like_others() -> None:
    r = replica("a", "b")
    r.assign(0, topic=TOPIC + ".replay")
    write(r, b"x")
    r.serve({"a": answered(400)})
    r.commit()
    (letter,) = r.log.letters
    sent = letter.replay(TOPIC + ".replay")
    r.log.append(sent.value, key=sent.key, topic=sent.topic, headers=sent.headers)
    for pause in (0, 1, 2):
        r.pass_time(pause)
        r.serve({"a": DOWN})
    r.commit()
    replays = TopicPartition(TOPIC + ".replay", 0)
    assert r.log.committed[replays] == 1
    (state,) = r.log.states_of(replays)
    assert (state.subscription, [owed.attempts for owed in state.owed]) == ("a", [3])
    new = Replica([subscription("a"), subscription("b")], log=r.log, clock=r.clock)
    new.assign(0)
    new.assign(0, topic=TOPIC + ".replay")
    new.pass_time(40)
    (attempt,) = new.turn()
    assert attempt.delivery.id == letter.id
    new.answer(attempt, answered(404))
    new.commit()
    (again,) = new.log.letters
    assert (again.id, again.origin, again.replays, again.status) == (letter.id, letter.origin, 1, 404)
    assert new.log.states == {}


def test_owed_times_are_whole_seconds() -> None:
    r = replica()
    write(r, b"x")
    r.clock.advance(0.3)
    use_up_quick_attempts(r)
    r.commit()
    state = r.log.state("a")
    assert state is not None
    assert all(isinstance(number, int) for owed in state.owed for number in owed)
    assert state.owed == (Owed(0, 3, 1, 1_700_000_000, 1_700_000_035, lane_of(b"x")),)


def test_what_a_take_over_found_owed_and_is_delivered_before_reading_comes_to_it_is_not_delivered_again() -> None:
    r = replica("a", "b")
    write(r, b"held", BROKEN_ITEM, b"other")
    r.live(8, lambda attempt: DOWN if place(attempt) == "a:0:1" else OK if place(attempt) != "b:0:0" else None)
    r.log.committed[P0] = 0  # as if the other one's first delivery still held the watermark
    new = replica("a", "b", log_of=r)
    new.pass_time(60)
    attempts = {place(attempt): attempt for attempt in new.turn()}
    assert "a:0:1" in attempts, "its time has come"
    for attempt in attempts.values():
        new.answer(attempt)
    seen = new.run()
    assert "a:0:1" not in seen
    assert "b:0:1" in seen, "reading did come to it"
