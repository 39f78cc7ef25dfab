"""What all tests share: the real Kafka, asked for by fixture, and the line that says which one it was."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import structlog
from hypothesis import settings
from kafka import ADDRESS_VARIABLE, REQUIRED, Kafka, KafkaUnavailable, real_kafka
from prometheus import REQUIRED as PROMETHEUS_REQUIRED
from prometheus import missing as prometheus_missing
from registries import ADDRESS_VARIABLE as REGISTRY_VARIABLE
from registries import Apicurio, RegistryMissing, real_registry

FIXTURES = {"kafka_bootstrap", "registry", "own_kafka"}

settings.register_profile("untimed", deadline=None)  # machines are shared: how long an example takes says nothing
settings.load_profile("untimed")
NEEDED = ADDRESS_VARIABLE in os.environ or REQUIRED

broker = pytest.StashKey[Kafka]()
missing = pytest.StashKey[str]()
apicurio = pytest.StashKey[Apicurio]()
had = pytest.StashKey[list[str]]()  # titles of what workers had


@pytest.fixture(scope="session")
def _kafka(pytestconfig: pytest.Config) -> Iterator[Kafka | None]:
    """The real Kafka, started when the first test asks for it; None where there is none."""
    with ExitStack() as stack:
        try:
            pytestconfig.stash[broker] = kafka = stack.enter_context(real_kafka(os.environ))
        except KafkaUnavailable as error:
            pytestconfig.stash[missing] = str(error)
            yield None
        else:
            yield kafka


@pytest.fixture(scope="session")
def kafka_bootstrap(_kafka: Kafka | None, pytestconfig: pytest.Config) -> str:
    """The real Kafka's address. Without one the test is skipped; it fails where one was named or is required.

    SPRINTLY_TEST_BOOTSTRAP names one; SPRINTLY_REQUIRE_KAFKA=1 and CI=true require one.
    """
    if _kafka:
        return _kafka.bootstrap
    reason = f"needs the real Kafka: {pytestconfig.stash[missing]}"
    return pytest.fail(reason, pytrace=False) if NEEDED else pytest.skip(reason)


@pytest.fixture(scope="session")
def registry(pytestconfig: pytest.Config) -> Iterator[str]:
    """The real schema registry's address. Without one the test is skipped; it fails where one is required.

    SPRINTLY_TEST_REGISTRY names one; SPRINTLY_REQUIRE_KAFKA=1 and CI=true require one.
    """
    with ExitStack() as stack:
        try:
            pytestconfig.stash[apicurio] = found = stack.enter_context(real_registry(os.environ))
        except RegistryMissing as error:
            reason = f"needs the real schema registry: {error}"
            (pytest.fail if REQUIRED or REGISTRY_VARIABLE in os.environ else pytest.skip)(reason)
        yield found.url


@pytest.fixture(scope="session")
def promtool_there() -> None:
    """Prometheus and promtool. Without them the test is skipped; it fails where they are required.

    SPRINTLY_REQUIRE_PROMETHEUS=1 and CI=true require them.
    """
    if reason := prometheus_missing():
        (pytest.fail if PROMETHEUS_REQUIRED else pytest.skip)(reason)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the real Kafka or registry, so that `-m "not kafka"` leaves it out."""
    for item in items:
        if FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.kafka)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let the one who started this worker, if somebody did, know what it had; each worker has its own."""
    output, stash = getattr(session.config, "workeroutput", None), session.config.stash
    if output is not None:
        output["had"] = [stash[key].title for key in (broker, apicurio) if stash.get(key, None)]
        output["missing"] = stash.get(missing, "")


class Workers:
    """Notes what the workers of pytest-xdist had; plain pytest has none."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        output, stash = getattr(node, "workeroutput", {}), node.config.stash
        stash.setdefault(had, []).extend(output.get("had", []))
        if output.get("missing"):
            stash[missing] = output["missing"]


def pytest_configure(config: pytest.Config) -> None:
    """Have workers heard."""
    config.pluginmanager.register(Workers())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say in one line which broker the tests had, and in another which registry."""
    titles = [config.stash[key].title for key in (broker, apicurio) if config.stash.get(key, None)]
    titles = sorted({*titles, *config.stash.get(had, [])})
    if not any("Kafka" in title for title in titles):
        titles.insert(0, f"no Kafka: {_without_kafka(terminalreporter, config)}")
    for title in titles:
        terminalreporter.write_line(f"tested on: {title}")


def _without_kafka(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> str:
    reason = config.stash.get(missing, "")
    if not reason:
        return "none was asked for"
    skipped = [report for report in terminalreporter.getreports("skipped") if "kafka" in report.keywords]
    outcome = f"{len(skipped)} tests that need the real Kafka were skipped" if skipped else "what needs it failed"
    return f"{outcome} ({reason})"


@pytest.fixture
def logging_as_it_was() -> Iterator[None]:
    """Have logging after a test be what it was before: commands send it to a stderr that ends with them."""
    root, apprise, urllib3, otel = (logging.getLogger(name) for name in ("", "apprise", "urllib3", "opentelemetry"))
    before = root.handlers[:], root.level, urllib3.level
    yield
    structlog.reset_defaults()
    logging.captureWarnings(False)
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    urllib3.setLevel(before[2])
    apprise.propagate = otel.propagate = True
