"""The gate forwards, refuses, stalls and lingers as it is told."""

from __future__ import annotations

import socket
import time
from contextlib import suppress

import pytest
import requests
from gate import Gate
from receivers import Receiver


def test_what_was_stalled_comes_through_when_it_is_opened_again() -> None:
    with (
        Receiver() as receiver,
        Gate("127.0.0.1", receiver.port) as gate,
        socket.create_connection(("127.0.0.1", gate.port)) as there,
    ):
        there.settimeout(0.2)
        gate.stall()
        there.sendall(b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        with pytest.raises(TimeoutError):
            there.recv(1)
        assert receiver.count == 0
        gate.open()
        there.settimeout(10)
        assert there.recv(12) == b"HTTP/1.1 204"


def test_what_is_stalled_ends_when_it_is_shut() -> None:
    with Receiver() as receiver, Gate("127.0.0.1", receiver.port) as gate:
        with socket.create_connection(("127.0.0.1", gate.port)) as there:
            gate.stall()
            there.sendall(b"POST / HTTP/1.1\r\n")
            gate.shut()
            there.settimeout(10)
            with suppress(ConnectionError):
                assert there.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", gate.port))


def test_slow_delays_each_way() -> None:
    with Receiver() as receiver, Gate("127.0.0.1", receiver.port) as gate:
        gate.slow(0.2)
        began = time.monotonic()
        with requests.Session() as session:
            session.trust_env = False
            assert session.get(f"http://127.0.0.1:{gate.port}", timeout=10).status_code == 204
        assert time.monotonic() - began >= 0.4
