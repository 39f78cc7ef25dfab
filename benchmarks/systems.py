"""The systems that are compared, and how each is started on the same job."""

from __future__ import annotations

import json
import os
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple

from benchmarks.process import ROOT, Process


class Job(NamedTuple):
    """Read `topic` as a new `group`, post each event to `url`; `folder` is for the system's own files."""

    bootstrap: str
    topic: str
    group: str
    url: str
    folder: Path


class System(ABC):
    """One of those compared; `identifies` says whether it sends a webhook-id with each delivery."""

    name: str
    identifies: bool

    @abstractmethod
    def start(self, job: Job) -> Process:
        """Start its process."""


class Project(System):
    """One replica of this project, as an operator starts it, with one webhook for all products.

    What it is not told here has its default, or what the SPRINTLY_ variables of the benchmark's own environment say.
    """

    name = "this project"
    identifies = True

    def start(self, job: Job) -> Process:
        """Start `consume`."""
        subscriptions = job.folder / "subscriptions.yaml"
        webhook = {"id": "bench", "product": "*", "service": "webhook", "options": {"urls": job.url}}
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


class Naive(System):
    """The loop of an afternoon: one event after the other."""

    name = "naive loop"
    identifies = False

    def start(self, job: Job) -> Process:
        """Start naive.py."""
        command = [sys.executable, "benchmarks/naive.py", job.bootstrap, job.group, job.topic, job.url]
        return Process(command, os.environ | {"PYTHONPATH": str(ROOT)}, job.folder / "log")
