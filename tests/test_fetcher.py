"""A whole replica whose registry is down, comes back, has no such schema, or never finishes its answer."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from harness import refer, value
from replicas import FAST, LETTERS, Destination, Replica, cluster, committed, eventually, produce, running, scenario

import schemas
from consumer.codec import WriterSchema
from consumer.errors import RegistryUnavailable, SchemaUnusable
from consumer.fetcher import fetch_writer
from consumer.framing import Reference

EVENT = WriterSchema(schemas.load())


class FakeRegistry:
    """A registry that has what `schemas` says, while it is up; `asked` is what it was asked for, in order."""

    def __init__(self, *, up: bool = True, **known: WriterSchema) -> None:
        self.up = up
        self.schemas: dict[Reference, WriterSchema] = {int(name[2:]): schema for name, schema in known.items()}
        self.asked: list[Reference] = []

    def fetch(self, reference: Reference) -> WriterSchema:
        self.asked.append(reference)
        if not self.up:
            raise RegistryUnavailable("the schema registry at http://registry: connection refused")
        if reference not in self.schemas:
            raise SchemaUnusable(f"the schema registry has no schema {reference}")
        return self.schemas[reference]


QUICK = replace(FAST, registry_pauses=(0.01, 0.02))


def test_a_schema_is_fetched_once_and_read_with_from_then_on() -> None:
    async def play() -> None:
        broker, destination, registry = cluster(), Destination(), FakeRegistry(id7=EVENT)
        produce(broker, refer(7, 1), value(2), refer(7, 3))
        async with running(Replica(broker, destination, QUICK, registry)) as replica:
            await eventually(lambda: committed(broker) == 3, "it was not committed")
            assert registry.asked == [7]
            assert replica.metrics.schema_fetches.value("fetched") == 1
            assert replica.health.not_ready() == {}
        assert len(destination.ids) == len(set(destination.ids)) == 3

    scenario(play)


def test_a_registry_that_is_down_holds_the_partition_unready_and_goes_on_by_itself_when_it_is_back() -> None:
    async def play() -> None:
        broker, destination, registry = cluster(2), Destination(), FakeRegistry(up=False, id7=EVENT)
        produce(broker, value(1), refer(7, 2), value(3))
        produce(broker, value(1), partition=1)
        async with running(Replica(broker, destination, QUICK, registry)) as replica:
            await eventually(lambda: replica.health.has("registry"), "nobody says so")
            assert replica.health.not_ready()["registry"] == (
                "sprintly.events[0] waits for schema id 7: the schema registry at http://registry: connection refused"
            )
            produce(broker, value(2), partition=1)  # known schemas go on
            await eventually(lambda: committed(broker, 1) == 2, "the other partition waits as well")
            await eventually(lambda: len(registry.asked) > 3, "it is not asked again")
            assert committed(broker) == 1
            registry.up = True
            await eventually(lambda: committed(broker) == 3, "it did not go on")
            assert replica.health.not_ready() == {}
            assert replica.metrics.schema_fetches.value("unavailable") >= 3
        assert list(broker.read(LETTERS)) == []
        assert len(destination.ids) == len(set(destination.ids)) == 5

    scenario(play)


def test_a_schema_that_does_not_exist_is_a_dead_letter_and_the_partition_goes_on() -> None:
    async def play() -> None:
        broker, destination, registry = cluster(), Destination(), FakeRegistry()
        produce(broker, refer(8), value(2))
        async with running(Replica(broker, destination, QUICK, registry)) as replica:
            await eventually(lambda: committed(broker) == 2, "it holds the partition")
            assert replica.health.not_ready() == {}
        (letter,) = broker.read(LETTERS)
        assert dict(letter.headers)["dlq.error"] == b"the schema registry has no schema 8"

    scenario(play)


def test_a_replica_stops_in_order_while_its_partition_waits_and_the_next_one_goes_on_there() -> None:
    async def play() -> None:
        broker, destination, registry = cluster(), Destination(), FakeRegistry(up=False, id7=EVENT)
        produce(broker, value(1), refer(7, 2), value(3))
        async with running(Replica(broker, destination, QUICK, registry)) as replica:
            await eventually(lambda: replica.health.has("registry") and committed(broker) == 1, "it did not begin")
        assert committed(broker) == 1
        registry.up = True
        async with running(Replica(broker, destination, QUICK, registry)):
            await eventually(lambda: committed(broker) == 3, "it did not go on")
        assert len(destination.ids) == len(set(destination.ids)) == 3

    scenario(play)


def test_an_answer_without_end_is_no_answer() -> None:
    impatient = replace(QUICK, registry_patience=0.05)
    released = threading.Event()

    class Dripping(FakeRegistry):
        def fetch(self, reference: Reference) -> WriterSchema:
            released.wait(20)
            return super().fetch(reference)

    async def play() -> None:
        broker, destination, registry = cluster(), Destination(), Dripping(id7=EVENT)
        produce(broker, refer(7))
        async with running(Replica(broker, destination, impatient, registry)) as replica:
            await eventually(lambda: replica.health.has("registry"), "it waits without end")
            assert "did not finish its answer" in replica.health.not_ready()["registry"]
            released.set()
            await eventually(lambda: committed(broker) == 1, "it did not go on")

    try:
        scenario(play)
    finally:
        released.set()


def test_what_a_registry_has_and_events_cannot_be_read_with_is_refused() -> None:
    registry = FakeRegistry(id7=WriterSchema({"type": "string"}))
    with pytest.raises(SchemaUnusable, match=r"schema id 7 of the registry: .* a record"):
        fetch_writer(registry, 7)


def test_of_many_partitions_that_wait_some_are_named() -> None:
    async def play() -> None:
        broker, destination, registry = cluster(5), Destination(), FakeRegistry(up=False)
        for partition in range(5):
            produce(broker, refer(7), partition=partition)
        async with running(Replica(broker, destination, QUICK, registry)) as replica:
            await eventually(
                lambda: "and 2 more wait for" in replica.health.not_ready().get("registry", ""), "it is not"
            )

    scenario(play)
