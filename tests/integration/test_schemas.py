"""The events' schema in the real registry, and events on the real Kafka that name it by its id."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from installation import Installation
from payloads import documented

import schemas
from consumer.codec import Codec, compile_schema
from consumer.framing import confluent_frame
from consumer.registry import Registry
from consumer.settings.values import read_registry


@pytest.fixture
def installation(kafka_bootstrap: str, registry: str, tmp_path: Path) -> Installation:
    made = Installation(kafka_bootstrap, tmp_path, schema_registry_url=registry)
    made.create_topics(1)
    return made


def written(installation: Installation, count: int) -> list[bytes]:
    """Return the first values of the events' topic."""
    settings = {"bootstrap.servers": installation.environ["SPRINTLY_BOOTSTRAP_SERVERS"], "group.id": "reader"}
    reader = Consumer({**settings, "auto.offset.reset": "earliest", "enable.auto.commit": False})
    reader.assign([TopicPartition(installation.topic, 0, 0)])
    messages = reader.consume(count, 30)
    reader.close()
    values = [message.value() for message in messages]
    assert len(values) == count
    return [value for value in values if value is not None]


def test_produce_names_the_schema_by_its_id(installation: Installation, registry: str) -> None:
    refused = installation.run("produce", "-", input=json.dumps(documented("item")))
    assert refused.returncode == 1
    assert "`sprintly-services schemas register`" in refused.stderr

    (row,) = json.loads(installation.do("schemas", "register", "--json"))
    assert row["registered"]
    payloads = [documented(name) for name in ("item", "comment", "deploy")]
    installation.produce(*payloads)

    values = written(installation, 3)  # the one that was refused is not among them
    assert {value[:5] for value in values} == {confluent_frame(row["id"])}
    address = read_registry(registry)
    assert address is not None
    codec = Codec(registry=True)
    codec.learn(row["id"], compile_schema(Registry(address).fetch(row["id"])))
    assert [codec.decode(value) for value in values] == payloads


def test_without_a_registry_events_name_the_schema_by_its_fingerprint(installation: Installation) -> None:
    installation.environ.pop("SPRINTLY_SCHEMA_REGISTRY_URL")
    installation.produce(documented("item"))
    (value,) = written(installation, 1)
    assert value.startswith(b"\xc3\x01")
    assert Codec().decode(value) == documented("item")


def test_a_change_is_checked_on_the_real_registry(installation: Installation) -> None:
    installation.do("schemas", "register")
    text = json.dumps(schemas.load())
    changed = text.replace('"status", "type": ["null", "string"]', '"status", "type": ["null", "int"]')
    assert changed != text

    done = installation.run("schemas", "check", "-", input=changed)

    assert done.returncode == 1
    assert "attributes.Item.status: " in done.stdout
    assert "its compatibility level is NONE" in done.stdout
    assert installation.run("schemas", "check").returncode == 0
