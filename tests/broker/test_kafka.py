"""What only the real client does: topics' settings, sentences about brokers, protocols that a broker does not know."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

import confluent_kafka as ck
import pytest
from brokers import Bench, Member, polls, until
from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    ResourceType,
)
from fuzzed import names
from ports import free_port

from consumer.broker import Rebalance, TopicSpec
from consumer.broker import group as group_module
from consumer.broker import writers as writers_module
from consumer.broker.admin import Admin
from consumer.broker.group import KafkaConsumer
from consumer.broker.kafka import CLASSIC, CONSUMER, EmbeddedKafka, Kafka
from consumer.broker.offsets import Offsets
from consumer.errors import BrokerUnreachable, ConfigurationError, WriterLost
from consumer.event import Commit, Outgoing, TopicPartition
from consumer.topics import topic_specs

DAY_MS = 24 * 60 * 60 * 1000


# Good for a member of the group alone: a client outside it would not start with them.
OF_MEMBERS = {"max.poll.interval.ms": 2000, "group.remote.assignor": "uniform"}


@pytest.fixture
def kafka(kafka_bootstrap: str) -> Kafka:
    return Kafka(kafka_bootstrap, f"group-{uuid4()}")


@pytest.fixture
def topic(kafka: Kafka) -> str:
    name = f"sprintly.events-{uuid4()}"
    assert kafka.create(topic_specs(name, 3, 1)) == {
        f"{name}{suffix}": True for suffix in ("", ".dlq", ".replay", ".state", ".control")
    }
    return name


def settings_of(kafka: Kafka, topic: str) -> dict[str, str]:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    (answer,) = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]).values()
    return {name: entry.value for name, entry in answer.result().items()}


@pytest.mark.parametrize(
    ("suffix", "partitions", "expected"),
    [
        ("", 3, {"cleanup.policy": "delete", "retention.ms": str(7 * DAY_MS)}),
        (
            ".dlq",
            3,
            {
                "cleanup.policy": "compact,delete",
                "retention.ms": str(30 * DAY_MS),
                "max.message.bytes": str(4 * 1024 * 1024),
            },
        ),
        (".replay", 3, {"cleanup.policy": "delete", "max.message.bytes": str(4 * 1024 * 1024)}),
        (".state", 3, {"cleanup.policy": "compact", "segment.bytes": str(1024 * 1024)}),
        (".control", 1, {"cleanup.policy": "compact"}),
    ],
)
def test_topics_get_their_settings(
    kafka: Kafka, topic: str, suffix: str, partitions: int, expected: dict[str, str]
) -> None:
    found = settings_of(kafka, topic + suffix)
    assert {name: found[name] for name in expected} == expected
    assert kafka.partitions()[topic + suffix] == partitions


def test_each_topic_is_spread_over_the_replicas_by_itself(kafka: Kafka, topic: str) -> None:
    topics = [topic, f"{topic}.replay"]
    members = [Member(kafka, topics) for _ in range(3)]
    until(lambda: sum(len(member.owned) for member in members) == 6 and even(members), *members)
    for member in members:
        assert sorted(tp.topic for tp in member.owned) == topics
        member.consumer.close()


def even(members: list[Member]) -> bool:
    return {len(member.owned) for member in members} == {2}


def test_three_replicas_ask_for_two_that_are_in_sync() -> None:
    assert all(spec.config["min.insync.replicas"] == "2" for spec in topic_specs("t", 1, 3))
    assert all("min.insync.replicas" not in spec.config for spec in topic_specs("t", 1, 2))


def test_a_broker_that_does_not_answer_is_named() -> None:
    address = f"127.0.0.1:{free_port()}"
    kafka = Kafka(address, "group")
    places = [TopicPartition("t", 0)]
    questions: list[Callable[[float], object]] = [
        kafka.partitions,
        kafka.size,
        lambda timeout: kafka.topic_ids(["t"], timeout),
        lambda timeout: kafka.retention("t", timeout),
        lambda timeout: kafka.committed(places, timeout),
        lambda timeout: kafka.begins(places, None, timeout),
        lambda timeout: kafka.log_reader().read(places[0], 0, 1, timeout),
    ]
    for question in questions:
        began = time.monotonic()
        with pytest.raises(BrokerUnreachable, match=address):
            question(0.5)
        assert time.monotonic() - began < 3


def test_nothing_begins_where_no_broker_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"127.0.0.1:{free_port()}"
    kafka = Kafka(address, "group")
    monkeypatch.setattr(Kafka.partitions, "__defaults__", (0.5,))
    for attempt in (
        lambda: kafka.create(topic_specs("t", 1, 1)),
        lambda: list(kafka.read("t")),
        lambda: list(kafka.produce([Outgoing("t", None, b"")])),
    ):
        with pytest.raises(BrokerUnreachable, match=address):
            attempt()


def test_a_reader_whose_broker_goes_away_says_so_in_time() -> None:
    cluster = EmbeddedKafka()
    bench = Bench("passing", cluster.kafka)
    topic = bench.topic()
    bench.produce(topic, [b"0"], partition=0)
    reader = bench.broker.log_reader()
    assert len(reader.read(TopicPartition(topic, 0), 0, 1, 5.0).records) == 1
    del cluster, bench
    gc.collect()
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(BrokerUnreachable):
            reader.read(TopicPartition(topic, 1), 0, 1, 1.0)
        assert time.monotonic() - began < 3
    reader.close()


def test_properties_for_members_keep_nobody_from_reading(kafka_bootstrap: str, topic: str) -> None:
    kafka = Kafka(kafka_bootstrap, "group", protocol="consumer", properties=OF_MEMBERS)
    place = TopicPartition(topic, 0)
    assert list(kafka.read(topic)) == []
    assert kafka.log_reader().read(place, 0, 1, 5.0) == ([], 0, 0)
    assert kafka.committed([place]) == {place: None}
    assert kafka.begins([place], 0.0) == {place: (0, 0)}


def test_a_header_whose_name_is_not_utf_8_costs_its_record_the_headers_and_nobody_else_anything(
    kafka: Kafka, topic: str
) -> None:
    good = [Outgoing(topic, b"k", b"%d" % n, (("trace", b"%d" % n),), partition=0) for n in range(100)]
    assert len(list(kafka.produce(good))) == 100  # so many that Python has made its calls quick
    odd = [Outgoing(topic, b"k", b"odd %d" % n) for n in range(3)]
    names.write(kafka.bootstrap, zip(odd, (b"\xff", b"a\xc3", b"\xed\xa0\x80"), strict=True))
    found = {record.value: record.headers for record in kafka.read(topic)}
    assert found == {record.value: record.headers for record in (*good, *odd)}


def test_a_topic_made_anew_has_another_id(kafka: Kafka, topic: str) -> None:
    before = kafka.topic_ids([topic])
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    for future in admin.delete_topics([topic]).values():
        future.result()
    deadline = time.monotonic() + 20
    while topic in kafka.partitions():
        assert time.monotonic() < deadline
    kafka.create([TopicSpec(topic, 1)])
    assert kafka.topic_ids([topic]) != before


def test_partitions_begin_as_soon_as_their_logs_are_known(embedded: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_module, "REST", 0.1)
    topic = embedded.topic()
    embedded.produce(topic, [b"0", b"1"], partition=0)
    asked = Offsets.bounds
    answers = [BrokerUnreachable("nobody is there"), BrokerUnreachable("still")]

    def bounds(self: Offsets, partitions: Sequence[TopicPartition], timeout: float) -> object:
        if answers:
            raise answers.pop(0)
        return asked(self, partitions, timeout)

    monkeypatch.setattr(Offsets, "bounds", bounds)
    member = Member(embedded.broker, [topic])
    until(lambda: len(member.records) == 2, member)
    assert member.troubles == [f"4 partition(s) cannot begin yet: {why}" for why in ("nobody is there", "still")]
    member.consumer.close()


def test_a_writer_without_a_broker_is_lost() -> None:
    kafka = Kafka(f"127.0.0.1:{free_port()}", "group", transaction_timeout=1.0)
    with pytest.raises(WriterLost):
        kafka.writer().write([])


def test_a_writer_that_lost_its_producer_goes_on_with_another(
    kafka: Kafka, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_id = uuid4()
    monkeypatch.setattr("uuid.uuid4", lambda: one_id)
    first = kafka.writer()
    first.write([Outgoing(topic, b"k", b"1")])
    second = kafka.writer()
    second.write([Outgoing(topic, b"k", b"2")])
    with pytest.raises(WriterLost):
        first.write([Outgoing(topic, b"k", b"lost")])
    first.write([Outgoing(topic, b"k", b"3")])
    assert [record.value for record in kafka.read(topic)] == [b"1", b"2", b"3"]


def test_a_call_into_the_client_that_hangs_is_left_behind_and_fenced(
    kafka: Kafka, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `send_offsets_to_transaction` was seen to do once its broker had been killed: here, a commit does it."""
    goes_on, ended = threading.Event(), threading.Event()
    answers: list[BaseException] = []

    class Hanging(ck.Producer):
        def commit_transaction(self, *arguments: Any) -> None:
            monkeypatch.undo()  # the next producer is a usual one
            goes_on.wait()
            try:
                super().commit_transaction(*arguments)
            except KafkaException as error:
                answers.append(error)
            ended.set()

    monkeypatch.setattr(ck, "Producer", Hanging)
    writer = Kafka(kafka.bootstrap, "group", transaction_timeout=5.0).writer()
    monkeypatch.setattr(writers_module, "GRACE", 0.2)
    with pytest.raises(WriterLost, match="commit_transaction did not return within"):
        writer.write([Outgoing(topic, b"k", b"hangs")])
    writer.write([Outgoing(topic, b"k", b"next")])
    goes_on.set()
    assert ended.wait(30)
    assert len(answers) == 1
    assert [record.value for record in kafka.read(topic)] == [b"next"]


