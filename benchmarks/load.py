"""A plain load on the receiver, to know its own limit: ready bytes sent, answers read, nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol, cast

import uvloop

CONNECTIONS = 64  # each with one request in flight
PATIENCE = 300.0  # seconds


class Counting(Protocol):
    """A receiver that knows how many requests it has answered."""

    @property
    def port(self) -> int:
        """Where it listens."""

    @property
    def count(self) -> int:
        """Requests answered so far."""


def limit(receiver: Counting, body: bytes, seconds: float = 2.0) -> float:
    """Return how many POSTs of `body` the receiver answers in a second, given nothing but these for `seconds`."""
    return uvloop.run(_load(receiver, _request(receiver.port, body), seconds))


def answered(port: int, body: bytes, connections: int, answers: int) -> list[float]:
    """Send POSTs of `body` over so many connections until so many answers have come; returns when each did (s).

    Raises TimeoutError when they take minutes.
    """
    return uvloop.run(_until(port, _request(port, body), connections, answers))


def _request(port: int, body: bytes) -> bytes:
    head = (
        f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nwebhook-id: load\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _load(receiver: Counting, request: bytes, seconds: float) -> float:
    clients = await _connect(receiver.port, CONNECTIONS, lambda: _Client(request))
    before, began = receiver.count, time.monotonic()
    await asyncio.sleep(seconds)
    rate = (receiver.count - before) / (time.monotonic() - began)
    for client in clients:
        client.abort()
    return rate


async def _until(port: int, request: bytes, connections: int, answers: int) -> list[float]:
    times: list[float] = []
    enough = asyncio.Event()

    def note() -> None:
        times.append(time.monotonic())
        if len(times) == answers:
            enough.set()

    async with asyncio.timeout(PATIENCE):
        clients = await _connect(port, connections, lambda: _Client(request, note))
        await enough.wait()
    for client in clients:
        client.abort()
    return times[:answers]


async def _connect(port: int, connections: int, client: Callable[[], _Client]) -> list[asyncio.Transport]:
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(client, "127.0.0.1", port))[0] for _ in range(connections)]


class _Client(asyncio.Protocol):
    """Sends the same request again as soon as the last one is answered, and tells of each answer."""

    def __init__(self, request: bytes, note: Callable[[], None] = lambda: None) -> None:
        self._request = request
        self._note = note

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"\r\n\r\n"):  # the end of an answer without a body
            self._note()
            self._transport.write(self._request)
