"""A dead letter holds the record's bytes and everything about its failure, and reads back as it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.deadletter import DeadLetter, Stage, read_dead_letter
from consumer.event import Headers, Outgoing, Record

header_names = st.text(max_size=12) | st.sampled_from(["dlq.key", "dlq.status", "dlq.replays", "dlq.null", "dlq.id"])
headers = st.lists(st.tuples(header_names, st.none() | st.binary(max_size=12)), max_size=4).map(tuple)
origins = st.builds(
    Record,
    topic=st.just("sprintly.events"),
    partition=st.integers(0, 100),
    offset=st.integers(0, 2**60),
    key=st.none() | st.binary(max_size=20),
    value=st.none() | st.binary(max_size=50),
    timestamp=st.integers(0, 2**42),
    headers=headers,
)
letters = st.builds(
    DeadLetter,
    id=st.uuids().map(str),
    origin=origins,
    stage=st.sampled_from(Stage),
    reason=st.sampled_from(["permanent", "exhausted", "poison"]),
    error=st.text(max_size=60),
    subscription=st.just("") | st.just("acme#0a1b2c3d"),
    service=st.just("") | st.just("webhook"),
    product=st.integers(0, 9999),
    model=st.text(max_size=10),
    action=st.text(max_size=10),
    status=st.sampled_from([0, 400, 503]),
    attempts=st.integers(0, 9),
    first_attempt_at=st.integers(0, 2**31).map(float),
    last_attempt_at=st.integers(0, 2**31).map(float),
    replays=st.integers(0, 9),
)


def as_read(sent: Outgoing) -> Record:
    return Record(sent.topic, 3, 4, sent.key, sent.value, 5, sent.headers)


@given(letters)
def test_it_reads_back_as_it_was(letter: DeadLetter) -> None:
    sent = letter.outgoing("dlq")
    assert read_dead_letter(as_read(sent)) == letter
    assert sent.key == letter.id.encode()


@given(letters)
def test_its_value_is_the_record_s_bytes_and_never_a_tombstone(letter: DeadLetter) -> None:
    sent = letter.outgoing("dlq")
    assert sent.value == (letter.origin.value or b"")
    assert (("dlq.null", b"1") in sent.headers) >= (letter.origin.value is None)
    assert sent.headers[len(sent.headers) - len(letter.origin.headers) :] == letter.origin.headers


@given(letters)
def test_a_replay_is_the_same_entry_counted_once_more(letter: DeadLetter) -> None:
    sent = letter.replay("replay")
    again = read_dead_letter(as_read(sent))
    assert (again.id, again.origin, again.replays) == (letter.id, letter.origin, letter.replays + 1)
    assert sent.key == (letter.origin.key or letter.key)


def test_a_value_that_did_not_fit_says_how_large_it_was() -> None:
    origin = Record("t", 0, 0, None, b"x" * 100, 0)
    letter = DeadLetter("id", origin, Stage.DECODE, "poison", "why").shrunk(10)
    again = read_dead_letter(as_read(letter.outgoing("dlq")))
    assert (again.origin.value, again.truncated) == (b"x" * 10, 100)
    assert again.shrunk(5).truncated == 100


@given(letters, st.integers(0, 40))
def test_what_does_not_fit_becomes_smaller_each_time_and_still_reads_back(letter: DeadLetter, limit: int) -> None:
    cut = letter.shrunk(limit)
    assert read_dead_letter(as_read(cut.outgoing("dlq"))) == cut
    assert cut.origin.size < letter.origin.size or not letter.origin.size
    assert len(cut.origin.value or b"") <= limit
    assert cut.truncated in (0, len(letter.origin.value or b""))
    assert cut.dropped == letter.origin.size - cut.origin.size - len(letter.origin.value or b"") + len(
        cut.origin.value or b""
    )
    again = cut
    for _ in range(10):
        again = again.shrunk(limit)
    assert (again.origin.size, again.error) == (0, cut.error)
    assert (again.id, again.origin.offset, again.stage) == (letter.id, letter.origin.offset, letter.stage)


def test_what_is_told_of_a_record_does_not_outgrow_it() -> None:
    origin = Record("t", 0, 0, b"k" * 5000, None, 0, (("small", b"1"), ("large", b"x" * 5000)))
    cut = DeadLetter("id", origin, Stage.RENDER, "failed", "e" * 5000, model="M" * 5000, action="a" * 5000).shrunk(1000)
    assert (cut.origin.key, cut.origin.headers, cut.dropped) == (None, (("small", b"1"),), 10_005)
    assert sum(len(name) + len(content or b"") for name, content in cut.headers()) < 4000
    assert cut.error.endswith("the record does not fit into the dead-letter topic, and is cut")
    assert (cut.is_whole, cut.origin.value) == (True, None)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("timestamp", b"9" * 400),
        ("timestamp", b"9" * 5000),
        ("product", str(-(2**64)).encode()),
        ("first_attempt_at", b"0001-01-01T00:00:00+23:59"),
        ("last_attempt_at", b"0001-01-01T00:00:00"),
        ("last_attempt_at", b"yesterday"),
    ],
)
def test_a_number_or_time_that_nothing_can_hold_is_somebody_else_s(name: str, content: bytes) -> None:
    own = DeadLetter("id", Record("t", 0, 0, None, b"x", 0), Stage.DECODE, "poison", "why").headers()
    forged = tuple(header for header in own if header[0] != f"dlq.{name}")
    with pytest.raises(ValueError, match=f"not an entry of ours: header dlq.{name} is not a "):
        read_dead_letter(Record("dlq", 0, 0, b"k", b"v", 0, ((f"dlq.{name}", content), *forged)))


@pytest.mark.parametrize(
    ("foreign", "problem"),
    [
        ((), "it has no header dlq.replays"),
        ((("dlq.replays", b"0"),), "it has no header dlq.topic"),
        ((("dlq.topic", b"t"), ("dlq.partition", b"x"), ("dlq.replays", b"0")), "dlq.partition is not a number"),
    ],
)
def test_a_record_of_somebody_else_is_named_as_such(foreign: Headers, problem: str) -> None:
    with pytest.raises(ValueError, match=f"not an entry of ours: .*{problem}"):
        read_dead_letter(Record("dlq", 0, 0, b"k", b"v", 0, foreign))
