"""The image and the compose stack, built and run as someone does who tries them out: Docker, Kafka, HTTP are real."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from locks import read_lock
from packaging.utils import canonicalize_name
from stack import BASE, ROOT, Stack, build, docker, eventually, inspect, running

pytestmark = pytest.mark.kafka

REPLICAS = 3
EXAMPLES = 5  # what the stack produces by itself
DELAY = 0.1  # seconds until the receiver answers
MB = 1_000_000
LOCKED_UP = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
SAMPLES = ["--volume", f"{ROOT}/deploy/compose:/etc/sprintly:ro", "--env", "WEBHOOK_SECRET"]
INSTALLED = "import importlib.metadata as m, json; print(json.dumps([[d.name, d.version] for d in m.distributions()]))"
ASK = ["python", "-IS", "/opt/sprintly/health.py"]


@pytest.fixture(scope="module")
def image() -> str:
    return build()


@pytest.fixture(scope="module")
def stack(image: str) -> Iterator[Stack]:
    with running(image, consumers=REPLICAS, receiver_delay=DELAY) as stack:
        yield stack


@pytest.fixture
def replica(image: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A replica that finds no Kafka, locked up as far as Docker can."""
    monkeypatch.setenv("WEBHOOK_SECRET", "c2FtcGxlLXNlY3JldC1vZi10aGUtY29tcG9zZS1zdGFjaw==")
    container = docker("run", "--detach", "--health-interval", "1s", *LOCKED_UP, *SAMPLES, image).strip()
    yield container
    docker("rm", "--force", container)


def items(count: int, *, lanes: int, first: int) -> list[dict[str, Any]]:
    """So many events of `lanes` different items, numbered from `first` on."""
    return [
        {
            "action": "updated",
            "model": "Item",
            "product": {"id": 1},
            "attributes": {"number": first + number % lanes, "title": f"{number}"},
        }
        for number in range(count)
    ]


def test_the_image_is_small_and_names_a_user_by_number(image: str) -> None:
    added = inspect("image", image, ".Size") - inspect("image", BASE, ".Size")
    assert 0 < added < 150 * MB
    assert inspect("image", image, ".Config.User") == "10001:10001"
    assert docker("run", "--rm", *LOCKED_UP, "--entrypoint", "id", image, "-u").strip() == "10001"
    assert docker("run", "--rm", *LOCKED_UP, image, "--version").startswith("sprintly-services, version ")


def test_what_built_the_image_is_not_in_it(image: str) -> None:
    found = docker("run", "--rm", "--entrypoint", "ls", image, "/opt/sprintly/bin")
    assert "sprintly-services" in found
    assert "pip" not in found
    environ = inspect("image", image, ".Config.Env")
    assert [line for line in environ if line.startswith(("PIP_INDEX", "PIP_EXTRA", "PIP_TRUSTED"))] == []
    assert docker("run", "--rm", "--entrypoint", "sh", image, "-c", "ls -A /etc/sprintly && test ! -e /build") == ""


def test_the_image_lists_exactly_what_is_installed_in_it(image: str) -> None:
    place = inspect("image", image, ".Config.Labels")["ly.sprint.services.sbom"]
    text = docker("run", "--rm", "--entrypoint", "cat", image, place)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    listed = [bill["metadata"]["component"], *bill["components"]]
    installed = json.loads(docker("run", "--rm", "--entrypoint", "python", image, "-c", INSTALLED))
    assert sorted([part["name"], part["version"]] for part in listed) == sorted(installed)
    locked = {pin.name: pin.hashes for pin in read_lock(ROOT / "requirements.lock")}
    assert {canonicalize_name(part["name"]) for part in bill["components"]} == locked.keys()
    for part in bill["components"]:
        assert part["hashes"][0]["content"] in locked[canonicalize_name(part["name"])]
    within = {library["name"] for part in bill["components"] for library in part.get("components", ())}
    assert {"librdkafka", "libcurl", "OpenSSL"} <= within


