"""Hostile peers, one by one: each attempt ends by its deadline, with a sentence, and without filling the memory."""

from __future__ import annotations

import asyncio
import fcntl
import re
import socket
import struct
import termios
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

import peers
import pytest
import requests
import uvloop
from peers import HTTP, MAIL, OK, PATIENCE, Peer, Tls
from receivers import Receiver, Reply

from consumer.deadline import Deadline
from consumer.egress import EgressPolicy, parse_cidrs
from consumer.guarded import Guard, GuardedSession
from consumer.outcome import LONGEST_WAIT, outcome_of
from consumer.transport import Transport
from consumer.wire import Answer, AnswerKind, Request
from consumer.workers import Workers
from services import Payload, RecordingSession, ServiceBase, ServiceOptions
from services.email import Service as Email

LOOPBACK = EgressPolicy(parse_cidrs("127.0.0.0/8"))
DEADLINE = 0.6  # seconds of an attempt
LATE = 1.0  # seconds that it may end later, on a busy machine
MOST = 10_000_000  # bytes that Python may take for an attempt; what libcurl takes is seen by the process's memory
PAYLOAD = {"model": "Item", "action": "created", "product": {"id": 1}, "attributes": {"number": 1, "title": "x"}}
SECRET = "hush-hush"
ID = "3f2a0c1e-0000-5000-8000-000000000000"
GOES_AWAY = 6  # connections: what HTTP/2 says was not looked at is tried again at once, five times by libcurl
LARGE = b"x" * 8_000_000  # more than the kernel buffers for one who does not read


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return Tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module", autouse=True)
def bombs() -> None:
    """Make them before anything is measured."""
    for coding, times in (("gzip", 1), ("gzip", 3), ("deflate", 1)):
        peers.bomb(coding, times)


