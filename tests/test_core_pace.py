"""How fast: destinations that ask to wait, rates that they declare, threads that block, and who gives way to whom."""

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
    paced,
    place,
    subscription,
    threaded,
    value,
)

from consumer.core import QUANTUM, CoreSettings
from consumer.deadletter import Stage
from consumer.dispatcher import Bounds
from consumer.event import TopicPartition
from consumer.subscriptions import Subscription
from consumer.wire import Answer, AnswerKind

P0 = TopicPartition(TOPIC, 0)


def replica(*subscriptions: Subscription | str, settings: CoreSettings | None = None, **bounds: int) -> Replica:
    made = Replica(
        [one if isinstance(one, Subscription) else subscription(one) for one in subscriptions],
        settings=settings or CoreSettings(bounds=Bounds(**bounds)),
    )
    made.assign(0)
    return made


def write(r: Replica, *keys: bytes | None) -> None:
    for key in keys:
        r.log.append(value(), key=key)


def items(count: int, first: int = 0) -> list[bytes]:
    return [b"%d" % number for number in range(first, first + count)]


def of(id_: str, seen: list[str]) -> list[int]:
    return [int(where.rpartition(":")[2]) for where in seen if where.startswith(f"{id_}:")]


def busy(retry_after: str | None = None) -> dict[str, Answer | None]:
    return {"a": answered(429, retry_after=retry_after)}


# -- destinations that ask to wait


def test_being_throttled_for_days_uses_up_no_attempt_and_opens_no_breaker() -> None:
    r = replica("a")
    write(r, *items(30))
    r.live(3 * 86_400, busy("3600"), step=600)
    assert (destinations_down(r.core), r.log.dead) == (0, {})
    r.live(3700, step=100)
    assert r.log.committed[P0] == 30
    assert r.metrics.deliveries.value("ping", "delivered") == 30
    assert r.log.states == {}


def test_told_no_time_it_waits_twice_as_long_each_time_up_to_a_minute() -> None:
    r = replica("a")
    write(r, b"x")
    times = []
    for _ in range(400):
        times += [r.clock.monotonic()] * len(r.serve(busy()))
        r.pass_time(1)
    assert [later - sooner for sooner, later in pairwise(times)][:9] == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_delivery_in_between_begins_the_waits_anew() -> None:
    r = replica("a")
    write(r, b"x")
    for _ in range(10):
        r.serve(busy())
        r.pass_time(1)
    r.pass_time(60)
    r.serve()
    write(r, b"y")
    assert r.serve(busy()) == ["a:0:1"]
    r.pass_time(1)
    assert r.serve() == ["a:0:1"]


def test_a_long_wait_makes_it_owed_then_fall_behind_while_its_neighbours_go_on() -> None:
    r = replica("a", "b", in_hand_per_partition=50)
    write(r, *items(500))
    seen = r.live(20, busy("900"))
    assert of("b", seen) == list(range(500))
    assert flows_behind(r.core) == 1
    assert r.log.committed[P0] == 500
    state = r.log.state("a")
    assert state is not None
    assert state.next == len(state.owed) <= 51
    assert max(owed.attempts for owed in state.owed) == 0
    seen = r.live(900)
    assert sorted(of("a", seen)) == list(range(500))
    assert r.log.states == {}


def test_nothing_of_it_goes_out_while_it_waits_not_even_what_is_owed_and_due() -> None:
    r = replica("a")
    write(r, b"x")
    for pause in (0, 1, 2):
        r.pass_time(pause)
        r.serve({"a": DOWN})
    write(r, b"y")
    r.serve(busy("100"))
    assert r.live(99) == []
    assert sorted(r.live(1)) == ["a:0:0", "a:0:1"]


def test_what_it_asks_for_counts_although_its_own_rate_is_used_up() -> None:
    r = replica(paced("a", per_second=1, burst=1))
    write(r, *items(3))
    assert len(r.serve(busy("30"))) == 1
    assert r.live(29) == []
    assert len(r.live(5)) == 3


