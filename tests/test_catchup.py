"""Who does not get on falls behind and reads the log again by itself, in order, until it has met the others."""

from __future__ import annotations

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
    refer,
    subscription,
    value,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import schemas
from consumer.catchup import GAP, PREFETCHED
from consumer.codec import Codec, Writer, WriterSchema, compile_schema
from consumer.core import CoreSettings
from consumer.deadletter import Stage
from consumer.dispatcher import Bounds
from consumer.event import Record, TopicPartition
from consumer.patience import Limits
from consumer.state import Owed, State, state_key, write_state
from consumer.subscriptions import Subscription
from consumer.wire import Answer

P0, P1 = TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)
SMALL = CoreSettings(bounds=Bounds(in_hand_per_partition=20), catch_up=10)
"""A bound that few events reach; the breaker stays out of it where they are of two lanes."""


def replica(
    *subscriptions: Subscription | str,
    log_of: Replica | None = None,
    settings: CoreSettings | None = None,
    codec: Codec | None = None,
    topic_id: str = "",
) -> Replica:
    """Return a replica; given another one, it takes over from the same log at the same time."""
    made = Replica(
        [one if isinstance(one, Subscription) else subscription(one) for one in subscriptions],
        log=log_of and log_of.log,
        clock=log_of and log_of.clock,
        settings=settings,
        **({"codec": codec} if codec else {}),
    )
    made.assign(0, topic_id=topic_id)
    return made


def write(r: Replica, *keys: bytes | None) -> None:
    for key in keys:
        r.log.append(value(), key=key)


def items(count: int, first: int = 0) -> list[bytes]:
    return [b"%d" % number for number in range(first, first + count)]


def of(id_: str, seen: list[str]) -> list[int]:
    """Return the offsets that a subscription got, in order."""
    return [int(where.rpartition(":")[2]) for where in seen if where.startswith(f"{id_}:")]


def state(r: Replica, id_: str = "a") -> State:
    found = r.log.state(id_)
    assert found is not None
    return found


HANGS = {"a": None}


def hanging_at_the_bound(*subscriptions: str, settings: CoreSettings = SMALL) -> Replica:
    """Return a replica that has as much of two lanes in hand for `a` as it may, both attempts hanging."""
    r = replica(*subscriptions, settings=settings)
    write(r, *[b"x", b"y"] * 50)
    r.serve(HANGS)
    return r


def fall_behind(r: Replica) -> list[Attempt]:
    """Let what hangs at its bound hang for so long that it falls behind; returns what hangs."""
    r.pass_time(5)
    r.pass_time(1)
    assert flows_behind(r.core) == 1
    return [attempt for attempt in r.in_flight.values() if place(attempt).startswith("a:")]


# -- falling behind


def test_at_its_bound_the_partition_waits_until_most_in_hand_is_owed_then_goes_on_without_it() -> None:
    r = hanging_at_the_bound("a", "b")
    assert r.live(4, HANGS) == []
    assert flows_behind(r.core) == 0
    seen = r.live(1, HANGS)
    assert flows_behind(r.core) == 1
    assert of("b", seen)[-1] == 99


def test_a_slow_destination_that_gets_on_never_falls_behind() -> None:
    r = replica("a", settings=SMALL)
    write(r, *items(400))
    r.fetch()
    r.turn()
    while r.in_flight:
        r.pass_time(0.2)
        for attempt in list(r.in_flight.values())[:2]:
            r.answer(attempt)
        r.commit()
        assert flows_behind(r.core) == 0
        r.turn()
    r.commit()
    assert r.log.committed[P0] == 400


def test_those_who_hang_fall_behind_together_and_none_takes_more_in_hand_than_it_may() -> None:
    r = replica("a", "b", "c", "d", settings=SMALL)
    write(r, *[b"x", b"y"] * 50)
    r.serve(lambda _: None)
    r.pass_time(5)
    r.pass_time(1)
    r.serve(lambda _: None)
    hands = [len(flow.hand) for flow in r.core._partitions[P0].flows.values()]
    assert (flows_behind(r.core), hands) == (4, [SMALL.bounds.in_hand_per_partition] * 4)


def test_the_watermark_passes_where_it_fell_behind_with_the_transaction_that_says_so() -> None:
    r = hanging_at_the_bound("a", "b")
    r.commit()
    assert P0 not in r.log.committed
    fall_behind(r)
    r.serve(HANGS)
    aborted = r.core.cycle()
    assert aborted.offsets == {P0: 100}
    assert [record.key for record in aborted.records] == [b"a|sprintly.events|0"]
    write(r, b"z")
    r.serve(HANGS)
    r.commit()
    assert (state(r).next, r.log.committed[P0]) == (20, 101)