@pytest.fixture
def bounded() -> Iterator[None]:
    """Measure what Python takes meanwhile: it has to be little."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MOST
    finally:
        tracemalloc.stop()


def sent(tls: Tls, *wanted: Request) -> list[Answer]:
    """Send one request after the other."""

    async def main() -> list[Answer]:
        sender = Transport(policy=LOOPBACK, attempt_timeout=DEADLINE, ca_bundle=tls.bundle)
        answers = []
        try:
            for each in wanted:
                answers.append(await answer_to(sender, each))
        finally:
            await sender.aclose()
        return answers

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


async def answer_to(sender: Transport, wanted: Request) -> Answer:
    future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    sender.start(wanted, future.set_result)
    return await asyncio.wait_for(future, 20)


def of_blocking(service: ServiceBase, tls: Tls) -> Answer:
    """Return what one attempt of a blocking service comes to."""
    session = partial(GuardedSession, Guard(LOOPBACK), attempt_timeout=DEADLINE, ca_bundle=tls.bundle)

    async def main() -> Answer:
        workers = Workers(1, session=session)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        workers.start(service, PAYLOAD, ID, future.set_result)
        try:
            return await asyncio.wait_for(future, 20)
        finally:
            await workers.aclose()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


class Posting(ServiceBase):
    """A blocking service that posts what it is told to."""

    name = "posting"
    blocking = True
    body = b"x"

    class Options(ServiceOptions):
        url: str

    def send(self, payload: Payload) -> None:
        self.session.post(self.options.url, data=self.body)


class PostingMuch(Posting):
    """The same with a large body."""

    name = "posting much"
    body = LARGE


def address(peer: Peer) -> str:
    return f"{peer.url.replace('//', f'//joe:{SECRET}@')}/{SECRET}"


@pytest.mark.parametrize("how", HTTP)
@pytest.mark.usefixtures("bounded")
def test_the_transport_ends_each_attempt_in_time(how: str, tls: Tls) -> None:
    hostile = HTTP[how]
    body = LARGE if hostile.play is peers.never_reads else b"x"
    with Peer(hostile.play, tls.context(hostile.tls)) as peer:
        (answer,) = sent(tls, Request("POST", address(peer), [], body))
    assert answer.seconds < DEADLINE + LATE
    assert (answer.kind, answer.status) == (
        (AnswerKind.ANSWERED, hostile.status) if hostile.status else (AnswerKind.TRANSIENT, 0)
    )
    assert re.search(hostile.said, answer.error)
    assert SECRET not in answer.error
    assert len(answer.body) <= 65_536
    assert peer.connections == 1 or (how == "HTTP/2: goes away" and peer.connections <= GOES_AWAY)
    outcome = outcome_of(answer, time.time())
    assert outcome.wait is None or 0 <= outcome.wait <= LONGEST_WAIT


@pytest.mark.parametrize("how", HTTP)
@pytest.mark.usefixtures("bounded")
def test_a_blocking_service_ends_each_attempt_in_time(how: str, tls: Tls) -> None:
    hostile = HTTP[how]
    much = hostile.play is peers.never_reads
    with Peer(hostile.play, tls.context(hostile.tls)) as peer:
        service = (PostingMuch if much else Posting)({"url": address(peer)}, RecordingSession())
        answer = of_blocking(service, tls)
    assert answer.seconds < DEADLINE + LATE
    assert answer.kind in (AnswerKind.ANSWERED, AnswerKind.TRANSIENT)
    assert SECRET not in answer.error
    if "no complete answer" in hostile.said:
        assert answer.kind is AnswerKind.TRANSIENT
        assert answer.error == f"no answer from 127.0.0.1:{peer.port}: it took too long"


def test_long_answers_by_one_connection_are_not_taken_for_one_without_an_end(tls: Tls) -> None:
    """Beside an endless one, it is looked at how much each connection has brought: 4 MB here, in a hundred answers."""
    long = Reply(200, b"x" * 40_000)

    async def main(endless: Request, good: Request) -> tuple[list[Answer], list[Answer]]:
        sender = Transport(policy=LOOPBACK, attempt_timeout=20, ca_bundle=tls.bundle)
        fine: list[Answer] = []
        bad: list[Answer] = []

        async def suffer() -> None:
            while len(bad) < 50:
                bad.append(await answer_to(sender, endless))

        try:
            suffering = asyncio.ensure_future(suffer())
            while len(fine) < 100 or not suffering.done():
                fine.append(await answer_to(sender, good))
            return fine, bad
        finally:
            await sender.aclose()

    with Peer(HTTP["an endless chunk extension"].play) as peer, Receiver([long]) as receiver:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            fine, bad = runner.run(main(*(Request("POST", each.url, [], b"x") for each in (peer, receiver))))
        assert receiver.connections == 1
    assert {(answer.status, len(answer.body)) for answer in fine} == {(200, 40_000)}
    assert {answer.error for answer in bad} == {f"the answer of 127.0.0.1:{peer.port} does not end"}


@pytest.mark.parametrize("how", MAIL)
@pytest.mark.usefixtures("bounded")
def test_a_mail_server_ends_no_attempt_too_late(how: str, tls: Tls) -> None:
    with Peer(MAIL[how](tls)) as peer:
        options = {"host": "127.0.0.1", "port": peer.port, "sender": "a@a.example", "recipients": "b@b.example"}
        answer = of_blocking(Email(options, RecordingSession()), tls)
    assert answer.seconds < DEADLINE + LATE
    assert answer.kind is AnswerKind.TRANSIENT
    assert answer.error.startswith(("no answer: ", "the mail server answered -1: "))
    assert ("it took too long" in answer.error) == how.startswith(("never", "drips", "stalls"))


def test_what_never_speaks_tls_ends_in_time(tls: Tls) -> None:
    with Peer(peers.until_gone) as peer:
        url = f"https://127.0.0.1:{peer.port}/{SECRET}"
        (answer,) = sent(tls, Request("POST", url, [], b"x"))
        blocking = of_blocking(Posting({"url": url}, RecordingSession()), tls)
    assert (answer.kind, blocking.kind) == (AnswerKind.TRANSIENT, AnswerKind.TRANSIENT)
    assert answer.error.startswith(f"no connection to 127.0.0.1:{peer.port} within")
    assert blocking.error == f"no answer from 127.0.0.1:{peer.port}: it took too long"
    assert max(answer.seconds, blocking.seconds) < DEADLINE + LATE


def arrived(connection: socket.socket) -> None:
    """Wait until the other side's system has acknowledged all that was sent: on a busy machine that takes a moment."""
    deadline = time.monotonic() + PATIENCE
    while struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)))[0]:
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("kind", ["", "good"])
@pytest.mark.parametrize("at_once", [True, False])
def test_an_answer_that_nobody_asked_for_is_not_the_next_ones(at_once: bool, kind: str, tls: Tls) -> None:
    said = threading.Event()

    def play(connection: socket.socket) -> None:
        good, unasked = OK + b"Content-Length: 0\r\n\r\n", b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"
        while True:
            peers.request(connection)
            if at_once:
                connection.sendall(good + unasked)
                continue
            connection.sendall(good)
            answered.wait(PATIENCE)
            connection.sendall(unasked)
            arrived(connection)
            said.set()

    async def main(url: str) -> list[int]:
        sender, statuses = Transport(policy=LOOPBACK, ca_bundle=tls.bundle), []
        for _ in range(3):
            future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            sender.start(Request("POST", url, [], b"x"), future.set_result)
            statuses.append((await asyncio.wait_for(future, 20)).status)
            if not at_once:
                answered.set()
                assert await asyncio.to_thread(said.wait, PATIENCE)
                said.clear()
                answered.clear()
        await sender.aclose()
        return statuses

    answered = threading.Event()
    with Peer(play, tls.context(kind)) as peer, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main(peer.url)) == [200, 200, 200]
        assert peer.connections == 3
    session = GuardedSession(Guard(LOOPBACK), ca_bundle=tls.bundle)
    with Peer(peers.answers_twice, tls.context(kind)) as peer, session:
        assert [session.post(peer.url, data=b"x").status_code for _ in range(3)] == [200, 200, 200]


