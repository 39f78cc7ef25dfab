"""What the log tells of each delivery, by its id; and that a crowd of failures is told in few lines."""

from __future__ import annotations

import pytest
from clock import FakeClock
from harness import DOWN, OK, TOPIC, Answers, Replica, answered, destinations_down, subscription, value

from consumer.deadletter import DeadLetter, Stage
from consumer.delivery import delivery_id
from consumer.event import Record
from consumer.notices import Notice, Notices
from consumer.reminder import REMIND
from consumer.story import AT_LAST, DEAD, FAILED, OWED, REPLAYED, WAITS, Story
from consumer.tracecontext import TraceContext

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
HEADERS = (("traceparent", PARENT.encode()),)


def begun(*ids: str, verbose: bool = False) -> Replica:
    r = Replica([subscription(id_) for id_ in ids or ("a",)], verbose=verbose)
    r.assign(0)
    return r


def write(r: Replica, numbers: range) -> None:
    for number in numbers:
        r.log.append(value(number), key=b"%d" % number)


def told(r: Replica) -> list[Notice]:
    """Return what was told since the last time, of deliveries only."""
    return [notice for notice in r.core.notices() if "delivery" in notice.fields]


def replay(r: Replica, letter: DeadLetter) -> None:
    again = letter.replay(f"{TOPIC}.replay")
    r.log.append(again.value, key=again.key, topic=again.topic, headers=again.headers)


# One delivery


def test_a_delivery_that_goes_well_says_nothing() -> None:
    r = begun()
    write(r, range(50))
    r.live(3)
    assert r.core.notices() == []


def test_the_story_of_a_delivery_from_its_first_failure_to_its_end_has_one_id() -> None:
    r = begun()
    record = r.log.append(value(1), headers=HEADERS)
    answers = iter([answered(500, b"busy"), answered(500), answered(502), answered(200)])
    r.live(40, lambda _: next(answers))
    lines = told(r)
    assert [(line.level, line.event) for line in lines] == [
        (FAILED.level, FAILED.one),
        (OWED.level, OWED.one),
        (AT_LAST.level, AT_LAST.one),
    ]
    for line in lines:
        assert line.fields["delivery"] == delivery_id(record, "a")
        assert line.fields["record"] == f"{TOPIC}[0]@0"
        assert line.fields["trace_id"] == TRACE
        assert (line.fields["subscription"], line.fields["service"]) == ("a", "ping")
    failed, owed, at_last = (line.fields for line in lines)
    assert (failed["attempt"], failed["status"], failed["error"]) == (1, 500, "the receiver answered 500: busy")
    assert 0 < float(str(failed["again_in"])) < 5
    assert (owed["attempts"], owed["status"]) == (3, 502)
    assert str(owed["until"]).startswith("2023-11-14T22:13:")
    assert (at_last["attempts"], at_last["replays"]) == (4, 0)
    assert 30 <= float(str(at_last["seconds"])) <= 40


def test_a_dead_letter_is_told_when_it_is_durable_and_so_is_its_replay() -> None:
    r = begun()
    r.assign(0, topic=f"{TOPIC}.replay")
    record = r.log.append(value(1), headers=HEADERS)
    r.run(answered(400, b"no"))
    assert told(r) == []
    r.commit()
    (dead,) = told(r)
    (letter,) = r.log.letters
    replay(r, letter)
    r.run()
    again, made = told(r)
    assert [dead.event, again.event, made.event] == [DEAD.one, REPLAYED.one, AT_LAST.one]
    assert {line.fields["delivery"] for line in (dead, again, made)} == {letter.id}
    assert {line.fields["record"] for line in (dead, again, made)} == {f"{TOPIC}[0]@{record.offset}"}
    assert {line.fields["trace_id"] for line in (dead, again, made)} == {TRACE}
    assert dead.fields["reason"] == "permanent"
    assert (dead.fields["status"], dead.fields["error"]) == (400, "the receiver answered 400: no")
    assert (again.fields["replays"], made.fields["replays"]) == (1, 1)


def test_what_nobody_can_read_is_told_without_a_subscription() -> None:
    r = begun()
    r.log.append(b"poison")
    r.live(1)
    (dead,) = told(r)
    assert (dead.fields["subscription"], dead.fields["stage"], dead.fields["reason"]) == ("", "decode", "poison")


@pytest.mark.parametrize("down", [DOWN, answered(401)])
def test_what_comes_back_failed_while_the_destination_is_down_is_owed_until_it_is_back(down: object) -> None:
    r = begun()
    write(r, range(30))
    r.live(2, {"a": down})  # type: ignore[dict-item]
    assert destinations_down(r.core) == 1
    assert [n.fields["until"] for n in told(r) if n.event == OWED.one] == ["its destination is back"]


def test_a_receiver_that_asks_to_wait_is_told_of() -> None:
    r = begun()
    write(r, range(1))
    r.run(answered(429, retry_after="7"))
    (waits,) = told(r)
    assert (waits.event, waits.fields["wait"], waits.fields["status"]) == (WAITS.one, 7.0, 429)


def test_a_destination_that_wants_nothing_further_leaves_its_delivery_owed() -> None:
    r = begun()
    write(r, range(1))
    r.live(1, {"a": answered(410)})
    (owed,) = told(r)
    assert (owed.event, owed.fields["status"]) == (OWED.one, 410)


