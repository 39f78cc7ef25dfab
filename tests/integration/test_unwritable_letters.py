"""Dead letters that the real Kafka does not take: nothing counts as done meanwhile, and nothing is lost or doubled."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from installation import Installation, Replica, eventually
from receivers import Got, Receiver

from consumer.codec import Codec
from consumer.deadletter import read_dead_letter
from consumer.event import Outgoing

CODEC = Codec()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Refuses the odd numbers."""
    with Receiver(lambda got: 400 if number(got) % 2 else 204) as running:
        yield running


@pytest.fixture
def installation(kafka_bootstrap: str, tmp_path: Path, receiver: Receiver) -> Installation:
    made = Installation(kafka_bootstrap, tmp_path, breaker_refusals="1000")
    made.create_topics(2)
    made.subscribe(hook=receiver.url)
    return made


def number(got: Got) -> int:
    found: int = json.loads(got.body)["attributes"]["number"]
    return found


def event(topic: str, number: int) -> Outgoing:
    payload: dict[str, Any] = {"model": "Item", "product": {"id": 1}, "attributes": {"number": number}}
    return Outgoing(topic, b"%d" % number, CODEC.encode(payload), partition=0)


def configure(installation: Installation, topic: str, **settings: str) -> None:
    """Change settings of a topic."""
    entries = [
        ConfigEntry(name.replace("_", "."), setting, incremental_operation=AlterConfigOpType.SET)
        for name, setting in settings.items()
    ]
    change = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=entries)
    client = admin(installation)  # by a name, since it answers nothing once it is forgotten
    client.incremental_alter_configs([change])[change].result()


def admin(installation: Installation) -> AdminClient:
    return AdminClient({"bootstrap.servers": installation.environ["SPRINTLY_BOOTSTRAP_SERVERS"]})


def unready(replica: Replica, why: str) -> None:
    eventually(lambda: why in replica.reasons().get("cycle", ""), f"it does not say {why!r}", replica)
    assert "nothing is taken in and no attempt starts" in replica.reasons()["cycle"]
    assert json.loads(replica.get("/livez"))["ok"]


def delete(installation: Installation, topic: str) -> str:
    """Have somebody delete a topic; returns what is to be said of it.

    Nothing else makes a cluster of one broker refuse writes, and nothing but them: it counts as in sync with itself
    whatever `min.insync.replicas` says, and limits of timestamps hold for the markers of transactions too (4.3.1).
    """
    installation.delete_topic(topic)
    return f"the topic {topic} does not exist; `sprintly-services topics create` makes it"


def test_while_the_dead_letters_cannot_be_written_nothing_goes_on_and_then_all_does(
    installation: Installation, receiver: Receiver
) -> None:
    topic, letters = installation.topic, f"{installation.topic}.dlq"
    with installation.consuming() as replica:
        replica.wait_until_ready()
        installation.produce_raw(event(topic, 0))
        eventually(lambda: installation.finished(1), "it does not begin", replica)
        said = delete(installation, letters)
        poison = [Outgoing(topic, b"p", b"poison %d" % n, partition=0) for n in range(40)]
        installation.produce_raw(*(event(topic, n) for n in range(1, 21)), *poison)
        unready(replica, said)
        came = receiver.count
        installation.produce_raw(*(event(topic, n) for n in range(21, 31)))
        unready(replica, said)
        assert receiver.count == came
        assert not installation.finished(2)
        installation.create_topics(2)
        eventually(lambda: installation.finished(71), "it does not go on", replica)
        eventually(lambda: not replica.reasons(), "it is still unready", replica)
        assert replica.stop() == 0
    assert sorted(map(number, receiver.requests)) == list(range(31))
    entries = [read_dead_letter(record) for record in installation.kafka.read(letters) if record.value is not None]
    assert len({entry.id for entry in entries}) == 15 + 40
    assert {entry.origin.value for entry in entries if entry.reason == "poison"} == {record.value for record in poison}


def test_a_record_that_is_larger_than_the_dead_letters_take_is_cut_says_so_and_is_not_replayed(
    installation: Installation, receiver: Receiver
) -> None:
    topic, letters = installation.topic, f"{installation.topic}.dlq"
    configure(installation, letters, max_message_bytes="50000")
    headers = (("trace", b"1"), ("large", b"h" * 60_000))
    large = b"\x8fpoison" + b"x" * 200_000
    with installation.consuming() as replica:
        installation.produce_raw(
            Outgoing(topic, b"1", large, partition=0),
            Outgoing(topic, b"2", b"small", headers, partition=0),
            *(event(topic, n) for n in range(1, 4)),
        )
        eventually(lambda: installation.finished(5), "it holds everything up", replica)
        cut, small, *others = installation.dead_letters()
        assert [other["reason"] for other in others] == ["permanent", "permanent"]
        assert (cut["offset"], cut["truncated_from"]) == (0, len(large))
        assert cut["error"].endswith("; the record does not fit into the dead-letter topic, and is cut")
        assert (small["offset"], small["truncated_from"], small["dropped"]) == (1, None, 60_005)
        records = [read_dead_letter(record) for record in installation.kafka.read(letters)]
        kept = {record.id: record.origin for record in records}
        assert large.startswith(kept[cut["id"]].value or b"?")
        assert len(kept[cut["id"]].value or b"") > 20_000
        assert (kept[small["id"]].value, kept[small["id"]].headers) == (b"small", headers[:1])
        assert f"{len(large)}" in installation.do("dlq", "show", cut["id"])
        assert "is cut" in installation.do("dlq", "list")

        done = installation.run("dlq", "replay", "--yes")
        assert (done.returncode, "3 dead letter(s) sent again" in done.stdout) == (0, True)
        place = f"the record itself was {topic}[0] offset 0"
        assert done.stderr.startswith(f"{cut['id']} is left alone: only ")
        assert place in done.stderr
        eventually(lambda: len(installation.dead_letters()) == 4, "what failed again did not come back", replica)
        assert installation.dead_letters()[0]["replays"] == 0
