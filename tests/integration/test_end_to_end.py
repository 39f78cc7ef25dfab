"""The whole way on the real Kafka: real processes, real HTTP receivers, as an operator runs them."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from installation import Installation, eventually
from payloads import documented
from receivers import Got, Receiver, Reply

from consumer.codec import Codec
from consumer.event import Outgoing
from services import StandardWebhook

DOCUMENTED = ["item", "comment", "favorite", "block"]
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def installation(kafka_bootstrap: str, tmp_path: Path) -> Installation:
    made = Installation(kafka_bootstrap, tmp_path)
    made.create_topics()
    return made


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def item(number: int, product: int = 1) -> dict[str, Any]:
    return {"action": "created", "model": "Item", "product": {"id": product}, "attributes": {"number": number}}


def numbers(requests: list[Got]) -> list[int]:
    return [json.loads(request.body)["attributes"]["number"] for request in requests]


def test_the_documented_payloads_arrive_key_for_key_once(installation: Installation, receiver: Receiver) -> None:
    installation.subscribe(hook=receiver.url)
    payloads = [documented(name) for name in DOCUMENTED]
    written = installation.produce(*payloads)
    assert [one["topic"] for one in written] == [installation.topic] * 4
    with installation.consuming() as replica:
        requests = receiver.wait_for(4, 60)
        eventually(lambda: installation.finished(4), "nothing was committed", replica)
        assert replica.stop() == 0
    assert sorted(json.loads(request.body)["model"] for request in requests) == sorted(p["model"] for p in payloads)
    for request in requests:
        body = json.loads(request.body)
        assert body in payloads
        assert request.headers["content-type"] == "application/json"
    assert len({request.headers["webhook-id"] for request in requests}) == 4
    with installation.consuming() as replica:
        replica.wait_until_ready()
        installation.produce(item(99))
        receiver.wait_for(5, 60)
        assert replica.stop() == 0
    assert numbers(receiver.requests[4:]) == [99]


def test_poison_goes_to_the_dead_letters_with_its_bytes_and_the_rest_is_delivered(
    installation: Installation, receiver: Receiver
) -> None:
    installation.subscribe(hook=receiver.url)
    good = Codec().encode(item(1))
    poison = [b"\x8f\x01random", good[:-2], b"\xc3\x01\x00\x01\x02\x03\x04\x05\x06\x07" + good[10:], None]
    values = [good, *poison, Codec().encode(item(2))]
    installation.produce_raw(*(Outgoing(installation.topic, b"1:1", value, partition=0) for value in values))
    with installation.consuming() as replica:
        assert numbers(receiver.wait_for(2, 60)) == [1, 2]
        eventually(lambda: installation.finished(6), "the poison was not committed", replica)
    letters = installation.dead_letters()
    assert [letter["offset"] for letter in letters] == [1, 2, 3, 4]
    assert {(letter["stage"], letter["reason"]) for letter in letters} == {("decode", "poison")}
    records = [record for record in installation.kafka.read(f"{installation.topic}.dlq") if record.value is not None]
    assert sorted(record.value or b"" for record in records) == sorted(value or b"" for value in poison)
    (null,) = [record for record in records if record.value == b""]
    assert ("dlq.null", b"1") in null.headers
    shown = installation.do("dlq", "show", letters[0]["id"][:13])
    assert b"\x8f\x01random".hex(" ", 4) in shown


def test_a_refused_delivery_is_dead_lettered_replayed_and_arrives_under_its_id(installation: Installation) -> None:
    mended: list[bool] = []
    answers = lambda got: 204 if mended or got.path != "/a" else Reply(400, b"no such channel")  # noqa: E731
    with Receiver(answers) as receiver:
        installation.subscribe(a=f"{receiver.url}/a", b=f"{receiver.url}/b")
        (written,) = installation.produce(item(7, product=5))
        with installation.consuming():
            eventually(installation.dead_letters, "there is no dead letter")
            (letter,) = installation.dead_letters()
            assert (letter["status"], letter["subscription"], letter["reason"]) == (400, "a", "permanent")
            assert letter["error"] == "the receiver answered 400: no such channel"
            assert (letter["product"], letter["key"]) == (5, "5:7")
            assert (letter["partition"], letter["offset"]) == (written["partition"], written["offset"])

            assert "1 dead letter(s) would be replayed" in installation.do("dlq", "replay", "--dry-run")
            assert len(installation.dead_letters()) == 1

            before = receiver.count
            installation.do("dlq", "replay", "--id", letter["id"][:8])
            receiver.wait_for(before + 1)
            eventually(installation.dead_letters, "what failed again did not come back")
            (again,) = installation.dead_letters()
            assert (again["id"], again["replays"], again["offset"]) == (letter["id"], 1, letter["offset"])

            mended.append(True)
            before = receiver.count
            installation.do("dlq", "replay", "--subscription", "a")
            (*_, last) = receiver.wait_for(before + 1)
            assert (last.path, last.headers["webhook-id"]) == ("/a", letter["id"])
            assert json.loads(last.body) == item(7, product=5)
            assert installation.dead_letters() == []
    assert [got.path for got in receiver.requests].count("/b") == 1


def test_a_signed_webhook_carries_a_signature_that_verifies(installation: Installation, receiver: Receiver) -> None:
    installation.subscribe(hook={"options": {"urls": receiver.url, "secret": SECRET}})
    installation.produce(item(1))
    with installation.consuming():
        (got,) = receiver.wait_for(1, 60)
    signed = StandardWebhook(SECRET).headers(got.headers["webhook-id"], int(got.headers["webhook-timestamp"]), got.body)
    assert got.headers["webhook-signature"] == signed["webhook-signature"]


def test_a_private_address_is_not_connected_to_unless_allowed(installation: Installation, receiver: Receiver) -> None:
    installation.subscribe(hook=receiver.url)
    installation.environ["SPRINTLY_EGRESS_ALLOW"] = ""
    installation.produce(item(1))
    with installation.consuming():
        eventually(installation.dead_letters, "there is no dead letter")
    (letter,) = installation.dead_letters()
    assert "127.0.0.1" in letter["error"]
    assert "SPRINTLY_EGRESS_ALLOW" in letter["error"]
    assert receiver.connections == 0


def test_partitions_move_to_a_second_replica_and_orderly_stops_deliver_nothing_twice(
    installation: Installation,
) -> None:
    with Receiver(lambda _: Reply(204, delay=0.02)) as receiver:
        installation.subscribe(hook=receiver.url)
        with installation.consuming() as first:
            first.wait_until_ready()
            installation.produce(*(item(number) for number in range(2000)))
            receiver.wait_for(200, 60)
            with installation.consuming() as second:
                second.wait_until_ready()
                assert "partitions revoked" in first.text
                assert first.stop() == 0
                installation.produce(*(item(number) for number in range(2000, 2500)))
                receiver.wait_for(2300, 60)
                assert second.stop() == 0
        with installation.consuming() as third:
            third.wait_until_ready()
            requests = receiver.wait_for(2500, 60)
            eventually(lambda: installation.finished(2500), "not all was committed", third)
            assert third.stop() == 0
        assert sorted(numbers(requests)) == list(range(2500))


def test_a_killed_replica_loses_nothing(installation: Installation) -> None:
    with Receiver(lambda _: Reply(204, delay=0.3)) as receiver:
        installation.subscribe(hook=receiver.url)
        installation.produce(*(item(number) for number in range(1500)))
        for _ in range(3):
            before = receiver.count
            with installation.consuming():
                receiver.wait_for(before + 300, 60)
        with installation.consuming() as replica:
            eventually(lambda: installation.finished(1500), "not all was committed", replica)
        assert set(numbers(receiver.requests)) == set(range(1500))
        ids = {(request.headers["webhook-id"], request.body) for request in receiver.requests}
        assert len(ids) == 1500


def test_order_holds_for_each_item(installation: Installation) -> None:
    failing = dict.fromkeys(range(0, 400, 7), 1)

    def answer(got: Got) -> int:
        number = json.loads(got.body)["attributes"]["score"]
        if failing.get(int(number), 0):
            failing[int(number)] -= 1
            return 500
        return 204

    with Receiver(answer) as receiver:
        installation.subscribe(hook=receiver.url)
        events = [item(sequence % 10) for sequence in range(400)]
        for sequence, event in enumerate(events):
            event["attributes"]["score"] = str(sequence)
        installation.produce(*events)
        with installation.consuming() as replica:
            eventually(lambda: installation.finished(400), "not all was committed", replica)
        lanes: dict[int, list[int]] = {}
        for got in receiver.requests:
            attributes = json.loads(got.body)["attributes"]
            lane = lanes.setdefault(attributes["number"], [])
            if not lane or lane[-1] != int(attributes["score"]):  # a retry of the same
                lane.append(int(attributes["score"]))
        assert lanes == {number: list(range(number, 400, 10)) for number in range(10)}


def test_health_and_metrics_tell_what_goes_on(installation: Installation, receiver: Receiver) -> None:
    installation.subscribe(hook=receiver.url)
    installation.produce(item(1))
    with installation.consuming() as replica:
        receiver.wait_for(1, 60)
        eventually(lambda: installation.finished(1), "nothing was committed", replica)
        assert json.loads(replica.get("/livez"))
        assert json.loads(replica.get("/readyz"))
        caught_up = [f'sprintly_lag_records{{partition="{number}"}} 0.0' for number in range(4)]
        eventually(lambda: all(lag in replica.get("/metrics") for lag in caught_up), "it lags", replica)
        metrics = replica.get("/metrics")
    assert 'sprintly_deliveries_total{outcome="delivered",service="webhook"} 1.0' in metrics
    assert 'sprintly_events_total{action="created",model="Item"} 1.0' in metrics
    assert re.search(r'sprintly_cycles_total\{result="durable"\} [1-9]', metrics)
    assert "sprintly_ready 1.0" in metrics
    assert 'sprintly_breakers{service="webhook",state="closed"} 1.0' in metrics
    assert 'sprintly_oldest_owed_seconds{service="webhook"} 0.0' in metrics
    assert "sprintly_assigned_partitions 8.0" in metrics  # of the events, and of the replays


def test_topics_are_created_once_with_their_settings(kafka_bootstrap: str, tmp_path: Path) -> None:
    made = Installation(kafka_bootstrap, tmp_path)
    first = json.loads(made.do("topics", "create", "--partitions", "3", "--json"))
    again = json.loads(made.do("topics", "create", "--partitions", "3", "--json"))
    assert [topic["topic"].removeprefix(made.topic) for topic in first] == ["", ".dlq", ".replay", ".state", ".control"]
    assert [topic["partitions"] for topic in first] == [3, 3, 3, 3, 1]
    assert all(topic["created"] for topic in first)
    assert not any(topic["created"] for topic in again)


def test_a_missing_topic_is_waited_for(kafka_bootstrap: str, tmp_path: Path, receiver: Receiver) -> None:
    made = Installation(kafka_bootstrap, tmp_path)
    made.subscribe(hook=receiver.url)
    with made.consuming() as replica:
        eventually(lambda: "topics create" in replica.text, "it did not say what is missing", replica)
        made.create_topics()
        made.produce(item(1))
        receiver.wait_for(1, 60)


def test_a_second_signal_ends_it_at_once(installation: Installation) -> None:
    with Receiver([Reply(204, hold=True)]) as receiver:
        installation.subscribe(hook=receiver.url)
        installation.produce(item(1))
        with installation.consuming() as replica:
            receiver.wait_for(1, 60)
            replica.process.send_signal(signal.SIGTERM)
            eventually(lambda: '"stopping"' in replica.text, "it did not begin to stop", replica)
            assert replica.stop() == 128 + signal.SIGTERM
    assert not installation.finished(1)
