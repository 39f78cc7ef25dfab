"""A working HTTP/1.1 receiver on 127.0.0.1: records every request in order and answers as it is told.

    with Receiver([500, 204]) as receiver:  # the first request gets 500, all others 204
        ...  # post to receiver.url
        first, second = receiver.wait_for(2)

It runs on a loop and a thread of its own, and answers tens of thousands of requests a second.
"""

from __future__ import annotations

import asyncio
import http
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, TypeAlias, cast

import uvloop


class Got(NamedTuple):
    """A request as it came: header names are in lower case, `at` is by the monotonic clock."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float


@dataclass(frozen=True)
class Reply:
    """An answer in good HTTP, after `delay` seconds; a `hold` one waits until the receiver's `release`."""

    status: int = 204
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    hold: bool = False

    def encoded(self, method: str) -> bytes:
        reason = http.HTTPStatus(self.status).phrase
        lines = [f"HTTP/1.1 {self.status} {reason}", *(f"{name}: {value}" for name, value in self.headers.items())]
        if self.status != 204:
            lines.append(f"Content-Length: {len(self.body)}")
        head = "\r\n".join([*lines, "", ""]).encode()
        return head if method == "HEAD" else head + self.body


@dataclass(frozen=True)
class Raw:
    """Bytes sent as they are, one piece every `pause` seconds, while the other side listens; then the connection ends.

    No pieces at all end it without an answer; `reset` ends it by a TCP reset.
    """

    pieces: Iterable[bytes] = ()
    pause: float = 0.0
    reset: bool = False


Answer: TypeAlias = int | Reply | Raw
Answers: TypeAlias = Callable[[Got], Answer] | Iterable[Answer]


