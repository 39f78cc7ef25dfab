"""Ports for servers that are to listen at an address which is told before they do, and may be there again later."""

from __future__ import annotations

import random
import socket

LOOPBACK = "127.0.0.1"
# Below those that the kernel gives to connections by itself (32768 to 60999 on Linux), which takes one at any moment.
RANGE = range(15_000, 32_000)


def free_port() -> int:
    """A port of this machine that was free a moment ago."""
    for port in random.sample(RANGE, len(RANGE)):
        try:
            socket.create_server((LOOPBACK, port)).close()
        except OSError:
            continue
        return port
    raise OSError("no port is free")
