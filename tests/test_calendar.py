"""The calendar of a partition: ages are about right, whatever clocks do and however long it is kept."""

from __future__ import annotations

import pytest

from consumer.calendar import GAP, MOST, SHARE, Calendar
from consumer.event import TopicPartition
from consumer.state import Owed, State

P0 = TopicPartition("events", 0)
NOW = 1_000_000.0


def calendar_of(*notes: tuple[int, float], began: float = 0.0, now: float = NOW) -> Calendar:
    calendar = Calendar(began)
    for offset, written in notes:
        calendar.note(offset, written, now)
    return calendar


def test_as_long_as_nothing_is_known_all_is_as_old_as_the_calendar() -> None:
    assert calendar_of(began=5.0).written(7) == 5.0


def test_a_record_is_as_old_as_the_nearest_note_before_it_or_else_the_first() -> None:
    calendar = calendar_of((10, 100.0), (20, 200.0))
    assert [calendar.written(offset) for offset in (0, 10, 19, 20, 99)] == [100.0, 100.0, 100.0, 200.0, 200.0]


def test_what_is_read_again_is_noted_in_between_and_replaces_what_was_only_about() -> None:
    calendar = calendar_of((10, 100.0), (30, 300.0), (20, 200.0), (30, 250.0), (5, 50.0))
    assert [calendar.written(offset) for offset in (5, 10, 20, 30)] == [50.0, 100.0, 200.0, 250.0]


@pytest.mark.parametrize("wrong", [0.0, -0.001, 1.0, NOW + 10**9])
def test_a_producers_clock_that_goes_wrong_once_does_no_harm(wrong: float) -> None:
    calendar = calendar_of((10, NOW - 20), (11, wrong), (12, NOW - 10), (13, NOW))
    assert calendar.written(10) == NOW - 20
    assert NOW - 20 <= calendar.written(11) <= NOW
    assert calendar.written(13) == NOW
    assert calendar.due == (NOW + GAP) * 1000


def test_states_tell_when_what_is_owed_was_tried_or_found_down() -> None:
    calendar = Calendar(NOW)
    owed = (Owed(20, first_attempt=300), Owed(10, first_attempt=200), Owed(30))
    states = [
        State("down", P0, next=40, failing_since=250),
        State("owed", P0, owed=owed),
        State("slow", P0, next=35),
        State("fresh", P0, owed=(Owed(50),)),
    ]
    calendar.remember(states, NOW)
    assert [calendar.written(offset) for offset in (10, 35, 40, 50)] == [200.0, 200.0, 250.0, 250.0]


def test_what_lies_before_something_that_was_tried_cannot_be_younger() -> None:
    calendar = Calendar(NOW)
    states = [
        State("down", P0, next=40, failing_since=900),
        State("owed", P0, owed=(Owed(50, first_attempt=300),)),
    ]
    calendar.remember(states, NOW)
    assert calendar.written(40) == 300.0


@pytest.mark.parametrize(
    "pauses",
    [[0.1] * 5000, [1.0] * 5000, [60.0] * 5000, [*[0.0] * 3000, 86_400.0, *[2.0] * 3000], [0.01, 3600.0] * 2000],
    ids=["ten a second", "one a second", "one a minute", "a day of silence", "pairs"],
)
def test_notes_are_bounded_and_an_age_is_wrong_by_a_sixteenth_at_most(pauses: list[float]) -> None:
    calendar, written, now = Calendar(), [], 1.0
    for offset, pause in enumerate(pauses):
        now += pause
        written.append(now)
        if now * 1000 >= calendar.due:
            calendar.note(offset, now, now)
    assert len(calendar) <= MOST
    for offset, at in enumerate(written):
        age = now - at
        assert age <= now - calendar.written(offset) <= age + 2 * GAP + age / SHARE
