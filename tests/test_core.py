"""What one replica decides: order, isolation, bounds, retries, dead letters and what it commits."""

from __future__ import annotations

import pytest
from harness import DOWN, TOPIC, Attempt, Replica, answered, place, subscription, value

from consumer.core import CoreSettings
from consumer.deadletter import DeadLetter, Stage
from consumer.dispatcher import Bounds
from consumer.event import Outgoing, Record, TopicPartition
from consumer.retry import GRAIN, RETRY_DELAYS
from consumer.subscriptions import Subscription
from consumer.wire import Answer, AnswerKind

P0 = TopicPartition(TOPIC, 0)


def replica(*subscriptions: str, **bounds: int) -> Replica:
    settings = CoreSettings(bounds=Bounds(**bounds))
    made = Replica([subscription(id_) for id_ in subscriptions or ("a",)], settings=settings)
    made.assign(0)
    return made


def restarted(r: Replica, *subscriptions: str) -> Replica:
    """Return a replica that takes over where the log says."""
    other = Replica([subscription(id_) for id_ in subscriptions], log=r.log, clock=r.clock)
    other.assign(0)
    return other


def owed(r: Replica, id_: str) -> list[int]:
    state = r.log.state(id_)
    return [] if state is None else [entry.offset for entry in state.owed]


# -- order


def test_a_lane_has_one_attempt_in_flight_and_goes_on_in_order() -> None:
    r = replica()
    for _ in range(3):
        r.log.append(value())
    r.fetch()
    for offset in range(3):
        (attempt,) = r.turn()
        assert place(attempt) == f"a:0:{offset}"
        assert r.turn() == []
        r.answer(attempt)


def test_lanes_do_not_wait_for_each_other_nor_subscriptions_nor_events_without_a_key() -> None:
    r = replica("a", "b")
    for key in (b"x", b"y", None, None):
        r.log.append(value(), key=key)
    r.fetch()
    assert len(r.turn()) == 8


def test_order_none_gives_order_up() -> None:
    r = Replica([subscription("a", ordered=False)])
    r.assign(0)
    for _ in range(3):
        r.log.append(value())
    r.fetch()
    assert len(r.turn()) == 3


def test_a_retry_holds_its_lane_and_no_other() -> None:
    r = replica()
    for key in (b"x", b"x", b"y"):
        r.log.append(value(), key=key)
    r.fetch()
    first, other = r.turn()
    r.answer(first, DOWN)
    r.answer(other)
    assert r.turn() == []
    r.clock.advance(1)
    (again,) = r.turn()
    assert again.delivery is first.delivery
    r.answer(again)
    assert [place(attempt) for attempt in r.turn()] == ["a:0:1"]


def test_the_same_delivery_keeps_its_id_and_another_subscription_s_is_different() -> None:
    r = replica("a", "b")
    r.log.append(value())
    r.fetch()
    first, other = r.turn()
    r.answer(first, DOWN)
    r.clock.advance(1)
    (again,) = r.turn()
    assert webhook_id(again) == webhook_id(first) != webhook_id(other)


def webhook_id(attempt: Attempt) -> str:
    (line,) = [line for line in attempt.request.headers if line.startswith("webhook-id: ")]
    return line


# -- what is committed


def test_nothing_above_an_unfinished_event_is_committed() -> None:
    r = replica()
    for key in (b"x", b"y", b"z"):
        r.log.append(value(), key=key)
    r.fetch()
    first, second, third = r.turn()
    r.answer(third)
    r.answer(second)
    r.commit()
    assert P0 not in r.log.committed
    r.answer(first)
    r.commit()
    assert r.log.committed[P0] == 3


def test_an_event_is_finished_when_all_its_subscriptions_are() -> None:
    r = replica("a", "b")
    r.log.append(value())
    r.fetch()
    first, second = r.turn()
    r.answer(first)
    r.commit()
    assert P0 not in r.log.committed
    r.answer(second)
    r.commit()
    assert r.log.committed[P0] == 1


def test_an_event_that_concerns_nobody_is_finished_at_once() -> None:
    r = Replica([subscription("a", product=7)])
    r.assign(0)
    r.log.append(value(product=8))
    assert r.run() == []
    r.commit()
    assert r.log.committed[P0] == 1
    assert r.core.buffered == 0


def test_without_news_there_is_no_cycle() -> None:
    r = replica()
    assert not r.core.cycle()
    r.log.append(value())
    r.run()
    assert r.commit()
    assert not r.core.cycle()