class Receiver:
    """Listens on a free port of 127.0.0.1 while its `with` block runs.

    `answers` is called with each request for its answer (in the receiver's thread), or lists the answers, of which
    the last is repeated. A plain number is a Reply of that status. With `tls` it speaks HTTPS.
    """

    def __init__(self, answers: Answers = (204,), *, tls: ssl.SSLContext | None = None) -> None:
        self._answers = answers if callable(answers) else _one_after_the_other(answers)
        self._tls = tls
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="receiver", daemon=True)
        self._changed = threading.Condition()
        self._requests: list[Got] = []
        self._held: list[Callable[[], None]] = []
        self._open: set[asyncio.Transport] = set()
        self.connections = 0
        self.port = 0

    @property
    def url(self) -> str:
        """The receiver's address without a path."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def requests(self) -> list[Got]:
        """A copy of what came so far, in order."""
        with self._changed:
            return list(self._requests)

    @property
    def count(self) -> int:
        """How many requests came so far."""
        return len(self._requests)

    @property
    def holding(self) -> int:
        """How many requests wait for `release`."""
        return len(self._held)

    def wait_for(self, count: int, timeout: float = 10.0) -> list[Got]:
        """Return the requests as soon as there are `count`; fails if they do not come in `timeout` seconds."""
        with self._changed:
            enough = self._changed.wait_for(lambda: len(self._requests) >= count, timeout)
            assert enough, f"{len(self._requests)} of {count} requests came within {timeout:g} s"
            return list(self._requests)

    def release(self) -> None:
        """Answer what is held now; what comes later is held again."""
        self._loop.call_soon_threadsafe(self._release)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _listen(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0), backlog=4_096)
        self.port = listener.getsockname()[1]
        self._server = await self._loop.create_server(lambda: _Connection(self), sock=listener, ssl=self._tls)

    async def _shut(self) -> None:
        self._server.close()
        for transport in list(self._open):
            transport.abort()
        await asyncio.sleep(0)  # lets the connections be told before their loop stops

    def _release(self) -> None:
        held, self._held = self._held, []
        for send in held:
            send()

    def opened(self, transport: asyncio.Transport) -> None:
        """Count a connection that has begun."""
        self.connections += 1
        self._open.add(transport)

    def closed(self, transport: asyncio.Transport) -> None:
        """Forget a connection that has ended."""
        self._open.discard(transport)

    def got(self, request: Got, connection: _Connection) -> None:
        """Record a request that is complete, and answer it on its connection."""
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()
        answer = self._answers(request)
        if isinstance(answer, Raw):
            connection.send_raw(answer)
            return
        reply = Reply(answer) if isinstance(answer, int) else answer

        def send() -> None:
            connection.send(reply.encoded(request.method))

        if reply.hold:
            self._held.append(send)
        elif reply.delay:
            self._loop.call_later(reply.delay, send)
        else:
            send()


class _Connection(asyncio.Protocol):
    """One connection: cuts what comes in into requests, one after the other."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class is none by inheritance
        self._receiver.opened(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._receiver.closed(self._transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
            headers = dict(_header(line) for line in lines)
            after = end + 4 + int(headers.get("content-length", 0))
            if len(self._buffer) < after:
                return
            method, path, _ = first.split(" ")
            body = bytes(self._buffer[end + 4 : after])
            del self._buffer[:after]
            self._receiver.got(Got(method, path, headers, body, time.monotonic()), self)

    def send(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def send_raw(self, raw: Raw) -> None:
        self._send_next(iter(raw.pieces), raw)

    def _send_next(self, pieces: Iterator[bytes], raw: Raw) -> None:
        piece = next(pieces, None)
        if self._transport.is_closing():
            return
        if piece is not None:
            self._transport.write(piece)
            asyncio.get_running_loop().call_later(raw.pause, self._send_next, pieces, raw)
        elif raw.reset:
            reset(self._transport)
        else:
            self._transport.close()


def reset(transport: asyncio.Transport) -> None:
    """End a connection by a TCP reset."""
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # on, 0 s: a reset
    transport.abort()


def _header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip().lower(), value.strip()


def _one_after_the_other(answers: Iterable[Answer]) -> Callable[[Got], Answer]:
    waiting = list(answers)

    def answer(_request: Got) -> Answer:
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    return answer


CERTIFIED_NAME = "receiver.test"
# Made for the tests by `openssl req -x509 -newkey ec`: for the name above, signed by itself, valid from 2020 to 2119.
_CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBoTCCAUegAwIBAgIUaWP7I7qxgkuZ09TGjnetlOw9PgAwCgYIKoZIzj0EAwIw
GDEWMBQGA1UEAwwNcmVjZWl2ZXIudGVzdDAgFw0yMDAxMDEwMDAwMDBaGA8yMTE5
MTIwODAwMDAwMFowGDEWMBQGA1UEAwwNcmVjZWl2ZXIudGVzdDBZMBMGByqGSM49
AgEGCCqGSM49AwEHA0IABKQBax3+bTS3e1fdxWicSLkKtuIwKw0wPaLxhxPRDT8N
AT18fBXjaWdPM4Yp1/Jt5bV/gYTFV1zn3lrY5IB06sijbTBrMB0GA1UdDgQWBBSw
+Z/Q+j8NmkxQ0w0MAvDYzirJUTAfBgNVHSMEGDAWgBSw+Z/Q+j8NmkxQ0w0MAvDY
zirJUTAPBgNVHRMBAf8EBTADAQH/MBgGA1UdEQQRMA+CDXJlY2VpdmVyLnRlc3Qw
CgYIKoZIzj0EAwIDSAAwRQIgcAWKp9Xoem/Q6TIHnzJ+BotiTWzBWZ1fWZ8cC4Mq
x/kCIQCdvbc59djuuRKaOovc4jDWC/DKO0HRBGwJltXg7QvXmA==
-----END CERTIFICATE-----
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgUx/6t5Csdn0z0cNI
oifBP2m1jzec9prIdm4C3VlAFd+hRANCAASkAWsd/m00t3tX3cVonEi5CrbiMCsN
MD2i8YcT0Q0/DQE9fHwV42lnTzOGKdfybeW1f4GExVdc595a2OSAdOrI
-----END PRIVATE KEY-----
"""


def certificate(folder: Path) -> Path:
    """Write the receivers' certificate with its key to a PEM file in `folder`; it is its own authority."""
    path = folder / "receiver.pem"
    path.write_text(_CERTIFICATE)
    return path


def tls(pem: Path) -> ssl.SSLContext:
    """What a Receiver needs to speak HTTPS with the certificate in `pem`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context
