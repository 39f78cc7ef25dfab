"""The compose stack as someone who tries it out has it: its own image, network and ports, gone when it is over."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from kafka import REQUIRED
from ports import LOOPBACK, free_port
from prometheus import Prometheus

ROOT = Path(__file__).resolve().parent.parent
BASE = os.environ.get("BASE_IMAGE", "python:3.11-slim-bookworm")
IMAGE = "sprintly-services:test"
PROMETHEUS = "prom/prometheus:v2.42.0"
FOREIGN = ("apache/kafka:4.3.1", "apicurio/apicurio-registry:3.0.9", PROMETHEUS)
BUILD_ARGUMENTS = ("BASE_IMAGE", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST")
PATIENCE = 90.0  # seconds that anything may take on a busy machine …
BUILD_PATIENCE = 600.0  # … but downloads


def docker(*arguments: str, timeout: float = PATIENCE) -> str:
    """Run docker, which has to succeed; returns what it printed."""
    return _run("docker", *arguments, timeout=timeout)


def build() -> str:
    """Build the image and return its name. Without Docker or its images the test is skipped; it fails where required.

    By the host's network, and with the host's settings of pip: as that reaches its packages, so does the build.
    """
    _require(BASE, *FOREIGN)
    given = [argument for name in BUILD_ARGUMENTS for argument in ("--build-arg", name)]
    docker("build", "--network", "host", *given, "--tag", IMAGE, str(ROOT), timeout=BUILD_PATIENCE)
    return IMAGE


def inspect(kind: str, name: str, template: str) -> Any:
    """Return one value of what docker knows of an image or a container."""
    return json.loads(docker(kind, "inspect", "--format", f"{{{{json {template}}}}}", name))


def eventually(true: Callable[[], object], otherwise: Callable[[], str]) -> None:
    """Wait until something is true, and fail with what was not when it takes too long."""
    deadline = time.monotonic() + PATIENCE
    while not _holds(true):
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.2)


def _holds(true: Callable[[], object]) -> bool:
    try:
        return bool(true())
    except OSError:  # whoever was asked does not listen yet
        return False


class Stack:
    """The services of docker-compose.yml under a name of their own."""

    def __init__(self, image: str, receiver_delay: float) -> None:
        self.name = f"sprintly-test-{uuid.uuid4().hex[:8]}"
        self._ports = {name: str(free_port()) for name in ("KAFKA", "REGISTRY", "RECEIVER", "PROMETHEUS", "GRAFANA")}
        self._settings = {
            "STACK_IMAGE": image,
            "STACK_SUBNET": f"10.{random.randrange(256)}.{random.randrange(256)}.0/24",
            "STACK_RECEIVER_DELAY": str(receiver_delay),
            **{f"STACK_{name}_PORT": port for name, port in self._ports.items()},
        }

    def compose(self, *arguments: str) -> str:
        """Run a command of compose, which has to succeed; returns what it printed."""
        command = [*_compose(), "--project-name", self.name, "--file", str(ROOT / "docker-compose.yml")]
        return _run(*command, *arguments, timeout=2 * PATIENCE, env=os.environ | self._settings)

    def produce(self, *payloads: Mapping[str, Any]) -> None:
        """Write events from this machine, outside of the stack."""
        lines = "\n".join(json.dumps(payload) for payload in payloads)
        environ = {
            "PATH": os.environ["PATH"],
            "SPRINTLY_BOOTSTRAP_SERVERS": f"localhost:{self._ports['KAFKA']}",
            "SPRINTLY_SCHEMA_REGISTRY_URL": f"http://localhost:{self._ports['REGISTRY']}/apis/ccompat/v7",
        }
        _run(sys.executable, "-m", "consumer", "produce", "-", cwd=ROOT, env=environ, input=lines)

    def consumers(self) -> list[str]:
        """Return the containers of the replicas, stopped ones too."""
        labels = (f"project={self.name}", "service=consumer")
        filters = [argument for label in labels for argument in ("--filter", f"label=com.docker.compose.{label}")]
        return docker("ps", "--all", "--quiet", *filters).split()

    def metric(self, consumer: str, name: str) -> float:
        """Return a metric of a replica, the sum of its series."""
        port = docker("port", consumer, "9464/tcp").split()[0].rpartition(":")[2]
        lines = _get(f"http://{LOOPBACK}:{port}/metrics").splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))

    @property
    def prometheus(self) -> Prometheus:
        """The Prometheus of the profile `observability`, once that was brought up."""
        return Prometheus(f"http://{LOOPBACK}:{self._ports['PROMETHEUS']}")

    def received(self) -> dict[str, int]:
        """Return what the receiver counts: requests, deliveries, repeated."""
        counts: dict[str, int] = json.loads(_get(f"http://{LOOPBACK}:{self._ports['RECEIVER']}/"))
        return counts

    def wait_for(self, deliveries: int) -> None:
        """Wait until the receiver has so many different deliveries."""
        eventually(lambda: self.received()["deliveries"] >= deliveries, lambda: f"{self.received()}\n{self.logs()}")

    def logs(self) -> str:
        """Return the last that each service said."""
        return self.compose("logs", "--no-color", "--tail=15")


@contextmanager
def running(image: str, *, consumers: int, receiver_delay: float) -> Iterator[Stack]:
    """Give the stack when `up` is through; all of it is removed at the end."""
    stack = Stack(image, receiver_delay)
    try:
        stack.compose("up", "--detach", "--no-build", "--scale", f"consumer={consumers}")
        yield stack
    finally:
        stack.compose("down", "--volumes", "--timeout", "5")


def _require(*images: str) -> None:
    try:
        _compose()
        for image in images:
            if not docker("images", "--quiet", image):
                docker("pull", "--quiet", image, timeout=BUILD_PATIENCE)
    except (AssertionError, FileNotFoundError) as error:
        reason = f"needs Docker, compose and their images: {error}"
        pytest.fail(reason, pytrace=False) if REQUIRED else pytest.skip(reason)


def _compose() -> list[str]:
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    _run("docker", "compose", "version")
    return ["docker", "compose"]


def _get(url: str) -> str:
    with urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def _run(*command: str, timeout: float = PATIENCE, **more: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, **more)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    printed: str = done.stdout
    return printed