def test_a_cycle_that_fails_is_asked_for_again() -> None:
    r = replica()
    r.log.append(b"poison")
    r.log.append(value())
    r.run()
    lost = r.core.cycle()
    again = r.commit()
    assert again.records == lost.records
    assert r.log.committed[P0] == 2
    assert len(r.log.dead) == 1


# -- outcomes


def test_three_quick_attempts_then_growing_delays_then_exhausted() -> None:
    r = replica()
    record = r.log.append(value(number=7, product=3), headers=(("trace", b"1"),))
    for pause in (0, 1, 2, *(delay + GRAIN for delay in RETRY_DELAYS)):
        r.pass_time(pause)
        r.commit()
        assert r.serve({"a": answered(500, b"boom")}) == ["a:0:0"]
    r.commit()
    (letter,) = r.log.letters
    assert letter.origin == record
    assert (letter.stage, letter.reason, letter.status, letter.attempts) == (Stage.DELIVER, "exhausted", 500, 10)
    assert (letter.subscription, letter.service, letter.product) == ("a", "ping", 3)
    assert (letter.model, letter.action) == ("Item", "created")
    assert letter.error == "the receiver answered 500: boom"
    span = sum(RETRY_DELAYS)
    assert span <= letter.last_attempt_at - letter.first_attempt_at <= span + 3 + GRAIN * len(RETRY_DELAYS)
    assert r.log.committed[P0] == 1


def test_a_permanent_answer_is_a_dead_letter_at_once_and_frees_its_lane_once_durable() -> None:
    r = replica()
    r.log.append(value())
    r.log.append(value())
    r.fetch()
    (attempt,) = r.turn()
    r.answer(attempt, answered(400, b"no such channel"))
    assert r.turn() == []
    cycle = r.core.cycle()
    assert cycle.offsets == {P0: 1}
    assert r.turn() == []
    r.core.durable(cycle)
    assert [place(attempt) for attempt in r.turn()] == ["a:0:1"]


def test_a_refused_address_is_permanent() -> None:
    r = replica()
    r.log.append(value())
    r.run(Answer(AnswerKind.REFUSED, error="127.0.0.1 is loopback"))
    r.commit()
    assert [(d.reason, d.error, d.attempts) for d in r.log.letters] == [("permanent", "127.0.0.1 is loopback", 1)]


def test_a_throttled_subscription_waits_as_long_as_it_was_asked_and_uses_up_no_attempt() -> None:
    r = replica("a", "b")
    for key in (b"x", b"y"):
        r.log.append(value(), key=key)
    r.fetch()
    started = {place(attempt): attempt for attempt in r.turn()}
    r.answer(started["a:0:0"], answered(429, retry_after="30"))
    r.answer(started["a:0:1"], answered(429, retry_after="60"))
    r.answer(started["b:0:0"])
    r.clock.advance(29)
    assert r.turn() == []
    assert r.core.next_due == r.clock.monotonic() + 1
    for _ in range(9):
        r.clock.advance(60)
        for attempt in r.turn():
            r.answer(attempt, answered(429))
    r.clock.advance(60)
    assert sorted(place(attempt) for attempt in r.turn()) == ["a:0:0", "a:0:1"]


@pytest.mark.parametrize("content", [None, b"", b"-1", b"9" * 400, b"9" * 5000, b"\xff", b"0001-01-01T00:00:00+23:59"])
def test_a_replay_that_claims_impossible_things_comes_to_its_end_like_any_other(content: bytes | None) -> None:
    def entry(offset: int) -> Outgoing:
        origin = Record(TOPIC, 0, offset, b"k", value(), 1_700_000_000_000)
        letter = DeadLetter(f"id-{offset}", origin, Stage.DELIVER, "permanent", "no", "a", first_attempt_at=1.0)
        return letter.replay(f"{TOPIC}.replay")

    r = Replica([subscription("a")])
    r.assign(0, topic=f"{TOPIC}.replay")
    count = len(entry(0).headers)
    for number in range(2 * count):  # each header by itself, and with an id of nobody's, which makes it a dead letter
        sent, at = entry(number), number % count
        headers = [(name, content) if at == place else (name, said) for place, (name, said) in enumerate(sent.headers)]
        gone = [("dlq.subscription", b"gone")] if number >= count else []
        r.log.append(sent.value, key=None, topic=sent.topic, headers=(*headers[:-1], *gone, headers[-1]))
    for _ in range(3):
        r.run()
        r.commit()
    assert r.log.committed[TopicPartition(f"{TOPIC}.replay", 0)] == 2 * count
    assert len(r.log.letters) >= count - 1


