"""Threads for blocking services: a service and a payload go in, one `Answer` comes back on the loop.

A service that speaks `requests` or SMTP by itself tells how it went by returning or raising. What it raises becomes the
answer that the transport would have given. A sentence about it is made from codes, since an exception's text may repeat
an address with its secrets; only what a mail server replied is quoted.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import math
import os
import queue
import smtplib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias
from urllib.parse import urlsplit

import requests

from consumer.clock import Clock, SystemClock
from consumer.guarded import Refused
from consumer.outcome import LONGEST_REASON, Redact, on_one_line, retry_after
from consumer.tracecontext import TraceContext
from consumer.wire import Answer, AnswerKind
from services import NotDelivered, Payload, ServiceBase, Session

Done: TypeAlias = Callable[[Answer], None]

_ANSWER_LIMIT = 65_536  # bytes of an answer's body (DESIGN 2.4)
_ASKS_TO_WAIT = frozenset({429, 503})  # the statuses whose Retry-After counts (DESIGN 2.4)
_STOPPING = Answer(AnswerKind.TRANSIENT, error="the consumer is stopping")
_IMPOSSIBLE = (
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidHeader,
)
_LONGEST_CHAIN = 20  # exceptions behind an exception that are looked at


class _Job(NamedTuple):
    """One attempt, on its way to a thread."""

    ticket: int
    service: ServiceBase
    payload: Payload
    delivery_id: str
    trace: TraceContext | None
    loop: asyncio.AbstractEventLoop


class Workers:
    """Runs `send` of blocking services on up to `threads` threads; everything but `send` happens on one loop.

    `session` makes the session of one attempt, given the delivery's id. A thread cannot be killed: one that hangs is
    lost until it returns, which is why the threads are daemons and the process ends without them.
    """

    def __init__(self, threads: int = 16, *, session: Callable[[str], Session], clock: Clock | None = None) -> None:
        self._most = threads
        self._session = session
        self._clock = clock or SystemClock()
        # concurrent.futures would do, if it did not wait for its threads when the interpreter ends.
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._running: dict[int, Done] = {}
        self._tickets = 0
        self._closed = False

    @property
    def busy(self) -> int:
        """How many attempts were started whose answer has not been handed over."""
        return len(self._running)

    def start(
        self,
        service: ServiceBase,
        payload: Payload,
        delivery_id: str,
        done: Done,
        trace: TraceContext | None = None,
    ) -> None:
        """Send `payload` by a new instance of `service`'s class and call `done` with its Answer.

        The `trace` that the attempt belongs to goes along with the requests of its session.
        `done` is called once, later, and on the loop that is running now. Nothing is raised for what the service or the
        other side does wrong: that is an Answer too. More than there are threads wait for one.
        """
        loop = asyncio.get_running_loop()
        if self._closed:
            loop.call_soon(done, _STOPPING)
            return
        if len(self._threads) < min(self._most, len(self._running) + 1):
            self._start_thread()
        self._tickets += 1
        self._running[self._tickets] = done
        self._jobs.put(_Job(self._tickets, service, payload, delivery_id, trace, loop))

    async def aclose(self) -> None:
        """Take nothing new; what runs gets a transient Answer now, and what comes of it later is dropped.

        It waits for no thread: those that are idle end, those that hang stay until their `send` returns.
        """
        if not self._closed:
            self._closed = True
            self._break_off()
        await asyncio.sleep(0)  # the answers are handed over when this returns

    def _break_off(self) -> None:
        running, self._running = self._running, {}
        for done in running.values():
            asyncio.get_running_loop().call_soon(done, _STOPPING)
        with contextlib.suppress(queue.Empty):
            while True:  # what waits for a thread is not begun any more
                self._jobs.get_nowait()
        for _ in self._threads:
            self._jobs.put(None)

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._work, name=f"worker-{len(self._threads) + 1}", daemon=True)
        thread.start()
        self._threads.append(thread)

    def _work(self) -> None:
        """Be one thread: attempt what comes, until told to end."""
        while (job := self._jobs.get()) is not None:
            answer = self._attempt(job)
            try:
                job.loop.call_soon_threadsafe(self._ended, job.ticket, answer)
            except RuntimeError:  # the loop is closed: there is nobody left who waits for the answer
                return

    def _attempt(self, job: _Job) -> Answer:
        began = self._clock.monotonic()
        try:
            with self._session(job.delivery_id) as session:
                if job.trace is not None:
                    session.trace_headers = job.trace.headers
                type(job.service)(job.service.options, session).send(job.payload)
            answer = Answer(AnswerKind.ANSWERED, 200)
        except BaseException as error:  # noqa: BLE001 - a service is somebody else's code, and may even call sys.exit
            answer = _what_became_of(error, job.service, self._clock.time())
        return answer._replace(seconds=self._clock.monotonic() - began)

    def _ended(self, ticket: int, answer: Answer) -> None:
        done = self._running.pop(ticket, None)
        if done is not None:
            done(answer)


def _what_became_of(error: BaseException, service: ServiceBase, now: float) -> Answer:
    """Return the answer for what a service raised. It never fails: a lane would wait for ever."""
    try:
        return answer_for(error, service.name, now, lambda text: service.redact(text[:LONGEST_REASON]))
    except Exception:  # noqa: BLE001 - an exception of somebody else's may raise even when it is printed
        return _broken(service.name, type(error).__name__)


def answer_for(error: BaseException, name: str, now: float, redact: Redact) -> Answer:
    """Return what it means that the service `name` raised `error`; `now` is the time of day, for `Retry-After`.

    What it quotes of others goes through `redact`, and only then is it cut.
    """
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return _of_response(error.response, now)
    if isinstance(error, Refused):
        return Answer(AnswerKind.REFUSED, error=str(error))
    if isinstance(error, NotDelivered):
        return Answer(AnswerKind.TRANSIENT, error=on_one_line(redact(str(error))))
    if isinstance(error, _IMPOSSIBLE):
        return Answer(AnswerKind.REFUSED, error=f"the request cannot be sent: {type(error).__name__}")
    if isinstance(error, smtplib.SMTPException):
        return _of_mail(error, redact)
    if isinstance(error, requests.exceptions.JSONDecodeError):  # a proxy's page on maintenance, say
        return Answer(AnswerKind.TRANSIENT, error="the answer is not the JSON that the service expects")
    if isinstance(error, OSError):  # a requests.RequestException is one, too
        return Answer(AnswerKind.TRANSIENT, error=_no_answer(error))
    return _broken(name, " ".join(redact(f"{type(error).__name__}: {error}").split()))


def _broken(name: str, said: str) -> Answer:
    return Answer(AnswerKind.BROKEN, error=f"the service {name} failed on this event: {said}")


def _of_response(response: requests.Response, now: float) -> Answer:
    status = response.status_code
    if 200 <= status < 300:  # {"ok": false}, say: only the service knows what is wrong with it
        said = f"{_host_of(response) or 'the receiver'} answered {status}, which the service takes for a failure"
        return Answer(AnswerKind.TRANSIENT, error=said)
    asked = response.headers.get("Retry-After") if status in _ASKS_TO_WAIT else None
    wait = math.ceil(retry_after(asked, now) or 0)
    return Answer(AnswerKind.ANSWERED, status, _beginning(response), str(wait) if wait else None)


def _beginning(response: requests.Response) -> bytes:
    """Return the body's first 64 KiB, as far as they can be had: the service may have asked for a stream."""
    try:
        return bytes(next(response.iter_content(_ANSWER_LIMIT), b""))
    except Exception:  # noqa: BLE001 - the status counts, whatever becomes of the body
        return b""


