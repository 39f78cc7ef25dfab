"""The real Kafka that tests run on: one that is there already, or one in a container that ends with the tests."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import Any, NamedTuple

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from ports import LOOPBACK, free_port

VERSION = "4.3.1"
IMAGE = f"apache/kafka:{VERSION}"
PROGRAMS = {"kafka-configs.sh": "kafka.admin.ConfigCommand"}  # what the scripts start
# Options of Java for a broker, or a registry, that lives for minutes: it is not worth what the second compiler costs.
# Measured: 2.9 s of CPU until it answers, 5.7 without them, and half as much later.
SPARING = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
START_TIMEOUT = 90.0  # seconds; it takes 3 to 5 where nothing else runs
ADDRESS_VARIABLE = "SPRINTLY_TEST_BOOTSTRAP"
# Whether what cannot be had here (Kafka, registry, Docker) makes its tests fail, and not be skipped.
REQUIRED = any(os.environ.get(name, "").lower() in ("1", "true") for name in ("SPRINTLY_REQUIRE_KAFKA", "CI"))


NONE: Mapping[str, int] = MappingProxyType({})


class KafkaUnavailable(Exception):
    """There is no real Kafka to test on; the text says why, in a few words."""


@dataclass(frozen=True)
class Kafka:
    """A broker that answers: where it is, and what to call it in the tests' summary."""

    bootstrap: str
    title: str


@contextmanager
def real_kafka(environ: Mapping[str, str], jvm: str = SPARING) -> Iterator[Kafka]:
    """Give the broker that SPRINTLY_TEST_BOOTSTRAP names, else one in a container; raise KafkaUnavailable without.

    `jvm` are options of its Java in a container.
    """
    if address := environ.get(ADDRESS_VARIABLE):
        if not answers(address, START_TIMEOUT / 3):
            raise KafkaUnavailable(f"{address} ({ADDRESS_VARIABLE}) does not answer")
        yield Kafka(address, f"Kafka at {address} ({ADDRESS_VARIABLE})")
    else:
        with own_kafka(jvm=jvm) as container:
            address = container.bootstrap
            yield Kafka(address, f"Apache Kafka {VERSION} at {address} (testcontainers)")


def answers(bootstrap: str, timeout: float) -> bool:
    """Whether a broker at this address tells of its cluster within so many seconds."""
    # The client's own log would be a line a refused connection.
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 250})
    deadline = monotonic() + timeout
    while (left := deadline - monotonic()) > 0:
        try:
            return bool(admin.list_topics(timeout=min(left, 5.0)).brokers)
        except KafkaException:
            continue
    return False


class Listener(NamedTuple):
    """One more listener of a broker: its own port, and the port of this machine at which clients find it."""

    port: int
    advertised: int


class Container:
    """A broker in a container, which keeps its data and its address when it is killed and started again."""

    def __init__(self, container: Any, bootstrap: str) -> None:
        self._container = container
        self.bootstrap = bootstrap

    def kill(self) -> None:
        """End the broker as a power cut does."""
        self._container.get_wrapped_container().kill("KILL")

    def tool(self, name: str, *arguments: str) -> str:
        """Run one of Kafka's own tools, by its class, beside the broker; returns what it printed."""
        return self._java(f"org.apache.kafka.tools.{name}", "--bootstrap-server", self.bootstrap, *arguments)

    def program(self, name: str, *arguments: str) -> str:
        """Run one of Kafka's own programs, by the name under which they come; returns what it printed.

        Images need not have the scripts themselves, which do nothing but find Java.
        """
        return self._java(PROGRAMS[name], *arguments)

    def _java(self, name: str, *arguments: str) -> str:
        words = " ".join(shlex.quote(word) for word in (name, *arguments))
        command = f"java -XX:TieredStopAtLevel=1 -cp '/opt/kafka/libs/*' {words}"
        ran = self._container.get_wrapped_container().exec_run(["sh", "-c", command], stderr=False)
        said: str = ran.output.decode(errors="replace")
        if ran.exit_code:
            raise KafkaUnavailable(f"{command} ended with {ran.exit_code}: {said.strip()}")
        return said

    def start(self) -> None:
        """Start a broker that was killed, and wait until it answers."""
        self._container.get_wrapped_container().start()
        self.await_answer()

    def await_answer(self) -> None:
        """Wait until the broker answers; raises KafkaUnavailable, with its last words, where it does not."""
        if not answers(self.bootstrap, START_TIMEOUT):
            words = _last_words(self._container)
            raise KafkaUnavailable(f"{IMAGE} did not answer within {START_TIMEOUT:.0f} s: {words}")


