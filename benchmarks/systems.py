"""The systems that are compared, and how each is started on the same job."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple

from benchmarks.identity import Identify, by_delivery, by_place
from benchmarks.process import ROOT, Process

HOOK = "bench"  # the subscription's id
SECRET = "whsec_ZXhhbXBsZSBleGFtcGxlIGV4YW1wbGUh"  # signs each request
REFERENCES = ROOT / "benchmarks" / "references"
THEIRS = ROOT / "build" / "references"  # the virtual environment that `make bench` makes for them


class Job(NamedTuple):
    """Read `topic` as a new `group`, post each event to `url`; `folder` is for the system's own files."""

    bootstrap: str
    topic: str
    group: str
    url: str
    folder: Path


class System(ABC):
    """One of those compared."""

    name: str
    ordered = True  # whether it promises that events of one key arrive in order, and nothing twice unless it crashes
    share = 1.0  # of the backlog that it is given; a slow one's figures need no more
    timed = True  # whether its latency is measured
    identify: Identify  # what it sends as webhook-id

    def __repr__(self) -> str:
        return self.name

    @abstractmethod
    def start(self, job: Job) -> Process:
        """Start its process."""

    def lacks(self) -> str | None:
        """Return what has to be there to run it and is not, in a few words."""
        return None


class Project(System):
    """One replica of this project, as an operator starts it, with one webhook, signed, for all products.

    What it is not told here has its default, or what the SPRINTLY_ variables of the benchmark's own environment say.
    """

    name = "this project"
    identify = staticmethod(by_delivery(HOOK))

    def start(self, job: Job) -> Process:
        """Start `consume`."""
        subscriptions = job.folder / "subscriptions.yaml"
        webhook = {"id": HOOK, "product": "*", "service": "webhook", "options": {"urls": job.url, "secret": SECRET}}
        subscriptions.write_text(json.dumps({"subscriptions": [webhook]}))  # JSON is YAML
        environ = os.environ | {
            "SPRINTLY_BOOTSTRAP_SERVERS": job.bootstrap,
            "SPRINTLY_TOPIC": job.topic,
            "SPRINTLY_GROUP_ID": job.group,
            "SPRINTLY_SUBSCRIPTIONS": str(subscriptions),
            "SPRINTLY_EGRESS_ALLOW": "127.0.0.0/8",
            "SPRINTLY_HTTP": "127.0.0.1:0",
        }
        return Process([sys.executable, "-m", "consumer", "consume"], environ, job.folder / "log")


class Reference(System):
    """A program in references/ that does the same job with other means."""

    identify = staticmethod(by_place)
    program: str
    python = sys.executable

    def start(self, job: Job) -> Process:
        """Start the program."""
        command = [self.python, str(REFERENCES / self.program), job.bootstrap, job.group, job.topic, job.url]
        # A proxy is none of the job's: `requests` would ask it even for this machine.
        environ = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        return Process(command, environ | {"PYTHONPATH": str(ROOT)}, job.folder / "log")


class Naive(Reference):
    """The loop of an afternoon: one event after the other."""

    name = "naive loop"
    program = "naive.py"
    share = 0.25


class Threads(Reference):
    """A pool of threads that post with requests."""

    name = "64 threads"
    program = "threads.py"
    ordered = False
    share = 0.25
    timed = False


class FastStream(Reference):
    """FastStream's batch subscriber with aiohttp, in an environment of its own."""

    name = "FastStream"
    program = "faststream_batch.py"
    ordered = False

    def __init__(self, environment: Path = THEIRS) -> None:
        self.python = str(environment / "bin" / "python")

    def lacks(self) -> str | None:
        """Return what its environment lacks."""
        try:
            subprocess.run([self.python, "-c", "import aiohttp, faststream.confluent"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            return "not installed; `make bench` does so"
        return None
