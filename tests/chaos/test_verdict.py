"""What is wrong with a run is found and named: lost, out of order, or twice without a reason."""

from __future__ import annotations

from chaos.verdict import Span, Verdict, frozen, judge, killed, longest_pause
from chaos.watcher import Look

from benchmarks.arrivals import Arrival, Place
from consumer.event import TopicPartition
from consumer.state import Owed, State

LANES = 2
(KILL,) = killed("kill first", 100.0)
PLACES: dict[int, Place] = {number: (number % LANES, number // LANES) for number in range(6)}


def arrivals(*numbers: int, status: int = 204, at: float = 0.0) -> list[Arrival]:
    return [Arrival(number, at, status) for number in numbers]


def verdict(
    came: list[Arrival], spans: tuple[Span, ...] = (), dead: frozenset[int] = frozenset(), **durable: float
) -> Verdict:
    known = {int(name[1:]): time for name, time in durable.items()}
    return judge("hook", came, range(6), set(dead), spans, lambda number: number % LANES, known)


def problems(found: Verdict) -> list[str]:
    return list(found.problems(PLACES))


def test_each_event_once_in_the_order_of_its_lane_is_right() -> None:
    found = verdict(arrivals(1, 0, 2, 3, 5, 4))
    assert problems(found) == []
    assert (found.delivered, found.repeated) == (6, [])


def test_what_was_not_answered_2xx_never_came() -> None:
    found = verdict(arrivals(0, 1, 2, 3, 4) + arrivals(5, status=500))
    assert problems(found) == ["never delivered: event 5, subscription hook, partition 1, offset 2"]


def test_a_dead_letter_is_neither_missing_nor_out_of_order() -> None:
    assert problems(verdict(arrivals(1, 2, 3, 4, 5), dead=frozenset({0}))) == []
    assert problems(verdict(arrivals(1, 2, 3, 4, 5, 0), dead=frozenset({0}))) == []


def test_an_event_after_a_later_one_of_its_lane_is_named() -> None:
    (problem,) = problems(verdict(arrivals(0, 1, 4, 2, 3, 5)))
    assert problem == (
        "out of order: event 2, subscription hook, partition 0, offset 1, came first after event 4 of its lane"
    )


def test_only_first_deliveries_have_to_be_in_order() -> None:
    found = verdict(arrivals(0, 1, 2, 3, 4, 5, at=99.0) + arrivals(2, at=106.0), (KILL,))
    assert problems(found) == []
    assert (len(found.repeated), found.explained) == (1, 1)


def test_what_comes_twice_without_a_reason_is_named_with_its_times() -> None:
    (problem,) = problems(verdict(arrivals(0, 1, 2, 3, 4, 5, at=50.0) + arrivals(2, at=106.0), (KILL,)))
    assert problem.startswith("delivered more than once, and nothing explains it: event 2, subscription hook")
    assert problem.endswith("at 50.000, 106.000")


def test_nothing_explains_what_comes_again_after_it_was_durable() -> None:
    came = arrivals(0, 1, 2, 3, 4, 5, at=99.0) + arrivals(2, at=106.0)
    assert verdict(came, (KILL,), e2=106.5).explained == 1
    assert verdict(came, (KILL,), e2=105.0).explained == 0


def test_a_replica_that_wakes_up_may_be_mistaken_for_a_moment() -> None:
    came = arrivals(0, 1, 2, 3, 4, 5, at=99.0) + arrivals(2, at=115.5)
    assert verdict(came, tuple(frozen("freeze first", 100.0, 114.9, 115.0)), e2=105.0).explained == 1


def test_what_others_deliver_while_a_replica_is_frozen_does_not_come_again() -> None:
    came = arrivals(0, 1, 2, 3, 4, 5, at=107.0) + arrivals(2, at=112.0)
    assert verdict(came, tuple(frozen("freeze first", 100.0, 114.9, 115.0))).explained == 0


def test_a_replica_that_wakes_up_may_send_what_another_delivered_meanwhile() -> None:
    spans = tuple(frozen("freeze first", 100.0, 114.9, 115.0))
    first = arrivals(0, 1, 2, 3, 4, 5, at=110.0)
    for at in (114.95, 115.1):  # while it is told to go on, or thereafter
        assert verdict(first + arrivals(2, at=at), spans, e2=112.0).explained == 1
    assert verdict(first + arrivals(2, at=119.0), spans, e2=112.0).explained == 0


def look(committed: int, *states: State) -> Look:
    return Look({0: committed}, list(states), {"hook": {0}}, {"hook": {2}})


def owed(next: int | None = None, *offsets: int) -> State:
    return State("hook", TopicPartition("t", 0), "", next, tuple(Owed(offset) for offset in offsets))


def test_a_look_knows_what_nobody_will_deliver_any_more() -> None:
    places = {0: (0, 0), 2: (0, 1), 4: (0, 2)}
    assert look(0).finished("hook", places) == []
    assert look(2).finished("hook", places) == [0, 2]
    assert look(3, owed(None, 2)).finished("hook", places) == [0, 2]
    assert look(3, owed(1)).finished("hook", places) == [0]
    assert look(3).finished("hook", places) == [0, 2, 4]
    assert [look(3).has("hook", number) for number in places] == [True, True, False]


def test_the_longest_pause_is_that_of_a_partition_while_others_go_on() -> None:
    even = [Arrival(number, at, 204) for number, at in ((0, 1.0), (2, 2.0), (2, 3.5), (4, 5.0))]
    odd = [Arrival(number, at, 204) for number, at in ((1, 1.5), (3, 2.5), (5, 3.5))]
    assert longest_pause([*odd, *even], PLACES) == 3.0
    assert longest_pause(odd, PLACES) == 1.0
    assert longest_pause([], PLACES) == 0.0
