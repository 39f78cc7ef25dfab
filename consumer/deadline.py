"""A deadline for connections: sockets come in, and when the time is over, whoever waits for one of them is woken.

A socket's own time-out bounds the silence between two bytes: who sends one byte a second is never silent, and would
keep a thread for as long as they like. So the connection itself is shut, beneath TLS, buffers and libraries.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time


class Deadline:
    """Shuts the connections that are bound to it after `seconds`, which are counted from now.

    A duplicate of each is kept until then, or until `release`, since TLS takes a socket's descriptor for itself. So a
    connection that its owner closes ends for the other side no earlier than that.
    """

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._connections: dict[int, socket.socket] = {}  # by inode: some are bound at each try to connect
        self._timer: threading.Timer | None = None
        self._released = False

    @property
    def left(self) -> float:
        """The seconds until it passes, 0 once it has."""
        return max(0.0, self._ends - time.monotonic())

    @property
    def passed(self) -> bool:
        """Whether the time is over."""
        return not self.left

    def bind(self, connection: socket.socket) -> None:
        """Have a connection shut in time; raises TimeoutError if it is too late for one."""
        if self.passed:
            raise TimeoutError
        with self._lock:
            inode = os.fstat(connection.fileno()).st_ino
            if self._released or inode in self._connections:
                return
            self._connections[inode] = connection.dup()
            if self._timer is None:
                self._timer = threading.Timer(self.left, self._pass)
                self._timer.name, self._timer.daemon = "deadline", True
                self._timer.start()

    def release(self) -> None:
        """Let go of the connections: nobody waits for them any more."""
        with self._lock:
            self._released = True
            if self._timer is not None:
                self._timer.cancel()
            self._let_go()

    def _pass(self) -> None:
        with self._lock:
            for connection in self._connections.values():
                with contextlib.suppress(OSError):  # it has ended by itself
                    connection.shutdown(socket.SHUT_RDWR)
            self._let_go()

    def _let_go(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()