# Each attempt


def test_verbosely_each_attempt_is_told_of() -> None:
    r = begun(verbose=True)
    record = r.log.append(value(1, parent=2), headers=HEADERS)
    answers = iter([answered(200), answered(500), answered(204)])
    r.live(5, lambda _: next(answers))
    lines = told(r)
    attempts = [line for line in lines if "attempt" in line.event]
    assert {line.fields["delivery"] for line in lines} == {delivery_id(record, "a")}
    assert [(line.level, line.event) for line in attempts] == [
        ("debug", "an attempt begins"),
        ("debug", "an attempt ended"),
    ] * 3
    assert [line.fields["request"] for line in attempts[::2]] == [1, 2, 2]
    assert [line.fields["attempt"] for line in attempts] == [1, 1, 1, 1, 2, 2]
    ended = [(line.fields["outcome"], line.fields["status"]) for line in attempts[1::2]]
    assert ended == [("delivered", 200), ("transient", 500), ("delivered", 204)]
    assert all("seconds" in line.fields and line.fields["trace_id"] == TRACE for line in attempts[1::2])


def test_verbosely_it_is_told_as_well_that_there_was_nothing_to_send_and_what_else_a_crowd_hides() -> None:
    r = begun(verbose=True)
    r.log.append(value(1, parent=0))
    write(r, range(1, 5))
    r.run(answered(400))
    r.commit()
    lines = told(r)
    assert [line.event for line in lines].count("there is nothing to send") == 1
    assert [line.level for line in lines if line.event == DEAD.one] == ["warning", "debug", "debug", "debug"]


def test_an_attempt_that_ends_after_its_partition_has_gone_says_nothing() -> None:
    r = begun(verbose=True)
    write(r, range(1))
    r.fetch()
    (attempt,) = r.turn()
    r.core.release([attempt.delivery.flow.partition.tp])
    told(r)
    r.answer(attempt, answered(500))
    assert r.core.notices() == []


# Crowds


def crowd(seconds: float, answers: Answers, ids: tuple[str, ...] = ("a",)) -> tuple[Replica, list[Notice]]:
    """Deliver a hundred new events a second for some seconds; returns what was told of them."""
    r = begun(*ids)
    for second in range(round(seconds)):
        write(r, range(second * 100, second * 100 + 100))
        r.live(1, answers)
    return r, told(r)


def test_thousands_of_failures_are_told_in_a_few_lines_for_each_subscription() -> None:
    r, lines = crowd(95, {"a": answered(400), "b": DOWN}, ("a", "b", "c"))
    assert destinations_down(r.core) == 2
    for id_ in ("a", "b"):
        of_one = [line for line in lines if line.fields["subscription"] == id_]
        kinds = {line.event for line in of_one}
        assert len(of_one) <= len(kinds) * (1 + 95 // REMIND), of_one
        assert OWED.one in kinds
    assert [line for line in lines if line.fields["subscription"] == "c"] == []


def test_a_service_that_fails_on_every_event_is_summarised_with_count_and_last_error() -> None:
    r = begun()
    for number in range(400):
        r.log.append(value(number, title="unrenderable"), key=b"%d" % number)
    r.run()
    r.commit()
    (first,) = told(r)
    assert first.event == DEAD.one
    r.pass_time(REMIND - 1)
    assert told(r) == []
    r.pass_time(1)
    (more,) = told(r)
    assert (more.level, more.event, more.fields["count"]) == ("warning", DEAD.more, 399)
    assert "KeyError" in str(more.fields["error"])
    assert more.fields["delivery"] == r.log.letters[-1].id
    r.pass_time(REMIND)
    assert told(r) == []
    r.log.append(value(1, title="unrenderable"))
    r.run()
    r.commit()
    assert [line.event for line in told(r)] == [DEAD.one], "after half a minute without any it begins anew"


def letter(number: int, subscription: str) -> DeadLetter:
    origin = Record(TOPIC, 0, number, None, b"", 0)
    return DeadLetter(f"id-{number}", origin, Stage.DELIVER, "permanent", "no", subscription)


def test_what_is_remembered_of_crowds_is_bounded_and_goes_again() -> None:
    clock, notices = FakeClock(), Notices()
    told_by = Story(notices, clock, most_crowds=10)
    for number in range(1000):
        told_by.dead(letter(number, f"former-{number}"), TraceContext(PARENT))
    lines = notices.take()
    assert len(lines) == 11, "ten subscriptions, and all others together"
    clock.advance(REMIND)
    told_by.tick()
    (others,) = notices.take()
    assert (others.fields["count"], others.fields["delivery"]) == (989, "id-999")
    clock.advance(REMIND)
    told_by.tick()
    told_by.dead(letter(1, "former-1"), None)
    assert [line.event for line in notices.take()] == [DEAD.one]


def test_a_crowd_of_one_kind_does_not_keep_another_from_being_told() -> None:
    r = begun()
    write(r, range(1))
    answers = iter([answered(429, retry_after="1"), answered(500), answered(400)])
    r.live(5, lambda _: next(answers, OK))
    assert [line.event for line in told(r)] == [WAITS.one, FAILED.one, DEAD.one]
