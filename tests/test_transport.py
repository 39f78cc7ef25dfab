"""The wire against real receivers on 127.0.0.1: what arrives there, and what comes back from good and hostile ones."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import os
import select
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import ExitStack, asynccontextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvloop
from forbidden import LOOPBACK_NOTATIONS
from receivers import CERTIFIED_NAME, Got, Raw, Receiver, Reply, certificate, tls

from consumer.egress import EgressPolicy, parse_cidrs
from consumer.errors import ConfigurationError
from consumer.transport import Transport
from consumer.wire import Answer, AnswerKind, Request

T = TypeVar("T")
LOOPBACK = EgressPolicy(parse_cidrs("127.0.0.0/8"))
PUBLIC_ONLY = EgressPolicy()
SECRET = "hush-hush"
OK = b"HTTP/1.1 200 OK\r\n"


def on_loop(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


@asynccontextmanager
async def transport(policy: EgressPolicy = LOOPBACK, **settings: Any) -> AsyncIterator[Transport]:
    opened = Transport(policy=policy, **settings)
    try:
        yield opened
    finally:
        await opened.aclose()


async def answer_to(sender: Transport, request: Request) -> Answer:
    future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    sender.start(request, future.set_result)
    return await asyncio.wait_for(future, 20)


def send(*requests: Request, policy: EgressPolicy = LOOPBACK, **settings: Any) -> list[Answer]:
    """Send one request after the other by one transport."""

    async def main() -> list[Answer]:
        async with transport(policy, **settings) as sender:
            return [await answer_to(sender, request) for request in requests]

    return on_loop(main())


def get(url: str) -> Request:
    return Request("GET", url, [])


# What arrives


def test_a_request_arrives_as_it_was_given_and_with_nothing_that_was_not_asked_for() -> None:
    body = b'{"text": "\xc3\xa9"}'
    headers = ["Content-Type: application/json", "webhook-id: msg_1", "X-Name: J\u00fcrgen"]
    with Receiver() as receiver:
        (answer,) = send(Request("POST", f"{receiver.url}/a%20b?c=d", headers, body), user_agent="Sprintly-Services/1")
        (got,) = receiver.wait_for(1)

    assert answer == Answer(AnswerKind.ANSWERED, 204, seconds=answer.seconds)
    assert 0 < answer.seconds < 5
    assert (got.method, got.path, got.body) == ("POST", "/a%20b?c=d", body)
    assert got.headers == {
        "host": f"127.0.0.1:{receiver.port}",
        "user-agent": "Sprintly-Services/1",
        "accept": "*/*",
        "content-type": "application/json",
        "webhook-id": "msg_1",
        "x-name": "J\u00fcrgen",
        "content-length": str(len(body)),
    }


SHAPES = [
    Request("GET", "/get", ["X-Get: 1"]),
    Request("HEAD", "/head", ["X-Head: 1"]),
    Request("POST", "/post", ["X-Post: 1", "Content-Type: text/plain"], b"posted"),
    Request("POST", "/empty", []),
    Request("PUT", "/put", ["X-Put: 1"], b"put"),
    Request("PATCH", "/patch", [], b"patched, and a little longer"),
    Request("DELETE", "/delete", []),
    Request("DELETE", "/delete-body", ["X-Delete: 1"], b"deleted"),
    Request("PURGE", "/purge", [], b""),
]


def test_nothing_of_a_request_is_left_in_the_next_one_by_the_same_handle() -> None:
    sequence = [shape for pair in itertools.permutations(SHAPES, 2) for shape in pair]
    with Receiver(lambda got: Reply(200, b"" if got.method == "HEAD" else got.path.encode())) as receiver:
        answers = send(*(shape._replace(url=receiver.url + shape.url) for shape in sequence))
        requests = receiver.requests

    assert [(got.method, got.path, got.body) for got in requests] == [
        (shape.method, shape.url, shape.body or b"") for shape in sequence
    ]
    assert [_extra_headers(got) for got in requests] == [
        sorted(line.lower() for line in shape.headers) for shape in sequence
    ]
    assert [answer.body for answer in answers] == [
        b"" if shape.method == "HEAD" else shape.url.encode() for shape in sequence
    ]
    assert receiver.connections == 1


def _extra_headers(got: Got) -> list[str]:
    usual = {"host", "user-agent", "accept", "content-length"}
    return sorted(f"{name}: {value}" for name, value in got.headers.items() if name not in usual)


def test_a_post_without_a_body_says_that_it_has_none() -> None:
    with Receiver() as receiver:
        send(Request("POST", receiver.url, []), Request("DELETE", receiver.url, []))
        post, delete = receiver.wait_for(2)

    assert post.headers["content-length"] == "0"
    assert "content-length" not in delete.headers


def test_a_large_body_goes_out_without_waiting_for_100_continue() -> None:
    body = os.urandom(3_000_000)
    with Receiver() as receiver:
        (answer,) = send(Request("POST", receiver.url, [], body))
        (got,) = receiver.wait_for(1)

    assert answer.status == 204
    assert got.body == body
    assert "expect" not in got.headers


def test_the_environment_adds_neither_a_proxy_nor_a_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login joe password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    with Receiver() as proxy, Receiver() as receiver:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        send(get(receiver.url))
        (got,) = receiver.wait_for(1)

    assert "authorization" not in got.headers
    assert proxy.connections == 0


def test_cookies_are_not_sent_back() -> None:
    with Receiver([Reply(200, headers={"Set-Cookie": "a=b"})]) as receiver:
        send(get(receiver.url), get(receiver.url))

    assert "cookie" not in receiver.requests[1].headers


# What comes back


@pytest.mark.parametrize("status", [200, 201, 204, 301, 307, 400, 404, 408, 410, 429, 500, 503])
def test_a_status_is_an_answer_whatever_it_is(status: int) -> None:
    with Receiver([Reply(status, b"" if status == 204 else b"said")]) as receiver:
        (answer,) = send(get(receiver.url))

    assert (answer.kind, answer.status, answer.error) == (AnswerKind.ANSWERED, status, "")
    assert answer.body == (b"" if status == 204 else b"said")


def test_a_redirect_is_not_followed() -> None:
    with Receiver() as target, Receiver([Reply(302, headers={"Location": target.url})]) as receiver:
        (answer,) = send(Request("POST", receiver.url, [], b"x"))

    assert answer.status == 302
    assert target.connections == 0
    assert receiver.count == 1


@pytest.mark.parametrize(
    ("status", "value", "seconds"),
    [(429, "120", 120), (503, "7", 7), (429, formatdate(2**31, usegmt=True), None), (429, "soon", 0), (503, None, 0)],
)
def test_retry_after_is_given_in_seconds(status: int, value: str | None, seconds: int | None) -> None:
    with Receiver([Reply(status, headers={"Retry-After": value} if value else {}), 503]) as receiver:
        first, second = send(get(receiver.url), get(receiver.url))

    if seconds is None:
        assert int(first.retry_after or 0) >= 3600
    else:
        assert first.retry_after == (str(seconds) if seconds else None)
    assert second.retry_after is None


def test_retry_after_of_another_status_is_not_heeded() -> None:
    with Receiver([Reply(404, headers={"Retry-After": "5"})]) as receiver:
        (answer,) = send(get(receiver.url))

    assert answer.retry_after is None


@pytest.mark.parametrize(("size", "kept"), [(999, 999), (1_000, 1_000), (1_001, 1_000), (300_000, 1_000)])
def test_a_body_is_cut_at_the_limit_and_its_status_counts(size: int, kept: int) -> None:
    body = os.urandom(size)
    with Receiver([Reply(200, body), 204]) as receiver:
        first, second = send(get(receiver.url), get(receiver.url), answer_limit=1_000)

    assert (first.kind, first.status, first.body) == (AnswerKind.ANSWERED, 200, body[:kept])
    assert (second.status, second.body) == (204, b"")


def test_the_body_limit_is_64_kib_by_default() -> None:
    with Receiver([Reply(200, b"x" * 200_000)]) as receiver:
        (answer,) = send(get(receiver.url))

    assert len(answer.body) == 65_536


def test_an_endless_body_is_cut_too() -> None:
    endless = itertools.chain([b"HTTP/1.1 404 Not Found\r\n\r\n"], itertools.repeat(b"x" * 10_000))
    with Receiver([Raw(endless)]) as receiver:
        (answer,) = send(get(receiver.url))

    assert (answer.kind, answer.status, len(answer.body)) == (AnswerKind.ANSWERED, 404, 65_536)


def test_a_compressed_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(b"\0" * 20_000_000)
    with Receiver([Reply(200, bomb, {"Content-Encoding": "gzip"})]) as receiver:
        (answer,) = send(get(receiver.url))

    assert answer.body == bomb[:65_536]
    assert "accept-encoding" not in receiver.requests[0].headers


def test_early_hints_are_not_the_answer() -> None:
    pieces = [b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"]
    with Receiver([Raw(pieces, pause=0.01)]) as receiver:
        (answer,) = send(get(receiver.url))

    assert (answer.kind, answer.status) == (AnswerKind.ANSWERED, 202)


def test_a_head_that_ends_after_its_status_line_counts_by_that() -> None:
    with Receiver([Raw([OK + b"A: b"])]) as receiver:
        (answer,) = send(get(receiver.url))

    assert (answer.kind, answer.status) == (AnswerKind.ANSWERED, 200)


HEADS = {
    "one line of 90 KB": (b"A: " + b"b" * 90_000 + b"\r\n", True),
    "one line of 110 KB": (b"A: " + b"b" * 110_000 + b"\r\n", False),
    "280 KB in all": ((b"A: " + b"b" * 3_995 + b"\r\n") * 70, True),
    "320 KB in all": ((b"A: " + b"b" * 3_995 + b"\r\n") * 80, False),
    "4,900 lines": (b"A: b\r\n" * 4_900, True),
    "5,100 lines": (b"A: b\r\n" * 5_100, False),
}


@pytest.mark.parametrize("head", HEADS)
def test_an_answers_head_is_bounded_by_libcurl(head: str) -> None:
    lines, taken = HEADS[head]
    with Receiver([Raw([OK + lines + b"Content-Length: 0\r\n\r\n"])]) as receiver:
        (answer,) = send(get(receiver.url))

    assert (answer.kind, answer.status) == ((AnswerKind.ANSWERED, 200) if taken else (AnswerKind.TRANSIENT, 0))


# Connections


def test_a_connection_is_used_again() -> None:
    with Receiver() as receiver:
        send(*(Request("POST", receiver.url, [], b"x") for _ in range(50)))

    assert receiver.count == 50
    assert receiver.connections == 1


def test_a_connection_that_the_other_side_closed_is_replaced() -> None:
    complete = Raw([b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"])
    with Receiver([complete]) as receiver:
        answers = send(*(Request("POST", receiver.url, [], b"x") for _ in range(20)))

    assert [answer.status for answer in answers] == [200] * 20
    assert receiver.count == 20


class Counting(asyncio.SelectorEventLoop):
    """A loop that counts its turns."""

    turns = 0

    def _run_once(self) -> None:
        self.turns += 1
        super()._run_once()  # type: ignore[misc]


@pytest.mark.parametrize("epoll", [True, False])
def test_idle_connections_that_the_other_side_closes_keep_the_loop_quiet_and_are_replaced(
    epoll: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not epoll:
        monkeypatch.delattr(select, "epoll", raising=False)

    async def twenty(sender: Transport, receiver: Receiver) -> None:
        requests = [Request("POST", receiver.url, [], b"x") for _ in range(20)]
        answers = await asyncio.gather(*(answer_to(sender, request) for request in requests))
        assert [answer.status for answer in answers] == [204] * 20
        assert receiver.count == receiver.connections == 20

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Counting)
        async with transport() as sender:
            for _ in range(3):  # the numbers of the first sockets are those of later ones
                with Receiver() as receiver:
                    await twenty(sender, receiver)
                before = loop.turns
                await asyncio.sleep(0.2)
                assert loop.turns - before < 100

    with asyncio.Runner(loop_factory=Counting) as runner:
        runner.run(main())


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="no epoll here")
def test_an_idle_connection_that_is_closed_between_being_polled_and_being_looked_at_is_no_defect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As libcurl does where what it is told of one socket has it close another."""
    epoll, idle, closed = select.epoll, set[int](), list[int]()

    class Late:
        def __init__(self) -> None:
            self._epoll = epoll()
            self.modify, self.unregister = self._epoll.modify, self._epoll.unregister
            self.fileno, self.close = self._epoll.fileno, self._epoll.close

        def register(self, fd: int, events: int) -> None:
            idle.add(fd)
            self._epoll.register(fd, events)

        def poll(self, timeout: float) -> list[tuple[int, int]]:
            found = self._epoll.poll(timeout)
            for fd in {fd for fd, _ in found} & idle if answered else ():
                os.close(fd)
                closed.append(fd)
            return found

    monkeypatch.setattr(select, "epoll", Late)
    answered = False

    async def main() -> None:
        nonlocal answered
        async with transport() as sender:
            with Receiver() as receiver:
                await answer_to(sender, get(receiver.url))
                answered = True  # what comes from now on is the end of the idle connection
            async with asyncio.timeout(5):
                while not closed:
                    await asyncio.sleep(0.01)
            answered = False
            with Receiver() as receiver:
                answer = await answer_to(sender, get(receiver.url))
                assert answer.status == 204

    problems: list[dict[str, Any]] = []
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.get_loop().set_exception_handler(lambda _loop, problem: problems.append(problem))
        runner.run(main())

    assert (len(closed), problems) == (1, [])


