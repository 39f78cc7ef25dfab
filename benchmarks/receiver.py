"""A receiver where there is no nginx: it answers 204 at once and notes what came, in a process of its own."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import socket
import time
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, NamedTuple, Self, cast

import uvloop

from benchmarks.process import cpu_seconds
from benchmarks.wire import wire

HOST = "127.0.0.1"
ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"
MARK, DIGITS = b"bench-event-", 9  # stand in each body, before and in the event's number
UNMARKED = -1


class Served(NamedTuple):
    """One request that was answered: when (s since 1970), at which path, its webhook-id, the bytes of its body."""

    at: float
    path: str
    id: str
    size: int


class Receiver:
    """Listens on a free port of 127.0.0.1 until the `with` block ends."""

    title = "our own in Python (no nginx)"

    def __init__(self) -> None:
        self._socket = socket.create_server((HOST, 0), backlog=4096)
        context = multiprocessing.get_context("spawn")  # no thread of librdkafka's comes along
        self._count = context.Value("q", 0, lock=False)
        asked, self._ask = context.Pipe(duplex=False)
        self._answer, answering = context.Pipe(duplex=False)
        self._theirs = (asked, answering)
        self._process = context.Process(target=_serve, args=(self._socket, self._count, *self._theirs), daemon=True)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://{HOST}:{self.port}/"

    def url_of(self, name: str) -> str:
        """Return an address of its own for one of several destinations."""
        return f"{self.url}{name}"

    @property
    def count(self) -> int:
        """Requests answered since the last `take`; to be read while they come in, at no cost to the receiver."""
        return int(self._count.value)

    def cpu(self) -> float:
        """Return the CPU time that it has used so far (s)."""
        assert self._process.pid is not None
        return cpu_seconds(self._process.pid)

    def take(self) -> list[Served]:
        """Return what it answered since the last time, and begin anew."""
        self._ask.send(None)
        return [Served(*each) for each in self._answer.recv()]

    def alone(self, body: bytes, seconds: float = 2.0) -> float:
        """Return how many POSTs of `body` it answers in a second, given nothing but these; forgets what came before."""
        rate = wire(self, body, seconds)
        self.take()
        return rate

    def __enter__(self) -> Self:
        self._process.start()
        for end in self._theirs:
            end.close()  # so that `take` fails, and does not wait, should the receiver's process end
        self.take()  # it listens now
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.join()
        self._socket.close()


class _Book:
    """What the receiver's process has noted; `count` is what the other process sees of it."""

    def __init__(self, count: Any) -> None:
        self._count = count  # without a lock: this process alone writes it
        self._served: list[tuple[float, str, str, int]] = []

    def note(self, head: bytes, body: bytes) -> None:
        path = head.split(b" ", 2)[1].decode()
        self._served.append((time.time(), path, header(head, b"\r\nwebhook-id:").decode(), len(body)))
        self._count.value += 1

    def take(self) -> list[tuple[float, str, str, int]]:
        served, self._served = self._served, []
        self._count.value = 0
        return served


class _Connection(asyncio.Protocol):
    def __init__(self, book: _Book) -> None:
        self._book = book
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class is none by inheritance

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data
        while (end := buffer.find(b"\r\n\r\n")) >= 0:
            head = buffer[:end].lower()
            after = end + 4 + int(header(head, b"\r\ncontent-length:") or 0)
            if len(buffer) < after:
                break
            self._book.note(head, buffer[end + 4 : after])
            self._transport.write(ANSWER)
            buffer = buffer[after:]
        self._buffer = buffer


def header(head: bytes, name: bytes) -> bytes:
    """Return a header's value, or nothing; `name` is in small letters, from the line's beginning to the colon."""
    return head.partition(name)[2].partition(b"\r\n")[0].strip()


def _serve(listener: socket.socket, count: Any, asked: Connection, answering: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the benchmark, which then ends this process
    book = _Book(count)

    def answer() -> None:
        asked.recv()
        answering.send(book.take())

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(asked.fileno(), answer)
        server = await loop.create_server(lambda: _Connection(book), sock=listener)
        await server.serve_forever()

    uvloop.run(serve())
