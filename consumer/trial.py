"""Trying a service: a service and one event come in; what it would send, or what came of really sending it, goes out.

Requests are rendered, sent and judged as in a replica, once and without retries. What is shown holds no secret.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from consumer.clock import Clock
from consumer.event import Event, Payload, Record
from consumer.outcome import Outcome, Verdict, judge_of, outcome_of
from consumer.render import render, request_for
from consumer.transport import Transport
from consumer.wire import Answer, Request
from consumer.workers import Workers
from services import ServiceBase

MASK = "**********"
_FORM = "application/x-www-form-urlencoded"
# Headers whose whole value is a credential: in basic authentication the secret is not even legible in it.
_CREDENTIALS = re.compile(r"authorization|cookie|token|api-?key|secret|password", re.IGNORECASE)
_SCHEMES = ("basic", "bearer", "token")


class Shown(NamedTuple):
    """A request as it may be shown: `body` is JSON's value, a form's pairs, or text; None where there is none."""

    method: str
    address: str
    headers: list[str]
    body: Any


class Attempt(NamedTuple):
    """What came of sending: `request` is None for a blocking service, whose requests are its own affair."""

    request: Shown | None
    outcome: Outcome
    seconds: float


@dataclass(frozen=True, slots=True)
class Trial:
    """One service with its options, about to be given one event. Raises RenderError where the service fails on it."""

    service: ServiceBase
    payload: Payload
    delivery_id: str
    clock: Clock

    def requests(self) -> list[Request]:
        """Return what would be sent now, in order; a blocking service cannot be asked."""
        event = Event(Record("trial", 0, 0, None, None, 0), self.payload)
        now = int(self.clock.time())
        return [
            request_for(rendered, self.delivery_id, now) for rendered in render(self.service, event, self.delivery_id)
        ]

    def shown(self, request: Request) -> Shown:
        """Return a request without the service's secrets."""
        headers = [self._masked_header(line) for line in request.headers]
        form = any(line.lower().startswith(f"content-type: {_FORM}") for line in request.headers)
        return Shown(request.method, self._masked_address(request.url), headers, self._masked_body(request.body, form))

    async def attempts(self, transport: Transport, workers: Workers) -> list[Attempt]:
        """Send for real, and return each attempt; after one that fails nothing more is sent."""
        if self.service.blocking:
            answer = await _answer(partial(workers.start, self.service, self.payload, self.delivery_id))
            attempt = self._attempt(None, answer)
            if attempt.outcome.verdict is Verdict.DELIVERED:  # it returned: what was answered, it alone has seen
                return [attempt._replace(outcome=attempt.outcome._replace(status=0))]
            return [attempt]
        made: list[Attempt] = []
        for request in self.requests():
            made.append(self._attempt(self.shown(request), await _answer(partial(transport.start, request))))
            if made[-1].outcome.verdict is not Verdict.DELIVERED:
                break
        return made

    def _attempt(self, request: Shown | None, answer: Answer) -> Attempt:
        outcome = outcome_of(answer, self.clock.time(), judge_of(self.service), self.service.redact)
        return Attempt(request, outcome, answer.seconds)

    def _masked_header(self, line: str) -> str:
        name, _, value = line.partition(": ")
        if not _CREDENTIALS.search(name):
            return f"{name}: {self.service.redact(value)}"
        scheme, space, _ = value.partition(" ")
        return f"{name}: {scheme} {MASK}" if space and scheme.lower() in _SCHEMES else f"{name}: {MASK}"

    def _masked_address(self, url: str) -> str:
        """Return the address with its host, since that alone tells where it goes, and the rest redacted."""
        parts = urlsplit(url)
        rest = url.partition("://")[2].partition(parts.netloc)[2]
        host = parts.netloc.rpartition("@")[2]
        masked = self.service.redact(rest)
        slash = "/" if masked.startswith(MASK) else ""  # it was a secret's, and went with it
        return f"{parts.scheme}://{self.service.redact(host)}{slash}{masked}"

    def _masked_body(self, body: bytes | None, form: bool) -> Any:
        if body is None:
            return None
        text = body.decode("utf-8", "replace")
        if form:
            return self._masked(dict(parse_qsl(text, keep_blank_values=True)))
        try:
            return self._masked(json.loads(text))
        except ValueError:  # not JSON
            return self.service.redact(text)

    def _masked(self, value: Any) -> Any:
        """Return a value of JSON with each text in it redacted: an escaped secret would not be found in the whole."""
        if isinstance(value, str):
            return self.service.redact(value)
        if isinstance(value, list):
            return [self._masked(entry) for entry in value]
        if isinstance(value, dict):
            return {self.service.redact(name): self._masked(entry) for name, entry in value.items()}
        return value


async def _answer(start: Callable[[Callable[[Answer], None]], None]) -> Answer:
    answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    start(answer.set_result)
    return await answer


def texts(shown: Shown) -> Iterator[str]:
    """Yield the lines in which a request is shown to people."""
    yield f"{shown.method} {shown.address}"
    yield from shown.headers
    if shown.body is None:
        return
    yield ""
    yield shown.body if isinstance(shown.body, str) else _legible(json.dumps(shown.body, indent=2, ensure_ascii=False))


def _legible(text: str) -> str:
    """Return JSON with those characters escaped that cannot be seen: services use some on purpose."""
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