def test_who_is_not_recognised_joins_by_the_classic_protocol(embedded: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that does not know the new protocol lets its client try in silence: here, as the topic is missing."""
    monkeypatch.setattr(group_module, "SILENCE", 0.2)
    kafka = embedded.broker
    assert isinstance(kafka, Kafka)
    config = {"bootstrap.servers": kafka.bootstrap, "group.id": embedded.group}
    answers: list[bool | None] = [False, None, None]

    class Old:
        def group_consumer(self, topics: Sequence[str], rebalance: Rebalance) -> KafkaConsumer:
            return KafkaConsumer(
                config | CONSUMER,
                list(topics),
                rebalance,
                lambda partitions, _timeout: dict.fromkeys(partitions, (0, 0)),
                fall_back=config | CLASSIC,
                recognised=answers.pop,
            )

        def committed(
            self, partitions: Sequence[TopicPartition], timeout: float
        ) -> dict[TopicPartition, Commit | None]:
            return kafka.committed(partitions, timeout)

    member = Member(Old(), ["not-there-yet"])
    until(lambda: not answers, member)
    assert member.events == []
    kafka.create([TopicSpec("not-there-yet", 4)])
    until(lambda: len(member.owned) == 4, member)
    member.consumer.close()


def test_it_is_not_silence_while_no_broker_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_module, "SILENCE", 1.0)
    asked: list[str] = []
    monkeypatch.setattr(Admin, "recognises", lambda _self, group: asked.append(group))
    quick = {"reconnect.backoff.ms": 100, "reconnect.backoff.max.ms": 100}
    member = Member(Kafka(f"127.0.0.1:{free_port()}", "early", properties=quick), ["not-there-yet"])
    for _ in polls(2.5):
        member.poll()
    assert asked == []
    member.consumer.close()


def test_a_group_that_cannot_be_joined_is_a_sentence() -> None:
    wrong = {"max.poll.interval.ms": 10_000}  # the classic protocol wants no less than a session, which is 45 s there
    with pytest.raises(ConfigurationError, match=r"^SPRINTLY_KAFKA: .*max.poll.interval.ms"):
        Member(Kafka(f"127.0.0.1:{free_port()}", "g", protocol="classic", properties=wrong), ["topic"])


def test_who_may_not_fall_back_says_what_is_wrong(embedded: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_module, "SILENCE", 0.2)
    monkeypatch.setattr(Admin, "recognises", lambda _self, _group: False)
    kafka = embedded.broker
    assert isinstance(kafka, Kafka)
    member = Member(Kafka(kafka.bootstrap, "strict", protocol="consumer"), ["never-there"])
    until(lambda: member.troubles, member)
    assert "SPRINTLY_GROUP_PROTOCOL" in member.troubles[0]
    member.consumer.close()
