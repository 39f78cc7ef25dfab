"""A real Prometheus on 127.0.0.1, and promtool: from Debian's package `prometheus`, or wherever PATH has them.

with running(folder, targets=["127.0.0.1:9464"], rules=text) as prometheus:
    prometheus.query("sum(up)")
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml
from ports import LOOPBACK, free_port

JOB = "sprintly-services"  # what alerts suppose that Prometheus's job is called
PROGRAMS = ("prometheus", "promtool")
INSTALLED_BY = "apt-get install --no-install-recommends prometheus"
# Whether its want makes tests fail, and not be skipped.
REQUIRED = any(os.environ.get(name, "").lower() in ("1", "true") for name in ("SPRINTLY_REQUIRE_PROMETHEUS", "CI"))
START_TIMEOUT = 30.0  # seconds; it takes less than one where nothing else runs
ANSWER = 10.0
LOOK = 0.05

_SELECTOR = re.compile(r"(?:\b\w+:)?\b(?:sprintly|process)_\w+(?::\w+)?(?:\{[^}]*\})?|\bup\b(?:\{[^}]*\})?")
_NAME = re.compile(r"[\w:]+")


class PrometheusMissing(Exception):
    """There is no Prometheus to test with; the text says why, in a few words."""


class Series(NamedTuple):
    """One line of an answer."""

    labels: dict[str, str]
    value: float


class Alert(NamedTuple):
    """An alert as Prometheus has it: `pending` or `firing`."""

    name: str
    state: str
    labels: dict[str, str]


def missing() -> str:
    """Return what is not there of what is needed, and how to get it; nothing if all is."""
    gone = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"{' and '.join(gone)} cannot be found ({INSTALLED_BY})" if gone else ""


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run promtool; returns what it said."""
    command = ["promtool", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=START_TIMEOUT, check=False)


def selectors(expression: str) -> list[str]:
    """Return the metrics that an expression reads, each with its condition on labels."""
    return list(dict.fromkeys(_SELECTOR.findall(expression)))


def metric(selector: str) -> str:
    """Return the name of a selector's metric."""
    found = _NAME.match(selector)
    assert found, selector
    return found[0]


class Prometheus:
    """One that runs, asked by its HTTP API."""

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expression: str) -> list[Series]:
        """Evaluate an expression now; raises AssertionError with Prometheus's words where it cannot be."""
        data = self._get("/api/v1/query", query=expression)
        if data["resultType"] == "scalar":
            return [Series({}, float(data["result"][1]))]
        return [Series(one["metric"], float(one["value"][1])) for one in data["result"]]

    def alerts(self) -> list[Alert]:
        """Return the alerts that are pending or firing."""
        found = self._get("/api/v1/alerts")["alerts"]
        return [Alert(one["labels"]["alertname"], one["state"], one["labels"]) for one in found]

    def firing(self) -> set[str]:
        """Return the names of the alerts that are firing."""
        return {alert.name for alert in self.alerts() if alert.state == "firing"}

    def rules(self) -> dict[str, str]:
        """Return each rule's health by its name: `ok`, `unknown` before it was evaluated, or the error."""
        rules = [rule for group in self._get("/api/v1/rules")["groups"] for rule in group["rules"]]
        return {rule["name"]: rule.get("lastError") or rule["health"] for rule in rules}

    def _get(self, path: str, **parameters: str) -> Any:
        try:
            with urlopen(f"{self.url}{path}?{urlencode(parameters)}", timeout=ANSWER) as answer:
                return json.loads(answer.read())["data"]
        except HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode(errors='replace')}") from error


def answered(found: Sequence[Series]) -> bool:
    """Whether an answer has a number in it; a quantile of nothing is none."""
    return any(not math.isnan(series.value) for series in found)


@contextmanager
def running(folder: Path, targets: Sequence[str], rules: str) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes these addresses and evaluates these rules each second, until the block ends."""
    if reason := missing():
        raise PrometheusMissing(reason)
    (folder / "rules.yaml").write_text(rules, "utf-8")
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [{"job_name": JOB, "static_configs": [{"targets": list(targets)}]}],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config), "utf-8")
    address = f"{LOOPBACK}:{free_port()}"
    log = folder / "prometheus.log"
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address={address}",
        "--log.level=warn",
    ]
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            _await(process, f"http://{address}/-/ready", log)
            yield Prometheus(f"http://{address}")
        finally:
            process.kill()  # what it has stored is of no use to anybody


def _await(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not _answers(url):
        if process.poll() is not None or time.monotonic() > deadline:
            raise PrometheusMissing(f"Prometheus does not answer: {log.read_text()[-1000:]}")
        time.sleep(LOOK)


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=ANSWER):
            return True
    except (URLError, ConnectionError):
        return False
