"""What `consumer.broker` promises, tried on the fake, on the embedded mock cluster and on the real Kafka."""

from __future__ import annotations

import time
from collections import defaultdict

import pytest
from brokers import Bench, joined, until, values

from consumer.broker import TopicSpec
from consumer.errors import BrokerError, CycleAborted, RecordTooLarge, ReplayOverrun
from consumer.event import Commit, Outgoing, TopicPartition

SOON = 5.0  # seconds within which what needs no waiting for time-outs is over


# -- records


def test_what_is_written_is_read_as_it_was(bench: Bench) -> None:
    topic = bench.topic()
    headers = (("a", b"1"), ("empty", b""), ("none", None), ("a", b"2"))
    sent = [
        Outgoing(topic, b"key", b"value", headers, partition=1),
        Outgoing(topic, b"key", None, partition=1),
        Outgoing(topic, None, b"", partition=2),
        Outgoing(topic, b"", bytes(range(256)), partition=3),
    ]
    before = time.time() * 1000
    written = list(bench.broker.produce(sent))
    after = time.time() * 1000
    assert [(place.topic, place.partition) for place in written] == [(topic, 1), (topic, 1), (topic, 2), (topic, 3)]
    assert written[0].offset < written[1].offset
    with joined(bench.broker, topic) as member:
        until(lambda: len(member.records) == len(sent), member)
    by_place = {(record.topic, record.partition, record.offset): record for record in member.records}
    for outgoing, place in zip(sent, written, strict=True):
        record = by_place[place]
        assert (record.key, record.value, record.headers) == (outgoing.key, outgoing.value, outgoing.headers)
        assert before - 1 <= record.timestamp <= after + 1
    assert sorted(bench.broker.read(topic)) == sorted(member.records)


def test_a_partition_keeps_its_order_and_a_key_its_partition(bench: Bench) -> None:
    topic = bench.topic()
    sent = [Outgoing(topic, b"%d" % (number % 7), b"%d" % number) for number in range(700)]
    written = list(bench.broker.produce(sent))
    partitions = defaultdict(set)
    for outgoing, place in zip(sent, written, strict=True):
        partitions[outgoing.key].add(place.partition)
    assert all(len(found) == 1 for found in partitions.values())
    with joined(bench.broker, topic) as member:
        until(lambda: len(member.records) == 700, member)
    of_key = defaultdict(list)
    for record in member.records:
        of_key[record.key].append(int(record.value or b""))
    assert all(numbers == sorted(numbers) for numbers in of_key.values())
    assert sorted(number for numbers in of_key.values() for number in numbers) == list(range(700))


def murmur2(data: bytes) -> int:
    """The hash of Java's default partitioner (`org.apache.kafka.common.utils.Utils.murmur2`), as a signed integer."""
    mix, mask = 0x5BD1E995, 0xFFFFFFFF
    state = (0x9747B28C ^ len(data)) & mask
    whole = len(data) - len(data) % 4
    for at in range(0, whole, 4):
        word = int.from_bytes(data[at : at + 4], "little") * mix & mask
        word = (word ^ word >> 24) * mix & mask
        state = (state * mix & mask) ^ word
    if whole < len(data):
        state = (state ^ int.from_bytes(data[whole:], "little")) * mix & mask
    state = (state ^ state >> 13) * mix & mask
    state ^= state >> 15
    return state - (1 << 32) if state >> 31 else state


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_reference_hash_is_javas(data: bytes, expected: int) -> None:
    """The vectors of Kafka's own UtilsTest.testMurmur2."""
    assert murmur2(data) == expected


def test_a_key_lands_where_javas_producer_puts_it(bench: Bench) -> None:
    if not bench.murmur2:
        pytest.skip("the fake has a partitioner of its own")
    topic = bench.topic()
    keys = [b"21", b"foobar", b"abc", b"1111:42", b"a-little-bit-long-string"]
    written = list(bench.broker.produce([Outgoing(topic, key, b"") for key in keys]))
    assert [place.partition for place in written] == [(murmur2(key) & 0x7FFFFFFF) % 4 for key in keys]


# -- writers


def test_records_and_offsets_become_durable_together(bench: Bench) -> None:
    topic, letters = bench.topic(), bench.topic()
    bench.produce(topic, [b"0", b"1", b"2"], partition=0)
    writer = bench.broker.writer()
    with joined(bench.broker, topic) as member:
        until(lambda: len(member.records) == 3, member)
        letter = Outgoing(letters, b"id", b"dead", partition=1)
        writer.write(
            [letter], {TopicPartition(topic, 0): Commit(member.records[2].offset)}, member.consumer.membership()
        )
    assert values(list(bench.broker.read(letters))) == [b"dead"]
    with joined(bench.broker, topic) as second:
        until(lambda: second.records, second)
        assert second.values == [b"2"]
    writer.close()