def test_where_its_state_has_no_room_in_a_transaction_the_watermark_stays_where_it_fell_behind() -> None:
    r = replica("a", "b", settings=CoreSettings(limits=Limits(owed=2), catch_up=1, cycle_bytes=100))
    write(r, b"x", b"x")
    for pause in (0, 1, 2):
        r.pass_time(pause)
        r.serve({"a": DOWN, "b": DOWN})
    while r.core.cycle():
        r.commit()
    assert r.log.committed[P0] == 2
    write(r, b"y")
    r.serve()
    assert (flows_behind(r.core), r.core.owed) == (2, 4)
    r.commit()
    assert r.log.committed[P0] == 2
    r.commit()
    assert r.log.committed[P0] == 3
    assert [state(r, id_).next for id_ in "ab"] == [2, 2]


def test_who_falls_behind_again_before_anything_was_durable_holds_the_lower_place() -> None:
    r = replica("b", "a", settings=CoreSettings(limits=Limits(owed=1), cycle_bytes=100))
    write(r, b"x")
    for pause in (0, 1, 2):
        r.pass_time(pause)
        r.serve({"a": DOWN, "b": DOWN})
    while r.core.cycle():
        r.commit()
    write(r, b"y")
    assert sorted(r.serve(HANGS)) == ["a:0:1", "b:0:1"]
    assert flows_behind(r.core) == 0  # they fell behind, read on, and met the others
    write(r, b"z")
    r.fetch()
    r.core.admit()
    assert flows_behind(r.core) == 2
    r.commit()  # there is room for the state of b alone
    assert r.log.committed[P0] == 1
    assert "a:0:1" in replica("b", "a", log_of=r).serve()


def test_ten_thousand_events_to_a_dead_destination_cost_one_small_record_and_others_nothing() -> None:
    r = replica("dead", "well")
    seen: list[str] = []
    for second in range(100):
        write(r, *items(100, first=100 * second))
        seen += r.live(1, {"dead": DOWN})
    assert of("well", seen) == list(range(10_000))
    assert r.log.committed[P0] == 10_000
    assert len(r.log.states) == 1
    found = state(r, "dead")
    assert found.next is not None
    assert found.next < 200
    assert len(write_state("t", found).value or b"") < 10_000
    assert r.log.state_records < 30


def test_what_comes_while_it_is_behind_is_not_kept_for_it() -> None:
    r = replica("dead")
    write(r, *items(50))
    r.live(1, {"dead": DOWN})
    write(r, *items(5000, first=50))
    r.live(5, {"dead": DOWN})
    assert r.core.in_hand <= 51
    assert r.core.buffered == 0


# -- catching up


def fallen_behind(*subscriptions: str, events: int = 2000, keys: int = 40) -> Replica:
    """Return a replica whose `a` is down and behind, with so many events of so many lanes."""
    r = replica(*subscriptions or ("a",))
    write(r, *(b"%d" % (number % keys) for number in range(events)))
    r.live(30, {"a": DOWN})
    assert (destinations_down(r.core), flows_behind(r.core)) == (1, 1)
    assert r.log.committed[P0] == events
    return r


def test_back_again_it_gets_everything_once_with_every_lane_in_order() -> None:
    r = fallen_behind()
    seen = of("a", r.live(400))
    assert sorted(seen) == list(range(2000))
    for lane in range(40):
        assert [offset for offset in seen if offset % 40 == lane] == list(range(lane, 2000, 40))
    assert (flows_behind(r.core), r.core.owed, r.log.states) == (0, 0, {})


def test_it_reads_on_while_no_more_than_500_are_unfinished() -> None:
    r = fallen_behind(events=5000, keys=5000)
    in_hand: list[int] = []

    def answers(_: Attempt) -> Answer:
        in_hand.append(r.core.in_hand)
        return OK

    r.live(400, answers)
    assert len(in_hand) == 5000
    assert max(in_hand) < 1100  # as many as it had when it fell behind
    assert max(in_hand[1000:]) == 501


