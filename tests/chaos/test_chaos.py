"""The chaos suite in short: all faults together, on real processes and a Kafka of its own, always by the same seed.

`make chaos` plays each for itself and for longer.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chaos.cluster import Cluster, own_cluster
from chaos.run import Run, figures
from chaos.schedule import ALL
from gate import Gate
from installation import Installation, eventually
from kafka import REQUIRED, KafkaUnavailable
from receivers import Receiver
from sequences import event

from consumer.pipeline import LAST_CYCLE, LEAVE

PATIENCE = 60.0  # seconds
ASKING = """
import sys
from consumer.broker.kafka import Kafka

kafka = Kafka(sys.argv[1], "late")
kafka.partitions(10.0)
print("asks", flush=True)
sys.stdin.readline()
kafka.lacking({"late": ("Read",)}, 1.0, member=True)
print("has asked", flush=True)
sys.stdin.readline()
for _ in range(20):
    kafka.partitions(10.0)
print("alive", flush=True)
"""
SEED = "SPRINTLY_CHAOS_SEED"  # the variable that names another seed than the one below


@pytest.fixture(scope="module")
def own_kafka() -> Iterator[Cluster]:
    """A broker of this module's own, since it is killed."""
    try:
        with own_cluster() as cluster:
            yield cluster
    except KafkaUnavailable as error:
        (pytest.fail if REQUIRED else pytest.skip)(f"needs a Kafka that can be killed: {error}")


def test_an_answer_about_rights_that_comes_too_late_ends_no_process(own_kafka: Cluster) -> None:
    """librdkafka 2.16 aborts where the description of a group comes after its time-out, and a replica is gone."""
    command = [sys.executable, "-c", ASKING, own_kafka.behind_gate]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as asking:
        assert asking.stdin is not None
        assert asking.stdout is not None
        assert asking.stdout.readline() == "asks\n"
        own_kafka.gate.stall()
        asking.stdin.write("\n")
        asking.stdin.flush()
        assert asking.stdout.readline() == "has asked\n"
        own_kafka.gate.open()
        said, _ = asking.communicate("\n", PATIENCE)
    assert (said, asking.returncode) == ("alive\n", 0)


@pytest.mark.parametrize("away", [Gate.stall, Gate.shut])
def test_a_replica_ends_in_its_time_though_kafka_has_gone(
    own_kafka: Cluster, tmp_path: Path, away: Callable[[Gate], None]
) -> None:
    made = Installation(own_kafka.bootstrap, tmp_path)
    made.create_topics(partitions=2)
    with Receiver() as receiver:
        made.subscribe(hook=receiver.url)
        with made.consuming(SPRINTLY_BOOTSTRAP_SERVERS=own_kafka.behind_gate) as replica:
            made.produce(*map(event, range(20)))
            receiver.wait_for(20)
            eventually(lambda: made.finished(20), "it commits nothing", replica)
            away(own_kafka.gate)
            try:
                eventually(replica.reasons, "it does not notice", replica)
                assert replica.stop(within=LAST_CYCLE + LEAVE + 5.0) == 0
            finally:
                own_kafka.gate.open()
        assert '"event": "stopped"' in replica.text


def test_nothing_is_lost_or_out_of_order_or_comes_twice_without_a_reason(own_kafka: Cluster, tmp_path: Path) -> None:
    seed = int(os.environ.get(SEED, "1"))
    print(f"{SEED}={seed}")
    run = Run(ALL, seed, seconds=30.0, events=2000, replicas=2)
    outcome = run.play(own_kafka, tmp_path, print)
    print(figures(outcome))
    assert outcome.problems == [], f"{SEED}={seed}; the logs of the replicas are in {tmp_path}"
    assert outcome.deliveries + outcome.dead >= 3 * run.events
