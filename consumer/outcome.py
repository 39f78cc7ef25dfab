"""What an answer means for its delivery (DESIGN: outcomes)."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import NamedTuple, TypeAlias

from consumer.wire import Answer, AnswerKind
from services import Judge, Judgement, ServiceBase

Redact: TypeAlias = Callable[[str], str]
"""Masks a service's secrets in a text."""

LONGEST_REASON = 2000  # characters of what is told of a failure: texts of exceptions may be as long as an event
LONGEST_WAIT = 3600.0  # seconds; a receiver that asks for more is asked again after an hour
EXCERPT = 200  # characters of an answer that an error sentence quotes
BEGINNING = 4 * EXCERPT  # bytes of it that are read for that: bytes of a character, white space, and masked secrets
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


_SUCCESSES = {status: Outcome(Verdict.DELIVERED, status=status) for status in range(200, 300)}
_WITHOUT_STATUS = {
    AnswerKind.TRANSIENT: Verdict.TRANSIENT,
    AnswerKind.REFUSED: Verdict.PERMANENT,
    AnswerKind.BROKEN: Verdict.BROKEN,
}


def outcome_of(answer: Answer, now: float, judge: Judge | None = None, redact: Redact = str) -> Outcome:
    """Return what `answer` means; `now` is the time of day (seconds since 1970), for dates in `Retry-After`.

    `judge` may say what it means beyond its status; what that raises is the service's defect, and leaves it to the
    status. `redact` masks the service's secrets, which a receiver may repeat: no error holds one, whatever becomes of
    it. It is asked before a text is cut, or the beginning of a secret would stay.
    """
    if answer.kind is AnswerKind.ANSWERED:
        judgement = None if judge is None else _judged(judge, answer)
        return _of_status(answer, now, redact) if judgement is None else _of_judgement(judgement, answer, now, redact)
    return Outcome(_WITHOUT_STATUS[answer.kind], masked(answer.error, redact))


def judge_of(service: ServiceBase) -> Judge | None:
    """Return what says more of a service's answers than their status; None where there is nothing, or nobody to ask."""
    silent = service.blocking or type(service).judge is ServiceBase.judge
    return None if silent else service.judge


def _judged(judge: Judge, answer: Answer) -> Judgement | None:
    try:
        return judge(answer.status, answer.body)
    except Exception:  # noqa: BLE001 - a service is somebody else's code, and bodies are anybody's
        return None


def _of_judgement(judgement: Judgement, answer: Answer, now: float, redact: Redact) -> Outcome:
    said = on_one_line(masked(judgement.said[:BEGINNING], redact))
    error = f"the receiver answered {answer.status}: {said}" if said else _sentence(answer, redact)
    verdict = Verdict(judgement.meaning.value)
    wait = None
    if verdict is Verdict.THROTTLED:
        wait = retry_after(answer.retry_after, now) if judgement.wait is None else max(0.0, judgement.wait)
    return Outcome(verdict, error, answer.status, None if wait is None else min(wait, LONGEST_WAIT))


def _of_status(answer: Answer, now: float, redact: Redact) -> Outcome:
    status = answer.status
    if (success := _SUCCESSES.get(status)) is not None:
        return success
    wait = retry_after(answer.retry_after, now)
    if status == 429 or (status == 503 and wait is not None):
        return Outcome(Verdict.THROTTLED, _sentence(answer, redact), status, wait)
    if status >= 500 or status in TRANSIENT_STATUSES:
        return Outcome(Verdict.TRANSIENT, _sentence(answer, redact), status)
    return Outcome(Verdict.GONE if status == 410 else Verdict.PERMANENT, _sentence(answer, redact), status)


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


def _sentence(answer: Answer, redact: Redact) -> str:
    """Return what the receiver said: its status and the beginning of its answer, on one line."""
    said = on_one_line(masked(answer.body[:BEGINNING].decode("utf-8", "replace"), redact))
    return f"the receiver answered {answer.status}: {said}" if said else f"the receiver answered {answer.status}"


def masked(text: str, redact: Redact) -> str:
    """Return a text without a service's secrets; nothing of it where the service fails to mask them.

    What is longer than `LONGEST_REASON` is cut before, since masking takes its time.
    """
    try:
        return redact(text[:LONGEST_REASON])
    except Exception as error:  # noqa: BLE001 - a service is somebody else's code
        return f"(not shown: the service's own redact raised {type(error).__name__})"


def on_one_line(text: str) -> str:
    """Return the beginning of what others say, as an error sentence quotes it; its secrets are masked already."""
    said = " ".join(text.split())
    return said if len(said) <= EXCERPT else said[: EXCERPT - 3] + "..."
