"""Every status has one meaning, and the sentence about it quotes what the receiver said."""

from __future__ import annotations

import pytest
from harness import answered

from consumer.outcome import LONGEST_WAIT, Outcome, Verdict, outcome_of, retry_after
from consumer.wire import Answer, AnswerKind

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(s, Verdict.DELIVERED) for s in (200, 201, 202, 204, 299)]
    + [(s, Verdict.TRANSIENT) for s in (408, 425, 500, 502, 503, 504, 599)]
    + [(410, Verdict.GONE)]
    + [(s, Verdict.PERMANENT) for s in (301, 302, 307, 400, 401, 403, 404, 413, 422)]
    + [(429, Verdict.THROTTLED)],
)
def test_a_status_has_one_meaning(status: int, verdict: Verdict) -> None:
    assert outcome_of(answered(status), NOW).verdict is verdict


def test_503_with_retry_after_only_waits() -> None:
    outcome = outcome_of(answered(503, retry_after="7"), NOW)
    assert (outcome.verdict, outcome.wait) == (Verdict.THROTTLED, 7.0)


def test_no_answer_may_come_later_and_a_refused_address_never_does() -> None:
    assert outcome_of(Answer(AnswerKind.TRANSIENT, error="reset"), NOW).verdict is Verdict.TRANSIENT
    assert outcome_of(Answer(AnswerKind.REFUSED, error="private"), NOW).verdict is Verdict.PERMANENT


def test_a_service_that_raised_is_neither() -> None:
    assert outcome_of(Answer(AnswerKind.BROKEN, error="KeyError"), NOW) == Outcome(Verdict.BROKEN, "KeyError")


@pytest.mark.parametrize("kind", AnswerKind)
def test_every_kind_of_answer_has_a_meaning(kind: AnswerKind) -> None:
    assert outcome_of(Answer(kind, error="why"), NOW).verdict in Verdict


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        (" 120 ", 120.0),
        ("Tue, 14 Nov 2023 22:13:30 GMT", 10.0),
        ("Tue, 14 Nov 2023 22:13:10 GMT", 0.0),
        ("999999", LONGEST_WAIT),
        ("9" * 5000, LONGEST_WAIT),
        ("Fri, 31 Dec 2999 23:59:59 GMT", LONGEST_WAIT),
        ("soon", None),
        ("-5", None),
        ("", None),
        ("٣", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_an_hour_at_most(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


def test_the_sentence_quotes_the_beginning_of_the_answer_on_one_line() -> None:
    said = outcome_of(answered(400, b"no\r\nsuch\x00 channel\xff" + b"x" * 999), NOW).error
    assert said.startswith("the receiver answered 400: no such")
    assert "\n" not in said
    assert len(said) < 250


def test_an_empty_answer_is_not_quoted() -> None:
    assert outcome_of(answered(404), NOW).error == "the receiver answered 404"
