"""The limit of the wire: what a receiver answers to nothing but ready requests, by wrk where it is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from typing import Protocol

from benchmarks.load import CONNECTIONS, Counting, limit


class Addressed(Counting, Protocol):
    """A receiver that can also be found by its address."""

    @property
    def url(self) -> str:
        """Where it listens."""


def measured_by() -> str:
    """Return what measures it here."""
    return "wrk" if shutil.which("wrk") else "a plain load (no wrk)"


def wire(receiver: Addressed, body: bytes, seconds: float) -> float:
    """Return how many POSTs of `body` a receiver answers in a second."""
    return _wrk(receiver.url, body, seconds) if shutil.which("wrk") else limit(receiver, body, seconds)


def _wrk(url: str, body: bytes, seconds: float) -> float:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(
            'wrk.method = "POST"\n'
            f"wrk.body = [====[{body.decode()}]====]\n"
            'wrk.headers["Content-Type"] = "application/json"\n'
            'wrk.headers["webhook-id"] = "wrk"\n'
        )
        script.flush()
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", "-s", script.name, url]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(re.findall(r"Requests/sec: +([\d.]+)", said)[0])
