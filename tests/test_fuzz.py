"""Whatever the bytes, keys and headers are: an event or a reason, in bounded work, and each record comes to its end."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import suppress
from itertools import islice
from types import FrameType
from typing import Any

import pytest
from fuzzed.records import FRAME, WEIGHTS, Fuzzed, around_tags, fuzzed, nested, varint
from harness import CODEC, TOPIC, Replica
from hypothesis import given
from hypothesis import strategies as st
from payloads import payloads

from consumer.codec import Codec, Head, Undecodable, Unfetched
from consumer.core import CoreSettings
from consumer.event import LONGEST_KEPT_KEY, Event, Headers, Record, lane_of
from consumer.framing import HEADER
from consumer.render import Rendered, RenderError, render
from consumer.subscriptions import Subscription
from consumer.topics import REPLAYS
from services import RecordingSession, slack, webhook

WITH_REGISTRY = Codec(registry=True)
LINES = (1000, 60)  # of Python that reading a value may take: in all, and for each of its bytes

encoded = payloads.map(CODEC.encode)
flips = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 7)), min_size=1, max_size=8)
contents = st.none() | st.binary(max_size=20)
headers = st.lists(st.tuples(st.just(HEADER) | st.text(max_size=5), contents), max_size=3).map(tuple)


def flipped(value: bytes, flips: list[tuple[int, int]]) -> bytes:
    changed = bytearray(value)
    for at, bit in flips:
        changed[FRAME + at % (len(value) - FRAME)] ^= 1 << bit
    return bytes(changed)


mangled = st.one_of(
    st.binary(max_size=300),
    st.tuples(encoded, st.binary(max_size=200)).map(lambda both: both[0][:FRAME] + both[1]),
    st.tuples(encoded, flips).map(lambda both: flipped(*both)),
    st.tuples(encoded, st.integers(0, 10**6)).map(lambda both: both[0][: both[1] % len(both[0])]),
    st.tuples(encoded, st.integers(0, 10**6), st.integers(-(2**63), 2**63 - 1)).map(
        lambda parts: parts[0][: FRAME + parts[1] % (len(parts[0]) - FRAME)] + varint(parts[2]) + parts[0][FRAME:]
    ),
)


def lines_to_decode(value: bytes) -> int:
    """Return how many lines of Python run while a value is read."""
    count = 0

    def trace(_frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        CODEC.decode(value)
    finally:
        sys.settrace(before)
    return count


@given(mangled, headers)
def test_any_bytes_and_headers_are_an_event_or_a_reason(value: bytes, headers: Headers) -> None:
    for codec in (CODEC, WITH_REGISTRY):
        assert isinstance(codec.head(value, headers), Head | Undecodable | Unfetched)
        found = codec.decode(value, headers)
        assert isinstance(found, dict | Undecodable | Unfetched)
        assert not isinstance(found, Undecodable) or found.reason
        assert not isinstance(found, dict) or isinstance(codec.head(value, headers), Head)


@given(mangled)
def test_reading_takes_work_by_the_bytes_there_are_and_not_by_what_they_promise(value: bytes) -> None:
    base, each = LINES
    assert lines_to_decode(value) < base + each * len(value)


@pytest.mark.parametrize(
    "value",
    [
        nested(100_000),
        around_tags()[0] + varint(2**62) + b"\x00" * 1000,
        around_tags()[0] + varint(-(2**63)) + varint(2**63 - 1) + b"\x00" * 1000,
        around_tags()[0] + (varint(1) + b"\x00") * 1000,
        around_tags()[0] + b"\xff" * 1000,
    ],
    ids=["nested", "many", "negative", "blocks", "endless"],
)
def test_promises_that_nothing_keeps_cost_nothing(value: bytes) -> None:
    base, each = LINES
    assert isinstance(CODEC.decode(value), Undecodable)
    assert lines_to_decode(value) < base + each * len(value)


@given(st.tuples(encoded, flips).map(lambda both: flipped(*both)))
def test_a_flipped_event_that_can_still_be_read_is_rendered_or_refused_by_its_service(value: bytes) -> None:
    payload = CODEC.decode(value)
    if isinstance(payload, dict):
        event = Event(Record(TOPIC, 0, 0, None, value, 0), payload)
        for service in (webhook.Service, slack.Service):
            given_ = {"urls": "https://a.example"} if service is webhook.Service else {"url": "https://a.example"}
            with suppress(RenderError):
                (rendered,) = render(service(given_, RecordingSession()), event)
                assert isinstance(rendered, Rendered)


def subscriptions() -> list[Subscription]:
    hook = webhook.Service({"urls": "https://a.example"}, RecordingSession())
    unhurried = type("Service", (slack.Service,), {"rate": None, "__doc__": slack.Service.__doc__})
    talk = unhurried({"url": "https://a.example"}, RecordingSession())
    return [Subscription("hook", None, hook), Subscription("talk", None, talk, events=("*.*",))]


@pytest.mark.parametrize("seed", range(3))
def test_every_fuzzed_record_is_finished_and_counted_and_nothing_is_left_in_memory(seed: int) -> None:
    r = Replica(subscriptions(), settings=CoreSettings(poison_limit=None))
    r.assign(0)
    r.assign(0, topic=TOPIC + REPLAYS)
    written = list(islice(fuzzed(TOPIC, seed), 1500))
    for each in written:
        append(r, each)
    for _ in range(300):
        r.run()
        if not r.commit():
            break
    assert sum(r.log.committed.values()) == len(written)
    assert (r.core.in_hand, r.core.buffered, r.core.in_flight, r.core.owed) == (0, 0, 0, 0)
    counted = Counter(letter.reason for letter in r.log.letters)
    assert counted["poison"] > 300
    assert r.metrics.deliveries.value("webhook", "delivered") > 500
    assert {each.kind for each in written} >= set(WEIGHTS) - {"large"}


def append(r: Replica, each: Fuzzed) -> None:
    record = each.record
    r.log.append(record.value, key=record.key, topic=record.topic, headers=record.headers)


def test_keys_that_are_large_have_their_lane_and_are_not_kept() -> None:
    keys = [b"k" * LONGEST_KEPT_KEY + b"%d" % number for number in range(10)]
    assert len({lane_of(key) for key in keys}) == len(keys)
    assert lane_of(bytes(keys[0])) == lane_of(bytes(bytearray(keys[0])))
    assert lane_of(b"1:7") == lane_of(bytes(bytearray(b"1:7")))


def test_headers_count_as_what_a_record_holds() -> None:
    assert Record(TOPIC, 0, 0, b"key", b"value", 0, (("name", b"content"), ("null", None))).size == 3 + 5 + 11 + 4
