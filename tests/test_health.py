"""Health: who is asked over HTTP says why, and a slow client holds up nobody."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import pytest

from consumer.errors import SprintlyError
from consumer.health import HEARTBEAT_TIMEOUT, Health, HealthServer
from consumer.metrics import Metrics

LOOPBACK = "127.0.0.1"


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(clock)


@pytest.fixture
def server(health: Health) -> Iterator[HealthServer]:
    metrics = Metrics()
    metrics.cycles.add("durable", n=7)
    with HealthServer((LOOPBACK, 0), health, metrics) as server:
        yield server


def ask(server: HealthServer, path: str, method: str = "GET") -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection(LOOPBACK, server.port, timeout=10)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def verdict(server: HealthServer, path: str) -> tuple[int, dict[str, Any]]:
    response, body = ask(server, path)
    return response.status, json.loads(body)


# -- Health


def test_a_check_is_unready_until_it_is_cleared(health: Health) -> None:
    health.set("cycle", "no durable cycle for 3 s")
    health.set("cycle", "no durable cycle for 4 s")
    assert health.not_ready() == {"cycle": "no durable cycle for 4 s"}
    assert health.not_alive() == {}
    assert (health.has("cycle"), health.has("kafka")) == (True, False)
    health.clear("cycle")
    health.clear("cycle")
    assert health.not_ready() == {}
    assert not health.has("cycle")


def test_a_heartbeat_that_stops_is_neither_alive_nor_ready(health: Health, clock: Clock) -> None:
    health.beat("loop")
    health.beat("kafka")
    clock.now += HEARTBEAT_TIMEOUT
    assert health.not_alive() == {}
    health.beat("kafka")
    clock.now += 1
    assert health.not_alive() == {"loop": "no heartbeat for 31 s"}
    assert health.not_ready() == {"loop": "no heartbeat for 31 s"}
    health.beat("loop")
    assert health.not_alive() == {}


def test_a_thread_that_has_ended_is_not_missed(health: Health, clock: Clock) -> None:
    health.beat("kafka")
    health.retire("kafka")
    clock.now += HEARTBEAT_TIMEOUT + 1
    assert health.not_alive() == {}


# -- HealthServer


def test_metrics_are_served(server: HealthServer) -> None:
    response, body = ask(server, "/metrics")
    assert response.status == 200
    assert response.getheader("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
    assert b'sprintly_cycles_total{result="durable"} 7.0\n' in body


def test_readiness_tells_its_reasons(server: HealthServer, health: Health) -> None:
    assert verdict(server, "/readyz") == (200, {"ok": True, "reasons": {}})
    health.set("cycle", "no durable cycle for 3 s")
    assert verdict(server, "/readyz") == (503, {"ok": False, "reasons": {"cycle": "no durable cycle for 3 s"}})
    assert verdict(server, "/livez") == (200, {"ok": True, "reasons": {}})


def test_readiness_tells_what_else_should_be_looked_at(server: HealthServer, health: Health) -> None:
    health.note("subscriptions", "1 record is set aside")
    notes = {"subscriptions": "1 record is set aside"}
    assert verdict(server, "/readyz") == (200, {"ok": True, "reasons": {}, "notes": notes})
    health.note("subscriptions", "")
    assert verdict(server, "/readyz") == (200, {"ok": True, "reasons": {}})


def test_liveness_tells_its_reasons(server: HealthServer, health: Health, clock: Clock) -> None:
    health.beat("loop")
    clock.now += 31
    assert verdict(server, "/livez") == (503, {"ok": False, "reasons": {"loop": "no heartbeat for 31 s"}})


def test_a_query_changes_nothing(server: HealthServer) -> None:
    assert verdict(server, "/readyz?verbose=1")[0] == 200


@pytest.mark.parametrize("path", ["/", "/metrics/", "/livez/x", "/../metrics"])
def test_other_paths_are_not_found(server: HealthServer, path: str) -> None:
    assert verdict(server, path) == (404, {"paths": ["/metrics", "/livez", "/readyz"]})


def test_head_is_answered_without_a_body(server: HealthServer) -> None:
    response, body = ask(server, "/readyz", "HEAD")
    whole = ask(server, "/readyz")[1]
    assert (response.status, response.getheader("Content-Length"), body) == (200, str(len(whole)), b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_nothing_but_get_and_head_is_done(server: HealthServer, method: str) -> None:
    assert ask(server, "/readyz", method)[0].status == 501


def test_requests_are_not_logged(server: HealthServer, capfd: pytest.CaptureFixture[str]) -> None:
    ask(server, "/readyz")
    ask(server, "/nothing")
    assert capfd.readouterr() == ("", "")


def test_a_client_that_says_nothing_holds_up_nobody(server: HealthServer) -> None:
    slow = [socket.create_connection((LOOPBACK, server.port)) for _ in range(20)]
    try:
        for each in slow:
            each.sendall(b"GET /livez HT")
        assert verdict(server, "/livez")[0] == 200
    finally:
        for each in slow:
            each.close()


def test_a_client_that_says_nothing_is_hung_up_on(health: Health) -> None:
    with (
        HealthServer((LOOPBACK, 0), health, Metrics(), client_timeout=0.05) as server,
        socket.create_connection((LOOPBACK, server.port), timeout=30) as silent,
    ):
        assert silent.recv(1) == b""


def test_a_taken_port_is_one_sentence_with_what_to_do(server: HealthServer, health: Health) -> None:
    with pytest.raises(SprintlyError) as raised:
        HealthServer((LOOPBACK, server.port), health, Metrics())
    assert str(raised.value) == (
        f"127.0.0.1:{server.port} cannot serve metrics and health: Address already in use;"
        " set SPRINTLY_HTTP to another one, or to off"
    )
    assert raised.value.exit_code == 1


def test_the_port_is_free_again_afterwards(health: Health) -> None:
    with HealthServer((LOOPBACK, 0), health, Metrics()) as first:
        port = first.port
        assert verdict(first, "/livez")[0] == 200
    with HealthServer((LOOPBACK, port), health, Metrics()) as second:
        assert second.port == port
        assert verdict(second, "/livez")[0] == 200


def test_a_gauge_that_fails_is_logged_and_the_server_goes_on(health: Health, capfd: pytest.CaptureFixture[str]) -> None:
    metrics = Metrics()
    metrics.in_flight.read_from(lambda: 1 / 0)
    with HealthServer((LOOPBACK, 0), health, metrics) as server:
        with pytest.raises(ConnectionError):
            ask(server, "/metrics")
        assert verdict(server, "/livez")[0] == 200
    assert "ZeroDivisionError" in "".join(capfd.readouterr())