def test_the_longest_of_several_waits_counts() -> None:
    r = replica("a")
    write(r, *items(2))
    r.fetch()
    first, second = r.turn()
    r.answer(first, answered(429, retry_after="10"))
    r.answer(second, answered(429, retry_after="40"))
    assert r.live(39) == []
    assert len(r.live(1)) == 2


# -- rates that they declare


def test_a_rate_is_kept_with_its_burst() -> None:
    r = replica(paced("a", per_second=1, burst=4))
    write(r, *items(20))
    assert len(r.serve()) == 4
    sent = [len(r.live(1)) for _ in range(16)]
    assert sent == [1] * 16
    r.live(10)
    write(r, *items(10, first=20))
    assert len(r.serve()) == 4


def test_each_replica_takes_its_share_of_a_rate() -> None:
    r = replica(paced("a", per_second=2, burst=1))
    r.core.spread(0.25)
    write(r, *items(40))
    assert len(r.serve()) == 1
    assert len(r.live(20)) == 10
    r.core.spread(1.0)
    r.live(2, step=0.5)
    assert len(r.live(3, step=0.5)) == 6


def test_a_rate_counts_retries_too() -> None:
    r = replica(paced("a", per_second=1, burst=1))
    write(r, *items(2))
    seen = []
    for _ in range(5):
        seen += r.serve({"a": DOWN})
        r.pass_time(1)
    assert len(seen) == 5


def test_who_must_wait_long_falls_behind_and_nothing_is_lost() -> None:
    r = replica(paced("a", per_second=10, burst=10), "b", in_hand_per_partition=100)
    write(r, *items(1000))
    seen = r.live(20)
    assert of("b", seen) == list(range(1000))
    assert flows_behind(r.core) == 1
    assert r.log.committed[P0] == 1000
    seen += r.live(90)
    assert sorted(of("a", seen)) == list(range(1000))
    assert r.log.states == {}


def test_of_what_a_slow_destination_is_owed_no_more_is_in_memory_than_it_takes_in_seconds() -> None:
    r = replica(paced("a", per_second=10, burst=10), in_hand_per_partition=100)
    write(r, *items(1000))
    r.live(15)
    size = r.log.records[P0][0].size
    assert flows_behind(r.core) == 1
    for _ in range(40):
        r.live(1)
        assert r.core.read_again_bytes <= 61 * (size + 3)


# -- who gives way to whom


def test_while_live_events_wait_a_fifth_of_the_attempts_is_for_what_is_owed() -> None:
    r = replica("a", "b", in_flight=10)
    write(r, *items(100))
    r.live(1, {"a": DOWN})
    assert r.core.owed
    new = Replica([subscription("a"), subscription("b")], log=r.log, clock=r.clock, settings=_narrow())
    new.assign(0)
    write(new, *items(300, first=100))
    seen: list[str] = []
    new.fetch()
    while started := new.turn():
        late = [attempt for attempt in new.in_flight.values() if attempt.delivery.late]
        live = [attempt for attempt in new.in_flight.values() if not attempt.delivery.late]
        if new.core.in_hand - new.core.owed > len(live):  # some wait
            assert len(late) <= 2
        seen += [place(attempt) for attempt in started]
        new.answer(next(iter(new.in_flight.values())))
    assert len(of("b", seen)) == 300


def _narrow() -> CoreSettings:
    return CoreSettings(bounds=Bounds(in_flight=10))


def test_while_no_live_events_wait_a_fifth_stays_free_for_them() -> None:
    r = replica("a", in_flight=10)
    write(r, *items(30))
    r.live(1, {"a": DOWN})
    new = Replica([subscription("a"), subscription("b")], log=r.log, clock=r.clock, settings=_narrow())
    new.assign(0)
    assert len(new.turn()) == 8
    write(new, *items(5, first=30))
    new.fetch()
    assert sorted(place(attempt) for attempt in new.turn()) == ["a:0:30", "b:0:30"]


