"""Events whose schemas a registry has: the real Apicurio, the real Kafka, real processes."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fastavro
import pytest
import requests
from gate import Gate
from installation import Installation, Replica, eventually
from payloads import documented
from receivers import Receiver
from registries import LocalRegistry

import schemas
from consumer.event import Outgoing
from consumer.framing import GUID, HEADER, confluent_frame

DOCUMENTED = ["item", "comment", "favorite", "block"]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def installation(kafka_bootstrap: str, registry: str, tmp_path: Path) -> Installation:
    made = Installation(kafka_bootstrap, tmp_path, schema_registry_url=registry)
    made.create_topics(2)
    return made


@pytest.fixture
def gate(registry: str) -> Iterator[Gate]:
    """What stands between the consumers and the registry; shut at first."""
    address = urlsplit(registry)
    with Gate(str(address.hostname), int(address.port or 80), is_open=False) as gate:
        yield gate


def through(gate: Gate, registry: str) -> dict[str, str]:
    """The setting of a consumer that reaches the registry through the gate."""
    return {"SPRINTLY_SCHEMA_REGISTRY_URL": f"http://127.0.0.1:{gate.port}{urlsplit(registry).path}"}


def evolved() -> dict[str, Any]:
    """The event schema as upstream may write it tomorrow: an item has a mood, and there are milestones."""
    schema = schemas.load()
    branches = schema["fields"][3]["type"]
    branches[0]["fields"].append({"name": "mood", "type": ["null", "string"], "default": None})
    milestone = {"type": "record", "name": "Milestone", "fields": [{"name": "due", "type": "string"}]}
    branches.append(milestone)
    return schema


def register(registry: str, installation: Installation, schema: dict[str, Any]) -> int:
    """Register a schema as upstream's serializer would; returns its id."""
    answer = requests.post(
        f"{registry}/subjects/{installation.topic}-value/versions", json={"schema": json.dumps(schema)}, timeout=30
    )
    assert answer.status_code == 200, answer.text
    number: int = answer.json()["id"]
    return number