@contextmanager
def own_kafka(
    beside: Listener | None = None,
    properties: Mapping[str, str] | None = None,
    *,
    also: Mapping[str, int] = NONE,
    folder: tuple[Path, str] | None = None,
    jvm: str = SPARING,
) -> Iterator[Container]:
    """Run a broker in a container until the block ends; raise KafkaUnavailable where that cannot be.

    `beside` is one more listener, `also` are more by name, each with its port, and `properties` are the broker's own,
    beside those that all tests need. It sees `folder` under the second name, and `jvm` are options of its Java.
    """
    # Ryuk is one image more, from a registry that may be out of reach; the container is stopped below.
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    # Imported after that line, since testcontainers reads the environment when it is imported.
    from docker.errors import DockerException  # type: ignore[import-untyped]
    from testcontainers.core.container import DockerContainer

    try:
        container = DockerContainer(IMAGE)
        host = container.get_docker_client().host()
    except DockerException as error:
        raise KafkaUnavailable(f"no Docker, no {ADDRESS_VARIABLE}") from error
    # Not "localhost", which clients also try as ::1; and a broker that lets everyone in is for this machine only.
    host = LOOPBACK if host == "localhost" else host
    port = free_port()
    container.with_envs(**broker_variables(host, port, beside, properties, also))
    container.with_env("KAFKA_HEAP_OPTS", f"-Xmx512m {jvm}")
    if folder:
        container.with_volume_mapping(str(folder[0]), folder[1], "ro")
    ports: dict[str, Any] = container.ports  # typed without docker's own (address, port)
    for each in (port, *([beside.port] if beside else []), *also.values()):
        ports[str(each)] = (LOOPBACK, each) if host == LOOPBACK else each
    try:
        container.start()
    except DockerException as error:
        reason = getattr(error, "explanation", error)
        raise KafkaUnavailable(f"Docker cannot run {IMAGE}: {reason}") from error
    try:
        made = Container(container, f"{host}:{port}")
        made.await_answer()
        yield made
    finally:
        container.stop()


def broker_variables(
    host: str,
    port: int,
    beside: Listener | None = None,
    properties: Mapping[str, str] | None = None,
    also: Mapping[str, int] = NONE,
) -> dict[str, str]:
    """The image's variables for one KRaft node that clients reach, as it does itself, at `host:port`.

    With one of its own variables set, the image leaves out its defaults: so all that is needed stands here. Inside and
    outside it has the same port, since a broker writes transaction markers to its own advertised address. Sessions
    are short, so that the partitions of a killed member are taken over soon. `beside`, `also` and `properties` come on
    top.
    """
    own = f",BESIDE://:{beside.port}" if beside else ""
    told = f",BESIDE://{host}:{beside.advertised}" if beside else ""
    own += "".join(f",{name}://:{number}" for name, number in also.items())
    told += "".join(f",{name}://{host}:{number}" for name, number in also.items())
    all_properties = {
        "node.id": "1",
        "process.roles": "broker,controller",
        "listeners": f"PLAINTEXT://:{port},CONTROLLER://:{_other(port)}{own}",
        "advertised.listeners": f"PLAINTEXT://{host}:{port}{told}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,BESIDE:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": f"1@localhost:{_other(port)}",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        "group.consumer.min.session.timeout.ms": "1000",
        "group.consumer.session.timeout.ms": "6000",
        "group.consumer.min.heartbeat.interval.ms": "500",
        "group.consumer.heartbeat.interval.ms": "1000",
        "auto.create.topics.enable": "false",
        **(properties or {}),
    }
    return {_variable(name): value for name, value in all_properties.items()}


def _variable(name: str) -> str:
    """The image's variable for a property of the broker."""
    return "KAFKA_" + name.replace("_", "__").replace("-", "___").replace(".", "_").upper()


def _other(port: int) -> int:
    """The controller's port, inside the container only."""
    return 9093 if port != 9093 else 9094


def _last_words(container: Any) -> str:
    output, errors = container.get_logs()
    lines = (output + errors).decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