def test_very_many_requests_are_in_flight_at_once_and_each_is_answered_once() -> None:
    answers: list[int] = []

    async def main(receiver: Receiver) -> None:
        async with transport() as sender:
            for number in range(600):
                request = Request("POST", f"{receiver.url}/{number}", [], b"%d" % number)
                sender.start(request, lambda answer, number=number: answers.append(number + answer.status))  # type: ignore[misc]
            assert sender.in_flight == 600
            await asyncio.to_thread(receiver.wait_for, 600)
            assert answers == []
            receiver.release()
            while sender.in_flight:
                await asyncio.sleep(0.01)
            for _ in range(3):
                await answer_to(sender, Request("POST", f"{receiver.url}/later", [], b""))

    with Receiver(lambda got: Reply(204, hold=got.path != "/later")) as receiver:
        on_loop(main(receiver))
        paths_and_bodies = {(got.path, got.body) for got in receiver.requests if got.path != "/later"}
        assert receiver.connections == 600

    assert sorted(answers) == [number + 204 for number in range(600)]
    assert paths_and_bodies == {(f"/{number}", b"%d" % number) for number in range(600)}


def test_it_works_on_systems_without_epoll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, "epoll", raising=False)
    body = os.urandom(3_000_000)
    with Receiver([500, 204]) as receiver:
        answers = send(Request("POST", receiver.url, [], body), get(receiver.url))

    assert [answer.status for answer in answers] == [500, 204]
    assert receiver.requests[0].body == body


