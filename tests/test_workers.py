"""Blocking services on their threads: what each way to end becomes, against receivers and mail servers on loopback."""

from __future__ import annotations

import asyncio
import re
import smtplib
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any, TypeVar

import pytest
import requests
import uvloop
from clock import FakeClock
from ports import free_port
from receivers import CERTIFIED_NAME, Raw, Receiver, Reply, certificate, tls

import services
from consumer.egress import EgressPolicy, parse_cidrs
from consumer.guarded import AddressInfo, Guard, GuardedSession
from consumer.outcome import Verdict, outcome_of
from consumer.subscriptions import parse_subscriptions
from consumer.tracecontext import TraceContext
from consumer.wire import Answer, AnswerKind
from consumer.workers import Workers
from services import NotDelivered, Payload, RecordingSession, Secret, ServiceBase, ServiceOptions, Session

T = TypeVar("T")
Send = Callable[[Any, Payload], object]

ROOT = Path(__file__).parent.parent
PAYLOAD = {"model": "Item", "action": "created", "product": {"id": 1}, "attributes": {"number": 1}}
ID = "3f2a0c1e-0000-5000-8000-000000000000"
SECRET = "hush-hush"
NOW = FakeClock().time()
PATIENCE = 20  # seconds; a test that needs them has failed
STOPPING = Answer(AnswerKind.TRANSIENT, error="the consumer is stopping")
GUARD = Guard(EgressPolicy(parse_cidrs("127.0.0.0/8")))


class Probe(ServiceBase):
    """A service whose `send` is the test's."""

    name = "probe"
    blocking = True

    class Options(ServiceOptions):
        token: Secret = Secret(SECRET)


def that(send: Send) -> ServiceBase:
    """Return a bound service, as subscriptions have them."""

    class Service(Probe):
        name = "probe"

    Service.send = send  # type: ignore[assignment,method-assign]
    return Service({}, RecordingSession())


def raising(error: BaseException) -> ServiceBase:
    def send(self: Any, payload: Payload) -> None:
        raise error

    return that(send)


def getting(url: str, **settings: Any) -> ServiceBase:
    return that(lambda self, payload: self.session.get(url, **settings))


