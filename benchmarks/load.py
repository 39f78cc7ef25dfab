"""A plain load on the receiver, to know its own limit: ready bytes sent, answers read, nothing else."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol, cast

import uvloop

CONNECTIONS = 64  # each with one request in flight


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
    request = (
        f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{receiver.port}\r\nwebhook-id: load\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    return uvloop.run(_load(receiver, request, seconds))


async def _load(receiver: Counting, request: bytes, seconds: float) -> float:
    loop = asyncio.get_running_loop()
    clients = [
        (await loop.create_connection(lambda: _Client(request), "127.0.0.1", receiver.port))[0]
        for _ in range(CONNECTIONS)
    ]
    before, began = receiver.count, time.monotonic()
    await asyncio.sleep(seconds)
    rate = (receiver.count - before) / (time.monotonic() - began)
    for client in clients:
        client.abort()
    return rate


class _Client(asyncio.Protocol):
    """Sends the same request again as soon as the last one is answered."""

    def __init__(self, request: bytes) -> None:
        self._request = request

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"\r\n\r\n"):  # the end of an answer without a body
            self._transport.write(self._request)
