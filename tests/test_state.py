"""What is owed survives in the state topic: written whole, read back the same, refused when it is not ours."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.event import Outgoing, Record, TopicPartition
from consumer.state import LONGEST_ERROR, Owed, State, latest_states, read_state, state_key, write_state

STATES = "sprintly.events.state"
P3 = TopicPartition("sprintly.events", 3)

offsets = st.integers(0, 2**63 - 1)
seconds = st.integers(0, 2**33)
owed = st.builds(Owed, offsets, st.integers(0, 99), st.integers(0, 9), seconds, seconds, st.none() | offsets)
ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,30}(#[0-9a-f]{8})?", fullmatch=True)
places = st.builds(TopicPartition, st.from_regex(r"[a-zA-Z0-9._-]{1,20}", fullmatch=True), st.integers(0, 999))
states = st.builds(
    State,
    ids,
    places,
    st.text(max_size=22),
    st.none() | offsets,
    st.lists(owed, max_size=5).map(tuple),
    seconds,
    st.text(max_size=LONGEST_ERROR),
)


def stored(written: Outgoing, offset: int = 0) -> Record:
    return Record(written.topic, written.partition or 0, offset, written.key, written.value, 0, written.headers)


def said(**changes: object) -> Record:
    """Return the record of a state with these fields changed."""
    value = orjson.loads(write_state(STATES, State("a", P3, "t", 5)).value or b"") | changes
    return Record(STATES, 3, 9, state_key("a", P3), orjson.dumps(value), 0)


@given(states)
def test_what_is_written_is_read_back_the_same_and_nothing_owed_is_a_tombstone(state: State) -> None:
    written = write_state(STATES, state)
    assert (written.topic, written.key) == (STATES, state_key(state.subscription, state.partition))
    assert written.partition == state.partition.partition
    if state.next is None and not state.owed:
        assert written.value is None
    else:
        assert read_state(stored(written)) == state


@given(states, states)
def test_two_subscriptions_or_partitions_never_share_a_key(one: State, other: State) -> None:
    same = (one.subscription, one.partition) == (other.subscription, other.partition)
    assert (write_state(STATES, one).key == write_state(STATES, other).key) == same


def test_a_long_error_is_cut() -> None:
    written = write_state(STATES, State("a", P3, next=0, last_error="x" * 10_000))
    assert read_state(stored(written)).last_error == "x" * LONGEST_ERROR


def test_only_the_last_state_under_a_key_counts_and_tombstones_are_none() -> None:
    writes = [
        write_state(STATES, State("a", P3, next=1)),
        write_state(STATES, State("b", P3, next=1)),
        write_state(STATES, State("a", P3, next=2)),
        write_state(STATES, State("b", P3)),
    ]
    found, problems = latest_states(stored(written, offset) for offset, written in enumerate(writes))
    assert found == {state_key("a", P3): State("a", P3, next=2)}
    assert problems == []


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (said(version=2), "version is 2"),
        (said(next="soon"), "invalid literal"),
        (said(owed=[[1, 2]]), "values to unpack"),
        (said(owed=None), "not iterable"),
        (said()._replace(value=b"{"), "unexpected end"),
        (said()._replace(value=b"[]"), "indices"),
        (said()._replace(value=b"{}"), "version"),
        (said()._replace(key=b"a|sprintly.events"), "unpack"),
        (said()._replace(key=b"\xff|t|0"), "decode"),
        (said()._replace(key=None), "unpack"),
        (said()._replace(key=b"a|sprintly.events|x"), "invalid literal"),
    ],
)
def test_a_record_that_is_no_state_of_ours_is_refused_with_a_sentence(record: Record, says: str) -> None:
    with pytest.raises(ValueError, match=says) as raised:
        read_state(record)
    assert str(raised.value).startswith(f"{STATES}[3] offset 9 is not a state that can be read: ")


def test_one_that_cannot_be_read_is_named_and_hides_no_other() -> None:
    good = stored(write_state(STATES, State("b", P3, next=1)))
    found, problems = latest_states([said(version=2), good])
    assert list(found.values()) == [State("b", P3, next=1)]
    assert len(problems) == 1
    assert "version is 2" in problems[0]