# -- blocking services


def test_a_blocking_service_is_asked_to_send_by_itself_on_two_threads() -> None:
    r = replica(threaded("a"))
    write(r, *items(5))
    r.fetch()
    started = r.turn()
    assert [attempt.request for attempt in started] == [None, None]
    r.answer(started[0])
    assert len(r.turn()) == 1
    assert len(r.serve()) == 0
    r.answer(started[1])
    assert len(r.serve()) == 2


def test_all_blocking_services_together_have_sixteen_threads_and_take_turns() -> None:
    r = replica(*(threaded(f"t{number:02}") for number in range(10)), "http")
    write(r, *items(4))
    r.fetch()
    started = r.turn()
    blocked = [attempt for attempt in started if attempt.request is None]
    assert len(blocked) == 16
    assert len(started) - len(blocked) == 4
    seen = [place(attempt) for attempt in started]
    while r.in_flight:
        r.answer(next(iter(r.in_flight.values())))
        seen += [place(attempt) for attempt in r.turn()]
        assert len([attempt for attempt in r.in_flight.values() if attempt.request is None]) <= 16
    assert len(seen) == 44


def test_what_a_blocking_service_raised_is_its_own_dead_letter_and_no_breakers_business() -> None:
    r = replica(threaded("a"))
    write(r, *items(40))
    broken = Answer(AnswerKind.BROKEN, error="the service threaded failed on this event: KeyError")
    r.live(2, {"a": broken})
    assert destinations_down(r.core) == 0
    assert len(r.log.dead) == 40
    letter = r.log.letters[0]
    assert (letter.stage, letter.reason, letter.error) == (Stage.RENDER, "failed", broken.error)


def test_a_blocking_service_is_retried_and_owed_like_others() -> None:
    r = replica(threaded("a"))
    write(r, b"x", b"x")
    for pause in (0, 1, 2):
        r.pass_time(pause)
        assert r.serve({"a": DOWN}) == ["a:0:0"]
    assert r.core.owed == 2
    assert r.live(40) == ["a:0:0", "a:0:1"]


def hanging() -> tuple[Replica, list[Attempt]]:
    """Return a replica whose blocking service hangs on both of its threads, and those attempts."""
    r = replica(threaded("a"), "b")
    write(r, *items(30))
    r.live(20, {"a": None})
    assert len(r.in_flight) == 2
    return r, list(r.in_flight.values())


def test_when_all_threads_hang_the_breaker_opens_and_the_others_go_on() -> None:
    r, _ = hanging()
    assert destinations_down(r.core) == 1
    assert r.log.committed[P0] == 30
    state = r.log.state("a")
    assert state is not None
    assert len(state.owed) == 30
    assert "hang" in state.last_error


def test_threads_that_are_busy_for_less_than_an_attempt_may_take_do_not_hang() -> None:
    r = replica(threaded("a"))
    write(r, *items(30))
    for _ in range(15):
        r.fetch()
        r.turn()
        r.pass_time(10)
        assert destinations_down(r.core) == 0
        for attempt in list(r.in_flight.values()):
            r.answer(attempt)
    assert r.serve() == []


def test_no_probe_takes_a_third_thread() -> None:
    r, stuck = hanging()
    for _ in range(600):
        r.pass_time(1)
        r.turn()
        assert len([attempt for attempt in r.in_flight.values() if attempt.request is None]) == 2
    r.answer(stuck[0], DOWN)
    r.pass_time(300)
    (probe,) = r.turn()
    r.answer(probe)
    assert destinations_down(r.core) == 0


def test_no_probe_takes_a_seventeenth_thread() -> None:
    r = replica(*(threaded(f"t{number}") for number in range(10)), threads=4)
    write(r, *items(12))
    r.live(30, lambda attempt: DOWN if place(attempt).startswith("t0") else OK)
    assert destinations_down(r.core) == 1
    write(r, *items(12, first=20))
    for _ in range(100):
        r.fetch()
        r.turn()
        r.pass_time(1)
        assert len(r.in_flight) <= 4