def test_where_it_meets_the_others_it_goes_on_with_them_and_order_holds_across() -> None:
    r = hanging_at_the_bound("a")
    hanging = fall_behind(r)
    for attempt in hanging:
        r.answer(attempt)
    seen = [place(attempt) for attempt in hanging]
    for number in range(1000):
        if not flows_behind(r.core):
            break
        write(r, *[b"x", b"y"] * (number % 3 == 0))  # they go on coming while it catches up
        r.fetch()
        for attempt in r.turn():
            seen.append(place(attempt))
            r.answer(attempt)
    seen += r.serve()
    write(r, b"x", b"y")
    read = r.log.records_read_again
    seen += r.serve()
    assert r.log.records_read_again == read  # live again: nothing is read twice
    offsets = of("a", seen)
    assert sorted(offsets) == list(range(len(r.log.records[P0])))
    for lane in range(2):
        assert [offset for offset in offsets if offset % 2 == lane] == list(range(lane, len(offsets), 2))


def test_one_scan_serves_all_who_are_near_it() -> None:
    r = replica("a", "b")
    write(r, *items(500))
    r.live(20, {"a": DOWN, "b": DOWN})
    assert flows_behind(r.core) == 0 or destinations_down(r.core) == 2
    write(r, *items(2000, first=500))
    r.live(1, {"a": DOWN, "b": DOWN})
    assert flows_behind(r.core) == 2
    read = r.log.records_read_again
    seen = r.live(400)
    assert len(of("a", seen)) == len(of("b", seen)) == 2500
    assert r.log.records_read_again - read < 2 * 2500


def test_what_concerns_others_only_is_passed_without_being_taken_in_hand() -> None:
    r = replica(subscription("a", product=1), subscription("b", product=2))
    for number in range(2000):
        r.log.append(value(product=1 if number % 100 == 0 or number < 30 else 2), key=b"%d" % number)
    r.live(20, {"a": DOWN})
    assert destinations_down(r.core) == 1
    seen = of("a", r.live(400))
    assert sorted(seen) == [*range(30), *range(100, 2000, 100)]
    assert r.log.states == {}


def test_poison_is_passed_it_was_a_dead_letter_when_it_was_read_live() -> None:
    r = replica("a")
    write(r, *items(12))
    r.live(1, {"a": DOWN})
    r.log.append(b"poison", key=b"p")
    write(r, *items(3, first=12))
    r.live(1, {"a": DOWN})
    seen = of("a", r.live(60))
    assert set(seen) == {*range(12), 13, 14, 15}
    assert len(r.log.dead) == 1
    assert r.log.states == {}


def test_replayed_entries_are_read_again_like_others_and_only_by_who_failed() -> None:
    r = replica("a", "b")
    r.assign(0, topic=TOPIC + ".replay")
    write(r, *items(12))
    refused = r.serve(lambda attempt: answered(400) if place(attempt).startswith("a") else OK)
    assert len(refused) == 24
    r.commit()
    letters = r.log.letters
    assert len(letters) == 12
    write(r, *items(12, first=20))
    r.live(1, {"a": DOWN})
    assert destinations_down(r.core) == 1
    for letter in letters:
        sent = letter.replay(TOPIC + ".replay")
        r.log.append(sent.value, key=sent.key, topic=sent.topic, headers=sent.headers)
    r.live(1, {"a": DOWN})
    assert r.log.committed[TopicPartition(TOPIC + ".replay", 0)] == 12
    got: list[str] = []

    def answers(attempt: Attempt) -> Answer:
        got.append(attempt.delivery.id)
        return OK

    seen = r.live(60, answers)
    assert {where.partition(":")[0] for where in seen} == {"a"}
    assert {letter.id for letter in letters} <= set(got)
    assert r.log.states == {}


# -- take-over


def test_a_take_over_goes_on_where_its_former_owner_had_read_to() -> None:
    old = fallen_behind()
    assert (state(old).next or 0) >= 1000
    new = replica("a", log_of=old)
    seen = of("a", new.live(60))
    assert sorted(seen) == list(range(2000))
    assert new.log.states == {}


def test_a_take_over_in_the_middle_of_catching_up_loses_nothing_and_keeps_the_order() -> None:
    old = fallen_behind()
    seen: list[int] = []
    while destinations_down(old.core) or len(seen) < 600:
        old.pass_time(1)
        old.fetch()
        for attempt in old.turn()[:50]:
            old.answer(attempt)
            seen.append(attempt.delivery.offset)
        if len(seen) % 3 == 0:
            old.commit()
        for attempt in list(old.in_flight.values()):
            seen.append(attempt.delivery.offset)
            old.answer(attempt)
    new = replica("a", log_of=old)
    seen += of("a", new.live(60))
    first = list(dict.fromkeys(seen))
    assert sorted(first) == list(range(2000))
    for lane in range(40):
        assert [offset for offset in first if offset % 40 == lane] == list(range(lane, 2000, 40))
    assert new.log.states == {}


