"""A replica whose subscriptions stand in a topic: it reads them before it begins, and goes on without a bad one."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from cryptography.fernet import Fernet
from harness import DOWN, value
from replicas import (
    DIRECTORY,
    Destination,
    Replica,
    cluster,
    committed,
    entry,
    eventually,
    owed,
    produce,
    running,
    scenario,
    with_topic,
)

from consumer.broker import TopicSpec
from consumer.broker.memory import MemoryBroker
from consumer.core import CoreSettings
from consumer.entries import write_removal
from consumer.errors import BrokerUnreachable
from consumer.event import Outgoing
from consumer.health import HealthServer
from consumer.sealed import Seal

SEAL = Seal([Fernet.generate_key().decode()])


def test_every_subscription_is_there_before_the_first_delivery() -> None:
    async def play() -> None:
        destination = Destination()
        gone = [entry("gone"), write_removal(DIRECTORY, "gone")]
        broker = with_topic(*gone, *[entry(f"s{n}", SEAL) for n in range(20)], entry("off", enabled=False))
        produce(broker, *[value(n) for n in range(5)])
        async with running(Replica(broker, destination, topic=DIRECTORY, seal=SEAL)) as replica:
            await eventually(lambda: committed(broker) == 5, "it was not committed")
            assert replica.health.notes() == {}
        assert len(destination.ids) == len(set(destination.ids)) == 100

    scenario(play)


def test_a_bad_record_is_told_of_and_costs_the_others_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    async def play() -> None:
        destination = Destination()
        bad = Outgoing(DIRECTORY, b"bad", orjson.dumps({"id": "bad", "product": "*", "service": ""}))
        other = Seal([Fernet.generate_key().decode()])
        broker = with_topic(entry("a", SEAL), bad, entry("sealed", other, options={"x": "t0ps3cret"}))
        produce(broker, value())
        async with running(Replica(broker, destination, topic=DIRECTORY, seal=SEAL)) as replica:
            await eventually(lambda: committed(broker) == 1, "it was not committed")
            assert len(destination.ids) == 1
            assert replica.health.not_ready() == {}
            server = HealthServer(("127.0.0.1", 0), replica.health, replica.metrics)
            ready, metrics = server.answer("/readyz"), replica.metrics.render().decode()
            server._server.server_close()
        assert ready.status == 200
        note = json.loads(ready.body)["notes"]["subscriptions"]
        assert note.startswith(f"2 record(s) of {DIRECTORY} are set aside: subscription bad: service  is not known")
        assert note.endswith("sealed by a key that is not among those of SPRINTLY_OPTIONS_KEY")
        assert "sprintly_subscriptions_set_aside 2.0" in metrics
        output = capsys.readouterr().out  # where structlog writes before it is configured
        assert output.count("a subscription is set aside") == 2
        assert "t0ps3cret" not in output + note + metrics

    scenario(play)


@pytest.mark.parametrize("seal", [None, Seal([Fernet.generate_key().decode()])])
def test_with_the_wrong_keys_nothing_begins_and_nothing_is_passed_over(seal: Seal | None) -> None:
    async def play() -> None:
        destination = Destination()
        broker = with_topic(entry("a"), entry("b", SEAL), entry("c", SEAL))
        produce(broker, value())
        async with running(Replica(broker, destination, topic=DIRECTORY, seal=seal)) as replica:
            await eventually(lambda: "2 sealed" in replica.health.not_ready().get("kafka", ""), "it began")
            assert "SPRINTLY_OPTIONS_KEY" in replica.health.not_ready()["kafka"]
        assert (destination.ids, committed(broker)) == ([], 0)
        async with running(Replica(broker, destination, topic=DIRECTORY, seal=SEAL)):
            await eventually(lambda: committed(broker) == 1, "it was not committed")
        assert len(destination.ids) == 3

    scenario(play)


def test_a_topic_without_a_usable_record_is_no_error() -> None:
    async def play() -> None:
        bad = [Outgoing(DIRECTORY, b"bad-%d" % n, b"?") for n in range(50)]
        for broker in (with_topic(), with_topic(*bad)):
            produce(broker, value())
            async with running(Replica(broker, Destination(), topic=DIRECTORY)) as replica:
                await eventually(lambda broker=broker: committed(broker) == 1, "it was not committed")
                assert "start" not in replica.health.not_ready()
        assert "and 30 more" in replica.health.notes()["subscriptions"]

    scenario(play)


def test_what_one_is_owed_is_kept_while_its_record_cannot_be_used() -> None:
    async def play() -> None:
        broker, down, well = with_topic(entry("a", SEAL)), Destination(lambda _: DOWN), Destination()
        settings = CoreSettings(quick_attempts=1, retry_delays=(0.01,) * 9)
        produce(broker, value())
        async with running(Replica(broker, down, topic=DIRECTORY, seal=SEAL, settings=settings)):
            await eventually(lambda: len(owed(broker)) == 1 and committed(broker) == 1, "it is not owed")
        with_topic(Outgoing(DIRECTORY, b"a", b"?"), broker=broker)
        async with running(Replica(broker, well, topic=DIRECTORY, seal=SEAL, settings=settings)) as replica:
            produce(broker, value())
            await eventually(lambda: committed(broker) == 2, "it does not go on")
            assert "subscriptions" in replica.health.notes()
        with_topic(entry("a", SEAL), broker=broker)
        assert (well.got, len(owed(broker))) == ([], 1)
        async with running(Replica(broker, well, topic=DIRECTORY, seal=SEAL, settings=settings)):
            await eventually(lambda: owed(broker) == [], "it is still owed")
        assert well.ids == [down.ids[0]]

    scenario(play)


class Silent(MemoryBroker):
    """A broker that does not tell at first what is in a topic."""

    refusals = 1

    def read(self, topic: str, partitions: Any = None) -> Any:
        if self.refusals:
            self.refusals -= 1
            raise BrokerUnreachable("no Kafka broker answered")
        return super().read(topic, partitions)


def test_it_waits_for_the_topic_and_for_what_is_in_it() -> None:
    async def play() -> None:
        broker, destination = cluster(kind=Silent), Destination()
        produce(broker, value())
        async with running(Replica(broker, destination, topic=DIRECTORY)) as replica:
            await eventually(lambda: "kafka" in replica.health.not_ready(), "it does not say so")
            assert f"no topic {DIRECTORY}: " in replica.health.not_ready()["kafka"]
            with_topic(entry("a"), broker=broker)
            refused = "the subscriptions cannot be read: no Kafka broker answered"
            await eventually(lambda: replica.health.not_ready().get("kafka") == refused, "it does not say so")
            assert destination.got == []
            await eventually(lambda: committed(broker) == 1, "it does not go on")
        assert len(destination.ids) == 1

    scenario(play)


def test_it_can_be_stopped_while_it_waits() -> None:
    async def play() -> None:
        replica = Replica(cluster(), Destination(), topic=DIRECTORY)
        async with running(replica):
            await eventually(lambda: "kafka" in replica.health.not_ready(), "it does not wait")

    scenario(play)


def test_records_of_one_key_in_any_partition_are_read_in_their_order() -> None:
    async def play() -> None:
        broker, destination = cluster(), Destination()
        broker.create([TopicSpec(DIRECTORY, 3)])
        ids = [f"s{n}" for n in range(9)]
        written = [entry(id_) for id_ in ids] + [write_removal(DIRECTORY, id_) for id_ in ids[1:]]
        list(broker.produce(written))
        produce(broker, value())
        async with running(Replica(broker, destination, topic=DIRECTORY)):
            await eventually(lambda: committed(broker) == 1, "it was not committed")
        assert len(destination.ids) == 1

    scenario(play)
