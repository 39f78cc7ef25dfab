"""Asks the replica in this container how it is: exit code 0 for a good answer, 1 for a bad one or none.

`health.py /livez` is what the image asks (only a restart helps if it fails), `health.py /readyz` what the compose file
asks (it does its work). With SPRINTLY_HTTP=off there is nobody to ask, and nothing to be said against it.
"""

from __future__ import annotations

import os
import socket
import sys

DEFAULT = "0.0.0.0:9464"
ON_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}
TIMEOUT = 3.0  # seconds; less than Docker waits, so that the reason is ours


def main() -> int:
    """Ask for the path that is the first argument, print the answer, and return the exit code."""
    listener = os.environ.get("SPRINTLY_HTTP", DEFAULT)
    if listener.lower() == "off":
        return 0
    host, _, port = listener.rpartition(":")
    host = ON_EVERY_ADDRESS.get(host, host).strip("[]")
    try:
        head, _, body = get(host, int(port), sys.argv[1]).partition("\r\n\r\n")
    except OSError as error:
        head, body = "", f"no answer on port {port}: {error}\n"
    sys.stdout.write(body)  # `docker inspect` shows it
    return 0 if head.split(" ")[1:2] == ["200"] else 1


def get(host: str, port: int, path: str) -> str:
    """Return the whole answer to a GET. By a bare socket: to load an HTTP client takes longer than to ask."""
    with socket.create_connection((host, port), TIMEOUT) as connection, connection.makefile("rb") as answer:
        connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        return answer.read().decode()


if __name__ == "__main__":
    sys.exit(main())
