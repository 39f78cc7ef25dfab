"""The wire: sends a ready HTTP request by libcurl and hands back one `Answer`, whatever the other side does.

The only module that imports pycurl. What libcurl reports becomes a sentence here, made from its error code: a URL's
path, query and user information may hold a customer's secret and are never part of one; the host is named.
"""

from __future__ import annotations

import asyncio
import os
import select
import selectors
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import certifi
import pycurl

from consumer.egress import EgressPolicy
from consumer.errors import ConfigurationError
from consumer.proxy import REFUSAL
from consumer.settings.values import ServerUrl
from consumer.wire import Answer, AnswerKind, Request

_CONNECTIONS_KEPT = 4_096  # as many as there may be attempts in flight (DESIGN 2.4)
# Requests in flight on one pool of connections. For each, libcurl looks through those to the same host until one is
# idle: with 3,000 in flight a request took 63 µs on one pool, and 31 on these.
_POOL = 128
_HANDLES_KEPT = 1_024  # idle ones; each keeps the last body that it sent
_BODILESS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})  # others say Content-Length: 0, as `requests` does
# No waiting for "100 Continue" before a large body, and no content type that the request does not name itself.
_UNSENT_HEADERS = ("Expect:", "Content-Type:")
_CLOSING_WAIT = 1.0  # seconds that closing waits for hanging lookups
_ASKS_TO_WAIT = frozenset({429, 503})  # the statuses whose Retry-After counts (DESIGN 2.4)
_STOPPING = "the consumer is stopping"
_BAD_URL = "the URL cannot be called: it needs http:// or https://, a host, and nothing but printable ASCII"
_WRONG_LOGIN = "the egress proxy asks for other credentials (SPRINTLY_EGRESS_PROXY)"
_TOO_LARGE = "the request's URL, or a header of it, is too large for libcurl"  # 8 MB

_SOCKET_BAD: int = pycurl.SOCKET_BAD
_NO_END = -1  # none of libcurl's: the answer does not end
_CURLE_HTTP2_STREAM = 92  # these have no names in pycurl
_CURLE_TOO_LARGE = 100  # a line of 100 KB, 300 KB or 5,000 lines of a head, interim answers and trailers included
_SENTENCES = {
    _NO_END: "the answer of {host} does not end",
    pycurl.E_UNSUPPORTED_PROTOCOL: "{host} answered without a status line",  # HTTP/0.9
    pycurl.E_COULDNT_RESOLVE_PROXY: "the name of the egress proxy could not be resolved",
    pycurl.E_COULDNT_RESOLVE_HOST: "the name of {host} could not be resolved",
    pycurl.E_COULDNT_CONNECT: "no connection to {host}{cause}",
    pycurl.E_FTP_WEIRD_SERVER_REPLY: "{host} gave an answer that is not HTTP",  # of HTTP too, whatever its name says
    pycurl.E_HTTP2: "{host} broke the rules of HTTP/2",
    _CURLE_HTTP2_STREAM: "{host} broke off its answer (HTTP/2)",
    _CURLE_TOO_LARGE: "the headers of {host}'s answer are too large",
    pycurl.E_PARTIAL_FILE: "{host} closed the connection before the end of its answer",
    pycurl.E_GOT_NOTHING: "{host} closed the connection without an answer",
    pycurl.E_SEND_ERROR: "the connection to {host} broke while sending{cause}",
    pycurl.E_RECV_ERROR: "the connection to {host} broke while reading its answer{cause}",
    pycurl.E_SSL_CONNECT_ERROR: "no TLS connection to {host}: {message}",
    pycurl.E_PEER_FAILED_VERIFICATION: "the certificate of {host} is not trusted: {message}",
}
# Only of TLS libcurl's own words are passed on: it happens before the request is sent, so they cannot quote from it.