def test_offsets_alone_can_be_written_and_so_can_nothing(bench: Bench) -> None:
    topic = bench.topic()
    bench.produce(topic, [b"0", b"1"], partition=0)
    writer = bench.broker.writer()
    with joined(bench.broker, topic) as member:
        until(lambda: len(member.records) == 2, member)
        writer.write([])
        writer.write([], {TopicPartition(topic, 0): Commit(member.records[1].offset)}, member.consumer.membership())
    with joined(bench.broker, topic) as second:
        until(lambda: second.records, second)
        assert second.values == [b"1"]


def test_a_write_that_fails_leaves_nothing_behind(transactional: Bench) -> None:
    bench = transactional
    topic, letters = bench.topic(), bench.topic()
    bench.produce(topic, [b"0", b"1"], partition=0)
    writer = bench.broker.writer()
    with joined(bench.broker, topic) as member:
        until(lambda: len(member.records) == 2, member)
        offsets = {TopicPartition(topic, 0): Commit(member.records[1].offset)}
        bad = [Outgoing(letters, b"good", b"1"), Outgoing(letters, b"bad", b"2", partition=99)]
        with pytest.raises(CycleAborted):
            writer.write(bad, offsets, member.consumer.membership())
        assert list(bench.broker.read(letters)) == []
    with joined(bench.broker, topic) as second:
        until(lambda: len(second.records) == 2, second)
    writer.write([Outgoing(letters, b"next", b"3")])
    assert values(list(bench.broker.read(letters))) == [b"3"]


def test_offsets_without_a_membership_are_refused(bench: Bench) -> None:
    topic = bench.topic()
    writer = bench.broker.writer()
    with pytest.raises(CycleAborted):
        writer.write([], {TopicPartition(topic, 0): Commit(1)}, None)


def test_a_record_too_large_is_named_and_the_next_write_works(bench: Bench) -> None:
    topic = bench.topic(1)
    writer = bench.broker.writer()
    large = Outgoing(topic, b"large", bytes(5 * 1024 * 1024), partition=0)
    with pytest.raises(RecordTooLarge) as caught:
        writer.write([Outgoing(topic, b"small", b"1", partition=0), large])
    assert caught.value.keys == {b"large"}
    writer.write([Outgoing(topic, b"small", b"2", partition=0)])
    if bench.transactions:
        assert values(list(bench.broker.read(topic))) == [b"2"]


@pytest.mark.parametrize("named", [False, True])
def test_only_what_is_too_large_by_itself_is_named(transactional: Bench, named: bool) -> None:
    """The broker weighs batches: what travelled with a record that is too large is refused as well."""
    bench = transactional
    topic = bench.topic(1, max_message_bytes="50000")
    writer = bench.broker.writer(f"replay-{topic}" if named else None)
    small = [Outgoing(topic, b"small-%d" % number, bytes(20_000), partition=0) for number in range(10)]
    with pytest.raises(RecordTooLarge) as caught:
        writer.write([*small, Outgoing(topic, b"large", bytes(60_000), partition=0)])
    assert caught.value.keys == {b"large"}
    writer.write(small)
    assert [record.key for record in bench.broker.read(topic)] == [record.key for record in small]


def test_a_named_writer_ends_the_earlier_of_its_name(transactional: Bench) -> None:
    broker, topic = transactional.broker, transactional.topic()
    name = f"replay-{topic}"
    first = broker.writer(name)
    first.write([Outgoing(topic, b"k", b"first")])
    second = broker.writer(name)
    with pytest.raises(ReplayOverrun, match=name):
        first.write([Outgoing(topic, b"k", b"late")])
    second.write([Outgoing(topic, b"k", b"second")])
    with pytest.raises(ReplayOverrun):
        first.write([Outgoing(topic, b"k", b"later still")])
    second.write([Outgoing(topic, b"k", b"third")])
    assert values(list(broker.read(topic))) == [b"first", b"second", b"third"]


# -- the cluster


def test_topics_are_created_once(bench: Bench) -> None:
    there = bench.topic()
    new = there + "-new"
    specs = [TopicSpec(there, 9), TopicSpec(new, 2)]
    assert bench.broker.create(specs) == {there: False, new: True}
    assert bench.broker.create(specs) == {there: False, new: False}
    assert bench.broker.partitions(SOON)[there] == 4, "what is there stays as it is"
    if bench.chosen_partitions:
        assert bench.broker.partitions(SOON)[new] == 2


def test_a_missing_topic_is_named(bench: Bench) -> None:
    sentence = "the topic nowhere does not exist; `sprintly-services topics create` makes it"
    with pytest.raises(BrokerError) as reading:
        list(bench.broker.read("nowhere"))
    with pytest.raises(BrokerError) as producing:
        list(bench.broker.produce([Outgoing("nowhere", None, b"")]))
    assert str(reading.value) == str(producing.value) == sentence
    assert "nowhere" not in bench.broker.partitions(SOON)


def test_writing_to_a_missing_topic_is_a_failed_cycle(transactional: Bench) -> None:
    with pytest.raises(CycleAborted, match="the topic nowhere does not exist"):
        transactional.broker.writer().write([Outgoing("nowhere", None, b"")])


def test_the_size_is_the_number_of_brokers(bench: Bench) -> None:
    assert bench.broker.size(SOON) == 1
