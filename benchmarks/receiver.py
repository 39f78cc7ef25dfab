"""A receiver for benchmarks: answers 204 at once and notes what came. It runs in a process of its own."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import socket
import time
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from types import TracebackType
from typing import NamedTuple, Self, cast

import uvloop

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


class Receipts(NamedTuple):
    """What came, in the order of arrival: each event's number and when (s since 1970)."""

    numbers: list[int]
    times: list[float]
    ids: int  # different webhook-ids
    body_bytes: int  # of all bodies together


class Receiver:
    """Listens on a free port of 127.0.0.1 until the `with` block ends.

    Enter it before anything starts threads: its process is forked where Python still does so by default.
    """

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self._count: Synchronized[int] = multiprocessing.Value("q", 0)
        asked, self._ask = multiprocessing.Pipe(duplex=False)
        self._answer, answering = multiprocessing.Pipe(duplex=False)
        self._theirs = (asked, answering)
        self._process = multiprocessing.Process(
            target=_serve, args=(self._socket, self._count, *self._theirs), daemon=True
        )
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"

    @property
    def count(self) -> int:
        """Requests answered since the last `take`; to be read while they come in, at no cost to the receiver."""
        return self._count.value

    @property
    def pid(self) -> int:
        """The receiver's process."""
        assert self._process.pid is not None
        return self._process.pid

    def take(self) -> Receipts:
        """Return what came since the last time, and begin anew."""
        self._ask.send(None)
        receipts: Receipts = self._answer.recv()
        return receipts

    def __enter__(self) -> Self:
        self._process.start()
        for end in self._theirs:
            end.close()  # so that `take` fails, and does not wait, should the receiver's process end
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.join()
        self._socket.close()


class _Book:
    """What the receiver's process has noted; `count` is what the other process sees of it."""

    def __init__(self, count: Synchronized[int]) -> None:
        self._count = count.get_obj()  # without the lock: this process alone writes it
        self.clear()

    def clear(self) -> None:
        self._numbers: list[int] = []
        self._times: list[float] = []
        self._ids: set[bytes] = set()
        self._body_bytes = 0
        self._count.value = 0

    def note(self, head: bytes, body: bytes) -> None:
        at = body.find(MARK) + len(MARK)
        self._numbers.append(int(body[at : at + DIGITS]) if at >= len(MARK) else UNMARKED)
        self._times.append(time.time())
        if delivery := header(head, b"\r\nwebhook-id:"):
            self._ids.add(delivery)
        self._body_bytes += len(body)
        self._count.value += 1

    def receipts(self) -> Receipts:
        return Receipts(self._numbers, self._times, len(self._ids), self._body_bytes)


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


def _serve(listener: socket.socket, count: Synchronized[int], asked: Connection, answering: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the benchmark, which then ends this process
    book = _Book(count)

    def answer() -> None:
        asked.recv()
        receipts = book.receipts()
        book.clear()
        answering.send(receipts)

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(asked.fileno(), answer)
        server = await loop.create_server(lambda: _Connection(book), sock=listener)
        await server.serve_forever()

    uvloop.run(serve())
