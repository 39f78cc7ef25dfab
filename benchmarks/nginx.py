"""Debian's nginx as a receiver: it answers 204 at once, and tells from its access log what came, and when."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

from kafka import free_port

from benchmarks.process import cpu_seconds
from benchmarks.receiver import HOST, Receiver, Served
from benchmarks.stage import Broken
from benchmarks.wire import wire

ENOUGH = 10.0  # seconds for whatever it is waited for: to answer, to write its log, to let go of connections
LOOK = 0.01
LOG = "served.log"
STATUS = "/-/status"

# One process, so that its CPU time is one number. All that it does beside answering is to log; a buffer keeps that to
# one write for a thousand requests.
CONFIGURATION = """
daemon off;
master_process off;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 16384; }}
http {{
    log_format served '$msec $request_uri $content_length $http_webhook_id';
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    client_max_body_size 64m;
    server {{
        listen {host}:{port} backlog=4096;
        access_log {log} served buffer=256k flush=50ms;
        location / {{ return 204; }}
        location = {status} {{ stub_status; access_log off; }}
    }}
}}
"""


def installed() -> bool:
    """Whether there is an nginx here."""
    return _nginx() is not None


def quickest() -> Nginx | Receiver:
    """Return the quickest receiver that there is here, to be entered: nginx, else our own."""
    return Nginx() if installed() else Receiver()


class Nginx:
    """Listens on a free port of 127.0.0.1 until the `with` block ends."""

    title = "nginx"

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}/"
        self._asking = http.client.HTTPConnection(HOST, self.port, timeout=ENOUGH)
        self._asked = 0  # how often for its status: these requests are counted as well
        self._taken = 0  # requests
        self._read = 0  # bytes of the log

    def url_of(self, name: str) -> str:
        """Return an address of its own for one of several destinations."""
        return f"{self.url}{name}"

    @property
    def count(self) -> int:
        """Requests answered since the last `take`; to be read while they come in, at the cost of one more."""
        return self._answered() - self._taken

    def cpu(self) -> float:
        """Return the CPU time that it has used so far (s)."""
        return cpu_seconds(self._process.pid)

    def take(self) -> list[Served]:
        """Return what it answered since the last time, and begin anew."""
        wanted, lines = self.count, list[bytes]()
        with (self._folder / LOG).open("rb") as log:
            log.seek(self._read)

            def logged() -> bool:
                lines.extend(_whole(log))
                return len(lines) >= wanted

            self._await(logged, f"of {wanted} answers not all were logged")
        del lines[wanted:]  # what came meanwhile belongs to the next time
        self._taken += wanted
        self._read += sum(map(len, lines))
        return [_served(line.decode()) for line in lines]

    def alone(self, body: bytes, seconds: float = 2.0) -> float:
        """Return how many POSTs of `body` it answers in a second, given nothing but these; forgets what came before."""
        others = self._ask().connections
        rate = wire(self, body, seconds)
        self._await(lambda: self._ask().connections <= others, "its connections stayed open")
        self.take()
        return rate

    def _answered(self) -> int:
        status = self._ask()
        return status.requests - status.busy - self._asked

    def _ask(self) -> _Status:
        """Return what nginx says of itself."""
        self._asking.request("GET", STATUS)
        numbers = [int(number) for number in re.findall(r"\d+", self._asking.getresponse().read().decode())]
        self._asked += 1
        connections, _, _, requests, reading, writing, _ = numbers
        return _Status(connections, requests, reading + writing - 1)  # this question is being answered itself

    def _await(self, true: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + ENOUGH
        while not true():
            if time.monotonic() > deadline:
                raise Broken(f"nginx: {otherwise}")
            time.sleep(LOOK)

    def __enter__(self) -> Self:
        program = _nginx()
        if program is None:
            raise Broken("nginx is not installed")
        self._temporary = tempfile.TemporaryDirectory(prefix="bench-nginx-")
        self._folder = Path(self._temporary.name)
        configuration = self._folder / "nginx.conf"
        configuration.write_text(CONFIGURATION.format(host=HOST, port=self.port, log=LOG, status=STATUS))
        errors = self._folder / "errors.log"
        with errors.open("w") as output:
            self._process = subprocess.Popen(
                [program, "-e", "stderr", "-p", str(self._folder), "-c", str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for the benchmark, which then ends this one
            )
        try:
            self._await(self._answers, "it does not answer")
        except BaseException as error:
            said = errors.read_text(errors="replace").strip()
            self.__exit__(type(error), error, None)
            if isinstance(error, Broken):
                raise Broken(f"{error}: {said}") from None
            raise
        return self

    def _answers(self) -> bool:
        try:
            self._taken = self._answered()
        except OSError:
            self._asking.close()  # else it thinks that it still waits for an answer
            return False
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._asking.close()
        self._process.kill()  # it has nothing to lose
        self._process.wait()
        self._temporary.cleanup()


class _Status(NamedTuple):
    """What nginx says of itself: connections that are open, requests so far, and those of them not yet answered."""

    connections: int
    requests: int
    busy: int


def _nginx() -> str | None:
    """Return where it lies: it is an administrator's program, and may not be on a user's path."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def _whole(log: BinaryIO) -> list[bytes]:
    """Return the lines that are there from here on; one that is being written waits for the next time."""
    lines = log.readlines()
    if lines and not lines[-1].endswith(b"\n"):
        log.seek(-len(lines.pop()), os.SEEK_CUR)
    return lines


def _served(line: str) -> Served:
    at, path, size, delivery = line.rstrip("\n").split(" ", 3)
    return Served(float(at), path, "" if delivery == "-" else delivery, int(size) if size != "-" else 0)
