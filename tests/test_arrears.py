"""What is owed, summed up by subscription."""

from __future__ import annotations

from clock import FakeClock

from consumer.arrears import arrears
from consumer.broker import TopicSpec
from consumer.broker.memory import MemoryBroker
from consumer.event import Outgoing, TopicPartition
from consumer.state import Owed, State

P0, P1 = TopicPartition("events", 0), TopicPartition("events", 1)


def cluster(clock: FakeClock, *moments: float) -> MemoryBroker:
    """Return a cluster with an event in each of two partitions at each of these times."""
    broker = MemoryBroker(clock)
    broker.create([TopicSpec("events", 2)])
    for moment in moments:
        clock.advance(moment - clock.time())
        list(broker.produce([Outgoing("events", b"k", b"v", partition=tp.partition) for tp in (P0, P1)]))
    return broker


def test_partitions_are_added_up_and_the_longest_waiting_comes_first() -> None:
    clock = FakeClock()
    begin = clock.time()
    broker = cluster(clock, *(begin + 10 * n for n in range(10)))
    found = arrears(
        broker,
        [
            State("b", P0, "", 7, (), int(begin + 70), "connection refused"),
            State("b", P1, "", 5, (Owed(2, 3, 1, 5, int(begin + 500), 7),), int(begin + 50), "connection refused"),
            State("a", P1, "", None, (Owed(4), Owed(6, due=int(begin + 300)))),
        ],
    )
    assert [each.subscription for each in found] == ["b", "a"]
    b, a = found
    assert (b.owed, b.behind, b.events) == (1, 2, 3 + 5)
    assert (b.oldest, b.next_due, b.failing_since) == (begin + 20, begin + 500, begin + 50)
    assert b.last_error == "connection refused"
    assert (a.owed, a.behind, a.events, a.oldest, a.next_due) == (2, 0, 0, begin + 40, begin + 300)
    assert (a.failing_since, a.last_error) == (0.0, "")


def test_what_has_left_the_log_is_not_counted() -> None:
    clock = FakeClock()
    begin = clock.time()
    broker = cluster(clock, *(begin + 10 * n for n in range(10)))
    broker.expire(P0, 6)
    (found,) = arrears(broker, [State("a", P0, "", 2, (Owed(1),))])
    assert (found.events, found.oldest) == (4, begin + 60)


def test_who_is_owed_only_what_is_still_to_come_has_no_oldest() -> None:
    clock = FakeClock()
    broker = cluster(clock, clock.time())
    (found,) = arrears(broker, [State("a", P0, "", 1)])
    assert (found.behind, found.events, found.oldest) == (1, 0, 0.0)


def test_nothing_owed_is_nothing() -> None:
    assert arrears(MemoryBroker(), []) == []