def on_loop(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def guarded(delivery_id: str) -> Session:
    return GuardedSession(GUARD, delivery_id)


@asynccontextmanager
async def workers(threads: int = 16, session: Callable[[str], Session] = guarded) -> AsyncIterator[Workers]:
    opened = Workers(threads, session=session, clock=FakeClock())
    try:
        yield opened
    finally:
        await opened.aclose()


class Asked:
    """The answers to attempts that were started together; each is waited for, with an end."""

    def __init__(self, opened: Workers) -> None:
        self._opened = opened
        self._futures: list[asyncio.Future[Answer]] = []

    def start(
        self, service: ServiceBase, delivery_id: str = ID, trace: TraceContext | None = None
    ) -> asyncio.Future[Answer]:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._futures.append(future)
        self._opened.start(service, PAYLOAD, delivery_id, future.set_result, trace)
        return future

    async def all(self) -> list[Answer]:
        return await asyncio.wait_for(asyncio.gather(*self._futures), PATIENCE)


def answer_of(service: ServiceBase, session: Callable[[str], Session] = guarded) -> Answer:
    """Return what one attempt comes to."""

    async def main() -> Answer:
        async with workers(session=session) as opened:
            asked = Asked(opened)
            asked.start(service)
            return (await asked.all())[0]

    return on_loop(main())


async def happens(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, PATIENCE), "it did not happen"


# What a service finds


def test_send_gets_a_real_session_with_the_deliverys_id_and_the_answers_that_it_needs() -> None:
    seen: list[Any] = []

    def send(self: Any, payload: Payload) -> None:
        thing = self.session.get(f"{receiver.url}/things").json()["id"]
        self.session.post(f"{receiver.url}/things/{thing}", json=payload)
        seen.append((self.session.delivery_id, self.options.token.get_secret_value(), payload))

    with Receiver([Reply(200, b'{"id": 7}'), 201]) as receiver:
        answer = answer_of(that(send))

    assert answer == Answer(AnswerKind.ANSWERED, 200)
    assert outcome_of(answer, NOW).verdict is Verdict.DELIVERED
    assert [(got.path, got.headers["webhook-id"]) for got in receiver.requests] == [("/things", ID), ("/things/7", ID)]
    assert seen == [(ID, SECRET, PAYLOAD)]


def test_each_request_of_an_attempt_says_which_trace_it_is_in_unless_the_service_does() -> None:
    def send(self: Any, payload: Payload) -> None:
        self.session.get(receiver.url)
        self.session.get(receiver.url, headers={"traceparent": "mine"})
        self.session.headers["TraceParent"] = "mine as well"
        self.session.get(receiver.url)

    async def main() -> None:
        async with workers() as opened:
            asked = Asked(opened)
            asked.start(that(send), trace=TraceContext("00-theirs-01", "congo=1"))
            asked.start(that(lambda self, payload: self.session.get(f"{receiver.url}/without")))
            assert [answer.status for answer in await asked.all()] == [200, 200]

    with Receiver() as receiver:
        on_loop(main())
    traces: dict[str, list[tuple[str | None, str | None]]] = {"/": [], "/without": []}
    for got in receiver.requests:
        traces[got.path].append((got.headers.get("traceparent"), got.headers.get("tracestate")))
    assert traces == {
        "/": [("00-theirs-01", "congo=1"), ("mine", None), ("mine as well", None)],
        "/without": [(None, None)],
    }


def test_two_attempts_at_once_share_neither_session_nor_instance_nor_thread() -> None:
    both = threading.Barrier(2, timeout=PATIENCE)
    seen: list[tuple[object, object, str]] = []

    def send(self: Any, payload: Payload) -> None:
        self.session.headers["X-Mine"] = self.session.delivery_id
        both.wait()  # neither ends before the other has begun
        seen.append((self, self.session, threading.current_thread().name))
        self.session.get(receiver.url)

    async def main() -> list[Answer]:
        async with workers() as opened:
            asked = Asked(opened)
            asked.start(service, "a")
            asked.start(service, "b")
            assert opened.busy == 2
            answers = await asked.all()
            assert opened.busy == 0
            return answers

    service = that(send)
    with Receiver() as receiver:
        assert [answer.status for answer in on_loop(main())] == [200, 200]

    instances, sessions, threads = zip(*seen, strict=True)
    assert len({id(each) for each in (*instances, service)}) == 3
    assert len({id(each) for each in (*sessions, service.session)}) == 3
    assert set(threads) == {"worker-1", "worker-2"}
    headers = [got.headers for got in receiver.requests]
    assert sorted((each["x-mine"], each["webhook-id"]) for each in headers) == [("a", "a"), ("b", "b")]


def test_threads_are_daemons_as_many_as_are_needed_and_no_more_than_may_be() -> None:
    threads: set[threading.Thread] = set()
    go = threading.Event()
    full = threading.Barrier(3, timeout=PATIENCE)  # two threads and the test

    def send(self: Any, payload: Payload) -> None:
        threads.add(threading.current_thread())
        if not go.is_set():
            full.wait()
            assert go.wait(PATIENCE)

    async def main() -> None:
        async with workers(2) as opened:
            asked = Asked(opened)
            for _ in range(5):
                asked.start(service)
            await asyncio.to_thread(full.wait)
            assert opened.busy == 5
            go.set()
            assert [answer.status for answer in await asked.all()] == [200] * 5

    service = that(send)
    on_loop(main())
    assert {thread.name for thread in threads} == {"worker-1", "worker-2"}
    assert all(thread.daemon for thread in threads)
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)