def test_what_a_service_cannot_render_is_its_own_dead_letter() -> None:
    r = replica("a")
    r.log.append(value(title="unrenderable"))
    r.log.append(value())
    assert r.run() == []
    r.commit()
    assert r.run() == ["a:0:1"]
    (letter,) = r.log.letters
    assert letter.stage is Stage.RENDER
    assert letter.error == "the service ping failed on this event: KeyError: 'title'"


def test_a_service_that_sends_nothing_is_done() -> None:
    r = replica()
    r.log.append(value(parent=0))
    assert r.run() == []
    r.commit()
    assert r.log.committed[P0] == 1
    assert r.metrics.deliveries.value("ping", "skipped") == 1


def test_several_requests_go_out_in_order_and_a_retry_resumes_at_the_first_that_failed() -> None:
    r = replica()
    r.log.append(value(parent=3))
    r.fetch()
    urls = []
    for answer in (answered(200), DOWN, answered(200), answered(200)):
        (attempt,) = r.turn()
        urls.append(attempt.request.url[-1])
        r.answer(attempt, answer)
        r.clock.advance(1)
    assert urls == ["0", "1", "1", "2"]
    assert r.turn() == []
    r.commit()
    assert r.log.committed[P0] == 1


def test_the_wait_of_one_subscription_costs_another_nothing() -> None:
    r = replica("down", "well")
    for number in range(50):
        r.log.append(value(), key=b"%d" % number)
    r.fetch()
    delivered = []
    while started := r.turn():
        for attempt in started:
            if place(attempt).startswith("down"):
                r.answer(attempt, DOWN)
            else:
                delivered.append(place(attempt))
                r.answer(attempt)
    assert len(delivered) == 50


# -- poison


@pytest.mark.parametrize(
    "data", [None, b"", b"garbage", b"\xc3\x01" + b"\x00" * 8 + b"x", value()[:-3], value() + b"!"]
)
def test_what_nobody_can_read_is_a_dead_letter_with_its_bytes_and_the_rest_goes_on(data: bytes | None) -> None:
    r = replica("a", "b")
    record = r.log.append(data)
    r.log.append(value())
    assert r.run() == ["a:0:1", "b:0:1"]
    r.commit()
    (letter,) = r.log.letters
    assert (letter.stage, letter.reason, letter.subscription) == (Stage.DECODE, "poison", "")
    assert letter.origin == record
    assert letter.error
    assert r.log.committed[P0] == 2


# -- replays


def failed_once(status: int = 400) -> tuple[Replica, DeadLetter]:
    r = replica("a", "b")
    r.assign(0, topic=TOPIC + ".replay")
    r.log.append(value(), key=b"item")
    r.fetch()
    for attempt in r.turn():
        r.answer(attempt, answered(status) if place(attempt).startswith("a") else answered(200))
    r.commit()
    (letter,) = r.log.letters
    return r, letter


def send_again(r: Replica, letter: DeadLetter) -> None:
    sent = letter.replay(TOPIC + ".replay")
    r.log.append(sent.value, key=sent.key, topic=sent.topic, headers=sent.headers)


def test_a_replay_reaches_only_the_subscription_that_failed_under_the_same_id() -> None:
    r, letter = failed_once()
    send_again(r, letter)
    r.fetch()
    (attempt,) = r.turn()
    assert place(attempt).startswith("a:")
    assert webhook_id(attempt) == f"webhook-id: {letter.id}"
    r.answer(attempt)
    r.commit()
    assert r.log.committed[TopicPartition(TOPIC + ".replay", 0)] == 1


def test_a_replay_that_fails_again_comes_back_under_the_same_key_and_coordinates() -> None:
    r, letter = failed_once()
    send_again(r, letter)
    r.run(answered(404))
    r.commit()
    (again,) = r.log.letters
    assert (again.id, again.origin, again.replays, again.status) == (letter.id, letter.origin, 1, 404)


@pytest.mark.parametrize("there", [(), (subscription("a", enabled=False),)], ids=["gone", "disabled"])
def test_a_replay_for_a_subscription_that_is_gone_or_disabled_comes_back_and_says_so(
    there: tuple[Subscription, ...],
) -> None:
    r, letter = failed_once()
    gone = Replica([subscription("b"), *there], log=r.log)
    gone.assign(0, topic=TOPIC + ".replay")
    send_again(gone, letter)
    assert gone.run() == []
    gone.commit()
    (again,) = r.log.letters
    assert (again.reason, again.subscription, again.replays) == ("no-subscription", "a", 1)
    assert "subscription a" in again.error


