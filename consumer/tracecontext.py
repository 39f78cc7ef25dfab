"""Which trace an event belongs to: a record's headers come in, headers for its receiver go out.

It is W3C Trace Context (https://www.w3.org/TR/trace-context/), which Kafka's clients carry in headers of the same
names. What is not valid is left out: a trace is an aid, and no event fails for it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from consumer.event import Headers

PARENT, STATE = "traceparent", "tracestate"
LONGEST_STATE = 512  # characters, which the specification asks everybody to pass on; of more, nothing is

_PARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_STATE = re.compile(rf"[ -~]{{1,{LONGEST_STATE}}}")  # printable ASCII: nothing that could end a header
_OURS = (f"{PARENT}:", f"{STATE}:")
_SAMPLED = 1  # the one flag that is known of versions to come


class TraceContext(NamedTuple):
    """A place in a trace: both headers as they go out, `tracestate` empty where there is none."""

    traceparent: str
    tracestate: str = ""

    @property
    def trace_id(self) -> str:
        """The trace's id, 32 hexadecimal digits."""
        return self.traceparent[3:35]

    @property
    def headers(self) -> dict[str, str]:
        """The headers by their names."""
        return {PARENT: self.traceparent, STATE: self.tracestate} if self.tracestate else {PARENT: self.traceparent}

    @property
    def of_record(self) -> Headers:
        """The headers of a record in this place."""
        return tuple((name, value.encode()) for name, value in self.headers.items())

    def lines(self, beside: Iterable[str]) -> list[str]:
        """Return the headers as lines for a request; none where it names a trace itself, in the lines `beside`."""
        for line in beside:
            if line[:5].lower() == "trace" and line.lower().startswith(_OURS):
                return []
        if not self.tracestate:
            return [f"{PARENT}: {self.traceparent}"]
        return [f"{PARENT}: {self.traceparent}", f"{STATE}: {self.tracestate}"]


def trace_of(headers: Headers) -> TraceContext | None:
    """Return the trace that a record's headers name, of several the last as Kafka's clients do; None without one."""
    parent = state = None
    for name, value in headers:
        if name == PARENT:
            parent = value
        elif name == STATE:
            state = value
    return read_trace(parent.decode("latin-1"), state.decode("latin-1") if state else "") if parent else None


def read_trace(parent: str, state: str = "") -> TraceContext | None:
    """Return what the two headers say; None where `traceparent` is not valid.

    A version that is not known yet is passed on as version 00, which all of them begin like.
    """
    found = _PARENT.fullmatch(parent)
    if found is None:
        return None
    version, trace, span, flags, rest = found.groups()
    if version == "00" and rest is not None:
        return None
    if version != "00":
        parent = f"00-{trace}-{span}-{int(flags, 16) & _SAMPLED:02x}"
    if state:
        state = state.strip(" \t")
        state = state if _STATE.fullmatch(state) else ""
    return TraceContext(parent, state)


def new_trace() -> TraceContext:
    """Return a trace of its own, sampled: who begins one here wants to see it."""
    return TraceContext(f"00-{_random(16)}-{_random(8)}-01")


def _random(size: int) -> str:
    """Return so many random bytes in hexadecimal digits, not all of them zero."""
    while not int(digits := secrets.token_hex(size), 16):
        pass
    return digits