def test_one_attempt_after_the_other_needs_few_threads() -> None:
    async def main() -> None:
        async with workers() as opened:
            asked = Asked(opened)
            for _ in range(20):
                asked.start(service)
                await asked.all()

    names: set[str] = set()
    service = that(lambda self, payload: names.add(threading.current_thread().name))
    on_loop(main())
    assert names == {"worker-1"}


def test_done_is_called_on_the_loop_once_and_never_inside_start() -> None:
    async def main() -> list[tuple[int, Answer]]:
        calls: list[tuple[int, Answer]] = []
        async with workers() as opened:
            asked = Asked(opened)
            opened.start(service, PAYLOAD, ID, lambda answer: calls.append((threading.get_ident(), answer)))
            assert calls == []
            asked.start(service)
            await asked.all()
            async with asyncio.timeout(PATIENCE):
                while opened.busy:
                    await asyncio.sleep(0.01)
        return calls

    service = that(lambda self, payload: None)
    assert on_loop(main()) == [(threading.get_ident(), Answer(AnswerKind.ANSWERED, 200))]


def test_a_done_that_raises_is_reported_and_costs_the_others_nothing() -> None:
    def broken(_answer: Answer) -> None:
        raise ZeroDivisionError

    async def main() -> list[Any]:
        reported: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))
        async with workers(1) as opened:
            asked = Asked(opened)
            opened.start(service, PAYLOAD, ID, broken)
            asked.start(service)
            assert [answer.status for answer in await asked.all()] == [200]
            assert opened.busy == 0
            opened.start(hanging, PAYLOAD, ID, broken)
            last = asked.start(hanging)
        assert last.result() == STOPPING
        release.set()
        return reported

    release = threading.Event()
    service = that(lambda self, payload: None)
    hanging = that(lambda self, payload: release.wait(PATIENCE))
    assert [type(error) for error in on_loop(main())] == [ZeroDivisionError] * 2


def test_a_done_may_start_the_next_attempt() -> None:
    async def main() -> None:
        async with workers(2) as opened:
            finished = asyncio.get_running_loop().create_future()
            left = 100

            def done(_answer: Answer) -> None:
                nonlocal left
                left -= 1
                if left:
                    opened.start(service, PAYLOAD, ID, done)
                else:
                    finished.set_result(None)

            opened.start(service, PAYLOAD, ID, done)
            await asyncio.wait_for(finished, PATIENCE)

    service = that(lambda self, payload: None)
    on_loop(main())


def test_an_attempt_takes_as_long_as_its_send() -> None:
    class Ticking(FakeClock):
        def monotonic(self) -> float:
            self.advance(1.5)
            return super().monotonic()

    async def main() -> Answer:
        opened = Workers(session=guarded, clock=Ticking())
        asked = Asked(opened)
        asked.start(that(lambda self, payload: None))
        answers = await asked.all()
        await opened.aclose()
        return answers[0]

    assert on_loop(main()).seconds == 1.5


# The end


class Hanging:
    """A service whose `send` hangs until `release`, and its thread."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.release = threading.Event()
        self.thread: threading.Thread | None = None
        self.service = that(lambda _service, _payload: self._send())

    def _send(self) -> None:
        self.thread = threading.current_thread()
        self.began.set()
        self.release.wait()

    def end(self) -> None:
        self.release.set()
        assert self.thread is not None
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()


def test_closing_answers_what_hangs_and_drops_what_comes_of_it_later() -> None:
    async def main(hanging: Hanging) -> None:
        answers: list[Answer] = []
        reported: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        opened = Workers(1, session=guarded)
        opened.start(hanging.service, PAYLOAD, ID, answers.append)
        opened.start(hanging.service, PAYLOAD, ID, answers.append)  # waits for the thread, and is never begun
        await happens(hanging.began)
        await asyncio.wait_for(opened.aclose(), PATIENCE)
        assert (answers, opened.busy) == ([STOPPING] * 2, 0)
        opened.start(hanging.service, PAYLOAD, ID, answers.append)
        assert len(answers) == 2
        await opened.aclose()
        assert answers == [STOPPING] * 3
        hanging.began.clear()
        await asyncio.to_thread(hanging.end)
        await asyncio.sleep(0)
        assert (answers, reported) == ([STOPPING] * 3, [])
        assert not hanging.began.is_set()

    on_loop(main(Hanging()))


def test_what_returns_after_the_loop_has_gone_ends_quietly() -> None:
    async def main() -> None:
        async with workers() as opened:
            opened.start(hanging.service, PAYLOAD, ID, lambda answer: None)
            await happens(hanging.began)

    hanging = Hanging()
    on_loop(main())
    hanging.end()  # pytest fails a test whose thread raises


def test_workers_that_were_never_used_can_be_closed() -> None:
    async def main() -> int:
        async with workers() as opened:
            return opened.busy

    assert on_loop(main()) == 0


LEAVING = """
import asyncio, threading
from consumer.workers import Workers
from services import PingSession, RecordingSession, ServiceBase