def test_a_connection_by_http_2_may_speak_while_it_is_idle(tls: Tls) -> None:
    """A server pings: the connection stays, and the next request goes out on it."""
    pinged = threading.Event()

    def play(connection: socket.socket) -> None:
        connection.sendall(peers.frame(peers.SETTINGS))
        for stream in (1, 3):
            while f"stream {stream}" not in asked(connection.recv(65_536)):
                pass
            connection.sendall(peers.frame(peers.HEADERS, peers.STATUS_200, 5, stream))
            answered.wait(PATIENCE)
            connection.sendall(peers.frame(peers.PING, bytes(8)))
            pinged.set()
        peers.until_gone(connection)

    def asked(frames: bytes) -> list[str]:
        frames, found = frames.removeprefix(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), []
        while len(frames) >= 9:
            if frames[3] == peers.HEADERS:
                found.append(f"stream {int.from_bytes(frames[5:9], 'big')}")
            frames = frames[9 + int.from_bytes(frames[:3], "big") :]
        return found

    async def main(url: str) -> list[int]:
        sender, statuses = Transport(policy=LOOPBACK, ca_bundle=tls.bundle), []
        for _ in range(2):
            future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            sender.start(Request("POST", url, [], b""), future.set_result)
            statuses.append((await asyncio.wait_for(future, 20)).status)
            answered.set()
            assert await asyncio.to_thread(pinged.wait, PATIENCE)
        await sender.aclose()
        return statuses

    answered = threading.Event()
    with Peer(play, tls.context("h2")) as peer, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main(peer.url)) == [200, 200]
        assert peer.connections == 1


def test_a_thread_is_free_again_after_the_deadline(tls: Tls) -> None:
    with Peer(HTTP["drips its body"].play) as hostile, Peer(HTTP["status 999"].play) as other:
        session = partial(GuardedSession, Guard(LOOPBACK), attempt_timeout=DEADLINE)

        async def main() -> list[Answer]:
            workers = Workers(1, session=session)
            futures: list[asyncio.Future[Answer]] = []
            for peer in (hostile, hostile, other):
                futures.append(asyncio.get_running_loop().create_future())
                workers.start(Posting({"url": peer.url}, RecordingSession()), PAYLOAD, ID, futures[-1].set_result)
            return await asyncio.wait_for(asyncio.gather(*futures), 20)

        answers = asyncio.run(main())
    assert [answer.status for answer in answers] == [0, 0, 999]


# The deadline by itself


def test_a_deadline_wakes_who_waits_for_a_connection() -> None:
    near, far = socket.socketpair()
    deadline = Deadline(0.2)
    with near, far:
        deadline.bind(near)
        deadline.bind(near)
        near.settimeout(PATIENCE)
        assert near.recv(1) == b""
        assert deadline.passed
        with pytest.raises(TimeoutError):
            deadline.bind(far)


def test_a_deadline_that_is_released_leaves_connections_alone() -> None:
    near, far = socket.socketpair()
    deadline = Deadline(PATIENCE)
    with far:
        with near:
            deadline.bind(near)
        deadline.release()
        assert far.recv(1) == b""  # nobody else keeps it open
        deadline.bind(far)


def test_a_session_ends_what_its_service_tries_again_and_what_a_library_opens(tls: Tls) -> None:
    def stubborn(session: GuardedSession, url: str) -> None:
        with session:
            for _ in range(100):
                with suppress(requests.ConnectionError, requests.Timeout):
                    session.post(url, data=b"x")
            with session.guarded(), socket.create_connection(("127.0.0.1", peer.port), PATIENCE) as opened:
                opened.recv(1)

    with Peer(peers.until_gone) as peer:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            stubborn(GuardedSession(Guard(LOOPBACK), attempt_timeout=DEADLINE), peer.url)
        with (
            pytest.raises(TimeoutError),
            GuardedSession(Guard(LOOPBACK), attempt_timeout=DEADLINE) as session,
            session.guarded(),
        ):
            requests.post(peer.url, data=b"x", timeout=PATIENCE)
        assert time.monotonic() - began < 2 * (DEADLINE + LATE)
