"""Connections for blocking services: a name goes in, a socket to an address that the egress policy permits comes out.

`Guard` is the check by itself, for whatever speaks over a socket; `GuardedSession` is a `requests` session behind it.
The transport asks the same policy at the same place: where the address that is really connected to is known.
"""

from __future__ import annotations

import errno
import http.client
import io
import smtplib
import socket
import ssl
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import cache, partial
from pathlib import Path
from typing import Any, NoReturn, TypeAlias, cast
from urllib.parse import urlsplit

import certifi
import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from consumer.deadline import Deadline
from consumer.egress import EgressPolicy
from consumer.proxy import ProxyRefused, tunnel
from consumer.settings.values import ServerUrl
from services import PingSession, ServiceBase, ServiceError

AddressInfo: TypeAlias = tuple[int, int, int, str, tuple[Any, ...]]
"""One of `socket.getaddrinfo`'s: family, type, protocol, canonical name, address."""
Resolve: TypeAlias = Callable[[str, int], Sequence[AddressInfo]]
Options: TypeAlias = Sequence[tuple[int, int, int | bytes]]
"""What `socket.setsockopt` is called with."""

Connect: TypeAlias = Callable[[str, int, float | None, Options], socket.socket]
"""What `Guard.connect` is."""

_READ_AT_ONCE = 16_384  # bytes of an answer
# What urllib3 and http.client read without a bound, chunks' sizes for one: http.client's own for a line of a head.
_LONGEST_LINE = 65_536
_MOST_LINES = 1_000  # in a row: ten heads of http.client's most headers
# What a peer did say counts, however late it was: HTTPError has a status, the others a mail server's code.
_ANSWERS = (requests.HTTPError, smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused)


class Refused(Exception):
    """Nothing is connected to, now or ever: the text is one sentence with the host and the reason.

    No `requests.RequestException` and no OSError: a service that handles those has not handled this.
    """


def unguarded(service: type[ServiceBase], allowed: Collection[str]) -> str:
    """Return why a service may not be used, since no guard could cover all that it does, or "" where it may."""
    if not service.unguarded or service.name in allowed:
        return ""
    return (
        f"the service {service.name} connects in ways that the rules about addresses cannot wholly cover;"
        f" SPRINTLY_EGRESS_UNGUARDED={service.name} allows it all the same"
    )


def system_resolver(host: str, port: int) -> Sequence[AddressInfo]:
    """Return the addresses that the system knows for `host`; raises socket.gaierror."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


class Guard:
    """Opens connections to addresses that `policy` permits, and to no others.

    The very address that was judged is the one connected to: a name that means something else a moment later gains
    nothing by it. `resolve` is used in place of the system's resolver. With a `proxy` each connection is a tunnel
    through it: an address is judged here, and what a name resolves to is judged by the proxy.
    """

    def __init__(
        self, policy: EgressPolicy, *, proxy: ServerUrl | None = None, resolve: Resolve = system_resolver
    ) -> None:
        self._policy = policy
        self._proxy = proxy
        self._resolve = resolve

    def connect(self, host: str, port: int, timeout: float | None, options: Options = ()) -> socket.socket:
        """Return a connection to the first permitted address of `host` that answers within `timeout` seconds in all.

        Raises Refused if no address of it is permitted, and OSError (gaierror, TimeoutError …) if none answers. How
        long the resolver takes is its own affair.
        """
        if self._proxy is not None:
            return self._tunnelled(self._proxy, host, port, timeout, options)
        found = self._found(host, port)
        permitted = [info for info in found if self._policy.permits(info[4][0])]
        if found and not permitted:
            raise Refused(f"no connection to {host}: {self._policy.reason(found[0][4][0])}")
        return _first_that_answers(permitted, timeout, options)

    def _tunnelled(
        self, proxy: ServerUrl, host: str, port: int, timeout: float | None, options: Options
    ) -> socket.socket:
        if reason := self._policy.reason_for_host(host):
            raise Refused(f"no connection to {host}: {reason}")
        place = urlsplit(proxy.place)
        opened = _first_that_answers(self._found(str(place.hostname), place.port or 0), timeout, options)
        try:
            return tunnel(opened, proxy, host, port, timeout)
        except ProxyRefused as error:
            opened.close()
            raise Refused(str(error)) from None
        except BaseException:
            opened.close()
            raise

    @contextmanager
    def watching(self, deadline: Deadline | None = None) -> Iterator[None]:
        """Have connections that a library opens by itself meanwhile judged as well, in this context.

        They end by the `deadline`, if there is one.

        Python tells of each before it is made, whoever makes it, by the address itself: one that is not permitted
        fails with an OSError, and so does one by a name, of which nobody knows yet where it leads. Where the library
        gives up because of that, Refused is raised. Nothing is told of threads that the library starts without this
        context, nor of what C code connects to by itself.
        """
        _have_python_tell()
        watch = _Watch(self._policy, deadline)
        token = _watch.set(watch)
        try:
            yield
        except Exception as error:
            if watch.refused and not watch.permitted:
                raise Refused(f"no connection: {watch.refused}") from error
            raise
        finally:
            _watch.reset(token)

    def _found(self, host: str, port: int) -> Sequence[AddressInfo]:
        try:
            return self._resolve(host, port)
        except UnicodeError:  # a label that is empty or too long
            raise Refused(f"no connection to {host}: that is not the name of a host") from None


class _Watch:
    """What became of the addresses that a library wanted to connect to."""

    def __init__(self, policy: EgressPolicy, deadline: Deadline | None) -> None:
        self._policy = policy
        self._deadline = deadline
        self.permitted = False
        self.refused = ""

    def judge(self, address: object) -> None:
        """Raise PermissionError, which goes on to a host's next address, for one that is not permitted."""
        host = str(address[0] if isinstance(address, tuple) and address else address)
        if reason := self._policy.reason(host):
            self.refused = self.refused or reason
            raise PermissionError(errno.EACCES, reason)
        self.permitted = True

    def bind(self, connection: socket.socket) -> None:
        """Have a connection that is about to be made end in time."""
        if self._deadline is not None:
            self._deadline.bind(connection)


