"""Records that librdkafka reads a second time are noticed, and nothing else is taken for one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumer.broker.positions import Positions
from consumer.event import Record, TopicPartition


def record(offset: int, partition: int = 0, timestamp: int | None = None) -> Record:
    return Record("t", partition, offset, None, b"v", 1000 + offset if timestamp is None else timestamp)


@given(st.sets(st.integers(0, 60), min_size=1), st.data())
def test_a_partition_read_again_from_its_beginning_is_handed_out_once(offsets: set[int], data: st.DataObject) -> None:
    log = sorted(offsets)
    read = []
    for _ in range(data.draw(st.integers(0, 3))):
        read += log[: data.draw(st.integers(1, len(log)))]
    read += log
    positions = Positions()
    assert [offset for offset in read if positions.is_new(record(offset))] == log


def test_each_partition_has_its_own_position() -> None:
    positions = Positions()
    assert all(positions.is_new(record(offset, partition)) for offset, partition in [(7, 0), (3, 1), (4, 1), (8, 0)])


def test_a_log_that_is_another_is_not_dropped() -> None:
    positions = Positions()
    log, another = [record(0), record(1)], [record(0, timestamp=5000), record(1, timestamp=5001)]
    assert all(positions.is_new(read) for read in log + another)


def test_what_comes_back_begins_anew() -> None:
    positions = Positions()
    assert all(positions.is_new(record(offset)) for offset in (5, 6))
    positions.forget([TopicPartition("t", 0)])
    assert positions.is_new(record(5))