def test_replayed_poison_that_can_be_read_now_goes_to_all_that_it_concerns() -> None:
    r = replica("a", "b")
    r.assign(0, topic=TOPIC + ".replay")
    origin = Record(TOPIC, 5, 77, b"k", value(), 123)
    send_again(r, DeadLetter("0" * 36, origin, Stage.DECODE, "poison", "the registry did not know it"))
    assert sorted(r.run()) == ["a:0:0", "b:0:0"]


def test_a_cut_entry_that_cannot_be_read_any_more_still_concerns_its_subscription_only() -> None:
    r, letter = failed_once()
    send_again(r, letter.shrunk(20))
    assert r.run() == []
    r.commit()
    (again,) = r.log.letters
    assert (again.stage, again.reason, again.subscription) == (Stage.DECODE, "poison", "a")
    assert (again.id, again.replays, again.truncated) == (letter.id, 1, len(letter.origin.value or b""))


def test_a_replay_record_that_is_not_ours_is_poison() -> None:
    r = replica()
    r.assign(0, topic=TOPIC + ".replay")
    r.log.append(value(), topic=TOPIC + ".replay")
    assert r.run() == []
    r.commit()
    assert [letter.stage for letter in r.log.letters] == [Stage.DECODE]


# -- bounds and backpressure


def test_attempts_in_flight_are_bounded_in_all_and_by_subscription_and_take_turns() -> None:
    r = replica("a", "b", "c", in_flight=5, in_flight_per_subscription=2)
    for number in range(10):
        r.log.append(value(), key=b"%d" % number)
    r.fetch()
    assert [place(attempt)[0] for attempt in r.turn()] == ["a", "b", "c", "a", "b"]
    assert r.core.in_flight == 5


def test_at_the_bound_of_a_partition_it_is_paused_and_well_below_it_resumed() -> None:
    r = replica(in_hand_per_partition=100, in_flight=10)
    for number in range(3000):
        r.log.append(value(), key=b"%d" % number)
    r.fetch()
    r.turn()
    assert r.core.in_hand == 100
    assert r.core.pauses() == ([P0], [])
    seen = 0
    while r.in_flight:
        for attempt in list(r.in_flight.values()):
            r.answer(attempt)
            seen += 1
        assert r.core.in_hand <= 100
        r.turn()
    assert seen == 3000
    assert r.core.pauses() == ([], [P0])
    assert r.core.buffered == 0


def test_a_subscription_at_its_bound_keeps_only_the_partitions_it_reads_from_waiting() -> None:
    r = Replica(
        [subscription("a", product=1), subscription("b", product=2)], settings=CoreSettings(bounds=Bounds(in_hand=10))
    )
    r.assign(0, 1)
    for number in range(20):
        r.log.append(value(product=1), key=b"%d" % number)
        r.log.append(value(product=2), key=b"%d" % number, partition=1)
    r.fetch()
    r.turn()
    assert r.core.in_hand == 20
    for attempt in list(r.in_flight.values()):
        if place(attempt).startswith("b"):
            r.answer(attempt)
    assert sorted(place(attempt) for attempt in r.turn()) == sorted(f"b:1:{offset}" for offset in range(10, 20))


def test_a_full_buffer_pauses_every_partition_until_it_is_half_empty() -> None:
    r = Replica([subscription("a")], settings=CoreSettings(max_buffered=10_000, bounds=Bounds(in_flight=1)))
    r.assign(0, 1)
    for number in range(200):
        r.log.append(value(title="x" * 100), key=b"%d" % number, partition=number % 2)
    r.fetch()
    r.turn()
    paused, _ = r.core.pauses()
    assert len(paused) == 2
    while r.core.buffered > 5_000:
        assert r.core.pauses() == ([], [])
        for attempt in list(r.in_flight.values()):
            r.answer(attempt)
        r.turn()
    assert sorted(r.core.pauses()[1]) == sorted(paused)


def test_a_cycle_holds_no_more_than_it_may_and_the_watermark_stays_below_the_rest() -> None:
    r = Replica([subscription("a")], settings=CoreSettings(cycle_bytes=5_000))
    r.assign(0)
    for _ in range(10):
        r.log.append(b"x" * 1_000)
    r.run()
    sizes = []
    while cycle := r.core.cycle():
        sizes.append(len(cycle.records))
        r.log.commit(cycle)
        r.core.durable(cycle)
        assert r.log.committed[P0] == sum(sizes) == len(r.log.dead)
    assert sum(sizes) == 10
    assert max(sizes) < 5


