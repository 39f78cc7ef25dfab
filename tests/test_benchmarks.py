"""The benchmark measures what it says, leaves nothing behind, and gives no figures for a wrong count."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.events import KEYS, Events
from benchmarks.load import CONNECTIONS, limit
from benchmarks.measure import wrong
from benchmarks.receiver import Receipts, Receiver
from consumer.broker.kafka import Kafka

ROOT = Path(__file__).parent.parent


def receipts(*numbers: int, ids: int | None = None) -> Receipts:
    return Receipts([*numbers], [0.0] * len(numbers), len(set(numbers)) if ids is None else ids, 0)


def test_every_event_once_in_the_order_of_its_key_is_right() -> None:
    assert list(wrong(receipts(1, 0, 2), 3, identified=True)) == []


def test_a_system_that_sends_no_ids_is_not_asked_for_them() -> None:
    assert list(wrong(receipts(0, 1, ids=0), 2, identified=False)) == []


@pytest.mark.parametrize(
    ("got", "sentence"),
    [
        (receipts(0, 1), "1 never came"),
        (receipts(0, 1, 2, 1), "1 requests were repetitions"),
        (receipts(0, 1, 2, 7), "1 requests were about none of them"),
        (receipts(0, 1, 2, ids=2), "2 different webhook-ids"),
    ],
)
def test_what_is_wrong_with_a_count_is_said(got: Receipts, sentence: str) -> None:
    assert list(wrong(got, 3, identified=True)) == [sentence]


def test_an_event_after_a_later_one_of_its_key_is_found() -> None:
    numbers = [*range(1, KEYS + 1), 0]
    assert list(wrong(receipts(*numbers), KEYS + 1, identified=True)) == ["1 came after a later one of their key"]


def test_the_receiver_notes_each_request_and_begins_anew_when_asked() -> None:
    body = Events().body()
    with Receiver() as receiver:
        assert limit(receiver, body, seconds=0.2) > 0
        taken = receiver.take()
        assert set(taken.numbers) == {0}
        assert len(taken.numbers) > CONNECTIONS
        assert taken.body_bytes == len(body) * len(taken.numbers)
        assert taken.ids == 1
        assert receiver.take() == Receipts([], [], 0, 0)


def test_the_whole_of_it_on_kafka(kafka_bootstrap: str) -> None:
    small = ["--events", "1000", "--rounds", "1", "--rate", "100", "--seconds", "1", "--json"]
    command = [sys.executable, "benchmarks/throughput.py", "--bootstrap", kafka_bootstrap, *small]
    environ = os.environ | {"SPRINTLY_MAX_IN_FLIGHT_PER_SUBSCRIPTION": "77"}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found["runs"]) == ["this project", "naive loop"]
    for (run,) in found["runs"].values():
        assert run["requests_too_many"] == 0
        assert min(run["deliveries_per_second"], run["cpu_microseconds_each"], run["p50_ms"], run["peak_mb"]) > 0
        assert run["p50_ms"] <= run["p99_ms"]
    assert found["settings"]["SPRINTLY_MAX_IN_FLIGHT_PER_SUBSCRIPTION"] == "77"
    assert [name for name in Kafka(kafka_bootstrap, "bench").partitions() if name.startswith("bench-")] == []