_OPTIONS: Sequence[tuple[int, Any]] = (
    # Not the environment's http_proxy: it would hide the real address (DESIGN 4.13). Nor is its no_proxy heeded.
    (pycurl.PROXY, ""),
    (pycurl.NOPROXY, ""),
    (pycurl.HEADEROPT, pycurl.HEADER_SEPARATE),  # a request's headers are not for the proxy
    (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
    (pycurl.FOLLOWLOCATION, 0),
    (pycurl.NETRC, pycurl.NETRC_IGNORED),
    (pycurl.NOSIGNAL, 1),
    (pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2),
    (pycurl.SSL_VERIFYPEER, 1),
    (pycurl.SSL_VERIFYHOST, 2),
    (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS),
    (pycurl.HTTP09_ALLOWED, 0),
    # One for each attempt in flight, kept until its end: 4,096 of them took 213 MB with 64 KiB, the default, and 91 MB
    # with this, the least.
    (pycurl.UPLOAD_BUFFERSIZE, 16_384),
    # An answer is short, or is cut. libcurl reads ten such pieces before others have their turn: of what is the most
    # laborious to read (the extension of a chunk) those take 1 ms, and ten of its usual 16 KB would take 5.
    (pycurl.BUFFERSIZE, 4_096),
)
# Bytes of an answer after which it is broken off: more than there can be in a head that libcurl takes (300 KB) with a
# body up to the limit. An endless one of which neither grows (chunks' extensions) would be read until the deadline.
_ENDLESS = 1 << 20
_BYTES_RECEIVED = slice(128, 136)  # of Linux's struct tcp_info (linux/tcp.h), there since 4.1


Done: TypeAlias = Callable[[Answer], None]


class Transport:
    """Sends requests on the running loop, as many at a time as are started, over connections that it keeps.

    Addresses that `policy` does not permit are not connected to. With a `proxy` everything goes through it: addresses
    in URLs are judged here, and what names resolve to is judged by the proxy. `connect_timeout` and `attempt_timeout`
    are hard deadlines in seconds (DESIGN 2.4); an answer's body is cut after `answer_limit` bytes. `ca_bundle` is a PEM
    file of the authorities to trust, certifi's by default; ConfigurationError is raised when it cannot be read.
    `resolve` holds "name:port:address,…" lines that are used in place of the system's resolver.
    """

    def __init__(
        self,
        *,
        policy: EgressPolicy,
        proxy: ServerUrl | None = None,
        user_agent: str = "sprintly-services",
        connect_timeout: float = 5.0,
        attempt_timeout: float = 15.0,
        answer_limit: int = 65_536,
        ca_bundle: Path | None = None,
        resolve: Sequence[str] = (),
    ) -> None:
        self._policy = policy
        self._answer_limit = answer_limit
        self._options = [
            *_OPTIONS,
            (pycurl.USERAGENT, user_agent),
            (pycurl.CONNECTTIMEOUT_MS, round(connect_timeout * 1000)),
            (pycurl.TIMEOUT_MS, round(attempt_timeout * 1000)),
            (pycurl.CAINFO, str(_readable(ca_bundle or Path(certifi.where())))),
            (pycurl.RESOLVE, list(resolve)),
            *_through(proxy),
        ]
        self._proxied = proxy is not None
        self._pools = [_Multi(self._ended, self._transfers, _CONNECTIONS_KEPT)]
        self._roomy = 0  # the first pool that may have room
        self._closed = False
        self._idle: list[_Handle] = []
        self._running: dict[Any, tuple[_Handle, Done, _Multi]] = {}
        self._results: deque[tuple[Done, Answer]] = deque()

    @property
    def in_flight(self) -> int:
        """How many requests were started whose answer has not been handed over."""
        return len(self._running) + len(self._results)

    def start(self, request: Request, done: Done) -> None:
        """Send `request` and call `done` with its Answer: once, later, and on the loop that is running now.

        Nothing is raised for what is wrong with the request or the other side: that is an Answer too. The headers need
        no Content-Length: libcurl says it. `retry_after` is given for a 429 or 503, in seconds: libcurl counts a date
        from now, and one that has passed is None.
        """
        if self._closed:
            self._later(done, Answer(AnswerKind.TRANSIENT, error=_STOPPING))
            return
        handle = self._idle.pop() if self._idle else self._new_handle()
        try:
            handle.load(request)
        except (ValueError, pycurl.error) as problem:
            handle.curl.close()
            error = str(problem) if isinstance(problem, ValueError) else _TOO_LARGE
            self._later(done, Answer(AnswerKind.REFUSED, error=error))
            return
        pool = self._pool()
        self._running[handle.curl] = (handle, done, pool)
        pool.add(handle.curl)

    async def aclose(self) -> None:
        """Break off what is in flight (each gets a transient Answer) and close every connection."""
        if self._closed:
            return
        self._closed = True
        for curl in list(self._running):
            _, done, pool = self._running.pop(curl)
            self._results.append((done, Answer(AnswerKind.TRANSIENT, error=_STOPPING)))
            pool.remove(curl)
            curl.close()
        while self._idle:
            self._idle.pop().curl.close()
        # libcurl waits for lookups that the system's resolver has not answered, which may take ten seconds and more: so
        # neither the loop nor the end of the process has to.
        closing = threading.Thread(target=_all, args=[pool.close() for pool in self._pools], daemon=True)
        closing.name = "transport-close"
        closing.start()
        self._hand_over()
        await asyncio.to_thread(closing.join, _CLOSING_WAIT)

    def _pool(self) -> _Multi:
        """Return the first pool that has room, so that few requests need few connections."""
        while self._pools[self._roomy].in_flight >= _POOL:
            self._roomy += 1
            if self._roomy == len(self._pools):
                self._pools.append(_Multi(self._ended, self._transfers, _POOL))
        return self._pools[self._roomy]

    def _new_handle(self) -> _Handle:
        return _Handle(self._options, self._policy, self._answer_limit, proxied=self._proxied)

    def _later(self, done: Done, answer: Answer) -> None:
        self._results.append((done, answer))
        asyncio.get_running_loop().call_soon(self._hand_over)

    def _ended(self, pool: _Multi, transfers: Sequence[tuple[Any, int, str]]) -> None:
        """Hand over the answers of transfers that came to an end: (curl, error code or 0, message) of each."""
        self._roomy = min(self._roomy, self._pools.index(pool))
        for curl, code, message in transfers:
            handle, done, _ = self._running.pop(curl)
            self._results.append((done, handle.answer(code, message)))
            if len(self._idle) < _HANDLES_KEPT:
                self._idle.append(handle)
            else:
                curl.close()
        self._hand_over()

    def _transfers(self, pool: _Multi) -> list[Any]:
        return [curl for curl, (_, _, where) in self._running.items() if where is pool]

    def _hand_over(self) -> None:
        try:
            while self._results:
                done, answer = self._results.popleft()
                done(answer)
        finally:
            if self._results:  # a `done` raised, and the loop reports it: the others get their answers all the same
                asyncio.get_running_loop().call_soon(self._hand_over)


class _Handle:
    """One libcurl easy handle, used for one attempt after the other.

    What all attempts share is set once; `load` sets the rest, or leaves it where the last request had the same, since
    setting all of it would cost more than sending.
    """

    __slots__ = (
        "_body",
        "_cut",
        "_dialled",
        "_limit",
        "_policy",
        "_proxied",
        "_refusal",
        "_room",
        "_shape",
        "_url",
        "curl",
    )

    def __init__(
        self, options: Sequence[tuple[int, Any]], policy: EgressPolicy, answer_limit: int, *, proxied: bool
    ) -> None:
        self._policy = policy
        self._proxied = proxied
        self._limit = answer_limit
        self._url = ""
        self._shape = ("", False)
        self.curl = pycurl.Curl()
        for option, value in options:
            self.curl.setopt(option, value)
        self.curl.setopt(pycurl.OPENSOCKETFUNCTION, self._open_socket)
        self.curl.setopt(pycurl.WRITEFUNCTION, self._write)

    def load(self, request: Request) -> None:
        """Make ready for `request`; raises ValueError or pycurl.error if it cannot be sent: then drop the handle."""
        method, url, headers, body = request
        if body is None and method not in _BODILESS:
            body = b""
        if url != self._url:
            self._set_url(url)
        if (method, body is not None) != self._shape:
            self._set_shape(method, body is not None)
        if body is not None:
            self.curl.setopt(pycurl.POSTFIELDS, body)
        self.curl.setopt(pycurl.HTTPHEADER, _checked(headers))
        self._body: list[bytes] = []
        self._room = self._limit
        self._cut = self._dialled = False
        self._refusal = ""

    def answer(self, code: int, message: str) -> Answer:
        """Return what the attempt came to, which libcurl ended with an error's `code` and `message`, or with 0."""
        curl = self.curl
        seconds: float = curl.getinfo(pycurl.TOTAL_TIME)
        if code and not self._cut:
            return self._failure(code, message, seconds)
        status: int = curl.getinfo(pycurl.RESPONSE_CODE)
        if status < 200:
            return Answer(AnswerKind.TRANSIENT, error=f"{_host(self._url)} gave no final answer", seconds=seconds)
        if status == 407 and self._proxied:
            return Answer(AnswerKind.TRANSIENT, error=_WRONG_LOGIN, seconds=seconds)
        wait = curl.getinfo(pycurl.RETRY_AFTER) if status in _ASKS_TO_WAIT else 0
        return Answer(AnswerKind.ANSWERED, status, b"".join(self._body), str(wait) if wait else None, "", seconds)

    def _failure(self, code: int, message: str, seconds: float) -> Answer:
        if code == pycurl.E_URL_MALFORMAT:
            return Answer(AnswerKind.REFUSED, error=_BAD_URL, seconds=seconds)
        if self._refusal and not self._dialled:
            return Answer(
                AnswerKind.REFUSED, error=f"no connection to {_host(self._url)}: {self._refusal}", seconds=seconds
            )
        if self._proxied and (said := self.curl.getinfo(pycurl.HTTP_CONNECTCODE)) >= 300:
            return self._untunnelled(said, seconds)
        return Answer(AnswerKind.TRANSIENT, error=self._sentence(code, message, seconds), seconds=seconds)

    def _untunnelled(self, status: int, seconds: float) -> Answer:
        """Return what it means that the proxy opened no tunnel; that it never will for this host is a refusal."""
        host = _host(self._url)
        if status == REFUSAL:
            return Answer(AnswerKind.REFUSED, error=f"the egress proxy refuses to connect to {host}", seconds=seconds)
        error = f"the egress proxy answered {status} to a connection to {host}"
        return Answer(AnswerKind.TRANSIENT, error=_WRONG_LOGIN if status == 407 else error, seconds=seconds)

    def _sentence(self, code: int, message: str, seconds: float) -> str:
        host = _host(self._url) + " by way of the egress proxy" * self._proxied
        if code == pycurl.E_OPERATION_TIMEDOUT:
            sent = self.curl.getinfo(pycurl.REQUEST_SIZE)
            return f"no {'complete answer from' if sent else 'connection to'} {host} within {seconds:.1f} s"
        errno = self.curl.getinfo(pycurl.OS_ERRNO)
        cause = f": {os.strerror(errno)}" if errno else ""
        sentence = _SENTENCES.get(code, "the attempt at {host} failed (libcurl's error {code})")
        return sentence.format(host=host, cause=cause, message=message, code=code)

    def _set_url(self, url: str) -> None:
        if not url[:8].lower().startswith(("http://", "https://")) or not url.isascii() or "\0" in url:
            raise ValueError(_BAD_URL)
        if self._proxied and (reason := self._policy.reason_for_host(_hostname(url))):
            raise ValueError(f"no connection to {_host(url)}: {reason}")
        self.curl.setopt(pycurl.URL, url)
        self._url = url

    def _set_shape(self, method: str, has_body: bool) -> None:
        if not (method.isascii() and method.isalpha()):
            raise ValueError("the request's method is not a word of ASCII letters")
        self.curl.setopt(pycurl.HTTPGET, 1)  # undoes both of the others
        if has_body:
            self.curl.setopt(pycurl.POST, 1)
        elif method == "HEAD":
            self.curl.setopt(pycurl.NOBODY, 1)
        self.curl.setopt(pycurl.CUSTOMREQUEST, method)
        self._shape = (method, has_body)

    def _open_socket(self, _purpose: int, address: Any) -> socket.socket | int:
        """Called by libcurl with each address of the host that it is about to connect to: the one really used.

        With a proxy that is the proxy's, which the operator has named.
        """
        refusal = "" if self._proxied else self._policy.reason(address.addr[0])
        if refusal:
            self._refusal = refusal
            return _SOCKET_BAD
        self._dialled = True
        try:
            return socket.socket(address.family, address.socktype, address.protocol)
        except OSError:  # no file descriptor is left, say: this attempt has failed, the next one may not
            return _SOCKET_BAD

    def _write(self, data: bytes) -> int:
        """Called by libcurl with each piece of the answer's body; taking less than all of it ends the transfer."""
        taken = data[: self._room]
        self._body.append(taken)
        self._room -= len(taken)
        self._cut = len(taken) < len(data)
        return len(taken)


class _PortablePoller:
    """The part of `select.epoll` that `_Multi` needs, for systems that have none (macOS); slower."""

    def __init__(self) -> None:
        self._selector: Any = selectors.DefaultSelector()
        self.fileno = self._selector.fileno
        self.unregister = self._selector.unregister
        self.close = self._selector.close

    def register(self, fd: int, events: int) -> None:
        self._selector.register(fd, _ACTIONS[events])

    def modify(self, fd: int, events: int) -> None:
        self._selector.modify(fd, _ACTIONS[events])

    def poll(self, timeout: float) -> list[tuple[int, int]]:
        return [(key.fd, _EVENTS[actions]) for key, actions in self._selector.select(timeout)]


# Poller events (epoll's numbers) by libcurl's and the selectors' (which are the same), and back.
_EVENTS = {pycurl.POLL_IN: 1, pycurl.POLL_OUT: 4, pycurl.POLL_INOUT: 5}
_WRITABLE = _EVENTS[pycurl.POLL_OUT]
_ACTIONS = {1: pycurl.CSELECT_IN, 4: pycurl.CSELECT_OUT, 5: pycurl.CSELECT_IN | pycurl.CSELECT_OUT}


class _Multi:
    """libcurl's event interface on the running loop, with a pool of connections, of which it keeps so many.

    `ended` gets the transfers that came to an end; `transfers` tells which are under way.

    pycurl's AsyncCurlMulti does the same, but by a future and by the loop's `add_reader` and `remove_reader` for each
    request: six system calls under uvloop, and half as much CPU again for the whole request. Here all sockets are in
    one poller, which alone the loop watches, and a timer is moved only if it has to ring earlier.
    """

    def __init__(
        self,
        ended: Callable[[_Multi, Sequence[tuple[Any, int, str]]], None],
        transfers: Callable[[_Multi], list[Any]],
        kept: int,
    ) -> None:
        self.in_flight = 0
        self._closed = False
        self._ended = ended
        self._transfers = transfers
        self._poller: Any = select.epoll() if hasattr(select, "epoll") else _PortablePoller()
        self._watched: dict[int, bool] = {}  # each socket in the poller, and whether libcurl waits for it
        self._multiplexed: set[int] = set()  # those that speak HTTP/2
        self._suspects: dict[int, int] = {}  # sockets that have much to read, and the bytes that had come before
        self._hurried = False  # whether libcurl wants to be called again at once
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.Handle | None = None
        self._rings_at = inf  # when `_timer` calls libcurl, in the loop's time; too early does no harm
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, kept)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)

    def add(self, curl: Any) -> None:
        """Begin a transfer; it starts moving with the loop's next turn."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._poller.fileno(), self._on_ready)
        self._multi.add_handle(curl)
        self.in_flight += 1

    def remove(self, curl: Any) -> None:
        """Break a transfer off."""
        self._multi.remove_handle(curl)
        self.in_flight -= 1

    def close(self) -> Callable[[], None]:
        """Take no more transfers, and return what closes all connections, which may take its time."""
        self._closed = True
        if self._loop is not None:
            self._loop.remove_reader(self._poller.fileno())
        if self._timer is not None:
            self._timer.cancel()
        self._poller.close()
        close: Callable[[], None] = self._multi.close
        return close

    def _on_socket(self, what: int, fd: int, _multi: Any, _data: Any) -> None:
        """Called by libcurl when it begins or ceases to wait for a socket.

        A socket that it ceases to wait for stays in the poller, since its connection is about to be used again: to take
        it out and put it in again took a quarter of what a request takes.
        """
        if self._closed:
            return
        events = _EVENTS.get(what)
        if events is None:
            if fd in self._watched:
                self._watched[fd] = False
                self._suspects.pop(fd, None)
            return
        if fd in self._watched:
            self._watch_again(fd, events)
        else:
            self._watch_new(fd, events)
        self._watched[fd] = True

    def _watch_new(self, fd: int, events: int) -> None:
        self._multiplexed.discard(fd)
        self._poller.register(fd, events)

    def _watch_again(self, fd: int, events: int) -> None:
        try:
            self._poller.modify(fd, events)
        except FileNotFoundError:  # it was closed while nobody waited for it: this is a new one of the same number
            self._watch_new(fd, events)

    def _on_timer(self, milliseconds: int) -> None:
        """Called by libcurl to say when it wants to be called again; a negative number means not at all."""
        if self._closed or self._loop is None or milliseconds < 0:
            return
        self._hurried = not milliseconds
        due = self._loop.time() + milliseconds / 1000
        if due < self._rings_at:
            if self._timer is not None:
                self._timer.cancel()
            self._rings_at = due
            self._timer = self._loop.call_at(due, self._on_ring)

    def _on_ring(self) -> None:
        while self._shut_unasked(self._poller.poll(0)):  # what begins now may be about to use one of them
            pass
        self._timer, self._rings_at = None, inf
        self._hurried = False
        self._multi.socket_action(
            pycurl.SOCKET_TIMEOUT, 0
        )  # libcurl says anew when the next is, also if this was early
        if self._hurried:  # there is an answer of which it has read as much at once as it does, and there is more
            self._break_off_endless()
        self._collect()

    def _break_off_endless(self) -> None:
        """End the transfers of which more has come than an answer can have."""
        for fd, waited_for in list(self._watched.items()):
            if waited_for and fd not in self._multiplexed:
                received = _bytes_received(fd)
                if received - self._suspects.setdefault(fd, received) > _ENDLESS:
                    self._break_off(fd)

    def _break_off(self, fd: int) -> None:
        for curl in self._transfers(self):
            if curl.getinfo(pycurl.ACTIVESOCKET) == fd and not _is_http2(curl):
                self.remove(curl)
                self._ended(self, [(curl, _NO_END, "")])
                return

    def _on_ready(self) -> None:
        ready = self._poller.poll(0)
        self._shut_unasked(ready)  # first: what libcurl does may give its number to a file of somebody else's
        for fd, events in ready:
            if self._watched.get(fd):
                # A hang-up or an error is for libcurl to find out, by reading and writing.
                self._multi.socket_action(fd, _ACTIONS.get(events, pycurl.CSELECT_IN | pycurl.CSELECT_OUT))
        self._collect()

    def _shut_unasked(self, ready: Sequence[tuple[int, int]]) -> bool:
        """Shut the idle connections that have something to read: libcurl then opens new ones in their place.

        Most have been closed by the other side. The rest hold an answer that nobody asked for, and libcurl would take
        it for that to its next request, which may be another subscription's. Not so by HTTP/2, whose answers say what
        they are to, and where a connection's own affairs may come at any time: there libcurl sees for itself.
        Returns whether there is more to look at: some had been watched for being writable only.
        """
        again = False
        for fd, events in ready:
            if self._watched.get(fd, True):
                continue
            with suppress(OSError):  # libcurl has closed it since it was polled, which takes it out as well
                if events == _WRITABLE:  # it is no more than that, and is still watched for it
                    self._poller.modify(fd, _EVENTS[pycurl.POLL_IN])
                    again = True
                    continue
                self._poller.unregister(fd)
                if fd not in self._multiplexed:
                    with socket.socket(fileno=os.dup(fd)) as connection:
                        connection.shutdown(socket.SHUT_RDWR)
            del self._watched[fd]
        return again

    def _collect(self) -> None:
        _, succeeded, failed = self._multi.info_read()
        for curl in succeeded:
            if _is_http2(curl):
                self._multiplexed.add(curl.getinfo(pycurl.ACTIVESOCKET))
        transfers = [*((curl, 0, "") for curl in succeeded), *failed]
        for curl, _, _ in transfers:
            self.remove(curl)
        if transfers:
            self._ended(self, transfers)


def _is_http2(curl: Any) -> bool:
    return bool(curl.getinfo(pycurl.INFO_HTTP_VERSION) == pycurl.CURL_HTTP_VERSION_2_0)


def _bytes_received(fd: int) -> int:
    """Return how much has ever come by a TCP socket, acknowledged or not; 0 where the system does not tell."""
    if not hasattr(socket, "TCP_INFO"):
        return 0
    try:
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=fd)
    except OSError:  # libcurl has closed it, or it is a pipe of its own
        return 0
    try:
        told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED.stop)
    except OSError:
        return 0
    finally:
        connection.detach()  # it is libcurl's
    return int.from_bytes(told[_BYTES_RECEIVED], sys.byteorder)


def _all(*steps: Callable[[], None]) -> None:
    for step in steps:
        step()


def _checked(headers: Sequence[str]) -> list[str] | list[bytes]:
    text = "".join(headers)
    if "\n" in text or "\r" in text or "\0" in text:
        raise ValueError("a header of the request has a line break in it")
    lines = [*headers, *_UNSENT_HEADERS]
    return lines if text.isascii() else _latin1(lines)


def _latin1(lines: Sequence[str]) -> list[bytes]:
    try:
        return [line.encode("latin-1") for line in lines]  # as `requests` sends them
    except UnicodeEncodeError:
        raise ValueError("a header of the request has a character beyond Latin-1 in it") from None


def _through(proxy: ServerUrl | None) -> Iterator[tuple[int, Any]]:
    """Yield the options that have libcurl go through the proxy, whatever the destination."""
    if proxy is None:
        return
    yield pycurl.PROXY, proxy.place
    if proxy.login:
        user, password = proxy.login
        yield pycurl.PROXYUSERNAME, user
        yield pycurl.PROXYPASSWORD, password


def _hostname(url: str) -> str:
    """The host of a URL, as the proxy is to be told of it; nothing where parsers may differ about it."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _host(url: str) -> str:
    """The host and port of a URL that libcurl took, for sentences."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2] or "the host"
    except ValueError:  # Python is stricter, about brackets for one
        return "the host"


def _readable(bundle: Path) -> Path:
    if not os.access(bundle, os.R_OK):
        raise ConfigurationError(f"The CA bundle {bundle} cannot be read")
    return bundle
