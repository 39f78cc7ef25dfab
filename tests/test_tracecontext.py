"""A record's trace goes on to its receiver: in each attempt, however the event was read, and unless it is not valid."""

from __future__ import annotations

from typing import Any

import pytest
from harness import LETTERS, OK, TOPIC, Ping, Replica, answered, flows_behind, subscription, threaded, value
from hypothesis import given
from hypothesis import strategies as st

from consumer.attempts import Attempt
from consumer.deadletter import DeadLetter
from consumer.subscriptions import Subscription
from consumer.tracecontext import LONGEST_STATE, TraceContext, new_trace, read_trace, trace_of
from services import Payload, RecordingSession

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
HEADERS = (("traceparent", PARENT.encode()), ("tracestate", b"congo=t61rcWkgMzE,rojo=1"))
LINES = [f"traceparent: {PARENT}", "tracestate: congo=t61rcWkgMzE,rojo=1"]


def sent(attempt: Attempt) -> list[str]:
    """Return the lines about the trace that an attempt's request has."""
    assert attempt.request is not None
    return [line for line in attempt.request.headers if line.lower().startswith("trace")]


# What is valid


@pytest.mark.parametrize(
    ("given_", "goes_on"),
    [
        (PARENT, PARENT),
        (PARENT[:-1] + "0", PARENT[:-1] + "0"),
        (f"00-{TRACE}-{SPAN}-ff", f"00-{TRACE}-{SPAN}-ff"),  # flags are passed on, known or not
        (f"cc-{TRACE}-{SPAN}-01", PARENT),
        (f"cc-{TRACE}-{SPAN}-fe-what-comes", f"00-{TRACE}-{SPAN}-00"),
    ],
)
def test_a_valid_traceparent_goes_on_and_a_later_version_as_the_one_that_is_known(given_: str, goes_on: str) -> None:
    found = read_trace(given_)
    assert found is not None
    assert (found.traceparent, found.trace_id) == (goes_on, TRACE)


@pytest.mark.parametrize(
    "given_",
    [
        "",
        "00",
        PARENT.upper(),
        PARENT + " ",
        PARENT + "\n",
        " " + PARENT,
        PARENT + "-00",  # a later version may add something, this one may not
        f"ff-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}",
        f"cc-{TRACE}-{SPAN}-01\r\nx: y",
        f"cc-{TRACE}-{SPAN}-01.x",
        f"00_{TRACE}_{SPAN}_01",
        PARENT.replace("4", "٤"),
    ],
)
def test_what_is_no_traceparent_is_left_out(given_: str) -> None:
    assert read_trace(given_, "congo=1") is None


@pytest.mark.parametrize(
    ("given_", "goes_on"),
    [
        ("congo=1,rojo=2", "congo=1,rojo=2"),
        ("\t congo=1 ", "congo=1"),
        ("a" * LONGEST_STATE, "a" * LONGEST_STATE),
        ("a" * (LONGEST_STATE + 1), ""),
        ("congo=1\r\nx-injected: 1", ""),
        ("congo=1\n", ""),
        ("congo=\x00", ""),
        ("congo=\xe9", ""),
        ("", ""),
    ],
)
def test_tracestate_goes_on_in_so_far_as_it_fits_into_a_header(given_: str, goes_on: str) -> None:
    assert read_trace(PARENT, given_) == TraceContext(PARENT, goes_on)


@given(st.binary(max_size=700), st.binary(max_size=700))
def test_whatever_stands_in_the_headers_nothing_breaks_out_of_a_line(parent: bytes, state: bytes) -> None:
    for first in (parent, PARENT.encode()):
        found = trace_of((("traceparent", first), ("tracestate", state)))
        for line in [] if found is None else found.lines(()):
            assert line.isascii()
            assert line.isprintable()


def test_of_several_the_last_counts_and_no_value_is_none() -> None:
    assert trace_of((("traceparent", b"former"), *HEADERS)) == TraceContext(PARENT, "congo=t61rcWkgMzE,rojo=1")
    assert trace_of((*HEADERS, ("traceparent", None))) is None
    assert trace_of((("tracestate", b"congo=1"), ("Traceparent", PARENT.encode()))) is None


def test_a_new_trace_is_valid_sampled_and_another_each_time() -> None:
    made = [new_trace() for _ in range(50)]
    assert all(read_trace(each.traceparent) == each and each.traceparent.endswith("-01") for each in made)
    assert len({each.trace_id for each in made}) == 50


# The way to the receiver