def framed(schema: dict[str, Any], number: int, datum: dict[str, Any]) -> bytes:
    """Write a datum as upstream would: by fastavro, behind Confluent's frame."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), datum)
    return confluent_frame(number) + out.getvalue()


def item(number: int, **more: Any) -> dict[str, Any]:
    return {"action": "created", "model": "Item", "product": {"id": 1}, "attributes": {"number": number, **more}}


def bodies(receiver: Receiver) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in receiver.requests]


def upstream(registry: str, installation: Installation, *data: dict[str, Any], partition: int = 0) -> None:
    """Write data with the evolved schema to one partition."""
    number = register(registry, installation, evolved())
    values = [framed(evolved(), number, datum) for datum in data]
    installation.produce_raw(*(Outgoing(installation.topic, b"1:1", value, partition=partition) for value in values))


def test_what_is_produced_with_a_registered_schema_arrives_key_for_key(
    installation: Installation, receiver: Receiver
) -> None:
    installation.subscribe(hook=receiver.url)
    installation.do("schemas", "register")
    payloads = [documented(name) for name in DOCUMENTED]
    installation.produce(*payloads)
    values = [record.value or b"" for record in installation.kafka.read(installation.topic)]
    assert {value[:1] for value in values} == {b"\x00"}
    assert len({value[:5] for value in values}) == 1
    with installation.consuming() as replica:
        receiver.wait_for(4, 60)
        eventually(lambda: installation.finished(4), "nothing was committed", replica)
        assert replica.stop() == 0
    arrived = bodies(receiver)
    assert len(arrived) == 4
    assert all(payload in arrived for payload in payloads)


def test_a_field_and_a_model_that_upstream_adds_reach_a_webhook(
    installation: Installation, receiver: Receiver, registry: str
) -> None:
    installation.subscribe(hook=receiver.url)
    installation.do("schemas", "register")
    installation.produce(item(1))
    milestone = {"action": "created", "model": "Milestone", "product": {"id": 1}, "attributes": {"due": "2027-01-01"}}
    upstream(registry, installation, item(2, mood="hopeful"), milestone)
    with installation.consuming() as replica:
        receiver.wait_for(3, 60)
        eventually(lambda: installation.finished(3), "nothing was committed", replica)
        assert 'schema_fetches_total{outcome="fetched"} 2' in replica.get("/metrics")
    arrived = bodies(receiver)
    assert item(1) in arrived
    assert item(2, mood="hopeful") in arrived
    assert milestone in arrived
    assert installation.dead_letters() == []


def waits(replica: Replica) -> bool:
    return "wait" in replica.reasons().get("registry", "")


def test_a_registry_that_is_down_at_the_start_holds_only_what_cannot_be_read_without_it(
    installation: Installation, receiver: Receiver, registry: str, gate: Gate
) -> None:
    installation.subscribe(hook=receiver.url)
    without = installation.environ | {"SPRINTLY_SCHEMA_REGISTRY_URL": ""}
    bundled = [item(1), item(2)]
    assert installation.run("produce", "-", input="\n".join(map(json.dumps, bundled)), **without).returncode == 0
    places = {tp: len(records) for tp, records in by_partition(installation).items()}
    upstream(registry, installation, item(3, mood="calm"), item(4), partition=0)
    with installation.consuming(**through(gate, registry)) as replica:
        receiver.wait_for(2, 60)
        eventually(lambda: waits(replica), "nobody says so", replica)
        reason = replica.reasons()["registry"]
        assert f"{installation.topic}[0] waits for schema id " in reason
        assert f"http://127.0.0.1:{gate.port}" in reason
        eventually(lambda: installation.finished(2), "known schemas do not go on", replica)
        assert installation.committed().get(0, 0) == places.get(0, 0)
        gate.open()
        receiver.wait_for(4, 60)
        eventually(lambda: installation.finished(4), "it did not go on", replica)
        eventually(lambda: replica.reasons() == {}, "it is still unready", replica)
        assert replica.stop() == 0
    assert bodies(receiver)[2:] == [item(3, mood="calm"), item(4)]
    assert installation.dead_letters() == []


def test_a_registry_that_goes_down_in_the_middle_leaves_known_schemas_alone(
    installation: Installation, receiver: Receiver, registry: str, gate: Gate
) -> None:
    installation.subscribe(hook=receiver.url)
    installation.do("schemas", "register")
    gate.open()
    with installation.consuming(**through(gate, registry)) as replica:
        installation.produce(item(1))
        receiver.wait_for(1, 60)
        gate.shut()
        installation.produce(item(2))
        receiver.wait_for(2, 60)
        assert replica.reasons() == {}
        upstream(registry, installation, item(3, mood="calm"))
        eventually(lambda: waits(replica), "nobody says so", replica)
        assert receiver.count == 2
        gate.open()
        receiver.wait_for(3, 60)
        eventually(lambda: installation.finished(3), "it did not go on", replica)
        assert replica.stop() == 0
    assert bodies(receiver) == [item(1), item(2), item(3, mood="calm")]
    assert installation.dead_letters() == []


def test_an_id_that_the_registry_does_not_have_is_poison_and_can_be_replayed_once_it_has(
    installation: Installation, receiver: Receiver
) -> None:
    installation.subscribe(hook=receiver.url)
    installation.produce_raw(Outgoing(installation.topic, b"1:1", confluent_frame(2**31 - 1) + b"x", partition=0))
    with installation.consuming() as replica:
        eventually(installation.dead_letters, "there is no dead letter", replica)
    (letter,) = installation.dead_letters()
    assert (letter["stage"], letter["reason"]) == ("decode", "poison")
    assert f"id {2**31 - 1}" in letter["error"]
    assert f"id {2**31 - 1}" in installation.do("dlq", "show", letter["id"])


def test_a_guid_in_the_header_is_read_and_survives_dead_letter_and_replay(
    kafka_bootstrap: str, tmp_path: Path, receiver: Receiver
) -> None:
    """On a local registry: Apicurio has no GUIDs."""
    with LocalRegistry() as local:
        installation = Installation(kafka_bootstrap, tmp_path, schema_registry_url=local.url)
        installation.create_topics(2)
        installation.subscribe(hook=receiver.url)
        guid = local.guid(local.add(f"{installation.topic}-value", evolved()))
        headers = (("traceparent", b"00-1"), (HEADER, GUID + guid.bytes))
        bare = [framed(evolved(), 0, item(number, mood="calm"))[len(confluent_frame(0)) :] for number in (1, 2)]
        forgotten = (("traceparent", b"00-2"), (HEADER, GUID + uuid.UUID(int=7).bytes))
        installation.produce_raw(
            Outgoing(installation.topic, b"1:1", bare[0], headers, partition=0),
            Outgoing(installation.topic, b"1:2", bare[1], forgotten, partition=0),
        )
        with installation.consuming() as replica:
            receiver.wait_for(1, 60)
            eventually(installation.dead_letters, "there is no dead letter", replica)
            (letter,) = installation.dead_letters()
            assert f"GUID {uuid.UUID(int=7)}" in letter["error"]
        local.alias(uuid.UUID(int=7), guid)  # the registry has it after all
        with installation.consuming() as replica:
            installation.do("dlq", "replay")
            receiver.wait_for(2, 60)
            eventually(lambda: installation.dead_letters() == [], "it came back", replica)
    assert bodies(receiver) == [item(1, mood="calm"), item(2, mood="calm")]


def by_partition(installation: Installation) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    for record in installation.kafka.read(installation.topic):
        found.setdefault(record.partition, []).append(record)
    return found