def test_a_replica_without_kafka_is_healthy_and_not_ready_and_stops_when_told_to(replica: str) -> None:
    eventually(lambda: is_healthy(replica), lambda: logs(replica))
    ask = f"{' '.join(ASK)} /readyz || echo not ready"
    eventually(lambda: "no Kafka broker answered" in docker("exec", replica, "sh", "-c", ask), lambda: logs(replica))
    assert docker("exec", replica, "sh", "-c", ask).endswith("not ready\n")
    docker("stop", replica)
    assert inspect("container", replica, ".State.ExitCode") == 0


def test_the_health_check_says_that_nobody_answers(image: str) -> None:
    asked = docker("run", "--rm", "--entrypoint", "sh", image, "-c", f"{' '.join(ASK)} /livez || echo unhealthy")
    assert asked.startswith("no answer on port 9464: ")
    assert asked.endswith("unhealthy\n")


def test_up_shows_a_delivery_by_itself(stack: Stack) -> None:
    stack.wait_for(EXAMPLES)
    said = stack.compose("logs", "--no-color", "receiver")
    assert said.count("webhook-id") == EXAMPLES
    assert "Item 1212 created in product 1111" in said
    assert "REFUSED" not in said


def test_events_from_outside_are_spread_over_the_replicas(stack: Stack) -> None:
    """Twelve partitions of events and as many of replays: four and four for each of three."""
    consumers = stack.consumers()
    assert len(consumers) == REPLICAS
    eventually(
        lambda: [stack.metric(consumer, "sprintly_assigned_partitions") for consumer in consumers] == [8, 8, 8],
        lambda: f"the partitions are not spread\n{stack.logs()}",
    )
    before = stack.received()["deliveries"]
    stack.produce(*items(3000, lanes=300, first=1))
    stack.wait_for(before + 3000)
    delivered = [stack.metric(consumer, "sprintly_deliveries_total") for consumer in consumers]
    assert min(delivered) > 500, delivered
    eventually(lambda: all(map(is_healthy, consumers)), stack.logs)


def test_prometheus_finds_all_replicas_and_a_receiver_that_is_down(stack: Stack) -> None:
    """Grafana's image is not needed for it: what it is given is looked at by tests/test_dashboard.py."""
    stack.compose("--profile", "observability", "up", "--detach", "--no-build", "--no-deps", "prometheus")
    down = 'max(sprintly_breakers{state=~"open|probing"}) == 1'
    eventually(lambda: len(stack.prometheus.query("sprintly_ready == 1")) == REPLICAS, stack.logs)
    stack.compose("stop", "receiver")
    stack.produce(*items(90, lanes=90, first=5001))
    eventually(lambda: stack.prometheus.query(down), stack.logs)
    stack.compose("start", "receiver")
    eventually(lambda: not stack.prometheus.query(down), stack.logs)
    stack.wait_for(90)  # it counts anew
    assert set(stack.prometheus.rules().values()) <= {"ok", "unknown"}


def test_an_orderly_stop_under_load_delivers_nothing_twice(stack: Stack) -> None:
    """30 items with 120 events each take at least 12 s, since an item's next waits for the one before."""
    before = stack.received()["deliveries"]
    total = before + 3600
    stack.produce(*items(3600, lanes=30, first=1001))
    stack.wait_for(before + 300)
    stack.compose("stop", "consumer")
    stopped = stack.received()
    assert stopped["deliveries"] < total, "there was no load when the replicas stopped"
    assert exit_codes(stack) == [0] * REPLICAS

    stack.compose("up", "--detach", "--no-build", "--no-deps", "--scale", f"consumer={REPLICAS}", "consumer")
    stack.wait_for(total)
    stack.compose("stop", "consumer")
    assert exit_codes(stack) == [0] * REPLICAS
    assert stack.received() == {"requests": total, "deliveries": total, "repeated": 0}


def is_healthy(container: str) -> bool:
    return bool(inspect("container", container, ".State.Health.Status") == "healthy")


def exit_codes(stack: Stack) -> list[int]:
    return [inspect("container", consumer, ".State.ExitCode") for consumer in stack.consumers()]


def logs(container: str) -> str:
    return docker("logs", "--tail", "30", container)
