"""The chaos suite in short: all faults together, on real processes and a Kafka of its own, always by the same seed.

`make chaos` plays each for itself and for longer.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos.cluster import Cluster, own_cluster
from chaos.run import Run, figures
from chaos.schedule import ALL
from kafka import REQUIRED, KafkaUnavailable

SEED = "SPRINTLY_CHAOS_SEED"  # the variable that names another seed than the one below


@pytest.fixture(scope="module")
def own_kafka() -> Iterator[Cluster]:
    """A broker of this module's own, since it is killed."""
    try:
        with own_cluster() as cluster:
            yield cluster
    except KafkaUnavailable as error:
        (pytest.fail if REQUIRED else pytest.skip)(f"needs a Kafka that can be killed: {error}")


def test_nothing_is_lost_or_out_of_order_or_comes_twice_without_a_reason(own_kafka: Cluster, tmp_path: Path) -> None:
    seed = int(os.environ.get(SEED, "1"))
    print(f"{SEED}={seed}")
    run = Run(ALL, seed, seconds=30.0, events=2000, replicas=2)
    outcome = run.play(own_kafka, tmp_path, print)
    print(figures(outcome))
    assert outcome.problems == [], f"{SEED}={seed}; the logs of the replicas are in {tmp_path}"
    assert outcome.deliveries + outcome.dead >= 3 * run.events
