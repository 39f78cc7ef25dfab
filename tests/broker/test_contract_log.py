"""What can be asked of the logs, and how they are read again: on the fake, the mock cluster and the real Kafka."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from uuid import uuid4

import pytest
from brokers import Bench, joined, own_all, polls, until, values

from consumer.broker import LogReader
from consumer.errors import BrokerError
from consumer.event import Commit, Outgoing, Record, TopicPartition

SOON = 5.0  # seconds within which what needs no waiting for time-outs is over
PATIENCE = 20.0  # seconds that an answer may take


@pytest.fixture
def reader(bench: Bench) -> Iterator[LogReader]:
    reader = bench.broker.log_reader()
    yield reader
    reader.close()


def fill(bench: Bench, topic: str, records: int) -> None:
    """Write to the first partitions in transactions of all sizes, whose markers leave holes where there are any."""
    writer = bench.broker.writer()
    chance, left = random.Random(records), records
    while left:
        size = min(left, chance.choice([1, 2, 30, 120]))
        writer.write([Outgoing(topic, b"k", bytes(chance.randrange(200)), partition=n % 3) for n in range(size)])
        left -= size


def log_of(bench: Bench, tp: TopicPartition) -> list[Record]:
    return list(bench.broker.read(tp.topic, [tp.partition]))


# -- reading a topic whole


def test_reading_ends_where_the_topic_does(bench: Bench) -> None:
    partitions = 24 if bench.chosen_partitions else 4
    topic = bench.topic(partitions)
    began = time.monotonic()
    assert list(bench.broker.read(topic)) == []
    assert time.monotonic() - began < SOON / 2
    writer = bench.broker.writer()
    writer.write([Outgoing(topic, b"k", b"%d" % number, partition=number % 3) for number in range(9)])
    bench.produce(topic, [b"9"], partition=3)
    writer.write([Outgoing(topic, b"k", b"10", partition=0)])  # so a transaction's marker is the last thing there
    assert sorted(int(value or b"") for value in values(list(bench.broker.read(topic)))) == list(range(11))
    assert time.monotonic() - began < SOON * 3


def test_some_partitions_can_be_read_alone(bench: Bench) -> None:
    topic = bench.topic()
    list(bench.broker.produce([Outgoing(topic, None, b"%d" % number, partition=number) for number in range(4)]))
    assert {record.partition: record.value for record in bench.broker.read(topic, {1, 3})} == {1: b"1", 3: b"3"}
    assert list(bench.broker.read(topic, [])) == []
    with pytest.raises(BrokerError):
        list(bench.broker.read(topic, [0, 99]))


def test_it_reads_up_to_the_end_that_there_was_at_the_call(bench: Bench) -> None:
    topic = bench.topic()
    bench.produce(topic, [b"%d" % number for number in range(100)], partition=0)
    records = bench.broker.read(topic)
    bench.produce(topic, [b"late"], partition=1)
    assert len([record for record in records if record.partition == 0]) == 100


# -- reading it again from anywhere


def test_pieces_one_after_the_other_are_the_whole(bench: Bench, reader: LogReader) -> None:
    topic = bench.topic()
    fill(bench, topic, 1500)
    for partition in range(4):
        tp = TopicPartition(topic, partition)
        for most in (500, 7) if partition == 0 else (500,):
            read: list[Record] = []
            offset, pieces = 0, 0
            while (chunk := reader.read(tp, offset, most, PATIENCE)).records or chunk.next > offset:
                read += chunk.records
                assert len(chunk.records) <= most
                offset = chunk.next
                pieces += 1
            assert read == log_of(bench, tp)
            assert pieces <= 2 * len(read) / most + 50, "it takes what is there"


def test_any_piece_is_what_the_log_holds_there(bench: Bench, reader: LogReader) -> None:
    topic = bench.topic()
    fill(bench, topic, 900)
    logs = {tp: log_of(bench, tp) for tp in (TopicPartition(topic, number) for number in range(4))}
    chance = random.Random(3)
    tp, offset = TopicPartition(topic, 0), 0
    for _ in range(150):
        if chance.random() < 0.7:  # else it goes on, as a scan does
            tp, offset = chance.choice(list(logs)), chance.randrange(350)
        most = chance.choice([1, 3, 100])
        chunk = reader.read(tp, offset, most, PATIENCE)
        expected = [record for record in logs[tp] if record.offset >= offset]
        assert chunk.records == expected[: len(chunk.records)]
        assert len(chunk.records) <= most
        assert chunk.records == [record for record in expected if record.offset < chunk.next]
        assert bool(chunk.records) == bool(expected), "it comes back with nothing only where there is nothing"
        offset = chunk.next


def test_at_the_end_and_beyond_there_is_nothing_until_something_comes(bench: Bench, reader: LogReader) -> None:
    topic = bench.topic()
    tp = TopicPartition(topic, 0)
    assert reader.read(tp, 0, 10, PATIENCE) == ([], 0, 0)
    bench.produce(topic, [b"%d" % number for number in range(10)], partition=0)
    assert reader.read(tp, 10, 10, PATIENCE) == ([], 10, 0)
    assert reader.read(tp, 10, 10, PATIENCE) == ([], 10, 0)
    assert reader.read(tp, 99, 10, PATIENCE) == ([], 99, 0)
    assert reader.read(tp, 9, 10, PATIENCE).next == 10
    bench.produce(topic, [b"10"], partition=0)
    chunk = reader.read(tp, 10, 10, PATIENCE)
    assert (values(chunk.records), chunk.next) == ([b"10"], 11)


def test_what_has_expired_is_passed(bench: Bench, reader: LogReader) -> None:
    if bench.expire is None:
        pytest.skip("nothing expires there")
    topic = bench.topic()
    tp = TopicPartition(topic, 0)
    bench.produce(topic, [b"%d" % number for number in range(100)], partition=0)
    bench.expire(tp, 40)
    for offset, begin in ((0, 40), (39, 40), (40, 0)):
        chunk = reader.read(tp, offset, 1, PATIENCE)
        assert (chunk.records[0].offset, chunk.begin) == (40, begin)
    bench.expire(tp, 60)
    assert reader.read(tp, 41, 500, PATIENCE).next > 41
    chunk = reader.read(tp, 0, 500, PATIENCE)
    assert ([record.offset for record in chunk.records][:2], chunk.begin) == ([60, 61], 60)
    bench.expire(tp, 100)
    assert reader.read(tp, 0, 500, PATIENCE) == ([], 100, 100)
    assert list(bench.broker.read(topic)) == []


def test_a_partition_that_is_not_there_cannot_be_read(bench: Bench, reader: LogReader) -> None:
    topic = bench.topic()
    bench.produce(topic, [b"0"], partition=0)
    for _ in range(2):
        with pytest.raises(BrokerError, match="does not exist"):
            reader.read(TopicPartition(topic, 99), 0, 10, PATIENCE)
    assert len(reader.read(TopicPartition(topic, 0), 0, 10, PATIENCE).records) == 1


def test_a_reader_needs_no_group_and_disturbs_none(bench: Bench, reader: LogReader) -> None:
    topic = bench.topic()
    bench.produce(topic, [b"0", b"1"], partition=0)
    with joined(bench.broker, topic) as member:
        own_all(member)
        assert len(reader.read(TopicPartition(topic, 0), 0, 10, PATIENCE).records) == 2
        until(lambda: len(member.records) == 2, member)
        for _ in polls(0.5):
            member.poll()
        assert member.events == ["assigned"]
    assert set(bench.broker.committed([TopicPartition(topic, 0)], PATIENCE).values()) == {None}


# -- what the group has committed


def test_committed_offsets_are_told_and_nobody_is_disturbed(bench: Bench) -> None:
    topic = bench.topic()
    places = [TopicPartition(topic, number) for number in range(4)]
    assert bench.broker.committed(places, PATIENCE) == dict.fromkeys(places)
    assert bench.broker.committed([], PATIENCE) == {}
    writer = bench.broker.writer()
    with joined(bench.broker, topic) as member:
        own_all(member)
        writer.write([], {places[0]: Commit(0, "so"), places[2]: Commit(7)}, member.consumer.membership())
        until(lambda: bench.broker.committed(places[2:3], PATIENCE) == {places[2]: Commit(7)}, member)
        assert bench.broker.committed(places, PATIENCE) == dict(
            zip(places, [Commit(0, "so"), None, Commit(7), None], strict=True)
        )
        for _ in polls(0.3):
            member.poll()
        assert member.events == ["assigned"]
    assert bench.of_group(f"other-{uuid4()}").committed(places[:1], PATIENCE) == {places[0]: None}


# -- what is known of topics


def test_logs_begin_at_the_oldest_or_at_a_time(bench: Bench) -> None:
    topic = bench.topic()
    early, late, empty = places = [TopicPartition(topic, number) for number in range(3)]
    bench.produce(topic, [b"0", b"1"], partition=0)
    time.sleep(0.005)  # so that the next have other timestamps
    bench.produce(topic, [b"2"], partition=0)
    bench.produce(topic, [b"3"], partition=1)
    since = log_of(bench, early)[2].timestamp / 1000
    ages = bench.broker.begins
    assert ages(places, None, PATIENCE) == dict.fromkeys(places, (0, 0))
    assert ages(places, 0.0, PATIENCE) == dict.fromkeys(places, (0, 0))
    assert ages(places, since, PATIENCE) == {early: (0, 2), late: (0, 0), empty: (0, 0)}
    assert ages(places, since - 0.0005, PATIENCE) == {early: (0, 2), late: (0, 0), empty: (0, 0)}
    assert ages(places, time.time() + 3600, PATIENCE) == {early: (0, 3), late: (0, 1), empty: (0, 0)}
    assert ages([], None, PATIENCE) == {}
    with pytest.raises(BrokerError, match=topic):
        ages([TopicPartition(topic, 99)], None, PATIENCE)
    if bench.expire is not None:
        bench.expire(early, 1)
        assert ages([early], None, PATIENCE) == {early: (1, 1)}
        assert ages([early], 0.0, PATIENCE) == {early: (1, 1)}
        assert ages([early], since, PATIENCE) == {early: (1, 2)}


def test_topics_are_told_apart_by_their_ids(bench: Bench) -> None:
    one, other = bench.topic(), bench.topic()
    found = bench.broker.topic_ids([one, other], PATIENCE)
    assert found.keys() == {one, other}
    assert found == bench.broker.topic_ids([other, one], PATIENCE)
    if bench.transactions:
        assert all(found.values())
        assert found[one] != found[other]
    else:
        assert set(found.values()) == {""}
    assert bench.broker.topic_ids([], PATIENCE) == {}
    with pytest.raises(BrokerError, match="the topic nowhere does not exist"):
        bench.broker.topic_ids([one, "nowhere"], PATIENCE)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"retention_ms": "90000"}, 90.0),
        ({"retention_ms": "-1"}, None),
        ({"retention_ms": "90000", "cleanup_policy": "compact"}, None),
        ({"retention_ms": "90000", "cleanup_policy": "compact,delete"}, 90.0),
        ({}, 7 * 24 * 3600.0),
    ],
)
def test_a_topics_retention_is_told(bench: Bench, settings: dict[str, str], expected: float | None) -> None:
    topic = bench.topic(4, **settings)
    assert bench.broker.retention(topic, PATIENCE) == (expected if bench.chosen_partitions else None)
    with pytest.raises(BrokerError, match="the topic nowhere does not exist"):
        bench.broker.retention("nowhere", PATIENCE)
