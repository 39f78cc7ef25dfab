"""What the real client does about transactions that somebody else has open: it waits for them, within bounds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from time import monotonic
from uuid import uuid4

import confluent_kafka as ck
import pytest
from brokers import Bench, Member, joined, kafka_bench, own_all, values

from consumer.broker import reader as reader_module
from consumer.errors import BrokerUnreachable
from consumer.event import Commit, TopicPartition

PATIENCE = 20.0
SOON = 5.0
Open = Callable[[], ck.Producer]


@pytest.fixture
def bench(kafka_bootstrap: str) -> Bench:
    return kafka_bench(kafka_bootstrap, "consumer")


@pytest.fixture
def begin(kafka_bootstrap: str) -> Iterator[Open]:
    """Begins transactions; those that are open when the test is over are aborted."""
    producers: list[ck.Producer] = []

    def begin() -> ck.Producer:
        producer = ck.Producer({"bootstrap.servers": kafka_bootstrap, "transactional.id": f"test-{uuid4()}"})
        producer.init_transactions(PATIENCE)
        producer.begin_transaction()
        producers.append(producer)
        return producer

    yield begin
    for producer in producers:
        with_open = ck.KafkaException
        try:
            producer.abort_transaction(PATIENCE)
        except with_open:
            continue  # it was ended


def later(call: Callable[[float], None], seconds: float = 0.5) -> None:
    timer = threading.Timer(seconds, call, [PATIENCE])
    timer.daemon = True
    timer.start()


def write(producer: ck.Producer, topic: str, *written: bytes) -> None:
    for value in written:
        producer.produce(topic, value, partition=0)
    assert producer.flush(PATIENCE) == 0


@pytest.mark.parametrize("commit", [True, False])
def test_reading_a_topic_waits_for_what_is_open_at_the_call(bench: Bench, begin: Open, commit: bool) -> None:
    topic = bench.topic()
    bench.produce(topic, [b"before"], partition=0)
    one, other = begin(), begin()
    write(one, topic, b"open 1", b"open 2")
    write(other, topic, b"as well")
    bench.produce(topic, [b"after"], partition=0)
    began = monotonic()
    later(one.commit_transaction if commit else one.abort_transaction, 0.5)
    later(other.commit_transaction, 1.0)
    expected = [b"before", *([b"open 1", b"open 2"] if commit else []), b"as well", b"after"]
    assert values(list(bench.broker.read(topic))) == expected
    assert 0.9 < monotonic() - began < SOON


def test_what_opens_after_the_call_is_not_waited_for(bench: Bench, begin: Open) -> None:
    topic = bench.topic()
    bench.produce(topic, [b"before"], partition=0)
    records = bench.broker.read(topic)
    write(begin(), topic, b"open")
    assert values(list(records)) == [b"before"]


def test_a_transaction_that_stays_open_is_given_up(bench: Bench, begin: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "READ_TIME", 1.0)
    topic = bench.topic()
    write(begin(), topic, b"open")
    with pytest.raises(BrokerUnreachable, match="a transaction stays open"):
        list(bench.broker.read(topic))


@pytest.mark.parametrize("commit", [True, False])
def test_a_log_reader_stops_before_what_is_open_and_goes_on_later(bench: Bench, begin: Open, commit: bool) -> None:
    topic = bench.topic()
    tp = TopicPartition(topic, 0)
    bench.produce(topic, [b"before"], partition=0)
    producer = begin()
    write(producer, topic, b"open")
    bench.produce(topic, [b"after"], partition=0)
    reader = bench.broker.log_reader()
    chunk = reader.read(tp, 0, 10, PATIENCE)
    assert (values(chunk.records), chunk.next) == ([b"before"], 1)
    assert reader.read(tp, 1, 10, PATIENCE) == ([], 1, 0)
    assert reader.read(tp, 2, 10, PATIENCE) == ([], 2, 0)
    (producer.commit_transaction if commit else producer.abort_transaction)(PATIENCE)
    read: list[bytes | None] = []
    while chunk.next < 4:  # the two, and the marker
        chunk = reader.read(tp, chunk.next, 10, PATIENCE)
        read += values(chunk.records)
    assert read == ([b"open", b"after"] if commit else [b"after"])
    reader.close()


def offsets_in(producer: ck.Producer, member: Member, topic: str, offset: int) -> None:
    producer.send_offsets_to_transaction(
        [ck.TopicPartition(topic, 0, offset)], member.consumer.membership().metadata, PATIENCE
    )


@pytest.mark.parametrize("commit", [True, False])
def test_committed_offsets_wait_for_those_in_an_open_transaction(bench: Bench, begin: Open, commit: bool) -> None:
    topic = bench.topic()
    tp = TopicPartition(topic, 0)
    with joined(bench.broker, topic) as member:
        own_all(member)
        bench.broker.writer().write([], {tp: Commit(3)}, member.consumer.membership())
        producer = begin()
        offsets_in(producer, member, topic, 8)
        began = monotonic()
        later(producer.commit_transaction if commit else producer.abort_transaction)
        assert bench.broker.committed([tp], PATIENCE) == {tp: Commit(8 if commit else 3)}
        assert 0.4 < monotonic() - began < SOON
        member.poll()
        assert member.events == ["assigned"]


def test_committed_offsets_are_not_waited_for_for_ever(bench: Bench, begin: Open) -> None:
    topic = bench.topic()
    with joined(bench.broker, topic) as member:
        own_all(member)
        producer = begin()
        offsets_in(producer, member, topic, 8)
        began = monotonic()
        with pytest.raises(BrokerUnreachable, match="within 1 s"):
            bench.broker.committed([TopicPartition(topic, 0)], 1.0)
        assert monotonic() - began < SOON