def test_what_lies_below_next_and_is_not_owed_is_finished_although_it_is_not_committed() -> None:
    r = hanging_at_the_bound("a")
    first, _ = fall_behind(r)
    r.answer(first)
    r.commit()
    r.log.committed[P0] = 0  # as if somebody else had held the watermark
    seen = of("a", replica("a", log_of=r).live(10))
    assert sorted(seen) == list(range(1, 100))
    assert [offset for offset in seen if offset % 2 == 0] == list(range(2, 100, 2))


def test_next_above_the_committed_offset_is_waited_for() -> None:
    r = replica("a")
    write(r, *items(10))
    r.log.states[state_key("a", P0)] = State("a", P0, next=6)
    r.log.committed[P0] = 2
    new = replica("a", log_of=r)
    assert sorted(of("a", new.live(3))) == [6, 7, 8, 9]
    assert new.log.committed[P0] == 10
    assert new.log.states == {}


def test_next_below_the_committed_offset_is_read_from_there() -> None:
    r = replica("a")
    write(r, *items(10))
    r.log.states[state_key("a", P0)] = State("a", P0, next=2)
    r.log.committed[P0] = 6
    new = replica("a", log_of=r)
    assert sorted(of("a", new.live(3))) == list(range(2, 10))
    assert new.log.states == {}


# -- subscriptions that change


def owed_and_behind() -> Replica:
    """Return a replica that owes `a` twelve events by name and twelve by its `next`."""
    r = replica("a", "b")
    write(r, *items(12))
    r.live(1, {"a": DOWN})
    write(r, *items(12, first=12))
    r.live(1, {"a": DOWN})
    assert (state(r).next, len(state(r).owed)) == (12, 12)
    return r


def test_what_its_filter_does_not_match_any_more_is_finished_as_skipped() -> None:
    new = replica(subscription("a", events=("Item.deleted",)), "b", log_of=owed_and_behind())
    assert new.live(3) == []
    assert new.metrics.deliveries.value("ping", "skipped") == 12
    assert (new.core.owed, flows_behind(new.core), new.log.states) == (0, 0, {})


def test_of_what_is_owed_the_present_filter_chooses() -> None:
    r = replica("a")
    for number in range(12):
        r.log.append(value(action="deleted" if number % 2 else "created"), key=b"%d" % number)
    r.live(1, {"a": DOWN})
    new = replica(subscription("a", events=("Item.deleted",)), log_of=r)
    assert sorted(of("a", new.live(3))) == [1, 3, 5, 7, 9, 11]
    assert new.log.states == {}


def test_the_state_of_a_subscription_that_is_gone_is_kept_and_told_and_resumed_when_it_is_back() -> None:
    old = owed_and_behind()
    without = replica("b", log_of=old)
    kept = state(old)
    write(without, *items(3, first=24))
    without.live(10)
    assert state(old) == kept
    assert [notice.fields["subscription"] for notice in without.core.notices()] == ["a"]
    back = replica("a", "b", log_of=old)
    assert sorted(of("a", back.live(3))) == list(range(27))
    assert back.log.states == {}


def test_a_state_of_a_former_topic_of_this_name_is_void_told_and_deleted() -> None:
    old = replica("a", topic_id="first")
    write(old, *items(12))
    old.live(1, {"a": DOWN})
    assert state(old).topic_id == "first"
    old.log.records[P0] = []
    old.log.committed.clear()
    new = replica("a", log_of=old, topic_id="second")
    write(new, *items(3))
    assert of("a", new.live(2)) == [0, 1, 2]
    (notice,) = new.core.notices()
    assert (notice.level, notice.fields) == ("error", {"state": "a"})
    assert new.log.states == {}


def test_a_topic_id_that_is_not_known_voids_nothing() -> None:
    old = replica("a", topic_id="first")
    write(old, *items(12))
    old.live(1, {"a": DOWN})
    new = replica("a", log_of=old)
    assert len(new.live(3)) == 12


# -- what leaves the log