# Receivers that do not keep to it: one transient answer each, by the deadline


HOSTILE: dict[str, tuple[Callable[[], Raw], str]] = {
    "closes at once": (Raw, "closed the connection without an answer"),
    "resets": (lambda: Raw(reset=True), "broke while reading its answer"),
    "is no HTTP server": (lambda: Raw([b"SSH-2.0-OpenSSH_9.2\r\n"]), "answered without a status line"),
    "has a bad status": (lambda: Raw([b"HTTP/1.1 2xx OK\r\n\r\n"]), "answered without a status line"),
    "has a bad version": (lambda: Raw([b"HTTP/7.1 200 OK\r\n\r\n"]), "answered without a status line"),
    "ends in its status": (lambda: Raw([b"HTTP/1.1 20"]), "closed the connection without an answer"),
    "has a null in its head": (lambda: Raw([OK + b"A: \0\r\n\r\n"]), "an answer that is not HTTP"),
    "has a bad length": (lambda: Raw([OK + b"Content-Length: nine\r\n\r\n"]), "an answer that is not HTTP"),
    "ends in the body": (lambda: Raw([OK + b"Content-Length: 9\r\n\r\nhalf"]), "before the end of its answer"),
    "resets in the body": (
        lambda: Raw([OK + b"Content-Length: 9\r\n\r\nhalf"], pause=0.05, reset=True),
        "broke while reading its answer",
    ),
    "breaks a chunk": (
        lambda: Raw([OK + b"Transfer-Encoding: chunked\r\n\r\nnot-a-size\r\n"]),
        "broke while reading its answer",
    ),
    "ends in a chunk": (lambda: Raw([OK + b"Transfer-Encoding: chunked\r\n\r\n9\r\nhalf"]), "before the end"),
    "says 100 and no more": (lambda: Raw([b"HTTP/1.1 100 Continue\r\n\r\n"]), "127.0.0.1"),
    "switches protocols": (lambda: Raw([b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"]), "127.0.0.1"),
    "never answers": (lambda: Raw(itertools.repeat(b""), pause=0.1), "no complete answer from"),
    "drips its head": (
        lambda: Raw((b"%c" % byte for byte in OK + b"A: " + b"b" * 1_000), pause=0.05),
        "no complete answer from",
    ),
    "drips its body": (
        lambda: Raw(itertools.chain([OK + b"\r\n"], itertools.repeat(b"x")), pause=0.05),
        "no complete answer from",
    ),
    "drips headers": (
        lambda: Raw(itertools.chain([OK], itertools.repeat(b"A: b\r\n")), pause=0.05),
        "no complete answer from",
    ),
    "floods headers": (lambda: Raw(itertools.chain([OK], itertools.repeat(b"A: b\r\n" * 1_000))), "127.0.0.1"),
    "has one endless header": (
        lambda: Raw(itertools.chain([OK + b"A: "], itertools.repeat(b"b" * 9_000))),
        "127.0.0.1",
    ),
    "floods 1xx": (lambda: Raw(itertools.repeat(b"HTTP/1.1 103 Hint\r\nA: b\r\n\r\n" * 100)), "127.0.0.1"),
}


@pytest.mark.parametrize("how", HOSTILE)
def test_a_receiver_that_breaks_the_rules_gives_one_transient_answer(how: str) -> None:
    raw, said = HOSTILE[how]
    with Receiver([raw()]) as receiver:
        url = f"http://joe:{SECRET}@127.0.0.1:{receiver.port}/{SECRET}?token={SECRET}"
        (answer,) = send(Request("POST", url, [f"X-Secret: {SECRET}"], SECRET.encode()), attempt_timeout=0.4)

    assert (answer.kind, answer.status, answer.body) == (AnswerKind.TRANSIENT, 0, b"")
    assert said in answer.error
    assert f"127.0.0.1:{receiver.port}" in answer.error
    assert SECRET not in answer.error
    assert answer.seconds < 2


def test_hostile_receivers_do_not_disturb_the_others() -> None:
    async def main(hostile: list[Receiver], good: Receiver) -> tuple[list[Answer], list[Answer]]:
        async with transport(attempt_timeout=1) as sender:
            bad = [asyncio.ensure_future(answer_to(sender, get(receiver.url))) for receiver in hostile]
            fine = [await answer_to(sender, get(good.url)) for _ in range(100)]
            return await asyncio.gather(*bad), fine

    with ExitStack() as stack:
        hostile = [stack.enter_context(Receiver([raw()])) for raw, _ in HOSTILE.values()]
        good = stack.enter_context(Receiver())
        bad, fine = on_loop(main(hostile, good))

    assert [answer.status for answer in fine] == [204] * 100
    assert {answer.kind for answer in bad} == {AnswerKind.TRANSIENT}


def test_a_failure_says_nothing_of_the_failure_before_it() -> None:
    with Receiver([Raw(), Raw([OK + b"Content-Length: 9\r\n\r\nhalf"]), 204]) as receiver:
        refused, *others = send(get(_closed_port()), *(get(receiver.url) for _ in range(3)))

    assert "Connection refused" in refused.error
    assert [answer.error.partition(" closed ")[2] for answer in others] == [
        "the connection without an answer",
        "the connection before the end of its answer",
        "",
    ]


def _closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_a_closed_port_is_transient() -> None:
    url = _closed_port()
    (answer,) = send(get(f"{url}/{SECRET}"))

    assert answer.kind is AnswerKind.TRANSIENT
    assert answer.error == f"no connection to {url.removeprefix('http://')}: Connection refused"


def test_a_host_that_python_cannot_find_in_the_url_is_not_named() -> None:
    (answer,) = send(get(_closed_port().replace("//", f"//joe[{SECRET}@")))

    assert answer.kind is AnswerKind.TRANSIENT
    assert answer.error == "no connection to the host: Connection refused"


def test_a_connection_that_is_not_accepted_ends_with_the_connect_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.socket() as first:
        first.connect(full.getsockname())  # fills the queue, so that the kernel lets the next ones wait
        with socket.socket() as second:
            second.setblocking(False)
            second.connect_ex(full.getsockname())
            port = full.getsockname()[1]
            (answer,) = send(get(f"http://127.0.0.1:{port}/{SECRET}"), connect_timeout=0.3, attempt_timeout=10)

    assert answer.kind is AnswerKind.TRANSIENT
    assert answer.error == f"no connection to 127.0.0.1:{port} within 0.3 s"


def test_a_name_that_does_not_resolve_is_transient() -> None:
    (answer,) = send(get(f"http://nothing.invalid/{SECRET}"), connect_timeout=5)

    assert answer.kind is AnswerKind.TRANSIENT
    assert "nothing.invalid" in answer.error
    assert SECRET not in answer.error


# What is never sent


@pytest.mark.parametrize("host", LOOPBACK_NOTATIONS)
def test_an_address_that_is_not_allowed_is_never_connected_to(host: str) -> None:
    with Receiver() as receiver:
        (answer,) = send(Request("POST", f"http://{host}:{receiver.port}/{SECRET}", [], b"x"), policy=PUBLIC_ONLY)

    assert answer.kind is AnswerKind.REFUSED
    assert "SPRINTLY_EGRESS_ALLOW" in answer.error
    assert SECRET not in answer.error
    assert receiver.connections == 0


def test_a_refusal_names_host_and_address() -> None:
    (answer,) = send(get("http://2130706433:81/"), policy=PUBLIC_ONLY)

    assert answer.error == (
        "no connection to 2130706433:81: 127.0.0.1 is a loopback address, and SPRINTLY_EGRESS_ALLOW does not list it"
    )


def test_a_name_is_judged_by_the_address_that_it_resolves_to() -> None:
    with Receiver() as receiver:
        names = [f"evil.test:{receiver.port}:127.0.0.1"]
        url = f"http://evil.test:{receiver.port}/"
        (refused,) = send(get(url), policy=PUBLIC_ONLY, resolve=names)
        connections = receiver.connections
        (allowed,) = send(get(url), policy=LOOPBACK, resolve=names)

    assert refused.kind is AnswerKind.REFUSED
    assert connections == 0
    assert allowed.status == 204


def test_a_name_whose_allowed_address_fails_is_transient_and_its_forbidden_one_not_tried() -> None:
    only_the_second = EgressPolicy(parse_cidrs("127.0.0.2"))
    with Receiver() as receiver:
        names = [f"two.test:{receiver.port}:127.0.0.1,127.0.0.2"]
        (answer,) = send(get(f"http://two.test:{receiver.port}/"), policy=only_the_second, resolve=names)

    assert answer.kind is AnswerKind.TRANSIENT
    assert receiver.connections == 0


def test_a_name_is_reached_at_its_allowed_address() -> None:
    only_the_first = EgressPolicy(parse_cidrs("127.0.0.1"))
    with Receiver() as receiver:
        names = [f"two.test:{receiver.port}:127.0.0.2,127.0.0.1"]
        (answer,) = send(get(f"http://two.test:{receiver.port}/"), policy=only_the_first, resolve=names)

    assert answer.status == 204


IMPOSSIBLE = {
    "no scheme": get(f"127.0.0.1/{SECRET}"),
    "empty": get(""),
    "ftp": get(f"ftp://127.0.0.1/{SECRET}"),
    "file": get(f"file:///etc/{SECRET}"),
    "gopher": get(f"gopher://127.0.0.1/{SECRET}"),
    "no host": get("http://"),
    "a blank in the host": get(f"http://a b/{SECRET}"),
    "a blank in the path": get(f"http://127.0.0.1/ {SECRET}"),
    "a line break": get(f"http://127.0.0.1/\r\nHost: {SECRET}"),
    "a null": get(f"http://127.0.0.1/\0{SECRET}"),
    "a backslash": get(f"http://127.0.0.1\\{SECRET}"),
    "a bad port": get(f"http://127.0.0.1:{SECRET}/"),
    "a port too high": get("http://127.0.0.1:65536/"),
    "a bad IPv6 address": get(f"http://[::g]/{SECRET}"),
    "a host beyond ASCII": get(f"http://b\u00fccher.example/{SECRET}"),
    "a URL too long": get("http://127.0.0.1/" + SECRET * 1_000_000),
    "a header with a line break": Request("GET", "http://127.0.0.1/", [f"A: b\r\nX-Secret: {SECRET}"]),
    "a header with a line feed": Request("GET", "http://127.0.0.1/", [f"A: b\n{SECRET}"]),
    "a header with a carriage return": Request("GET", "http://127.0.0.1/", [f"A: b\r{SECRET}"]),
    "a header with a null": Request("GET", "http://127.0.0.1/", [f"A: b\0{SECRET}"]),
    "a header beyond Latin-1": Request("GET", "http://127.0.0.1/", [f"A: \u2615{SECRET}"]),
    "a method with a line break": Request(f"GET / HTTP/1.1\r\n{SECRET}", "http://127.0.0.1/", []),
    "no method": Request("", "http://127.0.0.1/", []),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_a_request_that_can_never_be_sent_is_refused_in_a_sentence(what: str) -> None:
    with Receiver() as receiver:
        (answer, after) = send(IMPOSSIBLE[what], get(receiver.url))

    assert (answer.kind, answer.status) == (AnswerKind.REFUSED, 0)
    assert len(answer.error) > 20
    assert SECRET not in answer.error
    assert "\n" not in answer.error
    assert after.status == 204


# TLS


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    return certificate(tmp_path)


def send_tls(receiver: Receiver, name: str, **settings: Any) -> Answer:
    request = Request("POST", f"https://{name}:{receiver.port}/{SECRET}", [], b"x")
    (answer,) = send(request, resolve=[f"{name}:{receiver.port}:127.0.0.1"], **settings)
    return answer


def test_a_certificate_of_a_given_authority_is_trusted(pem: Path) -> None:
    with Receiver(tls=tls(pem)) as receiver:
        answer = send_tls(receiver, CERTIFIED_NAME, ca_bundle=pem)

    assert answer.status == 204
    assert receiver.requests[0].body == b"x"


def test_a_certificate_of_an_unknown_authority_is_not_trusted(pem: Path) -> None:
    with Receiver(tls=tls(pem)) as receiver:
        answer = send_tls(receiver, CERTIFIED_NAME)

    assert answer.kind is AnswerKind.TRANSIENT
    assert answer.error.startswith(f"the certificate of {CERTIFIED_NAME}:{receiver.port} is not trusted: ")
    assert SECRET not in answer.error
    assert receiver.count == 0


def test_a_certificate_of_another_name_is_not_trusted(pem: Path) -> None:
    with Receiver(tls=tls(pem)) as receiver:
        answer = send_tls(receiver, "other.test", ca_bundle=pem)

    assert answer.kind is AnswerKind.TRANSIENT
    assert "is not trusted" in answer.error
    assert "other.test" in answer.error
    assert receiver.count == 0


def test_tls_before_1_2_is_not_spoken(pem: Path) -> None:
    context = tls(pem)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with Receiver(tls=context) as receiver:
        answer = send_tls(receiver, CERTIFIED_NAME, ca_bundle=pem)

    assert answer.kind is AnswerKind.TRANSIENT
    assert "no TLS connection" in answer.error
    assert receiver.count == 0


def test_https_to_a_server_without_tls_is_transient(pem: Path) -> None:
    with Receiver([Raw([b"HTTP/1.1 400 Bad Request\r\n\r\n"])]) as receiver:
        answer = send_tls(receiver, CERTIFIED_NAME, ca_bundle=pem, attempt_timeout=0.4)

    assert answer.kind is AnswerKind.TRANSIENT
    assert CERTIFIED_NAME in answer.error
    assert receiver.count == 0


def test_a_ca_bundle_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"The CA bundle .*nowhere\.pem cannot be read"):
        Transport(policy=LOOPBACK, ca_bundle=tmp_path / "nowhere.pem")


# Callbacks and the end


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "ftp://127.0.0.1/", "http://a b/"])
def test_done_is_never_called_inside_start(url: str) -> None:
    async def main() -> None:
        answers: list[Answer] = []
        async with transport(PUBLIC_ONLY) as sender:
            sender.start(get(url), answers.append)
            assert answers == []
            assert sender.in_flight == 1
            while sender.in_flight:
                await asyncio.sleep(0.01)
            assert len(answers) == 1

    on_loop(main())


def test_a_done_that_raises_is_reported_and_costs_the_others_nothing() -> None:
    async def main(receiver: Receiver) -> tuple[list[Answer], list[Any]]:
        reported: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))
        answers: list[Answer] = []

        def broken(_answer: Answer) -> None:
            raise ZeroDivisionError

        async with transport() as sender:
            for done in (broken, answers.append) * 50:
                sender.start(get("ftp://127.0.0.1/"), done)
                sender.start(get(receiver.url), done)
            while sender.in_flight:
                await asyncio.sleep(0.01)
        return answers, reported

    with Receiver() as receiver:
        answers, reported = on_loop(main(receiver))

    assert len(answers) == 100
    assert [type(error) for error in reported] == [ZeroDivisionError] * 100


