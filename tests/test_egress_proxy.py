"""Everything by way of a proxy, a working one on 127.0.0.1: what it is asked for, what never, what its answers mean."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from proxies import LOGIN, Proxy
from receivers import CERTIFIED_NAME, Raw, Receiver, Reply, certificate, tls
from test_transport import PUBLIC_ONLY, SECRET, get, send

from consumer.egress import EgressPolicy, parse_cidrs
from consumer.guarded import Guard, GuardedSession, Refused
from consumer.settings.values import ServerUrl, read_proxy
from consumer.wire import Answer, AnswerKind, Request
from services import ServiceError
from services._smtp import mail_server

HOST = "hooks.test"


def address(proxy: Proxy, login: tuple[str, str] | None = None) -> ServerUrl:
    user = "pat:p%40ss%3Aword@" if login == LOGIN else "pat:wrong@" if login else ""
    url = read_proxy(proxy.url.replace("://", f"://{user}"))
    assert url is not None
    return url


def session(proxy: Proxy, **settings: object) -> GuardedSession:
    return GuardedSession(Guard(PUBLIC_ONLY, proxy=address(proxy)), **settings)  # type: ignore[arg-type]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    return certificate(tmp_path)


# The transport


def test_http_is_passed_on_by_the_proxy(receiver: Receiver) -> None:
    with Proxy({HOST: receiver.port}) as proxy:
        (answer,) = send(Request("POST", f"http://{HOST}/a", ["A: b"], b"x"), policy=PUBLIC_ONLY, proxy=address(proxy))

    assert answer.status == 204
    assert proxy.asked == [f"POST http://{HOST}/a"]
    assert [(got.path, got.body, got.headers["a"]) for got in receiver.requests] == [("/a", b"x", "b")]


def test_https_goes_through_a_tunnel_and_the_proxy_sees_neither_headers_nor_path(pem: Path) -> None:
    with Receiver(tls=tls(pem)) as receiver, Proxy({CERTIFIED_NAME: receiver.port}) as proxy:
        request = Request("POST", f"https://{CERTIFIED_NAME}/{SECRET}", [f"Authorization: Bearer {SECRET}"], b"x")
        (answer,) = send(request, policy=PUBLIC_ONLY, proxy=address(proxy), ca_bundle=pem)

    assert answer.status == 204
    assert proxy.asked == [f"CONNECT {CERTIFIED_NAME}:443"]
    assert SECRET.encode() not in b"".join(proxy.heads)


def test_the_environment_does_not_take_anything_past_the_proxy(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("NO_PROXY", HOST)
    with Proxy({HOST: receiver.port}) as proxy:
        (answer,) = send(get(f"http://{HOST}/"), policy=PUBLIC_ONLY, proxy=address(proxy))

    assert (answer.status, len(proxy.asked)) == (204, 1)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "169.254.169.254"])
def test_a_forbidden_address_is_not_even_asked_for(receiver: Receiver, host: str) -> None:
    with Proxy({}) as proxy:
        (answer,) = send(get(f"http://{host}:{receiver.port}/{SECRET}"), policy=PUBLIC_ONLY, proxy=address(proxy))

    assert answer.kind is AnswerKind.REFUSED
    assert "SPRINTLY_EGRESS_ALLOW" in answer.error
    assert SECRET not in answer.error
    assert (proxy.asked, receiver.connections) == ([], 0)


def test_an_allowed_address_is_asked_for(receiver: Receiver) -> None:
    with Proxy({"127.0.0.1": receiver.port}) as proxy:
        (answer,) = send(get(receiver.url), policy=EgressPolicy(parse_cidrs("127.0.0.1")), proxy=address(proxy))

    assert (answer.status, len(proxy.asked)) == (204, 1)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_proxys_login_is_sent_and_a_wrong_one_is_transient(receiver: Receiver, scheme: str) -> None:
    with Proxy({HOST: receiver.port}, login=True) as proxy:
        (wrong,) = send(get(f"{scheme}://{HOST}/"), policy=PUBLIC_ONLY, proxy=address(proxy, ("pat", "wrong")))
        (right,) = send(get(f"http://{HOST}/"), policy=PUBLIC_ONLY, proxy=address(proxy, LOGIN))

    assert wrong.kind is AnswerKind.TRANSIENT
    assert wrong.error == "the egress proxy asks for other credentials (SPRINTLY_EGRESS_PROXY)"
    assert right.status == 204


@pytest.mark.parametrize(
    ("status", "kind", "sentence"),
    [
        (403, AnswerKind.REFUSED, "the egress proxy refuses to connect to hooks.test"),
        (502, AnswerKind.TRANSIENT, "the egress proxy answered 502 to a connection to hooks.test"),
        (503, AnswerKind.TRANSIENT, "the egress proxy answered 503 to a connection to hooks.test"),
    ],
)
def test_a_tunnel_that_is_not_opened_is_said_to_be_so(status: int, kind: AnswerKind, sentence: str) -> None:
    with Proxy({HOST: 1}, status=status) as proxy:
        (answer,) = send(get(f"https://{HOST}/{SECRET}"), policy=PUBLIC_ONLY, proxy=address(proxy))

    assert (answer.kind, answer.error) == (kind, sentence)


def test_a_proxy_that_is_not_there_is_transient_and_named_without_its_login() -> None:
    with Proxy({}) as proxy:
        url = address(proxy, LOGIN)
    (answer,) = send(get(f"http://{HOST}/{SECRET}"), policy=PUBLIC_ONLY, proxy=url)

    assert answer.kind is AnswerKind.TRANSIENT
    assert answer.error == "no connection to hooks.test by way of the egress proxy: Connection refused"


def test_a_kept_connection_does_not_outlive_a_changed_policy(receiver: Receiver) -> None:
    """A policy is a transport's for good: a process that has another one begins with no connections."""
    answers: list[Answer] = []
    for policy in (EgressPolicy(parse_cidrs("127.0.0.1")), PUBLIC_ONLY):
        answers += send(get(receiver.url), get(receiver.url), policy=policy)

    assert [answer.status for answer in answers] == [204, 204, 0, 0]
    assert [answer.kind for answer in answers[2:]] == [AnswerKind.REFUSED] * 2
    assert receiver.connections == 1


