"""What an answer means for its delivery (DESIGN: outcomes)."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from enum import Enum
from typing import NamedTuple

from consumer.wire import Answer, AnswerKind

LONGEST_WAIT = 3600.0  # seconds; a receiver that asks for more is asked again after an hour
EXCERPT = 200  # characters of an answer that an error sentence quotes
TRANSIENT_STATUSES = frozenset({408, 425})  # beside 5xx: the receiver itself says "later" (RFC 9110, RFC 8470)


class Verdict(Enum):
    """What is to be done with a delivery after an attempt."""

    DELIVERED = "delivered"
    TRANSIENT = "transient"
    THROTTLED = "throttled"  # the receiver is well and wants fewer requests: wait, and count no attempt
    PERMANENT = "permanent"
    GONE = "gone"  # the destination is there no more, and wants nothing further (RFC 9110, 15.5.11)
    BROKEN = "broken"  # the service itself failed on this event, as rendering can


class Outcome(NamedTuple):
    """A verdict with its reason; `wait` is what the receiver asked for, in seconds, where it asked."""

    verdict: Verdict
    error: str = ""
    status: int = 0
    wait: float | None = None


DELIVERED = Outcome(Verdict.DELIVERED)
_WITHOUT_STATUS = {
    AnswerKind.TRANSIENT: Verdict.TRANSIENT,
    AnswerKind.REFUSED: Verdict.PERMANENT,
    AnswerKind.BROKEN: Verdict.BROKEN,
}


def outcome_of(answer: Answer, now: float) -> Outcome:
    """Return what `answer` means; `now` is the time of day (seconds since 1970), for dates in `Retry-After`."""
    if answer.kind is AnswerKind.ANSWERED:
        return _of_status(answer, now)
    return Outcome(_WITHOUT_STATUS[answer.kind], answer.error)


def _of_status(answer: Answer, now: float) -> Outcome:
    status = answer.status
    if 200 <= status < 300:
        return Outcome(Verdict.DELIVERED, status=status)
    wait = retry_after(answer.retry_after, now)
    if status == 429 or (status == 503 and wait is not None):
        return Outcome(Verdict.THROTTLED, _sentence(answer), status, wait)
    if status >= 500 or status in TRANSIENT_STATUSES:
        return Outcome(Verdict.TRANSIENT, _sentence(answer), status)
    return Outcome(Verdict.GONE if status == 410 else Verdict.PERMANENT, _sentence(answer), status)


def retry_after(value: str | None, now: float) -> float | None:
    """Return the seconds that a `Retry-After` asks for (RFC 9110, 10.2.3), from 0 to an hour; None if unreadable."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_WAIT)
    try:
        date = parsedate_to_datetime(text)
        return min(max(date.timestamp() - now, 0.0), LONGEST_WAIT)
    except (ValueError, OverflowError):
        return None


def _sentence(answer: Answer) -> str:
    """Return what the receiver said: its status and the beginning of its answer, on one line."""
    said = " ".join(answer.body[: 4 * EXCERPT].decode("utf-8", "replace").split())
    if len(said) > EXCERPT:
        said = said[: EXCERPT - 3] + "..."
    return f"the receiver answered {answer.status}: {said}" if said else f"the receiver answered {answer.status}"
