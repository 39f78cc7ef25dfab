"""A third party on this machine: an HTTP server that keeps what it gets and answers as it is told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import NamedTuple

import orjson


class Arrival(NamedTuple):
    """One request that arrived, and the status with which it was answered."""

    path: str
    delivery: str
    payload: dict[str, object]
    status: int


class Receiver:
    """Listens on a free port of 127.0.0.1; as a context manager, until the block ends."""

    def __init__(self, answer: Callable[[str, dict[str, object]], int], arrived: Callable[[Arrival], None]) -> None:
        """Answer each request with the status that `answer` returns for its path and payload, and tell `arrived` of it.

        Both are called on threads of the server.
        """
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(answer, arrived))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Receiver:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name="receiver", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(
    answer: Callable[[str, dict[str, object]], int], arrived: Callable[[Arrival], None]
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            payload = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status = answer(self.path, payload)
            body = b"" if status < 300 else b"I do not understand this"
            arrived(Arrival(self.path, self.headers["webhook-id"], payload, status))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: `arrived` was told."""

    return Handler
