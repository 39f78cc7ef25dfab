"""What is owed and how subscriptions stand, by service: what metrics say while destinations go down and come back."""

from __future__ import annotations

import pytest
from harness import DOWN, TOPIC, Ping, Replica, answered, subscription, value

from consumer.breaker import BreakerSettings
from consumer.control import Kind, Word
from consumer.core import CoreSettings
from consumer.event import Record, TopicPartition
from consumer.subscriptions import Subscription
from consumer.tally import STATES, Tally
from services import RecordingSession

P0 = TopicPartition(TOPIC, 0)
PING, PONG = ("ping",), ("pong",)


class Pong(Ping):
    """
    Pong

    Tells a test what happened elsewhere.
    """

    name = "pong"


def pong(id_: str) -> Subscription:
    return Subscription(id=id_, product=None, service=Pong({}, RecordingSession()))


def replica(*more: Subscription, first_probe: float = 5.0) -> Replica:
    """Return a replica whose subscription `a` is to the service `ping`, and `b` to `pong`."""
    settings = CoreSettings(quick_attempts=1, breaker=BreakerSettings(failures=3, lanes=3, first_probe=first_probe))
    made = Replica([subscription("a"), pong("b"), *more], settings=settings)
    made.assign(0)
    return made


def write(r: Replica, number: int, *, partition: int = 0) -> None:
    """Have so many events written now, each of a key of its own."""
    for _ in range(number):
        tp = TopicPartition(TOPIC, partition)
        offset = len(r.log.records.setdefault(tp, []))
        record = Record(TOPIC, partition, offset, b"%d" % offset, value(), int(r.clock.time() * 1000))
        r.log.records[tp].append(record)


def standing(tally: Tally, service: tuple[str, ...] = PING) -> dict[str, int]:
    """Return how many subscriptions of a service stand how, those left out of which there are none."""
    return {state: tally.breakers[*service, state] for state in STATES if tally.breakers[*service, state]}


def test_where_nothing_is_owed_every_service_has_zeros() -> None:
    r = replica()
    write(r, 5)
    r.live(2)
    zeros = {PING: 0, PONG: 0}
    tally = r.core.tally()
    assert (tally.owed, tally.behind, tally.behind_records, tally.oldest) == (zeros, zeros, zeros, zeros)
    assert (standing(tally), standing(tally, PONG)) == ({"closed": 1}, {"closed": 1})


def test_what_failed_is_owed_and_as_old_as_its_event() -> None:
    r = replica()
    write(r, 1)
    r.live(10, {"a": DOWN})
    tally = r.core.tally()
    assert (tally.owed, tally.behind[PING]) == ({PING: 1, PONG: 0}, 0)
    assert tally.oldest == {PING: pytest.approx(10, abs=1), PONG: 0}
    r.live(60)
    tally = r.core.tally()
    assert (tally.owed[PING], tally.oldest[PING]) == (0, 0)


def test_a_destination_that_is_down_is_open_falls_behind_and_all_goes_to_zero_when_it_is_back() -> None:
    r = replica()
    write(r, 3)
    r.live(2, {"a": DOWN})
    assert standing(r.core.tally()) == {"open": 1}
    for _ in range(5):
        write(r, 10)
        r.live(60, {"a": DOWN})
    tally = r.core.tally()
    assert standing(tally) == {"open": 1}
    assert tally.behind == {PING: 1, PONG: 0}
    assert 0 < tally.behind_records[PING] <= 50
    assert tally.owed[PING] + tally.behind_records[PING] == 53
    assert tally.oldest[PING] == pytest.approx(302, rel=1 / 16)
    r.live(400)
    tally = r.core.tally()
    assert standing(tally) == {"closed": 1}
    assert (tally.owed[PING], tally.behind[PING], tally.behind_records[PING], tally.oldest[PING]) == (0, 0, 0, 0)


def test_while_a_probe_is_under_way_it_says_so() -> None:
    r = replica()
    write(r, 3)
    r.live(2, {"a": DOWN})
    r.live(10, {"a": None})
    assert standing(r.core.tally()) == {"probing": 1}
    (probe,) = r.in_flight.values()
    r.answer(probe, DOWN)
    assert standing(r.core.tally()) == {"open": 1}


def test_what_is_disabled_is_told_apart_from_what_is_down() -> None:
    r = replica(subscription("c"))
    write(r, 3)
    r.live(2, {"a": DOWN})
    assert standing(r.core.tally()) == {"closed": 1, "open": 1}
    for id_ in ("a", "b"):
        r.log.say(Word(id_, Kind.SWITCH, enabled=False))
    r.hear()
    tally = r.core.tally()
    assert (standing(tally), standing(tally, PONG)) == ({"closed": 1, "disabled": 1}, {"disabled": 1})


def test_a_subscription_that_catches_up_is_owed_less_and_less_old_events() -> None:
    r = replica()
    write(r, 3)
    r.live(2, {"a": DOWN})
    for _ in range(20):
        write(r, 100)
        r.live(60, {"a": DOWN})
    ages, left = [r.core.tally().oldest[PING]], [2003]
    for _ in range(2000):
        r.pass_time(1)
        r.fetch()
        for attempt in r.turn()[:100]:
            r.answer(attempt)
        for attempt in list(r.in_flight.values()):
            r.answer(attempt)
        r.commit()
        tally = r.core.tally()
        ages.append(tally.oldest[PING])
        left.append(tally.owed[PING] + tally.behind_records[PING])
        if not left[-1]:
            break
    assert ages[0] == pytest.approx(1202, rel=1 / 16)
    assert (ages[-1], left[-1]) == (0, 0)
    assert left == sorted(left, reverse=True)


def test_the_next_owner_knows_from_the_states_since_when_it_is_owed() -> None:
    r = replica()
    write(r, 3)
    r.live(2, {"a": DOWN})
    r.clock.advance(3600)
    write(r, 10)
    r.live(10, {"a": DOWN})
    before = r.core.tally()
    next_ = Replica([subscription("a"), pong("b")], log=r.log, clock=r.clock)
    next_.assign(0)
    after = next_.core.tally()
    assert (after.owed, after.behind, after.behind_records) == (before.owed, before.behind, before.behind_records)
    assert before.oldest[PING] == pytest.approx(3612, rel=1 / 16)
    assert after.oldest[PING] == pytest.approx(3612, abs=3)


def test_where_the_states_tell_no_time_it_counts_from_the_take_over() -> None:
    r = replica()
    r.log.say(Word("a", Kind.SWITCH, enabled=False))
    r.hear()
    write(r, 3)
    r.live(2)
    next_ = Replica([subscription("a"), pong("b")], log=r.log, clock=r.clock)
    r.clock.advance(3600)
    next_.assign(0)
    assert next_.core.tally().behind == {PING: 1, PONG: 0}
    assert next_.core.tally().oldest[PING] == 0
    r.clock.advance(60)
    assert next_.core.tally().oldest[PING] == 60


def test_partitions_and_subscriptions_of_a_service_are_added_up_and_the_oldest_counts() -> None:
    r = replica(subscription("c"))
    r.assign(1)
    write(r, 1)
    r.live(100, {"a": DOWN, "c": answered(503)})
    write(r, 1, partition=1)
    r.live(1, {"a": DOWN, "c": answered(503)})
    tally = r.core.tally()
    assert tally.owed == {PING: 4, PONG: 0}
    assert tally.oldest[PING] == pytest.approx(101, abs=1)
    r.core.release([P0])
    tally = r.core.tally()
    assert (tally.owed[PING], tally.oldest[PING]) == (2, pytest.approx(1, abs=1))