_watch: ContextVar[_Watch | None] = ContextVar("_watch", default=None)
# Their second argument is the address: https://docs.python.org/3/library/audit_events.html
_CONNECTING = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _CONNECTING and (watch := _watch.get()) is not None and arguments[1] is not None:
        watch.judge(arguments[1])
        if event == "socket.connect":
            watch.bind(arguments[0])


@cache
def _have_python_tell() -> None:
    """Hear of connections from now on: such a hook stays for good, so it is not there before anybody needs it."""
    sys.addaudithook(_hear)


def _first_that_answers(addresses: Iterable[AddressInfo], timeout: float | None, options: Options) -> socket.socket:
    deadline = None if timeout is None else time.monotonic() + timeout
    failure = OSError("the host has no address")
    for address in addresses:
        try:
            opened = _opened(address, deadline, options)
        except OSError as error:
            failure = error
        else:
            opened.settimeout(timeout)
            return opened
    raise failure


def _opened(info: AddressInfo, deadline: float | None, options: Options) -> socket.socket:
    left = None if deadline is None else deadline - time.monotonic()
    if left is not None and left <= 0:
        raise TimeoutError
    family, kind, protocol, _, address = info
    opened = socket.socket(family, kind, protocol)
    try:
        for option in options:
            opened.setsockopt(*option)
        opened.settimeout(left)
        opened.connect(address)
    except BaseException:
        opened.close()
        raise
    return opened


class _Lines(io.BufferedReader):
    """An answer as its readers have it, of whose lines there are not endlessly many, and none is endless.

    http.client reads one head of 100 after the other, and urllib3 trailers and the size of a chunk up to a line's end,
    which may never come.
    """

    _in_a_row = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        """Return a line, or as much of it as there may be; raises HTTPException after too many."""
        self._in_a_row += 1
        if self._in_a_row > _MOST_LINES:
            raise http.client.HTTPException(f"more than {_MOST_LINES} lines without a body between them")
        return super().readline(_LONGEST_LINE + 1 if size is None or size < 0 else size)

    def read(self, size: int | None = -1, /) -> bytes:
        """Return a piece of a body: what follows is counted anew."""
        self._in_a_row = 0
        return super().read(size)


class _Response(http.client.HTTPResponse):
    """An answer that is read with bounds."""

    def __init__(self, sock: socket.socket, *args: Any, **settings: Any) -> None:
        super().__init__(sock, *args, **settings)
        self.fp = _Lines(self.fp.detach())  # a BufferedReader that has read nothing yet