class Hanging(ServiceBase):
    def send(self, payload):
        began.set()
        threading.Event().wait()

async def main():
    workers = Workers(session=lambda delivery_id: PingSession())
    workers.start(Hanging({}, RecordingSession()), {}, "id", lambda answer: print(answer.error))
    await asyncio.to_thread(began.wait)
    await workers.aclose()

began = threading.Event()
asyncio.run(main())
"""


def test_a_send_that_hangs_does_not_keep_the_process() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LEAVING], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert (ended.stdout, ended.stderr) == ("the consumer is stopping\n", "")


# What HTTP becomes


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        (Reply(302, headers={"Location": "/elsewhere"}), Verdict.PERMANENT),
        (Reply(404, b"no such channel"), Verdict.PERMANENT),
        (Reply(408), Verdict.TRANSIENT),
        (Reply(410), Verdict.GONE),
        (Reply(429), Verdict.THROTTLED),
        (Reply(500, b"oops"), Verdict.TRANSIENT),
        (Reply(503), Verdict.TRANSIENT),
    ],
)
def test_a_status_is_an_answer(reply: Reply, verdict: Verdict) -> None:
    with Receiver([reply]) as receiver:
        answer = answer_of(getting(receiver.url))
    assert answer == Answer(AnswerKind.ANSWERED, reply.status, reply.body)
    assert outcome_of(answer, NOW).verdict is verdict


@pytest.mark.parametrize(
    ("status", "value", "wait"),
    [
        (429, "7", "7"),
        (503, "7", "7"),
        (503, formatdate(NOW + 90.2, usegmt=True), "90"),
        (503, formatdate(NOW - 90, usegmt=True), None),  # the transport gives none either: it would be no rest
        (503, "0", None),
        (429, "soon", None),
        (500, "7", None),
        (404, "7", None),
    ],
)
def test_retry_after_is_given_in_seconds(status: int, value: str, wait: str | None) -> None:
    with Receiver([Reply(status, headers={"Retry-After": value})]) as receiver:
        assert answer_of(getting(receiver.url)).retry_after == wait


@pytest.mark.parametrize("stream", [False, True])
def test_no_more_than_64_kib_of_a_body_are_kept(stream: bool) -> None:
    with Receiver([Reply(400, b"x" * 200_000)]) as receiver:
        assert answer_of(getting(receiver.url, stream=stream)).body == b"x" * 65_536


def test_a_body_that_cannot_be_read_leaves_the_status() -> None:
    with Receiver([Raw([b"HTTP/1.1 400 No\r\nContent-Length: 9\r\n\r\n"])]) as receiver:
        answer = answer_of(getting(receiver.url, stream=True))
    assert answer == Answer(AnswerKind.ANSWERED, 400)


def test_an_error_that_the_service_makes_of_a_good_answer_is_not_delivered() -> None:
    def send(self: Any, payload: Payload) -> None:
        answer = self.session.get(f"{receiver.url}/{SECRET}")
        raise requests.HTTPError(f"not ok: {answer.url}", response=answer)

    with Receiver([200]) as receiver:
        answer = answer_of(that(send))
    said = f"127.0.0.1:{receiver.port} answered 200, which the service takes for a failure"
    assert answer == Answer(AnswerKind.TRANSIENT, error=said)


def test_a_forbidden_address_is_refused() -> None:
    with Receiver() as receiver:
        answer = answer_of(
            getting(f"{receiver.url}/{SECRET}"), lambda delivery_id: GuardedSession(Guard(EgressPolicy()), delivery_id)
        )
    assert answer == Answer(
        AnswerKind.REFUSED,
        error="no connection to 127.0.0.1: 127.0.0.1 is a loopback address, and SPRINTLY_EGRESS_ALLOW does not list it",
    )
    assert receiver.connections == 0


@pytest.mark.parametrize("url", [f"ftp://a/{SECRET}", SECRET, "http://", f"http://[::g]/{SECRET}"])
def test_a_url_that_cannot_be_called_is_refused(url: str) -> None:
    answer = answer_of(getting(url))
    assert answer.kind is AnswerKind.REFUSED
    assert answer.error.startswith("the request cannot be sent: ")
    assert SECRET not in answer.error


def test_a_closed_port_is_transient_and_only_the_host_is_named() -> None:
    port = free_port()
    answer = answer_of(getting(f"http://joe:pass@127.0.0.1:{port}/{SECRET}"))
    assert answer == Answer(AnswerKind.TRANSIENT, error=f"no answer from 127.0.0.1:{port}: Connection refused")


def test_a_service_with_a_session_of_its_own_is_not_quoted_either() -> None:
    port = free_port()
    answer = answer_of(that(lambda self, payload: requests.get(f"http://127.0.0.1:{port}/path/that/is/private")))
    assert answer == Answer(AnswerKind.TRANSIENT, error=f"no answer from 127.0.0.1:{port}: Connection refused")


def test_a_name_that_does_not_resolve_is_transient() -> None:
    def unknown(_host: str, _port: int) -> list[AddressInfo]:
        raise socket.gaierror(socket.EAI_NONAME, SECRET)

    guard = Guard(EgressPolicy(), resolve=unknown)
    answer = answer_of(getting("https://nothing.test/x"), lambda delivery_id: GuardedSession(guard, delivery_id))
    assert answer == Answer(AnswerKind.TRANSIENT, error="no answer from nothing.test: its name could not be resolved")


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_does_not_come_is_transient(stream: bool) -> None:
    begun = [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b"x"]

    def send(self: Any, payload: Payload) -> None:
        answer = self.session.get(receiver.url, stream=stream, timeout=(5, 0.2))
        assert stream
        assert answer.content

    # The second piece comes later than the time-out, or the whole answer does.
    with Receiver([Raw(begun, pause=30) if stream else Reply(hold=True)]) as receiver:
        answer = answer_of(that(send))
    whose = "" if stream else f" from 127.0.0.1:{receiver.port}"  # requests tells no more of a stream that broke off
    assert answer == Answer(AnswerKind.TRANSIENT, error=f"no answer{whose}: it took too long")


@pytest.mark.parametrize("broken", [Raw(), Raw(reset=True)])
def test_a_connection_that_breaks_is_transient(broken: Raw) -> None:
    with Receiver([broken]) as receiver:
        answer = answer_of(getting(f"{receiver.url}/{SECRET}"))
    assert answer.kind is AnswerKind.TRANSIENT
    assert answer.error in (
        f"no answer from 127.0.0.1:{receiver.port}: it closed the connection",
        f"no answer from 127.0.0.1:{receiver.port}: Connection reset by peer",
    )


def trusting_nobody(delivery_id: str) -> Session:
    def here(_host: str, port: int) -> list[AddressInfo]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))]

    return GuardedSession(Guard(EgressPolicy(parse_cidrs("127.0.0.1")), resolve=here), delivery_id)


def test_a_certificate_that_is_not_trusted_is_transient(tmp_path: Path) -> None:
    with Receiver(tls=tls(certificate(tmp_path))) as receiver:
        answer = answer_of(getting(f"https://{CERTIFIED_NAME}:{receiver.port}/{SECRET}"), trusting_nobody)
    assert answer.kind is AnswerKind.TRANSIENT
    assert re.fullmatch(
        rf"no answer from {CERTIFIED_NAME}:{receiver.port}: its certificate is not trusted \(self.signed certificate\)",
        answer.error,
    )


def test_a_server_without_tls_is_transient() -> None:
    with Receiver([Raw([b"HTTP/1.1 400 Bad Request\r\n\r\n"])]) as receiver:
        answer = answer_of(getting(f"https://127.0.0.1:{receiver.port}/{SECRET}", timeout=1))
    assert answer.kind is AnswerKind.TRANSIENT
    assert answer.error.startswith(f"no answer from 127.0.0.1:{receiver.port}: ")


def test_an_answer_that_is_not_json_is_transient() -> None:
    with Receiver([Reply(200, b"<html>maintenance")]) as receiver:
        answer = answer_of(that(lambda self, payload: self.session.get(receiver.url).json()))
    assert answer == Answer(AnswerKind.TRANSIENT, error="the answer is not the JSON that the service expects")


# The service in docs/writing-a-service.md


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Put the page's blocking service into the package `services`; returns the page's blocks of Python."""
    page = (ROOT / "docs" / "writing-a-service.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "desk.py").write_text(blocks[2], "utf-8")
    monkeypatch.setattr(services, "__path__", [*services.__path__, str(tmp_path)])
    yield blocks
    del sys.modules["services.desk"], services.desk  # type: ignore[attr-defined]


def test_the_documented_service_is_run(desk: list[str]) -> None:
    with Receiver([Reply(200, b'[{"id": 7}]'), 201]) as receiver:
        options = {"url": receiver.url, "token": "t0ken"}
        entry = {"id": "acme-desk", "product": "*", "service": "desk", "options": options}
        [found] = parse_subscriptions(f"subscriptions: [{entry!r}]", {})
        assert found.service.blocking
        assert answer_of(found.service) == Answer(AnswerKind.ANSWERED, 200)
    paths = ["/api/tickets?reference=1", "/api/tickets/7/comments"]
    assert [(got.path, got.headers["webhook-id"]) for got in receiver.requests] == [(path, ID) for path in paths]


def test_the_documented_services_tests_pass(desk: list[str]) -> None:
    names: dict[str, Any] = {}
    exec(compile(desk[3], "writing-a-service.md", "exec"), names)
    tests = [test for name, test in names.items() if name.startswith("test_")]
    assert len(tests) == 2
    for test in tests:
        test()


# What else can be raised


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "no answer: Connection refused"),
        (TimeoutError(f"after {SECRET}"), "no answer: it took too long"),
        (socket.gaierror(socket.EAI_AGAIN, SECRET), "no answer: its name could not be resolved"),
        (socket.herror(1, SECRET), "no answer: its name could not be resolved"),
        (ssl.SSLError(SECRET), "no answer: no TLS connection (it broke off)"),
        (ssl.SSLCertVerificationError(SECRET), "no answer: its certificate is not trusted (it is not valid)"),
        (OSError(SECRET), "no answer: OSError"),
        (OSError(SECRET, SECRET), "no answer: OSError"),
        (requests.ConnectTimeout(SECRET), "no answer: no connection in time"),
        (requests.ReadTimeout(SECRET), "no answer: it took too long"),
        (requests.ConnectionError(SECRET), "no answer: ConnectionError"),
        (requests.HTTPError(SECRET), "no answer: HTTPError"),
        (requests.RequestException(SECRET), "no answer: RequestException"),
        (smtplib.SMTPServerDisconnected(SECRET), "no answer: it closed the connection"),
        (smtplib.SMTPRecipientsRefused({}), "no answer: SMTPRecipientsRefused"),
        (smtplib.SMTPException(SECRET), "no answer: SMTPException"),
        (smtplib.SMTPResponseException(-1, b"?"), "the mail server answered -1: ?"),
    ],
)
def test_trouble_on_the_way_is_transient(error: Exception, sentence: str) -> None:
    assert answer_of(raising(error)) == Answer(AnswerKind.TRANSIENT, error=sentence)


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("title"), "KeyError: 'title'"),
        (ValueError(f"a\n{SECRET}"), "ValueError: a **********"),
        (AssertionError(), "AssertionError:"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt:"),
        (Unprintable(), "Unprintable"),
    ],
)
def test_any_other_exception_is_a_defect_of_the_service(error: BaseException, said: str) -> None:
    answer = answer_of(raising(error))
    assert answer == Answer(AnswerKind.BROKEN, error=f"the service probe failed on this event: {said}")
    assert outcome_of(answer, NOW).verdict is Verdict.BROKEN


