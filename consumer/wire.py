"""What goes over the wire and what comes back: plain values between the core and the transport, or the workers."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple
from urllib.parse import urlsplit


class Request(NamedTuple):
    """One HTTP request, ready to send; `headers` are lines (`Name: value`), `url` is pure ASCII."""

    method: str
    url: str
    headers: list[str]
    body: bytes | None = None

    def __repr__(self) -> str:
        return f"<Request {self.method} to {urlsplit(self.url).hostname}>"  # the rest may hold secrets


class AnswerKind(Enum):
    """How an attempt ended, as far as the transport, or the thread that a blocking service ran on, can tell."""

    ANSWERED = "answered"  # there is a status
    TRANSIENT = "transient"  # no status, but another try may get one: time-outs, connection, DNS and TLS errors
    REFUSED = "refused"  # never to be delivered: a forbidden address, an impossible URL, a mail server's 5xx
    BROKEN = "broken"  # a blocking service raised: a defect of it, whatever the other side does


class Answer(NamedTuple):
    """How one attempt ended; `status` is 0 and `error` one sentence where no status came."""

    kind: AnswerKind
    status: int = 0
    body: bytes = b""
    retry_after: str | None = None
    error: str = ""
    seconds: float = 0.0
