"""Tunnels through the egress proxy: where to comes in, a socket that leads there goes out.

The method CONNECT: https://www.rfc-editor.org/rfc/rfc9110#section-9.3.6
"""

from __future__ import annotations

import socket
import time
from base64 import b64encode
from typing import Any

from consumer.settings.values import ServerUrl

REFUSAL = 403
"""What a proxy answers for a destination that it never connects to."""
_LONGEST_HEAD = 16_384  # bytes of the proxy's answer; it is read one by one, since what follows is the destination's


class ProxyRefused(OSError):
    """The proxy says that it does not connect there, now or ever."""


class Tunnel(socket.socket):
    """A connection to the proxy that leads on to `destination`, which is what `getpeername` says: host and port."""

    destination: tuple[str, int] = ("", 0)

    def getpeername(self) -> Any:
        """Return where the tunnel leads; the host is a name, unless it was asked for as an address."""
        return self.destination


def tunnel(opened: socket.socket, proxy: ServerUrl, host: str, port: int, timeout: float | None) -> Tunnel:
    """Have the proxy at the other end of `opened` connect to a host (checked before), within `timeout` seconds in all.

    Raises ProxyRefused, and OSError for anything else that the proxy says or does not say.
    """
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
    if proxy.login:
        lines.append(f"Proxy-Authorization: Basic {b64encode(':'.join(proxy.login).encode()).decode()}")
    deadline = None if timeout is None else time.monotonic() + timeout
    opened.sendall("\r\n".join([*lines, "", ""]).encode("ascii"))
    status = _status(_head(opened, deadline))
    if status == REFUSAL:
        raise ProxyRefused(f"the egress proxy refuses to connect to {host}")
    if not 200 <= status < 300:
        raise OSError(f"the egress proxy answered {status} to a connection to {host}")
    through = Tunnel(opened.family, opened.type, opened.proto, opened.detach())
    through.destination = (host, port)
    through.settimeout(timeout)
    return through


def _head(opened: socket.socket, deadline: float | None) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError
        opened.settimeout(left)
        byte = opened.recv(1)
        if not byte or len(head) > _LONGEST_HEAD:
            raise OSError("the egress proxy gave an answer that is not HTTP")
        head += byte
    return head


def _status(head: bytes) -> int:
    version, _, rest = head.partition(b" ")
    code = rest[:3]
    if not version.startswith(b"HTTP/1.") or not code.isdigit():
        raise OSError("the egress proxy gave an answer that is not HTTP")
    return int(code)