def test_a_service_that_cannot_be_made_again_is_broken() -> None:
    class Once(Probe):
        name = "once"

        def __init__(self, options: Any, session: Session | None = None) -> None:
            super().__init__(options, session)
            if not isinstance(session, RecordingSession):
                raise LookupError(SECRET)

        def send(self, payload: Payload) -> None:
            raise AssertionError

    answer = answer_of(Once({}, RecordingSession()))
    assert answer == Answer(AnswerKind.BROKEN, error="the service once failed on this event: LookupError: **********")


def test_a_service_that_cannot_mask_its_secrets_says_nothing() -> None:
    class Careless(Probe):
        name = "careless"

        def send(self, payload: Payload) -> None:
            raise KeyError(SECRET)

        def redact(self, text: str) -> str:
            raise ZeroDivisionError

    answer = answer_of(Careless({}, RecordingSession()))
    assert answer == Answer(AnswerKind.BROKEN, error="the service careless failed on this event: KeyError")


def test_a_payload_without_action_is_one_of_creation() -> None:
    seen: list[Payload] = []

    class Seeing(Probe):
        name = "seeing"

        def send(self, payload: Payload) -> None:
            seen.append(payload)

    async def main() -> Answer:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        async with workers() as opened:
            opened.start(Seeing({}, RecordingSession()), {"model": "Item"}, ID, future.set_result)
            return await asyncio.wait_for(future, PATIENCE)

    assert on_loop(main()).status == 200
    assert seen == [{"model": "Item", "action": "created"}]