def test_a_dead_letter_too_large_for_its_topic_is_cut_and_says_so() -> None:
    r = replica()
    r.log.append(b"x" * 1_000)
    r.run()
    (record,) = r.core.cycle().records
    assert record.key is not None
    r.core.shrink(frozenset([record.key]), 10)
    r.commit()
    (letter,) = r.log.letters
    assert (letter.origin.value, letter.truncated) == (b"x" * 10, 1_000)


# -- partitions come and go


def test_while_nothing_can_be_made_durable_nothing_begins() -> None:
    r = replica()
    r.log.append(value())
    r.fetch()
    r.core.held = True
    assert r.turn() == []
    r.core.held = False
    assert len(r.turn()) == 1


def test_a_draining_partition_begins_nothing_and_what_was_begun_is_owed_the_rest_is_its_next_owners() -> None:
    r = replica(in_flight=2)
    for key in (b"x", b"x", b"y", b"z"):
        r.log.append(value(), key=key)
    r.fetch()
    first, third = r.turn()
    assert [place(first), place(third)] == ["a:0:0", "a:0:2"]
    r.core.drain([P0])
    r.answer(third)
    assert r.turn() == []
    assert not r.core.drained([P0])
    r.answer(first, DOWN)
    assert r.core.drained([P0])
    r.core.rewind([P0])
    assert not r.core.settled([P0])
    r.commit()
    assert r.core.settled([P0])
    assert r.log.committed[P0] == 3  # offset 3 was never begun
    assert owed(r, "a") == [0, 1]
    assert restarted(r, "a").serve() == ["a:0:3", "a:0:0", "a:0:1"]


@pytest.mark.parametrize("routed", [0, 1])
def test_what_concerned_nobody_is_not_left_to_the_next_owner(routed: int) -> None:
    r = Replica([subscription("a", product=1)])
    r.assign(0)
    for number in range(5):
        r.log.append(value(product=1 if number < routed else 2))
    r.run()
    r.commit()
    assert r.log.committed[P0] == 5
    r.core.drain([P0])
    r.core.rewind([P0])
    r.commit()
    assert r.core.settled([P0])
    assert r.log.committed[P0] == 5


def test_what_hangs_in_flight_when_its_partition_goes_is_owed() -> None:
    r = replica()
    for _ in range(2):
        r.log.append(value())
    r.fetch()
    r.turn()
    r.core.drain([P0])
    r.core.rewind([P0])
    r.commit()
    r.core.release([P0])
    assert r.log.committed[P0] == 1
    assert restarted(r, "a").serve() == ["a:0:0", "a:0:1"]


def test_a_partition_is_settled_only_when_its_dead_letters_are_durable() -> None:
    r = replica()
    r.log.append(value())
    r.fetch()
    (attempt,) = r.turn()
    r.core.drain()
    r.answer(attempt, answered(400))
    assert r.core.drained()
    r.core.rewind()
    assert not r.core.settled()
    r.commit()
    assert not r.commit()  # there is nothing more to say
    assert r.core.settled()
    assert len(r.log.dead) == 1
    assert r.log.state_records == 0


def test_results_of_an_assignment_that_is_over_are_dropped() -> None:
    r = replica()
    r.log.append(value())
    r.log.append(b"poison", key=b"other")
    r.fetch()
    (attempt,) = r.turn()
    r.core.release([P0])
    r.assign(0)
    r.answer(attempt)
    assert r.core.in_flight == 0
    assert not r.core.cycle()
    assert r.run() == ["a:0:0"]


def test_a_cycle_in_doubt_while_its_partition_goes_changes_nothing_for_the_next_assignment() -> None:
    r = replica()
    r.log.append(b"poison")
    r.run()
    cycle = r.core.cycle()
    r.core.release([P0])
    r.assign(0)
    r.core.durable(cycle)
    assert r.run() == []
    assert r.core.cycle().offsets == {P0: 1}


def test_records_of_partitions_that_are_not_ours_are_left_alone() -> None:
    r = replica()
    r.core.received([r.log.append(value(), partition=3)])
    assert r.turn() == []
    assert r.core.partitions == (P0,)


def test_retries_of_a_partition_that_is_gone_do_not_come_back() -> None:
    r = replica()
    r.log.append(value())
    r.fetch()
    (attempt,) = r.turn()
    r.answer(attempt, DOWN)
    r.core.release([P0])
    r.clock.advance(60)
    assert r.turn() == []
    assert r.core.next_due is None
    assert r.core.in_hand == 0