def test_a_done_may_start_the_next_request() -> None:
    async def main(receiver: Receiver) -> int:
        async with transport() as sender:
            finished = asyncio.get_running_loop().create_future()
            left = 200

            def done(_answer: Answer) -> None:
                nonlocal left
                left -= 1
                if left:
                    sender.start(get(receiver.url), done)
                else:
                    finished.set_result(None)

            sender.start(get(receiver.url), done)
            await finished
            return sender.in_flight

    with Receiver() as receiver:
        assert on_loop(main(receiver)) == 0
        assert receiver.count == 200


def test_closing_answers_what_is_in_flight_and_whatever_is_started_later() -> None:
    async def main(receiver: Receiver) -> list[Answer]:
        answers: list[Answer] = []
        sender = Transport(policy=LOOPBACK)
        for _ in range(20):
            sender.start(get(receiver.url), answers.append)
        await asyncio.to_thread(receiver.wait_for, 20)
        await sender.aclose()
        assert len(answers) == 20
        sender.start(get(receiver.url), answers.append)
        assert len(answers) == 20
        await sender.aclose()
        await asyncio.sleep(0)
        assert sender.in_flight == 0
        return answers

    with Receiver([Reply(hold=True)]) as receiver:
        answers = on_loop(main(receiver))

    assert answers == [Answer(AnswerKind.TRANSIENT, error="the consumer is stopping")] * 21
    assert receiver.count == 20


def test_a_transport_that_was_never_used_can_be_closed() -> None:
    async def main() -> int:
        async with transport() as sender:
            return sender.in_flight

    assert on_loop(main()) == 0