def test_each_attempt_of_each_delivery_names_the_records_trace() -> None:
    r = Replica([subscription("a"), subscription("b")])
    r.assign(0)
    r.log.append(value(1), headers=HEADERS)
    r.fetch()
    first = r.turn()
    assert [sent(attempt) for attempt in first] == [LINES, LINES]
    r.answer(first[0], answered(500))
    r.answer(first[1])
    r.pass_time(2)
    (again,) = r.turn()
    assert again.delivery is first[0].delivery
    assert sent(again) == LINES


@pytest.mark.parametrize("headers", [(), (("traceparent", b"00-0-0-01"), HEADERS[1]), (("schema", b"1"),)])
def test_without_a_valid_one_no_attempt_names_any(headers: tuple[tuple[str, bytes], ...]) -> None:
    r = Replica([subscription("a")])
    r.assign(0)
    r.log.append(value(1), headers=headers)
    r.fetch()
    (attempt,) = r.turn()
    assert sent(attempt) == []
    assert attempt.trace is None


def test_what_is_owed_names_it_when_it_is_read_again_by_another_replica() -> None:
    r = Replica([subscription("a")])
    r.assign(0)
    r.log.append(value(1), headers=HEADERS)
    r.live(10, {"a": answered(500)})
    assert r.log.state("a") is not None, "it is not owed"
    new = Replica([subscription("a")], log=r.log, clock=r.clock)
    new.assign(0)
    seen: list[list[str]] = []
    new.live(40, lambda attempt: seen.append(sent(attempt)) or OK)  # type: ignore[func-returns-value]
    assert seen == [LINES]


def test_what_is_behind_names_it_when_it_catches_up() -> None:
    r = Replica([subscription("a")])
    r.assign(0)
    for number in range(30):
        r.log.append(value(number), key=b"%d" % number, headers=HEADERS)
    r.live(3, {"a": answered(500)})
    r.log.append(value(30), headers=HEADERS)
    r.live(3, {"a": answered(500)})
    assert flows_behind(r.core) == 1
    seen: dict[int, list[str]] = {}

    def answer(attempt: Attempt) -> Any:
        seen[attempt.delivery.offset] = sent(attempt)
        return OK

    r.live(400, answer)
    assert seen == dict.fromkeys(range(31), LINES)


def test_a_replayed_dead_letter_names_it_and_one_that_comes_back_keeps_it() -> None:
    r = Replica([subscription("a")])
    r.assign(0)
    r.log.append(value(1), headers=(("x", b"1"), *HEADERS))
    r.run(answered(400))
    r.commit()
    (letter,) = r.log.letters
    replayed = letter.replay(f"{TOPIC}.replay")
    r.log.append(replayed.value, key=replayed.key, topic=replayed.topic, headers=replayed.headers)
    r.assign(0, topic=f"{TOPIC}.replay")
    r.fetch()
    (again,) = r.turn()
    assert (again.delivery.id, sent(again)) == (letter.id, LINES)
    r.answer(again, answered(400))
    r.commit()
    (back,) = r.log.letters
    assert (back.id, back.replays, back.origin.headers) == (letter.id, 1, (("x", b"1"), *HEADERS))


def test_a_services_own_traceparent_wins() -> None:
    class Tracing(Ping):
        """
        Tracing

        Names a trace of its own.
        """

        def send(self, payload: Payload) -> None:
            self.session.post("http://127.0.0.1/", json=payload, headers={"TraceParent": "mine"})

    r = Replica([Subscription(id="a", product=None, service=Tracing({}, RecordingSession()))])
    r.assign(0)
    r.log.append(value(1), headers=HEADERS)
    r.fetch()
    (attempt,) = r.turn()
    assert sent(attempt) == ["TraceParent: mine"]


def test_the_attempt_of_a_blocking_service_says_which_trace_it_is_in() -> None:
    r = Replica([threaded("t")])
    r.assign(0)
    r.log.append(value(1), headers=HEADERS)
    r.fetch()
    (attempt,) = r.turn()
    assert attempt.trace == TraceContext(PARENT, "congo=t61rcWkgMzE,rojo=1")


def test_a_dead_letter_is_cut_to_fit_and_keeps_what_fits() -> None:
    r = Replica([subscription("a")])
    r.assign(0)
    r.log.append(value(1), headers=(*HEADERS, ("large", b"x" * 5000)))
    r.run(answered(400))
    cycle = r.core.cycle()
    keys = frozenset(record.key for record in cycle.records if record.topic == LETTERS and record.key)
    r.core.shrink(keys, 1000)
    r.commit()
    letter: DeadLetter
    (letter,) = r.log.letters
    assert letter.dropped
    assert letter.origin.headers == HEADERS
