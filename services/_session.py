"""The sessions behind `self.session`: one sends at once, one records what `send` wants sent."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NoReturn, TypeAlias
from urllib.parse import urlsplit

import certifi
import requests
from requests.adapters import BaseAdapter
from requests.cookies import RequestsCookieJar
from requests.sessions import merge_setting
from requests.structures import CaseInsensitiveDict

from services._answers import Judgement, Meaning
from services._errors import ServiceError
from services._options import reveal
from services._signature import StandardWebhook

Judge: TypeAlias = Callable[[int, bytes], Judgement | None]
"""Says what an answer of this status with this body means; None leaves it to the status."""

CONNECT_TIMEOUT = 5.0
"""Seconds for a connection, as in the consumer (design 2.4)."""
READ_TIMEOUT = 15.0
"""Seconds without a byte of the answer, as the consumer gives a whole attempt (design 2.4)."""


class Session(requests.Session):
    """What `self.session` is: a `requests` session that knows which delivery it is for."""

    delivery_id: str = ""
    """The same for each attempt at one delivery and each replay of it; empty where a service is on its own.

    The engine sends it as `webhook-id` by itself: it is here for what wants an idempotency key of its own in its
    address or body, and for what is no HTTP request, such as a mail's Message-ID.
    """

    trace_headers: Mapping[str, str] = {}
    """Headers that say which trace the event belongs to (W3C Trace Context); empty where it belongs to none.

    The engine sends them by itself, unless the service sends a `traceparent` of its own.
    """

    timeout: tuple[float, float] = (CONNECT_TIMEOUT, READ_TIMEOUT)
    """To connect, and without a byte of the answer, where nothing else is said; nothing bounds their sum."""

    def connect(self, host: str, port: int) -> socket.socket:
        """Return a TCP connection, for a blocking service that does not speak HTTP; raises OSError.

        It has this session's time-outs. In the consumer it keeps to the rules about addresses.
        """
        opened = socket.create_connection((host, port), self.timeout[0])
        opened.settimeout(self.timeout[1])
        return opened

    def tls_context(self) -> ssl.SSLContext:
        """Return what TLS on such a connection is to be made with: certificates and names are checked."""
        return ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE") or certifi.where())

    def guarded(self) -> AbstractContextManager[None]:
        """Return what a library that opens connections by itself is to be called in.

        In the consumer such connections then keep to the rules about addresses.
        """
        return nullcontext()


class PingSession(Session):
    """A real session for a service on its own: it sends, and an answer other than 2xx raises HTTPError.

    It does what the consumer's transport does where a service could tell: redirects are not followed, time-outs have
    defaults, and where there is a delivery id each request names it. No exception shows more of the address than its
    host: the rest is often a secret.
    """

    def __init__(self, judge: Judge | None = None) -> None:
        """Have 2xx answers judged, too: what a service takes for a failure raises HTTPError."""
        super().__init__()
        self._judge = judge

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """Return the request made ready; a SecretUrl is taken as it is."""
        request.url = reveal(request.url)
        with _only_the_host(request.url):
            prepared = super().prepare_request(request)
        auth = request.auth or self.auth
        if self.delivery_id and isinstance(auth, StandardWebhook):
            _sign(prepared, auth, self.delivery_id)
        return prepared

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None: nobody follows a redirect, so its body and its address are not read either."""

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send and return a 2xx answer; raises requests.RequestException for anything else."""
        if self.delivery_id and "webhook-signature" not in request.headers:  # a signature covers the id
            request.headers["webhook-id"] = self.delivery_id
        if self.trace_headers and not any(name in request.headers for name in ("traceparent", "tracestate")):
            request.headers.update(self.trace_headers)
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = self.timeout
        kwargs["allow_redirects"] = False
        with _only_the_host(request.url):
            response = super().send(request, **kwargs)
        if not 200 <= response.status_code < 300:
            text = f"{_host(request.url)} answered {response.status_code} {response.reason}"
            raise requests.HTTPError(text, request=request, response=response)
        judgement = None if self._judge is None else self._judge(response.status_code, response.content)
        if judgement is not None and judgement.meaning is not Meaning.DELIVERED:
            text = f"{_host(request.url)} answered {response.status_code}, and refuses: {judgement.said}"
            raise requests.HTTPError(text, request=request, response=response)
        return response


def _sign(prepared: requests.PreparedRequest, auth: StandardWebhook, message_id: str) -> None:
    """Sign anew what `auth` has signed under an id of its own."""
    body = prepared.body or b""
    encoded = body.encode() if isinstance(body, str) else bytes(body)
    prepared.headers.update(auth.headers(message_id, int(prepared.headers["webhook-timestamp"]), encoded))


@contextmanager
def _only_the_host(url: object) -> Iterator[None]:
    try:
        yield
    except requests.RequestException as error:
        # urllib3 wraps the cause in a text that has the whole path; the cause itself has not.
        cause = getattr(error.args[0], "reason", None) if error.args else None
        text = f"no answer from {_host(url)}: {type(error).__name__}"
        raise type(error)(f"{text} ({cause})" if cause else text, request=error.request) from None


def _host(url: object) -> str:
    try:
        return urlsplit(str(url)).hostname or "an address without a host"
    except ValueError:
        return "an address that cannot be read"


class Recorded(requests.Response):
    """The answer to a recorded request: there is none yet; takes `raise_for_status()` and `close()` only."""

    def __getattribute__(self, name: str) -> Any:
        if name in ("raise_for_status", "close") or name.startswith("__"):
            return super().__getattribute__(name)
        raise ServiceError(
            f"send reads {name} of an answer, but the request is only recorded: "
            "a service that needs answers sets blocking = True"
        )

    def __repr__(self) -> str:
        return "<Recorded>"

    def raise_for_status(self) -> None:
        """Pass: the engine judges the answer once there is one."""

    def close(self) -> None:
        """Pass: nothing is open."""


_RECORDED = Recorded()
_ONLY_BLOCKING = "send opens a connection, but here requests are only recorded: such a service sets blocking = True"


class RecordingSession(Session):
    """A session that keeps each request in `recorded` and never connects: it has no adapters to do it with.

    Headers, parameters, authentication and cookies that a service sets on the session go into each request.
    Raises ServiceError for what the engine decides and a service cannot: certificates, proxies, hooks.
    """

    recorded: list[requests.Request]
    _jar: RequestsCookieJar | None

    def __init__(self) -> None:
        super().__init__()
        self.headers = CaseInsensitiveDict()  # the engine names itself; requests' own defaults are not the service's
        self._jar = None
        self.recorded = []

    @property
    def cookies(self) -> RequestsCookieJar:
        """Those that the service sets for all its requests; hardly any does, and to ask an empty jar takes its time."""
        if self._jar is None:
            self._jar = RequestsCookieJar()
        return self._jar

    @cookies.setter
    def cookies(self, jar: RequestsCookieJar) -> None:
        self._jar = jar

    def mount(self, prefix: str | bytes, adapter: BaseAdapter) -> None:
        """Pass: the engine owns the wire, and without adapters nothing here can reach it."""

    def connect(self, host: str, port: int) -> NoReturn:
        """Refuse: a connection is no request."""
        raise ServiceError(_ONLY_BLOCKING)

    def guarded(self) -> NoReturn:
        """Refuse: what a library sends cannot be recorded."""
        raise ServiceError(_ONLY_BLOCKING)

    def request(  # type: ignore[override]  # the same parameters, written once
        self,
        method: str,
        url: Any,
        params: Any = None,
        data: Any = None,
        headers: Mapping[str, str | bytes | None] | None = None,
        cookies: Any = None,
        files: Any = None,
        auth: Any = None,
        timeout: object = None,
        allow_redirects: object = None,
        proxies: object = None,
        hooks: object = None,
        stream: object = None,
        verify: object = None,
        cert: object = None,
        json: Any = None,
    ) -> requests.Response:
        """Record one request, its JSON object uncopied; the engine decides time-outs and redirects."""
        if proxies or hooks or stream or verify is not None or cert:
            raise ServiceError("send gives proxies, hooks, stream, verify or cert, which the consumer decides")
        if self.headers:
            headers = merge_setting(headers, self.headers, dict_class=CaseInsensitiveDict)  # type: ignore[no-untyped-call]
        if self.params:
            params = merge_setting(params, self.params)  # type: ignore[no-untyped-call]
        if self._jar:
            cookies = {**self._jar.get_dict(), **(cookies or {})}
        request = requests.Request(method, reveal(url), headers, files, data, params, auth or self.auth, cookies)
        request.json = json
        self.recorded.append(request)
        return _RECORDED

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> NoReturn:
        """Refuse: a prepared request can neither be recorded nor be signed anew for each attempt."""
        raise ServiceError("send prepares a request itself; call self.session.request(), post() or the like instead")
