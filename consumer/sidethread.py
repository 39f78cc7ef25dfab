"""Side threads: calls that block come in, their results come out, and no process waits for them when it ends.

Python joins the threads of its own executors when it exits, whatever `shutdown` was told. A question to a broker that
is away may take 40 seconds, and a call into a client may never return; neither is to keep a replica that has stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def started(name: str, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    """Make a call on a thread of its own, which can be left behind; returns what it will have returned or raised."""
    future: Future[T] = Future()
    Thread(target=_make, args=(future, lambda: call(*args, **kwargs)), name=name, daemon=True).start()
    return future


async def aside(call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Make a call on a thread of its own, and wait for it: for what is asked now and then."""
    return await asyncio.wrap_future(started("aside", call, *args, **kwargs))


class SideThread:
    """Makes one call at a time, in the order in which they come; all are asked for on one loop."""

    def __init__(self, name: str) -> None:
        """Have a thread of this name, once there is something to call."""
        self._name = name
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._thread: Thread | None = None
        self._closed = False

    async def do(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a call and wait for it. Raises what it raises, and RuntimeError after `close`."""
        if self._closed:
            raise RuntimeError(f"the thread {self._name} makes no further calls")
        future: Future[T] = Future()
        self._calls.put(lambda: _make(future, lambda: call(*args, **kwargs)))
        if self._thread is None:
            self._thread = Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Make no further calls, not those either that wait already. What is under way is left to itself."""
        self._closed = True
        self._calls.put(lambda: None)

    def _run(self) -> None:
        while not self._closed:
            self._calls.get()()


def _make(future: Future[T], call: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - it is raised by the one who waits
        future.set_exception(error)
    else:
        future.set_result(result)
