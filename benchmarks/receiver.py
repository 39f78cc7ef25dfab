"""A receiver for benchmarks: answers 204 at once, and counts. It runs in a process of its own."""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
from multiprocessing.sharedctypes import Synchronized
from types import TracebackType
from typing import cast

import uvloop

ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


class Receiver:
    """Listens on a free port of 127.0.0.1 until the `with` block ends; `count` is how many requests were answered."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self._count: Synchronized[int] = multiprocessing.Value("q", 0)
        self._process = multiprocessing.Process(target=_serve, args=(self._socket, self._count), daemon=True)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/"

    @property
    def count(self) -> int:
        """Requests answered so far."""
        return self._count.value

    def __enter__(self) -> Receiver:
        self._process.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.join()
        self._socket.close()


class _Connection(asyncio.Protocol):
    def __init__(self, count: Synchronized[int]) -> None:
        self._count = count
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class is none by inheritance

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data
        while (end := buffer.find(b"\r\n\r\n")) >= 0:
            start = buffer.lower().find(b"content-length:", 0, end)
            length = int(buffer[start + 15 :].split(b"\r\n", 1)[0]) if start >= 0 else 0
            if len(buffer) < end + 4 + length:
                break
            buffer = buffer[end + 4 + length :]
            self._count.get_obj().value += 1  # this process alone writes it
            self._transport.write(ANSWER)
        self._buffer = buffer


def _serve(listener: socket.socket, count: Synchronized[int]) -> None:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: _Connection(count), sock=listener)
        await server.serve_forever()

    uvloop.run(serve())
