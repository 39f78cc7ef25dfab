"""What a service makes of an event: `requests` objects in, requests for the wire out.

The service speaks `requests`; this turns what it recorded into bytes, once for a delivery, and signs each attempt.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import orjson
import requests
from requests.utils import check_header_validity

from consumer.event import Event
from consumer.outcome import masked
from consumer.tracecontext import TraceContext
from consumer.wire import Request
from services import ServiceBase, StandardWebhook, record

JSON_HEADER = "Content-Type: application/json"


class RenderError(Exception):
    """A service could not make requests of an event: this delivery fails for good, and no other."""


class Rendered(NamedTuple):
    """One request as the service wants it, before the headers that differ from attempt to attempt."""

    method: str
    url: str
    headers: list[str]
    body: bytes | None
    signature: StandardWebhook | None


def render(service: ServiceBase, event: Event, delivery_id: str = "") -> list[Rendered]:
    """Return the requests that `service` makes of `event`, in order; an empty list if it makes none.

    Raises RenderError, with one sentence that holds none of the service's secrets.
    """
    try:
        return [_rendered(request, event) for request in record(service, event.payload, delivery_id)]
    except Exception as error:  # noqa: BLE001 - a service is somebody else's code; whatever it raises concerns one delivery
        said = " ".join(masked(_told(error), service.redact).split())
        raise RenderError(f"the service {service.name} failed on this event: {said}") from None


def request_for(rendered: Rendered, delivery_id: str, timestamp: int, trace: TraceContext | None = None) -> Request:
    """Return the request of one attempt, with the delivery's id and, if asked for, its signature at `timestamp` (s).

    The `trace` that it belongs to goes along, unless the service names one itself.
    """
    headers = [*rendered.headers, f"webhook-id: {delivery_id}"]
    if trace is not None:
        headers += trace.lines(rendered.headers)
    if rendered.signature is not None:
        signed = rendered.signature.headers(delivery_id, timestamp, rendered.body or b"")
        headers += [f"{name}: {value}" for name, value in signed.items() if name != "webhook-id"]
    return Request(rendered.method, rendered.url, headers, rendered.body)


def _told(error: Exception) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - somebody else's exception may raise even when it is printed
        return type(error).__name__


def _rendered(request: requests.Request, event: Event) -> Rendered:
    signature = request.auth if isinstance(request.auth, StandardWebhook) else None
    plain = not (request.files or request.params or request.cookies) and request.data in (None, [], {})
    if plain and request.json is not None and (signature is not None or request.auth is None):
        headers = _header_lines(request.headers)
        if not any(line[:13].lower() == "content-type:" for line in headers):
            headers.append(JSON_HEADER)
        return Rendered(request.method.upper(), _wire_url(request.url), headers, _json(request, event), signature)
    return _prepared(request, signature)


def _json(request: requests.Request, event: Event) -> bytes:
    """Encode the body; the payload itself, which most webhooks get, only once for all of them."""
    if request.json is not event.payload:
        return orjson.dumps(request.json)
    if event.body is None:
        event.body = orjson.dumps(event.payload)
    return event.body


def _prepared(request: requests.Request, signature: StandardWebhook | None) -> Rendered:
    """Leave everything that is not plain JSON (forms, files, parameters, basic authentication …) to requests itself."""
    if signature is not None:
        request.auth = None
    prepared = request.prepare()
    body = prepared.body
    if isinstance(body, str):
        body = body.encode()
    if body is not None and not isinstance(body, bytes):
        raise TypeError(f"a request's body is bytes or text, not {type(body).__name__}")
    headers = [line for line in _header_lines(prepared.headers) if not line.lower().startswith("content-length:")]
    return Rendered(prepared.method or "GET", prepared.url or "", headers, body, signature)


@lru_cache(maxsize=4096)
def _wire_url(url: str) -> str:
    """Return the URL as requests would send it: quoted, its host in IDNA; its exceptions tell of an impossible one."""
    prepared = requests.PreparedRequest()
    prepared.prepare_url(url, None)
    return prepared.url or ""


def _header_lines(headers: Mapping[str, str | bytes] | None) -> list[str]:
    lines = []
    for name, value in (headers or {}).items():
        check_header_validity((name, value))  # type: ignore[type-var]  # it takes either, its stub both alike
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        lines.append(f"{name}: {text}")
    return lines