def test_owed_events_about_to_expire_are_dead_letters_and_the_others_stay_owed() -> None:
    r = owed_and_behind()
    r.core.log_begins(P0, 0, 20)
    r.live(2, {"a": DOWN})
    letters = r.log.letters
    assert sorted(letter.origin.offset for letter in letters) == list(range(20))
    assert {(letter.reason, letter.stage, letter.subscription) for letter in letters} == {
        ("expired", Stage.DELIVER, "a")
    }
    assert all(letter.error for letter in letters)
    found = state(r)
    assert (found.next, found.owed) == (20, ())


def test_a_whole_lane_expires_one_after_the_other_while_its_destination_is_down() -> None:
    r = replica("a", "b")
    write(r, *items(12))
    r.live(2, {"a": DOWN})
    write(r, *[b"5"] * 30)
    r.live(2, {"a": DOWN})
    old = replica("a", "b", log_of=r)
    old.live(4, {"a": DOWN})
    assert old.core.owed == 42
    old.core.log_begins(P0, 0, 42)
    old.live(60, {"a": DOWN})
    assert sorted(letter.origin.offset for letter in old.log.letters) == list(range(42))
    assert {letter.reason for letter in old.log.letters} == {"expired"}
    assert old.log.states == {}


@pytest.mark.parametrize("seen", [True, False], ids=["seen by a look", "met by reading"])
def test_what_expired_unseen_is_told_and_counted_and_the_rest_goes_on(seen: bool) -> None:
    r = owed_and_behind()
    new = replica("a", "b", log_of=r)
    new.log.begins[P0] = 16
    if seen:
        new.core.log_begins(P0, 16, 16)
    assert sorted(of("a", new.live(5))) == list(range(16, 24))
    assert new.metrics.expired.value("ping") == 16
    notices = [notice for notice in new.core.notices() if notice.level == "error"]
    assert {notice.fields["subscription"] for notice in notices} == {"a"}
    assert len(notices) == 1, "it is one line, however many they are"
    assert sum(int(str(notice.fields["offsets"])) for notice in notices) == 16
    assert (new.log.states, new.log.dead) == ({}, {})


def test_a_healthy_subscription_does_not_mind_that_the_log_begins_later() -> None:
    r = replica("a")
    write(r, *items(10))
    r.fetch()
    attempts = r.turn()
    r.core.log_begins(P0, 3, 8)
    for attempt in attempts:
        r.answer(attempt)
    r.commit()
    assert (r.log.dead, r.log.committed[P0]) == ({}, 10)


# -- what cannot be read again


def referring(count: int = 12) -> Replica:
    """Return a replica that owes `a` events whose schema its registry has, and whose successor does not know it."""
    codec = Codec(registry=True)
    codec.learn(7, writer())
    r = replica("a", "b", codec=codec)
    for number in range(count):
        r.log.append(refer(7, number), key=b"%d" % number)
    r.live(1, {"a": DOWN})
    assert len(state(r).owed) == count
    return replica("a", "b", log_of=r, codec=Codec(registry=True))


def writer() -> Writer:
    return compile_schema(WriterSchema(schemas.load()))


def test_what_is_owed_waits_for_its_schema_and_goes_out_once_that_is_there() -> None:
    r = referring()
    assert r.live(60) == []
    assert r.core.awaited.places() == {7: [P0]}
    write(r, b"z")
    assert r.live(1) == ["a:0:12", "b:0:12"]
    r.core.learned(7, writer())
    assert of("a", r.live(1)) == list(range(12))
    assert r.log.states == {}


def test_what_nobody_can_read_any_more_is_a_dead_letter_of_its_subscription_alone() -> None:
    r = referring()
    r.live(1)
    r.core.refused(7, "there is no schema id 7")
    assert r.live(1) == []
    letters = r.log.letters
    assert len(letters) == 12
    assert {(letter.stage, letter.reason, letter.subscription) for letter in letters} == {(Stage.DECODE, "poison", "a")}
    assert {letter.error for letter in letters} == {"there is no schema id 7"}
    assert r.log.states == {}


def test_who_waits_for_a_schema_is_forgotten_when_its_partition_goes() -> None:
    r = referring()
    r.live(1)
    r.core.release([P0])
    assert not r.core.awaited
    r.core.learned(7, writer())
    assert r.turn() == []


# -- reading goes wrong, or takes its time


def test_a_read_that_fails_is_asked_for_again() -> None:
    r = replica("a", log_of=owed_and_behind())
    (order,) = r.core.reads()
    assert list(r.core.reads()) == []
    r.core.read_failed(order)
    assert list(r.core.reads()) == [order]


