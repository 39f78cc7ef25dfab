"""What the image and the stack are made of, as far as it shows without Docker: variables, and the sample receiver."""

from __future__ import annotations

import importlib.util
import re
import time
from email.message import Message
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from prometheus import JOB, promtool

from consumer.subscriptions import load_subscriptions
from services import StandardWebhook

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = (ROOT / "docs/docker.md").read_text("utf-8")
COMPOSE = (ROOT / "docker-compose.yml").read_text("utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
QUIET = {"PIP_DISABLE_PIP_VERSION_CHECK", "PIP_NO_CACHE_DIR", "PIP_PROGRESS_BAR", "PIP_ROOT_USER_ACTION"}
BODY = b'{"model": "Item"}'


@pytest.fixture(scope="module")
def receiver() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sample_receiver", ROOT / "deploy/compose/receiver.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def secret() -> str:
    """The one that the compose file gives to receiver and consumer alike."""
    services = yaml.safe_load(COMPOSE)["services"]
    (given,) = {services[name]["environment"]["WEBHOOK_SECRET"] for name in ("receiver", "consumer")}
    return str(given).removeprefix("${STACK_WEBHOOK_SECRET:-").removesuffix("}")


def signed(secret: str, body: bytes, at: float) -> Message:
    headers = Message()
    for name, value in StandardWebhook(secret).headers("d1", int(at), body).items():
        headers[name] = value
    return headers


def test_each_variable_of_the_stack_and_each_argument_of_the_image_is_documented() -> None:
    variables = {*re.findall(r"\$\{(\w+)", COMPOSE), *re.findall(r"^ARG (\w+)", DOCKERFILE, re.MULTILINE)} - QUIET
    assert {"STACK_SUBNET", "BASE_IMAGE"} <= variables
    assert [name for name in sorted(variables) if f"`{name}`" not in DOCUMENT] == []


def test_each_service_of_the_stack_is_documented() -> None:
    services = yaml.safe_load(COMPOSE)["services"]
    assert [name for name in services if f"| `{name}` |" not in DOCUMENT] == []


def test_the_stack_stops_a_replica_later_than_it_needs() -> None:
    """25 s for what is in flight, 5 s for the last transaction, 10 s for leaving the group."""
    assert int(yaml.safe_load(COMPOSE)["services"]["consumer"]["stop_grace_period"].removesuffix("s")) > 25 + 5 + 10


@pytest.mark.usefixtures("promtool_there")
def test_the_prometheus_of_the_stack_takes_its_configuration_and_calls_the_job_as_the_alerts_do() -> None:
    config = ROOT / "deploy/observability/prometheus.yaml"
    assert [scraped["job_name"] for scraped in yaml.safe_load(config.read_text("utf-8"))["scrape_configs"]] == [JOB]
    checked = promtool("check", "config", config)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "rules found" in checked.stdout


def test_the_grafana_of_the_stack_finds_the_file_and_its_prometheus() -> None:
    services = yaml.safe_load(COMPOSE)["services"]
    mounts = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    provisioning = ROOT / "deploy/observability/provisioning"
    assert mounts["./deploy/observability/provisioning"] == "/etc/grafana/provisioning"
    (provider,) = yaml.safe_load((provisioning / "dashboards/sprintly.yaml").read_text("utf-8"))["providers"]
    assert mounts["./deploy/grafana.json"] == f"{provider['options']['path']}/grafana.json"
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yaml").read_text("utf-8"))["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert services["prometheus"]["profiles"] == services["grafana"]["profiles"] == ["observability"]


def test_the_sample_subscriptions_are_right(secret: str) -> None:
    (subscription,) = load_subscriptions(ROOT / "deploy/compose/subscriptions.yaml", {"WEBHOOK_SECRET": secret})
    assert subscription.wants("Deploy", "created")


def test_the_sample_receiver_takes_what_we_signed_and_nothing_else(receiver: ModuleType, secret: str) -> None:
    now = time.time()
    good = signed(secret, BODY, now)
    assert receiver.is_genuine(secret, good, BODY)
    assert not receiver.is_genuine(secret, good, BODY + b" ")
    assert not receiver.is_genuine(secret, signed("b" * 32, BODY, now), BODY)
    assert not receiver.is_genuine(secret, signed(secret, BODY, now - 600), BODY)
    assert not receiver.is_genuine(secret, Message(), BODY)
    for timestamp in ("soon", "9" * 400, "9" * 5_000):
        good.replace_header("webhook-timestamp", timestamp)
        assert not receiver.is_genuine(secret, good, BODY)


def test_the_sample_receiver_takes_one_of_several_signatures(receiver: ModuleType, secret: str) -> None:
    headers = signed(secret, BODY, time.time())
    headers.replace_header("webhook-signature", f"v1,b3RoZXI= {headers['webhook-signature']}")
    assert receiver.is_genuine(secret, headers, BODY)


def test_the_sample_receiver_counts_what_comes_twice(receiver: ModuleType) -> None:
    deliveries = receiver.Deliveries()
    assert [deliveries.add(name) for name in ("a", "b", "a")] == [1, 1, 2]
    assert deliveries.counts() == {"requests": 3, "deliveries": 2, "repeated": 1}