def _of_mail(error: smtplib.SMTPException, redact: Redact) -> Answer:
    """4xx may go well another time, 5xx will not (RFC 5321, 4.2.1); a server that greets with it is down for now."""
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return Answer(AnswerKind.REFUSED, error="the mail server does not support what the service asks for")
    code, text = _reply(error)
    if not code:
        return Answer(AnswerKind.TRANSIENT, error=_no_answer(error))
    final = 500 <= code < 600 and not isinstance(error, smtplib.SMTPConnectError)
    kind = AnswerKind.REFUSED if final else AnswerKind.TRANSIENT
    return Answer(kind, error=f"the mail server answered {code}: {on_one_line(redact(text))}")


def _reply(error: smtplib.SMTPException) -> tuple[int, str]:
    """Return the mail server's code and text; of several recipients', the one with the most hope. (0, ""): no reply."""
    reply: tuple[int, bytes | str] = (0, "")
    if isinstance(error, smtplib.SMTPResponseException):
        reply = (error.smtp_code, error.smtp_error)
    elif isinstance(error, smtplib.SMTPRecipientsRefused):
        reply = min(error.recipients.values(), key=lambda reply: reply[0], default=reply)
    code, text = reply
    return code, text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)


def _no_answer(error: OSError) -> str:
    """Return what an error and those behind it tell by their types and codes, and whose answer did not come."""
    chain = list(_chain(error))
    host = next(filter(None, map(_host_of, chain)), "")
    cause = next(filter(None, map(_cause, chain)), type(error).__name__)
    return f"no answer from {host}: {cause}" if host else f"no answer: {cause}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    behind: BaseException | None = error
    for _ in range(_LONGEST_CHAIN):
        if behind is None:
            return
        yield behind
        behind = behind.__cause__ or behind.__context__


def _host_of(owner: object) -> str:
    """Return host and port of the request that an exception or a response belongs to, or "" if it belongs to none."""
    url = getattr(getattr(owner, "request", None), "url", None)
    try:
        return urlsplit(str(url or "")).netloc.rpartition("@")[2]
    except ValueError:
        return ""


def _cause(error: BaseException) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted ({getattr(error, 'verify_message', '') or 'it is not valid'})"
        case ssl.SSLError():
            return f"no TLS connection ({getattr(error, 'reason', '') or 'it broke off'})"
        case socket.gaierror() | socket.herror():
            return "its name could not be resolved"
        case requests.ConnectTimeout():
            return "no connection in time"
        case requests.Timeout() | TimeoutError():
            return "it took too long"
        case smtplib.SMTPServerDisconnected(__context__=TimeoutError()):  # what smtplib makes of a time-out
            return "it took too long"
        case http.client.RemoteDisconnected() | smtplib.SMTPServerDisconnected():
            return "it closed the connection"
        case OSError(errno=int(number)):
            return os.strerror(number)
        case _:
            return ""
