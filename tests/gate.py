"""A TCP proxy on 127.0.0.1 that can be shut and opened: what stands behind it seems to be down and up again.

with Gate("127.0.0.1", 8080) as gate:
    ...  # talk to gate.port
    gate.shut()  # open connections are reset, new ones refused
    gate.open()  # on the same port
    gate.stall()  # connections stay and new ones are taken, but nothing comes through
    gate.open()
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from ports import free_port

PATIENCE = 10.0  # seconds that anything here may take


class Gate:
    """Forwards connections to one address while it is open."""

    def __init__(self, host: str, port: int, *, is_open: bool = True) -> None:
        self._target = (host, port)
        self._begin_open = is_open
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="gate", daemon=True)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._delay = 0.0
        self.port = free_port()

    def open(self) -> None:
        """Listen, and forward what comes, and what had been stalled."""
        self._do(self._listen())

    def stall(self) -> None:
        """Take what comes, and forward nothing until it is opened again, or shut."""
        self._do(self._hold())

    def slow(self, seconds: float) -> None:
        """Forward each piece so many seconds late until it is opened again, or shut."""
        self._do(self._linger(seconds))

    def shut(self) -> None:
        """Reset what is open, and refuse what comes."""
        self._do(self._close())

    def __enter__(self) -> Self:
        self._thread.start()
        if self._begin_open:
            self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    def _do(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(PATIENCE)

    async def _listen(self) -> None:
        self._delay = 0.0
        self._flowing.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _hold(self) -> None:
        self._flowing.clear()

    async def _linger(self, seconds: float) -> None:
        self._delay = seconds

    async def _close(self) -> None:
        self._delay = 0.0
        self._flowing.set()  # or what is stalled would never end
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        while self._writers:
            await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        await self._flowing.wait()
        try:
            there, back = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
        else:
            self._writers.add(back)
            await asyncio.gather(self._copy(reader, back), self._copy(there, writer))
            self._writers.discard(back)
        self._writers.discard(writer)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward until one side ends, and then end the other."""
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                await self._flowing.wait()
                await asyncio.sleep(self._delay)
                writer.write(data)
                await writer.drain()
        writer.close()
