"""A working HTTP proxy on 127.0.0.1: tunnels (CONNECT) and passes on, to where its own table says, and keeps a record.

    with Proxy({"hooks.test": receiver.port}) as proxy:
        ...  # what goes to hooks.test by way of proxy.url arrives at the receiver
        assert proxy.asked == ["CONNECT hooks.test:443"]

It dials nothing but 127.0.0.1: a host that is not in its table gets a 502.
"""

from __future__ import annotations

import socket
import threading
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit

LOGIN = ("pat", "p@ss:word")
"""User and password that a proxy with `login` asks for."""


class Proxy:
    """Runs while its `with` block does; a `status` other than 200 is what it answers instead of connecting."""

    def __init__(self, ports: Mapping[str, int], *, login: bool = False, status: int = 200) -> None:
        self._ports = ports
        self._status = status
        self._expected = b"Basic " + b64encode(":".join(LOGIN).encode()) if login else b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.asked: list[str] = []
        self.heads: list[bytes] = []
        self._thread = threading.Thread(target=self._accept, name="proxy", daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _accept(self) -> None:
        with suppress(OSError):  # it is closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            head, rest = _head(client)
            if not head:
                return
            method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
            self.asked.append(f"{method} {target}")
            self.heads.append(head)
            if self._expected not in head:
                client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                return
            parts = urlsplit(target if method != "CONNECT" else f"//{target}")
            port = self._ports.get(str(parts.hostname))
            status = self._status if port is not None else 502
            if port is None or status != 200:
                client.sendall(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode())
                return
            with socket.create_connection(("127.0.0.1", port)) as beyond:
                if method == "CONNECT":
                    client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    beyond.sendall(rest)
                else:
                    path = parts._replace(scheme="", netloc="").geturl() or "/"
                    beyond.sendall(head.replace(target.encode(), path.encode(), 1) + rest)
                _copy_both_ways(client, beyond)


def _head(client: socket.socket) -> tuple[bytes, bytes]:
    received = b""
    while b"\r\n\r\n" not in received:
        if not (piece := client.recv(65_536)):
            return b"", b""
        received += piece
    head, _, rest = received.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", rest


def _copy_both_ways(one: socket.socket, other: socket.socket) -> None:
    back = threading.Thread(target=_copy, args=(other, one), daemon=True)
    back.start()
    _copy(one, other)
    back.join(10)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65_536):
            target.sendall(piece)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