def test_no_more_than_two_reads_are_under_way() -> None:
    r = Replica([subscription("a")])
    r.assign(0, 1, 2)
    for number in range(36):
        r.log.append(value(), key=b"%d" % number, partition=number % 3)
    r.live(1, {"a": DOWN})
    new = Replica([subscription("a")], log=r.log, clock=r.clock)
    new.assign(0, 1, 2)
    orders = list(new.core.reads())
    assert len(orders) == 2
    new.core.read_again(orders[0], *new.log.run(orders[0]))
    (third,) = new.core.reads()
    assert {order.partition.tp.partition for order in (*orders, third)} == {0, 1, 2}


def test_what_was_read_for_a_partition_that_is_gone_or_going_is_dropped() -> None:
    for give_up in ("release", "drain"):
        r = replica("a", log_of=owed_and_behind())
        (order,) = r.core.reads()
        getattr(r.core, give_up)([P0])
        r.core.read_again(order, *r.log.run(order))
        assert r.turn() == []
        assert r.core.read_again_bytes == 0


def test_a_short_read_goes_on_where_it_ended() -> None:
    r = replica("a", log_of=owed_and_behind())
    seen = []
    for _ in range(100):
        r.fetch()
        while r.core.could_admit:
            r.core.admit()
        for order in list(r.core.reads()):
            r.core.read_again(order, *r.log.run(order._replace(most=2)))
        for attempt in list(r.core.attempts()):
            seen.append(attempt.delivery.offset)
            r.core.answered(attempt.delivery, OK)
    assert sorted(seen) == list(range(24))


def test_holes_in_the_log_are_no_loss() -> None:
    old = owed_and_behind()
    kept = [record for record in old.log.records[P0] if record.offset < 12 or record.offset % 5 == 0]
    r = replica("a", log_of=old)
    seen = []
    for _ in range(20):
        for order in list(r.core.reads()):
            end = min(24, order.offset + order.most)
            r.core.read_again(order, [one for one in kept if order.offset <= one.offset < end], end)
        for attempt in list(r.core.attempts()):
            seen.append(attempt.delivery.offset)
            r.core.answered(attempt.delivery, OK)
    assert sorted(seen) == [*range(12), 15, 20]
    r.commit()
    assert r.metrics.expired.value("ping") == 0
    assert r.log.states == {}


@given(st.sets(st.integers(0, 2_999), max_size=40), st.integers(1, 400))
@settings(max_examples=60, deadline=None)
def test_whatever_is_owed_is_read_in_runs_once_and_hardly_anything_else(owed: set[int], answer_after: int) -> None:
    r = replica("a")
    r.log.records[P0] = RECORDS
    r.log.committed[P0] = len(RECORDS)
    mine = State("a", P0, owed=tuple(Owed(offset) for offset in owed))
    r.log.states[state_key("a", P0)] = mine
    new = replica("a", log_of=r)
    seen: list[int] = []
    while started := new.turn():
        for attempt in started[:answer_after]:
            seen.append(attempt.delivery.offset)
            new.answer(attempt)
        for attempt in list(new.in_flight.values()):
            seen.append(attempt.delivery.offset)
            new.answer(attempt)
    assert sorted(seen) == sorted(owed)
    clusters = sum(1 for before, after in pairwise([-1_000, *sorted(owed)]) if after - before > GAP)
    spans = sum(min(after - before, GAP) for before, after in pairwise(sorted(owed)))
    assert new.log.records_read_again <= spans + (clusters + len(owed) // 10 + 1) * (PREFETCHED + GAP)


RECORDS = [Record(TOPIC, 0, offset, None, value(), 1_699_999_999_000) for offset in range(3_000)]


# -- memory


def test_no_more_is_held_in_memory_of_what_is_read_again_than_a_quarter_of_the_buffer() -> None:
    r = replica("a")
    for number in range(400):
        r.log.append(value(title="x" * 2_000), key=b"%d" % number)
    r.live(20, {"a": DOWN})
    assert destinations_down(r.core) == 1
    new = replica("a", log_of=r, settings=CoreSettings(max_buffered=80_000, bounds=Bounds(in_flight=4)))
    new.fetch()
    new.turn()
    most = 0
    seen = []
    while new.in_flight:
        most = max(most, new.core.read_again_bytes)
        for attempt in list(new.in_flight.values()):
            seen.append(attempt.delivery.offset)
            new.answer(attempt)
        new.turn()
    assert 10_000 < most <= 20_000 + 2_100
    assert sorted(seen) == list(range(400))
    assert new.core.read_again_bytes == 0
