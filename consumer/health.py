"""Health: reasons and heartbeats come in from every thread, `/livez`, `/readyz` and `/metrics` go out over HTTP.

Alive means that restarting would not help; ready means that the replica does its work.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from consumer.errors import SprintlyError
from consumer.logs import get_logger
from consumer.metrics import CONTENT_TYPE, Metrics

HEARTBEAT_TIMEOUT = 30.0  # seconds; six times the longest that a thread waits for anything, a revoke included
CLIENT_TIMEOUT = 5.0  # seconds of silence after which a client is hung up on
STOP_INTERVAL = 0.1  # seconds between looks at whether to stop serving

log = get_logger(__name__)


class Health:
    """Why this replica is not ready, and when its threads last moved. Safe to use from any thread."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, heartbeat_timeout: float = HEARTBEAT_TIMEOUT
    ) -> None:
        self._clock = clock
        self._timeout = heartbeat_timeout
        self._lock = threading.Lock()
        self._reasons: dict[str, str] = {}
        self._notes: dict[str, str] = {}
        self._beats: dict[str, float] = {}

    def set(self, check: str, reason: str) -> None:
        """Say why a check makes the replica unready; a later reason takes the place of an earlier one."""
        with self._lock:
            self._reasons[check] = reason

    def clear(self, check: str) -> None:
        """Say that a check is well again, or was all the time."""
        with self._lock:
            self._reasons.pop(check, None)

    def note(self, check: str, detail: str) -> None:
        """Have `/readyz` tell something that does not make the replica unready; an empty detail takes it back."""
        with self._lock:
            self._notes.pop(check, None)
            if detail:
                self._notes[check] = detail

    def notes(self) -> dict[str, str]:
        """Return what is told beside the reasons."""
        with self._lock:
            return dict(self._notes)

    def has(self, check: str) -> bool:
        """Whether a check makes the replica unready at the moment."""
        with self._lock:
            return check in self._reasons

    def beat(self, name: str) -> None:
        """Say that a thread moves. From its first beat on it is expected to go on beating, until `retire`."""
        with self._lock:
            self._beats[name] = self._clock()

    def retire(self, name: str) -> None:
        """Say that a thread has ended as it should: no further beat is expected."""
        with self._lock:
            self._beats.pop(name, None)

    def not_alive(self) -> dict[str, str]:
        """Return the reason for each thread whose last beat is too old; alive if there is none."""
        with self._lock:
            ages = {name: self._clock() - beat for name, beat in self._beats.items()}
        return {name: f"no heartbeat for {age:.0f} s" for name, age in ages.items() if age > self._timeout}

    def not_ready(self) -> dict[str, str]:
        """Return the reason for each check that fails; ready if there is none. What is not alive is not ready."""
        stopped = self.not_alive()
        with self._lock:
            return {**self._reasons, **stopped}


class Answer(NamedTuple):
    """What the server answers to one request."""

    status: HTTPStatus
    content_type: str
    body: bytes


class HealthServer:
    """Serves `/metrics`, `/livez` and `/readyz` on a thread of its own while it is entered.

    Creating it takes the port (`port` says which, where 0 was asked for), and raises SprintlyError when that fails.
    """

    def __init__(
        self,
        address: tuple[str, int],
        health: Health,
        metrics: Metrics,
        client_timeout: float = CLIENT_TIMEOUT,
    ) -> None:
        self._health = health
        self._metrics = metrics
        self._server = _listen(address, self.answer, client_timeout)
        self._thread = threading.Thread(target=self._serve, name="health", daemon=True)
        self.port: int = self._server.server_address[1]

    def __enter__(self) -> HealthServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _serve(self) -> None:
        self._server.serve_forever(poll_interval=STOP_INTERVAL)

    def answer(self, path: str) -> Answer:
        """Return the answer to a GET of this path."""
        if path == "/metrics":
            return Answer(HTTPStatus.OK, CONTENT_TYPE, self._metrics.render())
        if path == "/livez":
            return _verdict(self._health.not_alive())
        if path == "/readyz":
            return _verdict(self._health.not_ready(), self._health.notes())
        return _json(HTTPStatus.NOT_FOUND, {"paths": ["/metrics", "/livez", "/readyz"]})


def _verdict(reasons: dict[str, str], notes: dict[str, str] | None = None) -> Answer:
    status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
    return _json(status, {"ok": not reasons, "reasons": reasons, **({"notes": notes} if notes else {})})


def _json(status: HTTPStatus, document: dict[str, Any]) -> Answer:
    return Answer(status, "application/json", json.dumps(document).encode() + b"\n")


class _Server(ThreadingTCPServer):
    """One thread a client, so that a slow one holds up nobody; they end with the process."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what went wrong with one client; that it hung up is not worth a line."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            log.exception("health_request_failed")


def _listen(address: tuple[str, int], answer: Callable[[str], Answer], client_timeout: float) -> _Server:
    host, port = address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = type("_Server", (_Server,), {"address_family": family})
    handler = type("_Handler", (_Handler,), {"answer": staticmethod(answer), "timeout": client_timeout})
    try:
        listening: _Server = server(address, handler)
    except OSError as error:
        shown = f"[{host}]:{port}" if family is socket.AF_INET6 else f"{host}:{port}"
        advice = "set SPRINTLY_HTTP to another one, or to off"
        raise SprintlyError(f"{shown} cannot serve metrics and health: {error.strerror}; {advice}") from error
    return listening


class _Handler(BaseHTTPRequestHandler):
    server_version = "sprintly-services"
    sys_version = ""
    answer: Callable[[str], Answer]

    def do_GET(self) -> None:
        answer = self.answer(urlsplit(self.path).path)
        self._send(answer)
        self.wfile.write(answer.body)

    def do_HEAD(self) -> None:
        self._send(self.answer(urlsplit(self.path).path))

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet: probes come every few seconds."""