# What a mail server's replies become


class MailServer(socketserver.ThreadingTCPServer):
    """Replies to each verb of SMTP as it is told, to END (a message's last line) too; None closes the connection."""

    daemon_threads = True
    request_queue_size = 16

    def __init__(self, replies: Mapping[str, object]) -> None:
        usual = {"HELLO": "220 mail.test", "EHLO": "250-mail.test\r\n250 AUTH PLAIN", "AUTH": "235 welcome"}
        usual |= {"DATA": "354 go on", "QUIT": "221 bye"}
        self.replies = {name: list(r) if isinstance(r, list) else [r] for name, r in {**usual, **replies}.items()}
        super().__init__(("127.0.0.1", 0), _Mail)

    def reply_to(self, verb: str) -> str | None:
        waiting = self.replies.get(verb, ["250 fine"])
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]  # type: ignore[return-value]


class _Mail(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        verb = "HELLO"
        while (reply := self.server.reply_to(verb)) is not None:
            self.wfile.write(f"{reply}\r\n".encode())
            if verb == "QUIT" or not (line := self.rfile.readline()):
                return
            verb = line[:4].decode().strip().upper()
            if reply.startswith("354"):
                while line not in (b".\r\n", b""):
                    line = self.rfile.readline()
                verb = "END"


@contextmanager
def mail_server(replies: Mapping[str, object]) -> Iterator[int]:
    with MailServer(replies) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        serving.start()
        yield server.server_address[1]
        server.shutdown()
        serving.join(PATIENCE)


def mailing(port: int, *, starttls: bool = False) -> ServiceBase:
    def send(self: Any, payload: Payload) -> None:
        with smtplib.SMTP("127.0.0.1", port, "tests", timeout=PATIENCE) as server:
            if starttls:
                server.starttls()
            server.login("joe", self.options.token.get_secret_value())
            to = ["one@example.com", "two@example.com"]
            server.sendmail("joe@example.com", to, f"Message-ID: <{self.session.delivery_id}@example.com>\n\nhi")

    return that(send)


MAIL: list[tuple[dict[str, object], AnswerKind, str]] = [
    ({"RCPT": "550 5.1.1 no such user"}, AnswerKind.REFUSED, "550: 5.1.1 no such user"),
    ({"RCPT": "450 mailbox busy"}, AnswerKind.TRANSIENT, "450: mailbox busy"),
    ({"RCPT": ["550 no such user", "450 mailbox busy"]}, AnswerKind.TRANSIENT, "450: mailbox busy"),
    ({"RCPT": ["552 full", "550 no such user"]}, AnswerKind.REFUSED, "550: no such user"),
    ({"MAIL": "550 not you"}, AnswerKind.REFUSED, "550: not you"),
    ({"MAIL": "451 not now"}, AnswerKind.TRANSIENT, "451: not now"),
    ({"DATA": "554 no"}, AnswerKind.REFUSED, "554: no"),
    ({"END": "554-spam\r\n554 sorry"}, AnswerKind.REFUSED, "554: spam sorry"),
    ({"END": "452 disk full"}, AnswerKind.TRANSIENT, "452: disk full"),
    ({"AUTH": f"535 {SECRET} is wrong"}, AnswerKind.REFUSED, "535: ********** is wrong"),
    ({"AUTH": "454 not now"}, AnswerKind.TRANSIENT, "454: not now"),
    ({"HELLO": "421 too many"}, AnswerKind.TRANSIENT, "421: too many"),
    ({"HELLO": "554 not from you"}, AnswerKind.TRANSIENT, "554: not from you"),
    ({"EHLO": "550 no", "HELO": "550 who are you"}, AnswerKind.REFUSED, "550: who are you"),
    ({"MAIL": f"550 {'x' * 300}"}, AnswerKind.REFUSED, f"550: {'x' * 197}..."),
]


@pytest.mark.parametrize(("replies", "kind", "said"), MAIL)
def test_a_mail_servers_reply_is_quoted(replies: dict[str, object], kind: AnswerKind, said: str) -> None:
    with mail_server(replies) as port:
        answer = answer_of(mailing(port))
    assert answer == Answer(kind, error=f"the mail server answered {said}")


def test_a_service_may_say_that_it_did_not_get_through() -> None:
    answer = answer_of(raising(NotDelivered(f"not this\ntime: {SECRET}")))
    assert answer == Answer(AnswerKind.TRANSIENT, error="not this time: **********")


def test_a_mail_that_is_taken_is_delivered() -> None:
    with mail_server({}) as port:
        assert answer_of(mailing(port)) == Answer(AnswerKind.ANSWERED, 200)


@pytest.mark.parametrize("verb", ["HELLO", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "END"])
def test_a_mail_server_that_hangs_up_is_transient(verb: str) -> None:
    with mail_server({verb: None}) as port:
        answer = answer_of(mailing(port))
    assert answer == Answer(AnswerKind.TRANSIENT, error="no answer: it closed the connection")


def test_a_mail_server_that_is_not_there_is_transient() -> None:
    assert answer_of(mailing(free_port())) == Answer(AnswerKind.TRANSIENT, error="no answer: Connection refused")


def test_a_mail_server_that_lacks_what_is_needed_is_final() -> None:
    with mail_server({}) as port:
        answer = answer_of(mailing(port, starttls=True))
    assert answer == Answer(AnswerKind.REFUSED, error="the mail server does not support what the service asks for")
