"""Subscriptions that change while a replica runs: nothing is lost, and who has not changed does not notice."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from harness import (
    DOWN,
    OK,
    TOPIC,
    Attempt,
    Ping,
    Replica,
    Threaded,
    answered,
    destinations_down,
    paced,
    place,
    subscription,
    value,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.breaker import BreakerSettings
from consumer.control import Kind, Word
from consumer.core import CoreSettings
from consumer.delivery import Place
from consumer.dispatcher import Bounds
from consumer.event import TopicPartition
from consumer.router import Router
from consumer.subscriptions import Subscription
from consumer.wire import Answer
from services import Judgement, Meaning, RecordingSession

P0 = TopicPartition(TOPIC, 0)
SMALL = CoreSettings(bounds=Bounds(in_hand_per_partition=20), catch_up=10, breaker=BreakerSettings(failures=4, lanes=2))
A, B = subscription("a"), subscription("b")


class Elsewhere(Ping):
    """
    Elsewhere

    Pings another address.
    """

    name = "elsewhere"

    def send(self, payload: dict[str, object]) -> None:
        for step in range(payload["attributes"].get("parent", 1)):  # type: ignore[attr-defined]
            self.session.post(f"http://127.0.0.2/{step}", json=payload)


def moved(id_: str = "a", **more: object) -> Subscription:
    """Return a subscription whose service, and so address, is another one."""
    return Subscription(id=id_, product=None, service=Elsewhere({}, RecordingSession()), **more)  # type: ignore[arg-type]


def replica(
    *subscriptions: Subscription, settings: CoreSettings | None = None, log_of: Replica | None = None
) -> Replica:
    made = Replica(subscriptions or (A, B), settings=settings, log=log_of and log_of.log, clock=log_of and log_of.clock)
    made.assign(0)
    return made


def become(r: Replica, *subscriptions: Subscription, aside: Sequence[str] = ()) -> None:
    r.core.subscribe(Router(subscriptions), frozenset(aside))


def write(r: Replica, count: int, keys: int = 5, **event: object) -> None:
    begin = len(r.log.records.get(P0, []))
    for number in range(begin, begin + count):
        r.log.append(value(**event), key=b"%d" % (number % keys))  # type: ignore[arg-type]


def of(id_: str, seen: Sequence[str]) -> list[int]:
    """Return the offsets that a subscription got, in order."""
    return [int(where.rpartition(":")[2]) for where in seen if where.startswith(f"{id_}:")]


def in_lanes(offsets: Sequence[int], keys: int = 5) -> bool:
    lanes = [[offset for offset in offsets if offset % keys == key] for key in range(keys)]
    return all(lane == sorted(lane) for lane in lanes)


def hold(id_: str) -> Callable[[Attempt], Answer | None]:
    """Let a destination answer nothing, and all others well."""
    return lambda attempt: None if place(attempt).startswith(id_) else OK


def fail(id_: str) -> Callable[[Attempt], Answer | None]:
    return lambda attempt: DOWN if place(attempt).startswith(id_) else OK


def url(attempt: Attempt) -> str:
    assert attempt.request is not None
    return attempt.request.url


# -- who has not changed


def test_who_has_not_changed_goes_on_with_what_is_in_flight_and_in_hand() -> None:
    r = replica()
    write(r, 20)
    r.fetch()
    begun = [attempt for attempt in r.turn() if place(attempt).startswith("b")]
    channel = begun[0].delivery.flow.channel
    become(r, B, subscription("c"))
    assert r.core._dispatcher.channels["b"] is channel
    assert all(attempt.delivery.place is Place.FLYING for attempt in begun)
    assert channel.limit == SMALL.bounds.first_in_flight
    assert not any(delivery.owed for flow in channel.flows for delivery in flow.hand.values())
    for attempt in begun:
        r.answer(attempt)
    assert of("b", r.run()) == list(range(5, 20))


# -- who is gone


def test_what_is_in_hand_of_who_is_gone_is_owed_and_holds_no_watermark() -> None:
    r = replica()
    write(r, 20)
    r.fetch()
    r.turn()
    become(r, B)
    for attempt in list(r.in_flight.values()):
        r.answer(attempt, DOWN if place(attempt).startswith("a") else OK)
    seen = r.live(20)
    assert of("a", seen) == []
    assert of("b", seen) == list(range(5, 20))
    assert r.log.committed[P0] == 20
    state = r.log.state("a")
    assert state is not None
    assert state.next is None
    assert sorted(owed.offset for owed in state.owed) == list(range(20))
    assert (r.core.owed, r.core.in_hand, r.core.buffered, list(r.core._dispatcher.channels)) == (0, 0, 0, ["b"])
    assert r.core.owing() == [P0]


def test_what_it_had_in_flight_may_arrive_and_is_not_owed_then() -> None:
    r = replica()
    write(r, 5)
    r.fetch()
    r.turn()
    become(r, B)
    r.live(3, hold(""))
    assert r.core._dispatcher.channels["a"].gone
    for attempt in list(r.in_flight.values()):
        r.answer(attempt)
    r.live(3)
    assert (r.log.states, r.log.committed[P0], list(r.core._dispatcher.channels)) == ({}, 5, ["b"])


def test_what_it_had_in_flight_may_be_refused_and_is_a_dead_letter_then() -> None:
    r = replica()
    write(r, 1)
    r.fetch()
    r.turn()
    become(r, B)
    for attempt in list(r.in_flight.values()):
        r.answer(attempt, answered(404) if place(attempt).startswith("a") else OK)
    r.live(3)
    assert [letter.subscription for letter in r.log.letters] == ["a"]
    assert (r.log.states, r.log.committed[P0]) == ({}, 1)


@pytest.mark.parametrize("seconds", [0, 10])
def test_come_back_it_gets_what_it_was_owed_and_what_comes_then(seconds: int) -> None:
    """Whether it left memory meanwhile or not; what was written while it was gone was not for it."""
    r = replica()
    write(r, 20)
    r.live(1, hold("a"))
    become(r, B)
    flying = list(r.in_flight.values())
    write(r, 10)
    r.fetch()
    seen = r.serve()
    for attempt in flying:
        r.answer(attempt, DOWN)
    seen += r.live(seconds)
    assert of("a", seen) == []
    become(r, subscription("a"), B)
    write(r, 10)
    seen = of("a", r.live(20))
    assert sorted(seen) == [*range(20), *range(30, 40)]
    assert in_lanes(seen)
    assert (r.log.states, r.log.committed[P0], r.core.in_hand, r.core.owed) == ({}, 40, 0, 0)


def test_who_was_behind_is_owed_everything_from_there_on_when_it_comes_back() -> None:
    r = replica(settings=SMALL)
    write(r, 100)
    r.live(10, fail("a"))
    become(r, B)
    write(r, 50)
    r.live(10)
    state = r.log.state("a")
    assert state is not None
    assert state.next is not None
    assert list(r.core._dispatcher.channels) == ["b"]
    become(r, subscription("a"), B)
    assert sorted(of("a", r.live(30))) == list(range(150))
    assert r.log.states == {}


def test_a_bound_at_which_it_stood_holds_nobody_up() -> None:
    r = replica(settings=SMALL)
    write(r, 100)
    r.live(1, hold("a"))
    assert r.log.committed.get(P0, 0) < 100
    become(r, B)
    assert of("b", r.serve(hold("a")))[-1] == 99
    r.live(7, hold("a"))
    state = r.log.state("a")
    assert state is not None
    assert state.next is None, "what comes now is not for it"


def test_an_outage_is_over_when_it_comes_back() -> None:
    r = replica(settings=SMALL)
    write(r, 10)
    r.live(2, fail("a"))
    assert destinations_down(r.core) == 1
    become(r, B)
    assert (destinations_down(r.core), of("a", r.live(60))) == (0, [])
    become(r, subscription("a"), B)
    assert sorted(of("a", r.live(1))) == list(range(10))
    assert r.log.states == {}


def test_switched_off_where_it_stands_it_is_gone_as_after_a_restart() -> None:
    r = replica()
    write(r, 10)
    r.live(1, hold("a"))
    for attempt in list(r.in_flight.values()):
        r.answer(attempt, DOWN)
    become(r, subscription("a", enabled=False), B)
    write(r, 10)
    r.live(10)
    other = replica(subscription("a", enabled=False), B, log_of=r)
    for each in (r, other):
        assert each.core._partitions[P0].orphans.keys() == {"a"}
        assert "a" not in each.core._dispatcher.channels


def test_forgotten_while_it_is_gone_nothing_of_it_comes_back() -> None:
    r = replica()
    write(r, 10)
    r.live(1, hold("a"))
    become(r, B)
    for attempt in list(r.in_flight.values()):
        r.answer(attempt, DOWN)
    r.live(10)
    assert r.log.state("a") is not None
    r.log.say(Word("a", Kind.FORGET))
    r.hear()
    r.live(2)
    assert r.log.states == {}
    become(r, subscription("a"), B)
    write(r, 3)
    assert of("a", r.live(3)) == [10, 11, 12]


def test_forgotten_and_back_and_owed_anew_before_any_of_it_is_durable_it_is_owed() -> None:
    r = replica()
    write(r, 5)
    r.live(8, hold("a"))
    become(r, B)
    for attempt in list(r.in_flight.values()):
        r.answer(attempt, DOWN)
    r.live(3)
    r.log.say(Word("a", Kind.FORGET))
    r.hear()
    become(r, subscription("a"), B)
    write(r, 5)
    r.clock.advance(1)
    r.serve(hold("a"))
    r.log.say(Word("a", Kind.SWITCH, enabled=False))
    r.hear()
    r.commit()  # the tombstone and the new state
    for attempt in list(r.in_flight.values()):
        r.answer(attempt, DOWN)
    r.live(3)
    assert r.log.committed[P0] == 10
    other = replica(log_of=r)
    r.log.say(Word("a", Kind.SWITCH))
    other.hear()
    assert sorted(of("a", other.live(3))) == list(range(5, 10))


def test_what_is_owed_to_who_is_gone_is_taken_over_by_the_next_owner() -> None:
    r = replica()
    write(r, 20)
    r.live(1, hold("a"))
    become(r, B)
    for attempt in list(r.in_flight.values()):
        r.answer(attempt, DOWN)
    r.core.drain()
    r.core.rewind()
    r.commit()
    assert r.core.settled()
    r.core.release([P0])
    other = replica(log_of=r)
    seen = other.live(40)
    assert sorted(of("a", seen)) == list(range(20))
    assert in_lanes(of("a", seen))


def test_the_attempts_of_a_partition_that_is_gone_count_until_they_end() -> None:
    r = replica(Subscription("a", None, Threaded({}, RecordingSession())), settings=CoreSettings())
    write(r, 10)
    r.fetch()
    assert len(r.turn()) == 2
    r.core.release([P0])
    become(r)
    r.live(2)
    become(r, Subscription("a", None, Threaded({}, RecordingSession())))
    assert r.core._dispatcher.channels["a"].in_flight == 2
    for attempt in list(r.in_flight.values()):
        r.answer(attempt)
    assert r.core.in_flight == 0


# -- who is new


def test_a_new_one_begins_with_the_next_event_that_is_let_in() -> None:
    r = replica(B)
    write(r, 10)
    r.live(1)
    become(r, A, B)
    write(r, 5)
    seen = r.live(3)
    assert of("a", seen) == of("b", seen) == list(range(10, 15))


def test_a_new_one_begins_where_the_partition_is_although_another_one_catches_up() -> None:
    r = replica(B, settings=SMALL)
    write(r, 50)
    r.live(20, fail("b"))
    become(r, A, B)
    write(r, 5)
    seen = r.live(400)
    assert of("a", seen) == list(range(50, 55))
    assert set(of("b", seen)) == set(range(55))


# -- who has changed


def test_what_is_in_hand_goes_to_the_new_address() -> None:
    r = replica(A)
    write(r, 10, keys=1)
    r.fetch()
    (first,) = r.turn()
    become(r, moved())
    r.answer(first)
    urls = []
    while started := r.turn():
        urls += [url(attempt) for attempt in started]
        for attempt in started:
            r.answer(attempt)
    assert urls == ["http://127.0.0.2/0"] * 9
    r.commit()
    assert r.log.committed[P0] == 10


@pytest.mark.parametrize("answer", [DOWN, answered(404), answered(410), answered(429)], ids=str)
def test_a_failure_at_the_former_address_is_attempted_at_the_new_one(answer: Answer) -> None:
    r = replica(A)
    write(r, 1)
    r.fetch()
    (first,) = r.turn()
    become(r, moved())
    r.answer(first, answer)
    (again,) = r.turn()
    assert url(again) == "http://127.0.0.2/0"
    assert again.delivery.attempts == 0
    r.answer(again)
    r.live(2)
    assert (r.log.letters, r.log.control, r.log.states, r.log.committed[P0]) == ([], [], {}, 1)


def test_one_that_is_halfway_through_its_requests_begins_with_the_first_again() -> None:
    r = replica(A)
    r.log.append(value(parent=3))
    r.fetch()
    (first,) = r.turn()
    r.answer(first)
    (second,) = r.turn()
    become(r, moved())
    r.answer(second)
    urls = []
    while started := r.turn():
        urls += [url(attempt) for attempt in started]
        r.answer(*started)
    assert urls == [f"http://127.0.0.2/{step}" for step in range(3)]


def test_what_waits_for_its_next_attempt_is_made_anew() -> None:
    r = replica(A)
    write(r, 1)
    r.fetch()
    (first,) = r.turn()
    r.answer(first, DOWN)
    become(r, moved())
    r.pass_time(3)
    (again,) = r.turn()
    assert url(again) == "http://127.0.0.2/0"


def test_a_destination_believed_down_is_tried_at_once_when_its_address_changes() -> None:
    r = replica(settings=SMALL)
    write(r, 10)
    r.live(2, fail("a"))
    write(r, 10)
    r.live(3, fail("a"))
    assert destinations_down(r.core) == 1
    become(r, moved(), B)
    assert destinations_down(r.core) == 0
    assert sorted(of("a", r.live(1))) == list(range(20))
    assert r.log.states == {}


def test_what_is_owed_after_failures_is_tried_at_once_when_the_address_changes() -> None:
    r = replica()
    write(r, 1)
    for pause in (0, 1, 2):
        r.pass_time(pause)
        r.serve(fail("a"))
    r.commit()
    assert r.core.owed == 1
    become(r, moved(), B)
    assert of("a", r.live(1)) == [0]


@pytest.mark.parametrize("seconds", [0, 10])
def test_an_address_that_changes_often_uses_up_no_retry_delays(seconds: int) -> None:
    """Nor does one that goes and comes back: else some changes in an outage would make dead letters of what is owed."""
    r = replica()
    write(r, 1)
    r.live(4, fail("a"))
    for _ in range(20):
        become(r, *([B] if seconds else [A, B]))
        r.live(seconds, fail("a"))
        become(r, moved(), B)
        r.live(2, fail("a"))
    assert r.log.letters == []
    state = r.log.state("a")
    assert state is not None
    assert [owed.delays for owed in state.owed] == [1]
    assert r.live(35)[-1] == "a:0:0"
    assert r.log.states == {}


def test_a_destination_that_asked_to_wait_is_not_waited_for_when_the_address_changes() -> None:
    r = replica(A)
    write(r, 3)
    r.fetch()
    for attempt in r.turn():
        r.answer(attempt, answered(429, retry_after="3600"))
    assert r.serve() == []
    become(r, moved())
    assert sorted(of("a", r.live(1))) == [0, 1, 2]


def test_other_events_of_the_same_options_change_nothing_about_the_destination() -> None:
    r = replica(settings=SMALL)
    write(r, 10)
    r.live(2, fail("a"))
    become(r, Subscription("a", None, A.service, ("Item.*",)), B)
    assert destinations_down(r.core) == 1


def test_what_is_in_hand_and_not_wanted_any_more_is_finished() -> None:
    r = replica(settings=CoreSettings(bounds=Bounds(in_flight_per_subscription=2)))
    write(r, 5)
    write(r, 5, action="updated")
    r.fetch()
    r.turn()
    become(r, Subscription("a", None, A.service, ("*.updated",)), B)
    for attempt in list(r.in_flight.values()):
        r.answer(attempt)
    assert of("a", r.live(3)) == list(range(5, 10))
    assert r.metrics.deliveries.value("ping", "skipped") == 3
    assert (r.log.committed[P0], r.log.states, r.core.in_hand) == (10, {}, 0)


def test_what_is_owed_and_not_wanted_any_more_is_finished_when_it_is_read() -> None:
    r = replica(settings=SMALL)
    write(r, 30)
    r.live(10, fail("a"))
    become(r, Subscription("a", 2, Elsewhere({}, RecordingSession())), B)
    write(r, 2, product=2)
    assert of("a", r.live(30)) == [30, 31]
    assert (r.log.committed[P0], r.log.states, r.core.in_hand, r.core.owed) == (32, {}, 0, 0)


def test_a_replay_is_delivered_whatever_is_wanted_meanwhile() -> None:
    r = replica(A)
    write(r, 1)
    r.run(answered(404))
    r.commit()
    (letter,) = r.log.letters
    topic = f"{TOPIC}.replay"
    sent = letter.replay(topic)
    r.assign(0, topic=topic)
    r.log.append(sent.value, key=sent.key, topic=topic, headers=sent.headers)
    r.fetch()
    r.core.admit()
    become(r, Subscription("a", 7, A.service))
    (attempt,) = r.turn()
    assert attempt.delivery.id == letter.id


def test_an_order_that_changes_holds_for_what_comes_then() -> None:
    r = replica(A)
    write(r, 3, keys=1)
    r.fetch()
    (first,) = r.turn()
    become(r, Subscription("a", None, A.service, ordered=False))
    write(r, 3, keys=1)
    r.fetch()
    assert len(r.turn()) == 3
    r.answer(first)
    (second,) = r.turn()
    become(r, A)
    r.answer(second)
    assert [place(attempt) for attempt in (second, *r.turn())] == ["a:0:1", "a:0:2"]


def test_a_rate_comes_and_goes_with_its_service() -> None:
    r = replica(A)
    become(r, paced("a", 1.0, 2))
    write(r, 5)
    r.fetch()
    assert len(r.turn()) == 2
    become(r, A)
    assert len(r.turn()) == 3


def test_of_a_new_rate_a_replica_takes_its_share() -> None:
    r = replica(A)
    write(r, 1)
    r.live(1)
    r.core.spread(0.5)
    become(r, paced("a", 1.0, 2))
    tokens = r.core._dispatcher.channels["a"].tokens
    assert tokens is not None
    assert tokens.share == 0.5


class Strict(Ping):
    """
    Strict

    Has a receiver that answers 200 whatever it thinks.
    """

    def judge(self, status: int, body: bytes) -> Judgement | None:
        return Judgement(Meaning.TRANSIENT, "no") if body == b"no" else None


def test_an_answer_of_the_former_address_is_judged_by_the_former_service() -> None:
    r = replica(Subscription("a", None, Strict({}, RecordingSession())))
    write(r, 1)
    r.fetch()
    (first,) = r.turn()
    become(r, moved())
    r.answer(first, answered(200, b"no"))
    (again,) = r.turn()
    assert url(again) == "http://127.0.0.2/0"


def test_a_delivery_at_the_former_address_says_nothing_of_the_new_one() -> None:
    r = replica(A, settings=SMALL)
    write(r, 1)
    r.fetch()
    (first,) = r.turn()
    become(r, moved())
    write(r, 4)
    r.fetch()
    *failing, last = r.turn()
    for attempt in failing:
        r.answer(attempt, DOWN)
    r.answer(first)
    assert destinations_down(r.core) == 0
    r.answer(last, DOWN)
    assert destinations_down(r.core) == 1


def test_threads_are_counted_as_they_were_taken() -> None:
    bounds = Bounds(threads=2, threads_per_subscription=2)
    threaded, other = (Subscription(id_, None, Threaded({}, RecordingSession())) for id_ in "ab")
    r = replica(threaded, other, settings=CoreSettings(bounds=bounds))
    write(r, 4)
    r.fetch()
    taken = r.turn()
    assert len(taken) == 2
    become(r, subscription("a"), other)
    more = r.turn()
    assert of("a", [place(attempt) for attempt in more])
    for attempt in taken:
        r.answer(attempt)
    seen = of("b", [place(attempt) for attempt in (*taken, *r.turn())])
    assert len(seen) >= 2, "the threads are there for the other one"
    for attempt in list(r.in_flight.values()):
        r.answer(attempt)
    r.live(5)
    assert r.core._dispatcher._threads == 0
    assert r.log.committed[P0] == 4


def test_a_thread_that_is_free_goes_to_somebody_who_needs_it() -> None:
    bounds = Bounds(threads=1, threads_per_subscription=1)
    one, two, three = (Subscription(id_, None, Threaded({}, RecordingSession())) for id_ in "abc")
    r = replica(one, two, three, settings=CoreSettings(bounds=bounds))
    write(r, 1)
    r.fetch()
    (first,) = r.turn()
    assert place(first) == "a:0:0"
    become(r, one, three)  # the next in the queue is gone
    r.answer(first)
    assert [place(attempt) for attempt in r.turn()] == ["c:0:0"]


# -- who is set aside


def test_who_is_set_aside_waits_and_gets_everything_when_it_is_mended() -> None:
    r = replica()
    write(r, 5)
    r.live(1)
    become(r, A, B, aside=["a"])
    write(r, 20)
    assert of("a", r.live(30)) == []
    assert r.log.committed[P0] == 25
    become(r, A, B)
    seen = of("a", r.live(10))
    assert sorted(seen) == list(range(5, 25))
    assert in_lanes(seen)
    assert r.log.states == {}


def test_who_is_set_aside_gets_everything_although_it_is_unknown_for_a_while() -> None:
    """Nothing has come for it before the replica is started again: that it waits is written down."""
    r = replica()
    write(r, 5)
    r.live(1)
    become(r, A, B, aside=["a"])
    r.live(2)
    other = replica(B, log_of=r)
    write(other, 10)
    assert of("b", other.live(3)) == list(range(5, 15))
    become(other, A, B)
    assert sorted(of("a", other.live(3))) == list(range(5, 15))


def test_disabled_and_set_aside_it_waits_for_both() -> None:
    r = replica()
    r.log.say(Word("a", Kind.SWITCH, enabled=False))
    r.hear()
    become(r, A, B, aside=["a"])
    write(r, 5)
    r.live(2)
    r.log.say(Word("a", Kind.SWITCH))
    r.hear()
    assert of("a", r.live(2)) == []
    become(r, A, B)
    assert sorted(of("a", r.live(2))) == list(range(5))


# -- whatever comes in whatever order

VARIANTS = (
    A,
    Subscription("a", None, A.service, ("*.created",)),
    moved(),
    paced("a", 20.0, 5),
    Subscription("a", None, Threaded({}, RecordingSession())),
    Subscription("a", None, A.service, ordered=True),
    None,
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, len(VARIANTS) - 1),
            st.booleans(),
            st.integers(0, 8),
            st.sampled_from([0.2, 1.0, 6.0]),
            st.sampled_from(["a", "b", "", None]),
        ),
        max_size=15,
    )
)
def test_a_neighbour_gets_everything_once_and_in_order_whatever_changes(
    steps: list[tuple[int, bool, int, float, str | None]],
) -> None:
    r = replica(settings=SMALL)
    seen: list[str] = []
    for variant, aside, count, seconds, held in steps:
        changed = VARIANTS[variant]
        become(r, *([changed] if changed else []), B, aside=["a"] if aside else [])
        write(r, count)
        seen += r.live(seconds, hold(held) if held else None, step=0.2)
        for attempt in list(r.in_flight.values()):
            r.answer(attempt)
    become(r, A, B)
    write(r, 5)
    seen += r.live(60)
    assert of("b", seen) == sorted(set(of("b", seen)), key=of("b", seen).index)
    assert sorted(of("b", seen)) == list(range(len(r.log.records[P0])))
    assert in_lanes(of("b", seen))
    assert in_lanes(list(dict.fromkeys(of("a", seen))))
    assert (r.log.states, r.core.in_hand, r.core.owed, r.core.buffered) == ({}, 0, 0, 0)
    assert r.log.committed[P0] == len(r.log.records[P0])


WANTED = (
    A,
    subscription("a", events=("*.created",)),
    subscription("a", product=2),
    moved(),
    subscription("a", enabled=False),
    None,
)


def restarted(r: Replica, *subscriptions: Subscription) -> Replica:
    """End a replica in order, and return another one with other subscriptions."""
    r.core.drain()
    r.core.rewind()
    while not r.core.settled():
        r.commit()
    r.core.release([P0])
    return replica(*subscriptions, settings=SMALL, log_of=r)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, len(WANTED) - 1), st.integers(0, 12), st.sampled_from(["a", "-"]), st.integers(1, 8)),
        max_size=8,
    )
)
def test_what_was_wanted_all_the_time_arrives_as_after_restarts_and_what_never_was_does_not(
    steps: list[tuple[int, int, str, int]],
) -> None:
    steps = [*steps, (0, 3, "-", 5)]
    for restarts in (False, True):
        r = replica(settings=SMALL)
        got: set[str] = set()
        written: list[tuple[int, int, str]] = []  # in which step, and what
        for step, (wanted, count, failing, seconds) in enumerate(steps):
            now = [each for each in (WANTED[wanted], B) if each is not None]
            if restarts:
                r = restarted(r, *now)
            else:
                become(r, *now)
            for number in range(count):
                product, action = 1 + number % 2, "created" if number % 3 else "updated"
                write(r, 1, action=action, product=product)
                written.append((step, product, action))
            seen = r.live(seconds, fail(failing))
            got |= {where for where in seen if not where.startswith(failing)}
        got |= set(r.live(400, step=10))  # until what has failed is due
        assert (r.log.states, r.log.letters, r.core.in_hand, r.core.owed) == ({}, [], 0, 0)
        assert r.log.committed[P0] == len(written)
        assert set(of("b", list(got))) == set(range(len(written)))
        arrived = set(of("a", list(got)))
        for offset, (step, product, action) in enumerate(written):
            there, *later = [WANTED[wanted] for wanted, *_ in steps[step:]]
            wants = [each.concerns(product, "Item", action) for each in later if each and each.enabled]
            if there is not None and there.enabled:
                wants.insert(0, there.concerns(product, "Item", action))
                assert offset in arrived or not all(wants), f"{offset} is lost"
            assert offset not in arrived or any(wants), f"{offset} was never wanted"
