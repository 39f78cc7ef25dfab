"""Connections of blocking services, against real receivers on loopback: which are opened, and what the session does."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gzip
import itertools
import json
import smtplib
import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
from forbidden import LOOPBACK_NOTATIONS
from receivers import CERTIFIED_NAME, Raw, Receiver, Reply, certificate, tls

from consumer.egress import EgressPolicy, parse_cidrs
from consumer.guarded import AddressInfo, Guard, GuardedSession, Refused
from services import ServiceError, StandardWebhook

PUBLIC_ONLY = EgressPolicy()
LOOPBACK = EgressPolicy(parse_cidrs("127.0.0.0/8"))
SECRET = "hush-hush"
ID = "3f2a0c1e-0000-5000-8000-000000000000"


def resolver(*addresses: str) -> Callable[[str, int], list[AddressInfo]]:
    """Return what resolves every name to these IPv4 addresses."""
    return lambda _host, port: [
        (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)) for address in addresses
    ]


def session(policy: EgressPolicy = LOOPBACK, *resolved: str, **settings: Any) -> GuardedSession:
    guard = Guard(policy, resolve=resolver(*resolved)) if resolved else Guard(policy)
    return GuardedSession(guard, ID, **settings)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def nothing_came(receiver: Receiver) -> bool:
    """Whether no connection reached the receiver: the one made now is its first."""
    with session() as allowed:
        allowed.get(receiver.url)
    return receiver.connections == 1


# Where to


def test_an_allowed_address_is_connected_to(receiver: Receiver) -> None:
    with session() as allowed:
        answer = allowed.post(f"{receiver.url}/hook", json={"a": 1})
    [got] = receiver.requests
    assert (answer.status_code, got.path, json.loads(got.body)) == (204, "/hook", {"a": 1})


NOTATIONS = [host for host in LOOPBACK_NOTATIONS if host != "app.localhost"]  # the system knows no such name


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", NOTATIONS)
def test_an_address_that_is_not_allowed_is_never_connected_to(receiver: Receiver, host: str, scheme: str) -> None:
    with session(PUBLIC_ONLY) as public, pytest.raises(Refused, match="SPRINTLY_EGRESS_ALLOW") as caught:
        public.post(f"{scheme}://{host}:{receiver.port}/{SECRET}", data=b"x")
    assert SECRET not in str(caught.value)
    assert "pass" not in str(caught.value)
    assert nothing_came(receiver)


def test_a_refusal_names_host_and_address(receiver: Receiver) -> None:
    with session(PUBLIC_ONLY) as public, pytest.raises(Refused) as caught:
        public.get(f"http://2130706433:{receiver.port}/")
    assert str(caught.value) == (
        "no connection to 2130706433: 127.0.0.1 is a loopback address, and SPRINTLY_EGRESS_ALLOW does not list it"
    )


def test_ipv6_is_judged_and_reached_alike() -> None:
    with ExitStack() as stack:
        try:
            listener = stack.enter_context(socket.create_server(("::1", 0), family=socket.AF_INET6))
        except OSError as error:
            pytest.skip(f"no IPv6 loopback: {error}")
        port = listener.getsockname()[1]
        with pytest.raises(Refused):
            Guard(LOOPBACK).connect("::1", port, 5)
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
        with Guard(EgressPolicy(parse_cidrs("::1"))).connect("::1", port, 5) as opened:
            assert opened.getpeername()[:2] == ("::1", port)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_name_is_judged_by_the_address_that_it_resolves_to(receiver: Receiver, scheme: str) -> None:
    with session(PUBLIC_ONLY, "127.0.0.1") as public, pytest.raises(Refused, match=r"evil\.test: 127\.0\.0\.1 is"):
        public.get(f"{scheme}://evil.test:{receiver.port}/")
    assert nothing_came(receiver)


def test_a_name_that_changes_its_mind_is_asked_only_once(receiver: Receiver) -> None:
    meanings = itertools.chain(["127.0.0.2"], itertools.repeat("127.0.0.1"))
    guard = Guard(EgressPolicy(parse_cidrs("127.0.0.2")), resolve=lambda h, p: resolver(next(meanings))(h, p))
    with GuardedSession(guard) as fooled:
        with pytest.raises(requests.ConnectionError):
            fooled.get(f"http://rebound.test:{receiver.port}/")
        with pytest.raises(Refused):
            fooled.get(f"http://rebound.test:{receiver.port}/")
    assert nothing_came(receiver)


def test_a_name_is_reached_at_its_permitted_address_only(receiver: Receiver) -> None:
    url = f"http://two.test:{receiver.port}/"
    first, second = (EgressPolicy(parse_cidrs(address)) for address in ("127.0.0.1", "127.0.0.2"))
    with session(second, "127.0.0.1", "127.0.0.2") as other, pytest.raises(requests.ConnectionError):
        other.get(url)
    assert nothing_came(receiver)
    with session(first, "127.0.0.2", "127.0.0.1") as right:
        assert right.get(url).status_code == 204


def test_the_next_address_is_tried_when_one_does_not_answer(receiver: Receiver) -> None:
    with session(LOOPBACK, "127.0.0.2", "127.0.0.1") as both:
        assert both.get(f"http://two.test:{receiver.port}/").status_code == 204


def test_a_name_that_is_not_found_is_no_refusal() -> None:
    def unknown(_host: str, _port: int) -> list[AddressInfo]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    for found in (unknown, resolver()):
        guarded = GuardedSession(Guard(PUBLIC_ONLY, resolve=found))
        with guarded, pytest.raises(requests.ConnectionError, match=r"no answer from nothing\.test"):
            guarded.get(f"http://nothing.test/{SECRET}")


def test_what_is_no_name_is_refused() -> None:
    with session() as guarded, pytest.raises(Refused, match="not the name of a host"):
        guarded.get(f"http://{'a' * 64}/{SECRET}")


def test_a_resolver_that_gives_something_else_than_an_address_is_not_believed() -> None:
    with session(LOOPBACK, "localhost") as guarded, pytest.raises(Refused, match="'localhost' is not an IP address"):
        guarded.get("http://a.test/")


def test_a_redirect_is_not_followed_nor_even_read(receiver: Receiver) -> None:
    answers = [
        Reply(302, headers={"Location": f"{receiver.url}/secrets"}),
        Reply(302, headers={"Location": "http://["}),
    ]
    with Receiver(answers) as moved, session() as guarded:
        for _ in answers:
            with pytest.raises(requests.HTTPError) as caught:
                guarded.get(moved.url, allow_redirects=True)
            assert caught.value.response.status_code == 302
    assert nothing_came(receiver)


def test_the_environment_adds_neither_a_proxy_nor_a_login(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login joe password secret\n")
    with Receiver() as proxy:
        monkeypatch.setenv("HOME", str(tmp_path))
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
            monkeypatch.delenv("no_proxy", raising=False)
        with session() as guarded:
            guarded.get(f"{receiver.url}/here")
        assert proxy.count == 0
    [got] = receiver.requests
    assert (got.path, "authorization" in got.headers) == ("/here", False)


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
def test_a_proxy_of_the_services_own_is_refused(receiver: Receiver, scheme: str) -> None:
    proxies = {"http": f"{scheme}://127.0.0.1:{receiver.port}"}
    with session(PUBLIC_ONLY) as guarded:
        with pytest.raises(ServiceError, match="a proxy, which the consumer decides"):
            guarded.get("http://example.com/", proxies=proxies)
        guarded.proxies = proxies
        with pytest.raises(ServiceError, match="a proxy, which the consumer decides"):
            guarded.get("http://example.com/")
    assert nothing_came(receiver)


def test_an_adapter_of_the_services_own_changes_nothing(receiver: Receiver) -> None:
    with session(PUBLIC_ONLY) as guarded:
        guarded.mount("http://", requests.adapters.HTTPAdapter(max_retries=3))
        guarded.mount(receiver.url, requests.adapters.HTTPAdapter())
        with pytest.raises(Refused):
            guarded.get(receiver.url)
    assert nothing_came(receiver)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/", "127.0.0.1/x"])
def test_other_schemes_are_not_spoken(url: str) -> None:
    with session() as guarded, pytest.raises((requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema)):
        guarded.get(url)


def test_the_guard_by_itself_opens_a_socket_with_its_options(receiver: Receiver) -> None:
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    with Guard(LOOPBACK).connect("localhost", receiver.port, 7.0, options) as opened:
        assert opened.getpeername() == ("127.0.0.1", receiver.port)
        assert opened.gettimeout() == 7.0
        assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0
    with Guard(LOOPBACK).connect("localhost", receiver.port, None) as opened:
        assert opened.gettimeout() is None


# Time


def test_a_connection_that_is_not_accepted_ends_with_the_connect_timeout() -> None:
    with ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1))
        for _ in range(8):  # more than the kernel keeps for a listener that accepts nothing
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        port = full.getsockname()[1]
        guarded = stack.enter_context(session(LOOPBACK, "127.0.0.1", "127.0.0.1", connect_timeout=0.2))
        with pytest.raises(requests.ConnectTimeout, match="no connection within"):
            guarded.get(f"http://full.test:{port}/{SECRET}")


def test_an_answer_that_does_not_come_ends_with_the_read_timeout() -> None:
    with Receiver([Reply(hold=True)]) as silent, session(read_timeout=0.2) as guarded:
        with pytest.raises(requests.ReadTimeout, match=r"no answer from 127\.0\.0\.1"):
            guarded.get(f"{silent.url}/{SECRET}")
        with pytest.raises(requests.ReadTimeout):
            guarded.get(silent.url, timeout=0.1)


# What is sent, and what is read


def test_each_request_names_the_delivery_and_the_consumer(receiver: Receiver) -> None:
    with session() as guarded:
        assert guarded.delivery_id == ID
        guarded.get(receiver.url)
        guarded.post(receiver.url, headers={"Webhook-Id": "another"})
    assert [(got.headers["webhook-id"], got.headers["user-agent"]) for got in receiver.requests] == [
        (ID, "sprintly-services")
    ] * 2


def test_a_signed_request_is_signed_under_the_deliverys_id(receiver: Receiver) -> None:
    auth = StandardWebhook("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    with session() as guarded:
        guarded.post(receiver.url, json={"a": 1}, auth=auth)
    [got] = receiver.requests
    assert got.headers["webhook-id"] == ID
    expected = auth.headers(ID, int(got.headers["webhook-timestamp"]), got.body)
    assert got.headers["webhook-signature"] == expected["webhook-signature"]


def test_cookies_last_as_long_as_the_session() -> None:
    with Receiver([Reply(headers={"Set-Cookie": "a=1"})]) as receiver, session() as guarded:
        guarded.get(receiver.url)
        guarded.get(receiver.url)
    assert [got.headers.get("cookie") for got in receiver.requests] == [None, "a=1"]
    assert receiver.connections == 1


@pytest.mark.parametrize(("size", "kept"), [(0, 0), (99, 99), (100, 100), (101, 100), (100_000, 100)])
def test_a_body_is_cut_at_the_limit(size: int, kept: int) -> None:
    with Receiver([Reply(200, b"x" * size)]) as receiver, session(answer_limit=100) as guarded:
        answer = guarded.get(receiver.url)
        assert answer.content == b"x" * kept
        assert answer.text == "x" * kept
        assert guarded.get(receiver.url).status_code == 200


def test_the_body_limit_is_64_kib_by_default() -> None:
    with Receiver([Reply(200, b"x" * 70_000)]) as receiver, session() as guarded:
        assert len(guarded.get(receiver.url).content) == 65_536


def test_an_endless_body_is_cut_whatever_the_status() -> None:
    endless = Raw(itertools.chain([b"HTTP/1.1 500 Oh\r\n\r\n"], itertools.repeat(b"x" * 10_000)))
    with Receiver([endless]) as receiver, session() as guarded, pytest.raises(requests.HTTPError) as caught:
        guarded.get(receiver.url)
    assert caught.value.response.content == b"x" * 65_536


def test_a_compressed_bomb_is_cut() -> None:
    packed = gzip.compress(b"x" * 50_000_000)
    with Receiver([Reply(200, packed, {"Content-Encoding": "gzip"})]) as receiver, session() as guarded:
        assert guarded.get(receiver.url).content == b"x" * 65_536


def test_a_stream_is_the_services_own_business() -> None:
    with Receiver([Reply(200, b"x" * 70_000)]) as receiver, session() as guarded:
        answer = guarded.get(receiver.url, stream=True)
        assert sum(map(len, answer.iter_content(1_000))) == 70_000


# TLS


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    return certificate(tmp_path)


def test_a_certificate_of_a_given_authority_is_trusted(pem: Path) -> None:
    with Receiver(tls=tls(pem)) as receiver, session(LOOPBACK, "127.0.0.1", ca_bundle=pem) as guarded:
        url = f"https://{CERTIFIED_NAME}:{receiver.port}/"
        assert guarded.get(url).status_code == 204
        assert guarded.get(url, verify=True).status_code == 204


@pytest.mark.parametrize("name", [CERTIFIED_NAME, "other.test"])
def test_another_certificate_is_not_trusted(pem: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pem))
    settings = {} if name == CERTIFIED_NAME else {"ca_bundle": pem}
    receiver, guarded = Receiver(tls=tls(pem)), session(LOOPBACK, "127.0.0.1", **settings)
    with receiver, guarded, pytest.raises(requests.exceptions.SSLError) as caught:
        guarded.get(f"https://{name}:{receiver.port}/{SECRET}")
    assert SECRET not in str(caught.value)
    assert receiver.count == 0


def test_certificates_cannot_be_waived(pem: Path) -> None:
    with Receiver(tls=tls(pem)) as receiver, session(LOOPBACK, "127.0.0.1") as guarded:
        with pytest.raises(ServiceError, match="verify=False"):
            guarded.get(f"https://{CERTIFIED_NAME}:{receiver.port}/", verify=False)
        guarded.verify = False
        with pytest.raises(ServiceError, match="verify=False"):
            guarded.get(f"https://{CERTIFIED_NAME}:{receiver.port}/")
    assert receiver.count == 0


# What is no HTTP


def test_a_plain_connection_is_judged_and_has_the_sessions_timeouts(receiver: Receiver) -> None:
    with (
        session(connect_timeout=3.0, read_timeout=7.0) as allowed,
        allowed.connect("127.0.0.1", receiver.port) as opened,
    ):
        assert opened.getpeername() == ("127.0.0.1", receiver.port)
        assert opened.gettimeout() == 7.0
    with session(PUBLIC_ONLY) as refusing, pytest.raises(Refused, match=r"127\.0\.0\.1 is a loopback address"):
        refusing.connect("127.0.0.1", receiver.port)


def test_a_name_is_judged_by_what_it_resolves_to(receiver: Receiver) -> None:
    with session(PUBLIC_ONLY, "127.0.0.1") as refusing, pytest.raises(Refused, match=r"no connection to mail\.test"):
        refusing.connect("mail.test", receiver.port)


def test_tls_trusts_what_requests_trust(pem: Path) -> None:
    with Receiver(tls=tls(pem)) as receiver, session(LOOPBACK, "127.0.0.1", ca_bundle=pem) as trusting:
        opened = trusting.connect(CERTIFIED_NAME, receiver.port)
        with trusting.tls_context().wrap_socket(opened, server_hostname=CERTIFIED_NAME) as secured:
            assert secured.version() in ("TLSv1.2", "TLSv1.3")


@pytest.mark.parametrize("name", [CERTIFIED_NAME, "other.test"])
def test_tls_trusts_nobody_else(pem: Path, name: str) -> None:
    ca_bundle = None if name == CERTIFIED_NAME else pem
    doubting = session(LOOPBACK, "127.0.0.1", ca_bundle=ca_bundle)
    with (
        Receiver(tls=tls(pem)) as receiver,
        doubting.connect(name, receiver.port) as opened,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        doubting.tls_context().wrap_socket(opened, server_hostname=name)


# What libraries connect to by themselves


def reached(port: int, host: str = "127.0.0.1") -> None:
    socket.create_connection((host, port), 5).close()


def without_asking(port: int) -> None:
    with socket.socket() as opened:
        opened.connect_ex(("127.0.0.1", port))


def by_datagram(port: int) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as opened:
        opened.sendto(b"x", ("127.0.0.1", port))


def by_message(port: int) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as opened:
        opened.sendmsg([b"x"], [], 0, ("127.0.0.1", port))


def test_a_library_may_connect_to_what_is_permitted(receiver: Receiver) -> None:
    with session() as allowed, allowed.guarded():
        reached(receiver.port)
        assert requests.get(receiver.url, timeout=5).status_code == 204


@pytest.mark.parametrize(
    "connect",
    [
        reached,
        lambda port: reached(port, "localhost"),
        lambda port: requests.get(f"http://127.0.0.1:{port}/", timeout=5),
        lambda port: smtplib.SMTP("127.0.0.1", port, timeout=5),
        without_asking,
        by_datagram,
        by_message,
        lambda port: asyncio.run(asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 5)),
    ],
)
def test_a_library_may_not_connect_to_anything_else(receiver: Receiver, connect: Callable[[int], object]) -> None:
    with session(PUBLIC_ONLY) as refusing, pytest.raises(Refused) as caught, refusing.guarded():
        connect(receiver.port)
    assert str(caught.value).startswith("no connection: ")
    assert "is a loopback address, and SPRINTLY_EGRESS_ALLOW does not list it" in str(caught.value)
    assert nothing_came(receiver)


def test_a_name_that_nobody_looked_up_is_not_connected_to(receiver: Receiver) -> None:
    refused = pytest.raises(Refused, match="'localhost' is not an IP address")
    with socket.socket() as opened, refused, session().guarded():
        opened.connect(("localhost", receiver.port))
    assert nothing_came(receiver)


def test_another_socket_of_this_machine_is_not_connected_to(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as opened:
        listener.bind(path)
        listener.listen()
        with session() as allowed, pytest.raises(Refused, match="is not an IP address"), allowed.guarded():
            opened.connect(path)


def test_a_library_that_finds_a_permitted_address_is_not_refused(receiver: Receiver) -> None:
    def gives_up() -> None:
        with session(EgressPolicy(parse_cidrs("127.0.0.1"))).guarded():
            with contextlib.suppress(PermissionError):
                reached(receiver.port, "127.0.0.2")
            reached(receiver.port)
            raise LookupError

    with pytest.raises(LookupError):
        gives_up()


def test_a_library_that_makes_do_without_is_not_refused(receiver: Receiver) -> None:
    with session(PUBLIC_ONLY) as refusing, refusing.guarded(), contextlib.suppress(PermissionError):
        reached(receiver.port)
    assert nothing_came(receiver)


def test_nobody_else_is_watched(receiver: Receiver) -> None:
    with session(PUBLIC_ONLY) as refusing:
        with refusing.guarded():
            with ThreadPoolExecutor(1) as other:
                other.submit(reached, receiver.port).result()
            with ThreadPoolExecutor(1) as same, pytest.raises(PermissionError):
                same.submit(contextvars.copy_context().run, reached, receiver.port).result()
        reached(receiver.port)
