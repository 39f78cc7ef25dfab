"""What `consumer.broker` promises, tried on the fake, on the embedded mock cluster and on the real Kafka."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import pytest
from brokers import Bench, Member, embedded_bench, kafka_bench, memory_bench, polls, until

from consumer.broker import Broker, Membership, TopicSpec
from consumer.broker.memory import MemoryBroker
from consumer.errors import BrokerError, CycleAborted, RecordTooLarge, ReplayOverrun
from consumer.event import Outgoing, Record, TopicPartition

SOON = 5.0  # seconds within which what needs no waiting for time-outs is over


@pytest.fixture(scope="module")
def embedded() -> Bench:
    return embedded_bench()


@pytest.fixture(
    params=[
        "memory",
        "embedded",
        pytest.param("consumer", marks=pytest.mark.kafka),
        pytest.param("classic", marks=pytest.mark.kafka),
    ]
)
def bench(request: pytest.FixtureRequest) -> Bench:
    if request.param == "memory":
        return memory_bench()
    if request.param == "embedded":
        shared: Bench = request.getfixturevalue("embedded")
        return Bench(shared.name, shared.of_group, transactions=False, chosen_partitions=False)
    return kafka_bench(request.getfixturevalue("kafka_bootstrap"), request.param)


@pytest.fixture
def transactional(bench: Bench) -> Bench:
    if not bench.transactions:
        pytest.skip("the mock cluster keeps no offsets in transactions and fences nobody")
    return bench


@contextmanager
def joined(broker: Broker, *topics: str) -> Iterator[Member]:
    member = Member(broker, topics)
    try:
        yield member
    finally:
        member.consumer.close()


def own_all(member: Member, partitions: int = 4) -> None:
    until(lambda: len(member.owned) == partitions, member)


def values(records: Sequence[Record]) -> list[bytes | None]:
    return [record.value for record in records]


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
        writer.write([letter], {TopicPartition(topic, 0): member.records[2].offset}, member.consumer.membership())
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
        writer.write([], {TopicPartition(topic, 0): member.records[1].offset}, member.consumer.membership())
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
        offsets = {TopicPartition(topic, 0): member.records[1].offset}
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
        writer.write([], {TopicPartition(topic, 0): 1}, None)


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


def test_only_what_is_too_large_by_itself_is_named(transactional: Bench) -> None:
    """The broker weighs batches: what travelled with a record that is too large is refused as well."""
    bench = transactional
    topic = bench.topic(1, max_message_bytes="50000")
    writer = bench.broker.writer()
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


# -- reading a topic whole


def test_reading_ends_where_the_topic_does(bench: Bench) -> None:
    partitions = 24 if bench.chosen_partitions else 4
    topic = bench.topic(partitions)
    began = time.monotonic()
    assert list(bench.broker.read(topic)) == []
    writer = bench.broker.writer()
    writer.write([Outgoing(topic, b"k", b"%d" % number, partition=number % 3) for number in range(9)])
    bench.produce(topic, [b"9"], partition=3)
    writer.write([Outgoing(topic, b"k", b"10", partition=0)])  # so a transaction's marker is the last thing there
    assert sorted(int(value or b"") for value in values(list(bench.broker.read(topic)))) == list(range(11))
    assert time.monotonic() - began < SOON * 3


# -- the group


def test_pause_and_resume_lose_and_double_nothing(bench: Bench) -> None:
    topic = bench.topic()
    total = 4000
    bench.produce(topic, [b"%d" % number for number in range(total)])
    with joined(bench.broker, topic) as member:
        own_all(member)
        while len(member.records) < total:
            some = sorted(member.owned)[len(member.records) % 3 :: 2]
            member.consumer.pause(some)
            for _ in polls(0.05):
                got = member.poll(0.01, 100)
                assert not {TopicPartition(r.topic, r.partition) for r in got} & set(some)
            member.consumer.resume(some)
            member.poll(0.1, 100)
        member.poll(0.3)
    assert sorted(int(value or b"") for value in member.values) == list(range(total))


def test_a_partition_that_comes_back_is_not_paused_any_more(bench: Bench) -> None:
    topic = bench.topic()
    with joined(bench.broker, topic) as first:
        own_all(first)
        first.consumer.pause(sorted(first.owned))
        with joined(bench.broker, topic) as second:
            until(lambda: second.owned and len(first.owned | second.owned) == 4, first, second)
            moved = set(second.owned)
        own_all(first)
        place = min(moved)
        bench.produce(topic, [b"after"], partition=place.partition)
        until(lambda: first.records, first)
        assert first.values == [b"after"]


def test_partitions_are_given_up_before_others_have_them(bench: Bench) -> None:
    topic = bench.topic()
    for partition in range(4):
        bench.produce(topic, [b"0", b"1"], partition=partition)
    writer = bench.broker.writer()
    with joined(bench.broker, topic) as first:
        own_all(first)
        second = Member(bench.broker, [topic])
        given: list[set[TopicPartition]] = []

        def last_cycle(partitions: Sequence[TopicPartition], membership: Membership) -> None:
            """Write by another thread while the consumer's own waits, as the pipeline does; the other gets nothing."""
            thread = threading.Thread(
                target=writer.write, args=([], dict.fromkeys(partitions, 1), membership), daemon=True
            )
            thread.start()
            for _ in polls(1.0):
                second.poll()
                assert not second.owned & set(partitions)
            thread.join(SOON)
            assert not thread.is_alive()
            given.append(set(partitions))

        first.when_revoked = last_cycle
        until(lambda: second.owned and len(first.owned) + len(second.owned) == 4, first, second)
        assert set().union(*given) == second.owned
        assert first.events.count("revoked") == len(given)
        first.when_revoked = None
        until(lambda: len(second.records) >= len(second.owned), second, first)
        assert set(second.values) == {b"1"}, "the last cycle was before the assignment"
        second.consumer.close()
        own_all(first)