# Blocking services


def test_a_blocking_services_requests_go_through_a_tunnel(receiver: Receiver) -> None:
    with Proxy({HOST: receiver.port}) as proxy, session(proxy) as blocking:
        answer = blocking.post(f"http://{HOST}/a", data=b"x")

    assert answer.status_code == 204
    assert proxy.asked == [f"CONNECT {HOST}:80"]
    assert [(got.path, got.body) for got in receiver.requests] == [("/a", b"x")]


def test_so_do_those_by_https(pem: Path) -> None:
    with (
        Receiver(tls=tls(pem)) as receiver,
        Proxy({CERTIFIED_NAME: receiver.port}) as proxy,
        session(proxy, ca_bundle=pem) as blocking,
    ):
        answer = blocking.get(f"https://{CERTIFIED_NAME}/")

    assert (answer.status_code, proxy.asked) == (204, [f"CONNECT {CERTIFIED_NAME}:443"])


def test_so_does_what_is_no_http() -> None:
    with Receiver() as receiver, Proxy({"mail.test": receiver.port}) as proxy, session(proxy) as blocking:
        opened = blocking.connect("mail.test", 587)
        opened.sendall(b"GET /a HTTP/1.1\r\n\r\n")
        answer = opened.recv(100)
        where = opened.getpeername()
        opened.close()

    assert (where, answer[:12]) == (("mail.test", 587), b"HTTP/1.1 204")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "[::1]", "169.254.169.254"])
def test_a_forbidden_address_is_not_asked_for_by_them_either(receiver: Receiver, host: str) -> None:
    with Proxy({}) as proxy, session(proxy) as blocking, pytest.raises(Refused, match="SPRINTLY_EGRESS_ALLOW"):
        blocking.get(f"http://{host}:{receiver.port}/{SECRET}")

    assert (proxy.asked, receiver.connections) == ([], 0)


def test_what_the_proxy_refuses_is_refused() -> None:
    said = r"the egress proxy refuses to connect to hooks\.test"
    with Proxy({HOST: 1}, status=403) as proxy, session(proxy) as blocking, pytest.raises(Refused, match=said):
        blocking.get(f"http://{HOST}/{SECRET}")


@pytest.mark.parametrize("status", [407, 502])
def test_anything_else_that_it_says_is_a_connection_that_failed(status: int) -> None:
    failed = pytest.raises(requests.ConnectionError, match=f"the egress proxy answered {status}")
    with Proxy({HOST: 1}, status=status) as proxy, session(proxy) as blocking, failed:
        blocking.get(f"http://{HOST}/")


@pytest.mark.parametrize("said", [b"220 mail.test ESMTP\r\n\r\n", b"HTTP/1.1 OK\r\n\r\n", b"x" * 20_000, b""])
def test_a_proxy_that_speaks_something_else_is_said_to(said: bytes) -> None:
    with Receiver([Raw([said])]) as other:
        guard = Guard(PUBLIC_ONLY, proxy=ServerUrl(other.url))
        with pytest.raises(OSError, match="the egress proxy gave an answer that is not HTTP"):
            guard.connect(HOST, 25, 5)


def test_a_proxy_that_says_nothing_is_given_up() -> None:
    with Receiver([Reply(200, hold=True)]) as silent:
        guard = Guard(PUBLIC_ONLY, proxy=ServerUrl(silent.url))
        with pytest.raises(TimeoutError):
            guard.connect(HOST, 25, 0.2)


def test_mail_in_the_clear_does_not_go_to_a_name_behind_a_proxy(receiver: Receiver) -> None:
    with (
        Proxy({"mail.test": receiver.port}) as proxy,
        session(proxy) as blocking,
        pytest.raises(ServiceError, match="not for names behind a proxy"),
        mail_server(blocking, "mail.test", 25, "none", None),
    ):
        pytest.fail("it was connected to")


# The setting


@pytest.mark.parametrize("text", ["", None])
def test_no_text_is_no_proxy(text: object) -> None:
    assert read_proxy(text) is None


def test_credentials_are_decoded_and_never_shown() -> None:
    url = read_proxy("http://pat:p%40ss@proxy.test:3128/")
    assert url is not None

    assert (url.place, url.login, str(url)) == ("http://proxy.test:3128", ("pat", "p@ss"), "http://***@proxy.test:3128")
    assert "p%40ss" not in repr(url)


@pytest.mark.parametrize(
    "text", ["proxy:3128", "https://proxy:3128", "socks5://proxy:1", "http://proxy", "http://proxy:0", "http://p:1/x"]
)
def test_what_is_no_http_proxy_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"give one as in http://proxy:3128"):
        read_proxy(text)