def test_a_thread_that_returns_at_last_is_what_tells_that_it_is_back() -> None:
    r, stuck = hanging()
    r.answer(stuck[0])
    assert destinations_down(r.core) == 0
    r.answer(stuck[1])
    assert len(of("a", r.live(10))) == 28
    assert r.log.states == {}


@pytest.mark.parametrize("answer", [OK, DOWN, answered(400)])
def test_a_thread_that_returns_after_its_partition_went_changes_nothing(answer: Answer) -> None:
    r, stuck = hanging()
    r.core.release([P0])
    r.assign(0)
    assert r.live(600) == []  # both threads are busy still
    for attempt in stuck:
        r.answer(attempt, answer)
    assert r.core.in_flight == 0
    assert r.log.dead == {}


# -- who came first goes first


def test_the_next_one_of_a_lane_does_not_wait_for_those_that_came_after_it() -> None:
    r = replica("a", in_flight=2)
    write(r, b"x", b"x", b"y", *items(3))
    r.fetch()
    seen = []
    while started := r.turn():
        seen += [place(attempt) for attempt in started]
        r.answer(next(iter(r.in_flight.values())))
    assert of("a", seen) == [0, 2, 1, 3, 4, 5]


# -- no more is let in than could begin soon


def test_what_could_not_begin_soon_is_not_let_in() -> None:
    r = replica("a", in_flight=1, ready=10)
    write(r, *items(200))
    r.fetch()
    (first,) = r.turn()
    assert 10 < r.core.in_hand <= 10 + QUANTUM
    r.answer(first)
    assert len(r.run()) == 199


def test_partitions_take_turns_however_little_is_let_in_at_once() -> None:
    r = replica("a", in_flight=1, ready=10)
    r.assign(1, 2)
    for number in range(300):
        r.log.append(value(), key=b"%d" % number, partition=number % 3)
    r.fetch()
    seen: list[str] = []
    while len(seen) < 4 * QUANTUM:
        for attempt in r.turn():
            seen.append(place(attempt))
            r.answer(attempt)
    assert {where.split(":")[1] for where in seen} == {"0", "1", "2"}


def test_a_subscription_that_may_begin_no_more_does_not_keep_events_from_the_others() -> None:
    r = replica("slow", "quick", in_flight_per_subscription=3, ready=5)
    write(r, *items(200))
    seen = r.serve({"slow": None})
    assert len(of("quick", seen)) == 200
    assert len(of("slow", seen)) == 3


def test_who_does_not_get_on_gives_way_at_once_in_partitions_that_are_read_later() -> None:
    r = replica("stuck", "quick", in_flight_per_subscription=5, in_hand=20)
    r.assign(1)
    write(r, *items(40))
    r.live(10, {"stuck": None})
    r.log.append(value(), partition=1)
    for number in range(30):
        r.log.append(value(), key=b"%d" % number, partition=1)
    seen = r.serve({"stuck": None})  # and no time passes
    assert len([where for where in seen if where.startswith("quick:1:")]) == 31


# -- a destination is begun slowly


def test_what_may_be_in_flight_grows_with_each_delivery_and_begins_anew_after_an_outage() -> None:
    r = replica("a", in_flight_per_subscription=30, first_in_flight=4)
    write(r, *items(500))
    r.fetch()
    rounds = []
    for _ in range(6):
        r.turn()
        rounds.append(list(r.in_flight.values()))
        for attempt in rounds[-1]:
            r.answer(attempt)
    assert [len(each) for each in rounds] == [4, 8, 16, 30, 30, 30]
    r.live(3, lambda _: DOWN)
    assert destinations_down(r.core) == 1
    r.live(60, {"a": None})
    assert len(r.in_flight) == 1  # the probe
    (probe,) = r.in_flight.values()
    r.answer(probe)
    assert len(r.turn()) == 5
