"""Destinations for benchmarks, in a process of their own: each listens on a port of its own and notes what comes.

How one behaves can be changed while it runs: what it answers, when, whether at all, and whether it listens.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from http import HTTPStatus
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, NamedTuple, Self, cast

import uvloop
from receivers import reset

from benchmarks.arrivals import Arrival
from benchmarks.process import allow_many_files
from benchmarks.receiver import DIGITS, MARK, UNMARKED, header

RESETS, HANGS = -1, 0  # in the place of a status: the connection is reset, or nothing is ever answered


class Chances(NamedTuple):
    """How often a destination fails, as shares of 1; the nth request about an event fares by the seed alone."""

    seed: int
    failing: float = 0.0  # of all requests: they get 500
    resetting: float = 0.0  # of all requests: their connection is reset
    hanging: float = 0.0  # of all requests: they are never answered
    refusing: float = 0.0  # of all events: each request about them gets 400

    def status(self, number: int, time: int) -> int:
        """Return what the request about an event gets that comes for the nth `time`, 204 if it is lucky."""
        if _chance(self.seed, number) < self.refusing:
            return HTTPStatus.BAD_REQUEST
        chance = _chance(self.seed, number, time)
        for status, share in ((500, self.failing), (RESETS, self.resetting), (HANGS, self.hanging)):
            if chance < share:
                return status
            chance -= share
        return HTTPStatus.NO_CONTENT


def _chance(*of: int) -> float:
    return random.Random(":".join(map(str, of))).random()


class Conduct(NamedTuple):
    """How a destination behaves."""

    status: int = 204
    delay: float = 0.0  # seconds until it answers
    listening: bool = True  # otherwise connections are refused
    failing: frozenset[int] = frozenset()  # numbers of events that it answers with 500
    chances: Chances | None = None  # instead of `status`


class Destinations:
    """Listens under each of `names` until the `with` block ends."""

    def __init__(self, *names: str) -> None:
        self._names = names
        # Bound, and not listening: the ports stay ours while connections are refused.
        self._holders = [_bound(0) for _ in names]
        self._ports = [int(holder.getsockname()[1]) for holder in self._holders]
        context = multiprocessing.get_context("spawn")  # no thread of librdkafka's comes along
        self._counts = context.Array("q", len(names), lock=False)
        asked, self._ask_by = context.Pipe(duplex=False)
        self._answered_by, answering = context.Pipe(duplex=False)
        self._theirs = (asked, answering)
        self._asking = threading.Lock()
        arguments = (self._ports, self._counts, *self._theirs)
        self._process = context.Process(target=_serve, args=arguments, daemon=True)

    def url(self, name: str) -> str:
        """Where a destination listens."""
        return f"http://127.0.0.1:{self._ports[self._names.index(name)]}/{name}"

    def count(self, name: str) -> int:
        """Return how many requests a destination has answered with 2xx since the last `take`."""
        return int(self._counts[self._names.index(name)])

    def conduct(self, name: str, conduct: Conduct) -> None:
        """Have a destination behave like this from now on."""
        self._ask((self._names.index(name), conduct))

    def take(self) -> dict[str, list[Arrival]]:
        """Return what came at each since the last time, in the order of arrival, and begin anew."""
        found = self._ask(None)
        return {name: [Arrival(*each) for each in came] for name, came in zip(self._names, found, strict=True)}

    def _ask(self, question: Any) -> Any:
        with self._asking:
            self._ask_by.send(question)
            return self._answered_by.recv()

    def __enter__(self) -> Self:
        allow_many_files()
        self._process.start()
        for end in self._theirs:
            end.close()  # so that questions fail, and do not wait, should its process end
        self._ask((0, Conduct()))  # it listens now
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.join()
        for holder in self._holders:
            holder.close()


def _bound(port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind(("127.0.0.1", port))
    return made


class _Destination:
    """One of them, in their process."""

    def __init__(self, index: int, port: int, counts: Any) -> None:
        self._index = index
        self._port = port
        self._counts = counts
        self._server: asyncio.Server | None = None
        self.connections: set[asyncio.Transport] = set()
        self.came: list[tuple[int, float, int, bytes]] = []
        self.conduct = Conduct()
        self._seen: Counter[int] = Counter()

    async def behave(self, conduct: Conduct) -> None:
        self.conduct = conduct
        if conduct.listening and self._server is None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(lambda: _Connection(self), sock=_bound(self._port), backlog=4096)
        elif not conduct.listening and self._server is not None:
            self._server.close()
            self._server = None
            for transport in list(self.connections):
                transport.abort()

    def note(self, head: bytes, body: bytes) -> int:
        at = body.find(MARK) + len(MARK)
        number = int(body[at : at + DIGITS]) if at >= len(MARK) else UNMARKED
        status = self._status(number)
        self.came.append((number, time.time(), status, header(head, b"\r\nwebhook-id:")))
        if 200 <= status < 300:
            self._counts[self._index] += 1
        return status

    def _status(self, number: int) -> int:
        conduct = self.conduct
        if conduct.chances is not None:
            self._seen[number] += 1
            return conduct.chances.status(number, self._seen[number])
        return 500 if number in conduct.failing else conduct.status

    def take(self) -> list[tuple[int, float, int, bytes]]:
        came, self.came = self.came, []
        self._counts[self._index] = 0
        return came


class _Connection(asyncio.Protocol):
    def __init__(self, destination: _Destination) -> None:
        self._destination = destination
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class is none by inheritance
        self._destination.connections.add(self._transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._destination.connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data
        while (end := buffer.find(b"\r\n\r\n")) >= 0:
            head = buffer[:end].lower()
            after = end + 4 + int(header(head, b"\r\ncontent-length:") or 0)
            if len(buffer) < after:
                break
            self._answer(self._destination.note(head, buffer[end + 4 : after]))
            buffer = buffer[after:]
        self._buffer = buffer

    def _answer(self, status: int) -> None:
        if status == RESETS:
            reset(self._transport)
        if status in (RESETS, HANGS):
            return
        length = b"" if status == HTTPStatus.NO_CONTENT else b"Content-Length: 0\r\n"
        answer = b"HTTP/1.1 %d %s\r\n%s\r\n" % (status, HTTPStatus(status).phrase.encode(), length)
        if delay := self._destination.conduct.delay:
            asyncio.get_running_loop().call_later(delay, self._write, answer)
        else:
            self._transport.write(answer)

    def _write(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)


def _serve(ports: Sequence[int], counts: Any, asked: Connection, answering: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the benchmark, which then ends this process

    async def serve() -> None:
        destinations = [_Destination(index, port, counts) for index, port in enumerate(ports)]
        for destination in destinations:
            await destination.behave(Conduct())
        something = asyncio.Event()
        asyncio.get_running_loop().add_reader(asked.fileno(), something.set)
        while True:
            await something.wait()
            something.clear()
            while asked.poll():
                answering.send(await _reply(destinations, asked.recv()))

    uvloop.run(serve())


async def _reply(destinations: Sequence[_Destination], question: tuple[int, Conduct] | None) -> Any:
    if question is None:
        return [destination.take() for destination in destinations]
    index, conduct = question
    await destinations[index].behave(conduct)
    return None