def test_who_leaves_hands_over_at_once(bench: Bench) -> None:
    topic = bench.topic()
    first, second = Member(bench.broker, [topic]), Member(bench.broker, [topic])
    until(lambda: first.owned and second.owned and len(first.owned) + len(second.owned) == 4, first, second)
    began = time.monotonic()
    first.consumer.close()
    assert not first.owned
    assert first.events[-1] == "revoked"
    own_all(second)
    assert time.monotonic() - began < SOON
    second.consumer.close()


def write_as(member: Member, write: Callable[[Membership], None]) -> None:
    """Write once the member has heard of its newest generation: until its next poll its membership is an old one."""
    for _ in range(100):
        member.poll(0.1)
        with suppress(CycleAborted):
            write(member.consumer.membership())
            return
    pytest.fail("its membership stayed refused")


def test_who_leaves_may_write_one_last_time(bench: Bench) -> None:
    topic = bench.topic()
    bench.produce(topic, [b"0", b"1"], partition=0)
    writer = bench.broker.writer()
    failures: list[BrokerError] = []

    def last_cycle(partitions: Sequence[TopicPartition], membership: Membership) -> None:
        try:
            writer.write([], dict.fromkeys(partitions, 1), membership)
        except BrokerError as error:
            failures.append(error)

    member = Member(bench.broker, [topic])
    until(lambda: len(member.records) == 2, member)
    member.when_revoked = last_cycle
    member.consumer.close()
    assert member.events == ["assigned", "revoked"]
    assert failures == []
    with joined(bench.broker, topic) as second:
        until(lambda: second.records, second)
        assert second.values == [b"1"]


def test_membership_of_before_the_loss_is_fenced(transactional: Bench) -> None:
    bench = transactional
    topic, letters = bench.topic(), bench.topic()
    writer = bench.broker.writer()
    with joined(bench.broker, topic) as first:
        own_all(first)
        before = first.consumer.membership()
        with joined(bench.broker, topic) as second:
            until(lambda: second.owned and len(first.owned | second.owned) == 4, first, second)
            lost = min(second.owned)
            with pytest.raises(CycleAborted):
                writer.write([Outgoing(letters, b"k", b"zombie")], {lost: 5}, before)
            kept = min(first.owned)
            write_as(first, lambda now: writer.write([Outgoing(letters, b"k", b"alive")], {kept: 0}, now))
    assert values(list(bench.broker.read(letters))) == [b"alive"]


def test_who_falls_silent_loses_its_partitions(transactional: Bench) -> None:
    bench = transactional
    if bench.impatient is None and not isinstance(bench.broker, MemoryBroker):
        pytest.skip("sessions are too long here to wait for the end of one")
    topic = bench.topic()
    broker = bench.impatient(bench.group) if bench.impatient else bench.broker
    writer = bench.broker.writer()
    with joined(broker, topic) as first, joined(broker, topic) as second:
        until(lambda: first.owned and second.owned and len(first.owned) + len(second.owned) == 4, first, second)
        place, membership, told = min(first.owned), first.consumer.membership(), len(first.events)
        if isinstance(broker, MemoryBroker):
            broker.expel(first.consumer)
        own_all(second)  # meanwhile `first` is not polled
        for proof in (membership, first.consumer.membership()):
            with pytest.raises(CycleAborted):
                writer.write([], {place: 5}, proof)
        until(lambda: "lost" in first.events, first)
        assert first.events[told] == "lost"
        with pytest.raises(CycleAborted):
            writer.write([], {place: 5}, membership)
        until(lambda: first.owned and len(first.owned) + len(second.owned) == 4, first, second)


def test_membership_of_who_left_is_fenced(transactional: Bench) -> None:
    topic = transactional.topic()
    with joined(transactional.broker, topic) as member:
        own_all(member)
        membership = member.consumer.membership()
    with pytest.raises(CycleAborted):
        transactional.broker.writer().write([], {TopicPartition(topic, 0): 5}, membership)


def test_membership_can_be_asked_for_while_another_thread_polls(bench: Bench) -> None:
    topic = bench.topic()
    ended = threading.Event()
    with joined(bench.broker, topic) as member:
        own_all(member)

        def poll() -> None:
            while not ended.is_set():
                member.poll(0.2)

        thread = threading.Thread(target=poll, daemon=True)
        thread.start()
        began = time.monotonic()
        for _ in range(1000):
            member.consumer.membership()
        took = time.monotonic() - began
        ended.set()
        thread.join(SOON)
    assert took < 0.2, "it waited for a poll"


def test_two_groups_do_not_share(bench: Bench) -> None:
    topic = bench.topic()
    bench.produce(topic, [b"0"], partition=0)
    with joined(bench.broker, topic) as one, joined(bench.of_group(bench.group + "-other"), topic) as other:
        until(lambda: one.records and other.records, one, other)
        assert one.values == other.values == [b"0"]


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
