"""The brokers that promises are tried on: the fake, the embedded mock cluster, the real Kafka by both protocols."""

from __future__ import annotations

import pytest
from brokers import Bench, embedded_bench, kafka_bench, memory_bench


@pytest.fixture(scope="session")
def embedded() -> Bench:
    return embedded_bench()


@pytest.fixture(
    params=[
        "memory",
        "embedded",
        pytest.param("consumer", marks=pytest.mark.kafka),
        pytest.param("classic", marks=pytest.mark.kafka),
    ]
)
def bench(request: pytest.FixtureRequest) -> Bench:
    if request.param == "memory":
        return memory_bench()
    if request.param == "embedded":
        shared: Bench = request.getfixturevalue("embedded")
        return Bench(shared.name, shared.of_group, transactions=False, chosen_partitions=False)
    return kafka_bench(request.getfixturevalue("kafka_bootstrap"), request.param)


@pytest.fixture
def transactional(bench: Bench) -> Bench:
    if not bench.transactions:
        pytest.skip("the mock cluster keeps no offsets in transactions and fences nobody")
    return bench