class _Opened:
    """What both kinds of urllib3's connections have in common here: what opens them, and how answers are read."""

    response_class: Any = _Response

    def __init__(self, *args: Any, connect: Connect, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._open = connect

    def _new_conn(self) -> socket.socket:
        return _connected(self._open, cast(HTTPConnection, self))


class _Connection(_Opened, HTTPConnection):
    pass


class _TlsConnection(_Opened, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


def _connected(connect: Connect, connection: HTTPConnection) -> socket.socket:
    """Do what urllib3's `_new_conn` does, the one place where it opens a socket, and raise what that raises."""
    host = connection.host
    try:
        return connect(host, connection.port, connection.timeout, connection.socket_options or ())
    except socket.gaierror as error:
        raise NameResolutionError(host, connection, error) from error
    except TimeoutError as error:
        raise ConnectTimeoutError(connection, f"no connection within {connection.timeout} s") from error
    except OSError as error:
        raise NewConnectionError(connection, f"no connection: {error}") from error


class GuardedAdapter(HTTPAdapter):
    """Sends by what `connect` opens, trusts `ca_bundle`, and cuts an answer's body after `answer_limit` bytes.

    Raises Refused for an address that is not permitted, and ServiceError for a proxy or a waived certificate. An answer
    that is not there by the `deadline` is none: ReadTimeout is raised.
    """

    def __init__(self, connect: Connect, ca_bundle: Path, answer_limit: int, deadline: Deadline) -> None:
        self._connect = connect
        self._deadline = deadline
        self._ca_bundle = ca_bundle
        self._answer_limit = answer_limit
        super().__init__()

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        """Make the pools, of guarded connections."""
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs)
        pools = {"http": partial(_Pool, connect=self._connect), "https": partial(_TlsPool, connect=self._connect)}
        self.poolmanager.pool_classes_by_scheme = pools

    def proxy_manager_for(self, proxy: Any, **proxy_kwargs: Any) -> NoReturn:
        """Refuse: only the proxy would know which address is really connected to."""
        raise ServiceError("send uses a proxy, which the consumer decides")

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """Send one request; unless it is a stream, its answer is read here, up to the limit."""
        if not verify:
            raise ServiceError("send waives the certificate (verify=False), which the consumer decides")
        trusted = str(self._ca_bundle) if verify is True else verify
        response = super().send(request, stream, timeout, trusted, cert, proxies)
        if not stream:
            try:
                _read(response, self._answer_limit)
            except requests.RequestException as error:
                error.request = request  # without it nobody knows whose answer that was
                raise
            if self._deadline.passed:  # a body without a length ends where the connection was shut
                raise requests.ReadTimeout("the answer was not complete in time", request=request)
        return response


def _read(response: requests.Response, limit: int) -> None:
    """Read an answer's body up to `limit` bytes, unpacked, where `requests` would read on until memory ends."""
    body = bytearray()
    for piece in response.iter_content(_READ_AT_ONCE):
        body += piece
        if len(body) > limit:
            response.close()
            break
    response._content = bytes(body[:limit])  # what `content` returns from now on


class GuardedSession(PingSession):
    """A real session for one attempt of a blocking service: PingSession, with the transport's rules about the network.

    Only addresses that `guard` permits are connected to (else Refused is raised), at each request anew, without proxies
    or logins from the environment. `delivery_id` goes out as `webhook-id`. `ca_bundle` is a PEM file of the authorities
    to trust, certifi's by default. A body is cut after `answer_limit` bytes, unless the service asks for a stream.

    `attempt_timeout` seconds after it was made, whatever it has connected to is shut: those who wait for an answer get
    an error, and what leaves the session's `with` block then is a TimeoutError. Time-outs besides bound the silence.
    """

    def __init__(
        self,
        guard: Guard,
        delivery_id: str = "",
        *,
        user_agent: str = "sprintly-services",
        connect_timeout: float = 5.0,
        read_timeout: float = 15.0,
        attempt_timeout: float = 15.0,
        answer_limit: int = 65_536,
        ca_bundle: Path | None = None,
    ) -> None:
        super().__init__()
        self.delivery_id = delivery_id
        self.timeout = (connect_timeout, read_timeout)
        self._guard = guard
        self._deadline = Deadline(attempt_timeout)
        self._ca_bundle = ca_bundle or Path(certifi.where())
        self.trust_env = False
        self.headers["User-Agent"] = user_agent
        adapter = GuardedAdapter(self._opened, self._ca_bundle, answer_limit, self._deadline)
        for prefix in ("http://", "https://"):
            super().mount(prefix, adapter)

    def mount(self, prefix: str | bytes, adapter: BaseAdapter) -> None:
        """Pass: an adapter of the service's own would connect to anything."""

    def connect(self, host: str, port: int) -> socket.socket:
        """Return a connection to a permitted address of `host`; raises Refused where it has none, and OSError."""
        opened = self._opened(host, port, self.timeout[0])
        opened.settimeout(self.timeout[1])
        return opened

    def _opened(self, host: str, port: int, timeout: float | None, options: Options = ()) -> socket.socket:
        left = self._deadline.left
        opened = self._guard.connect(host, port, left if timeout is None else min(timeout, left), options)
        try:
            self._deadline.bind(opened)
        except BaseException:
            opened.close()
            raise
        opened.settimeout(timeout)
        return opened

    def tls_context(self) -> ssl.SSLContext:
        """Return what trusts the same authorities as requests do."""
        return ssl.create_default_context(cafile=self._ca_bundle)

    def guarded(self) -> AbstractContextManager[None]:
        """Have what a library connects to by itself judged by the same guard."""
        return self._guard.watching(self._deadline)

    def __exit__(self, *raised: Any) -> None:
        """Close all connections; raises TimeoutError in place of an error that comes of the deadline."""
        super().__exit__(*raised)
        error, passed = raised[1], self._deadline.passed
        self._deadline.release()
        if passed and isinstance(error, OSError) and not isinstance(error, _ANSWERS):
            raise TimeoutError from error
