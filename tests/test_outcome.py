"""Every status has one meaning, and the sentence about it quotes what the receiver said."""

from __future__ import annotations

import pytest
from harness import answered

from consumer.outcome import LONGEST_WAIT, Outcome, Verdict, outcome_of, retry_after
from consumer.wire import Answer, AnswerKind
from services import Judgement, Meaning

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


# -- what the service says of an answer


def judged(judgement: Judgement | None, answer: Answer) -> Outcome:
    return outcome_of(answer, NOW, lambda status, body: judgement)


@pytest.mark.parametrize("meaning", Meaning)
def test_a_service_may_say_what_an_answer_means_beyond_its_status(meaning: Meaning) -> None:
    outcome = judged(Judgement(meaning, "channel_not_found\n" + "x" * 999), answered(200, b"whatever"))
    assert outcome.verdict.value == meaning.value
    assert outcome.error.startswith("the receiver answered 200: channel_not_found xxx")
    assert len(outcome.error) < 240


def test_without_a_judgement_the_status_counts() -> None:
    assert judged(None, answered(404)).verdict is Verdict.PERMANENT
    assert judged(None, answered(200)).verdict is Verdict.DELIVERED


def test_without_words_of_the_service_the_body_is_quoted() -> None:
    assert judged(Judgement(Meaning.PERMANENT), answered(400, b"no")).error == "the receiver answered 400: no"


def test_a_wait_in_the_body_counts_before_that_of_the_header_and_has_the_same_bounds() -> None:
    assert judged(Judgement(Meaning.THROTTLED, wait=2.5), answered(429, retry_after="7")).wait == 2.5
    assert judged(Judgement(Meaning.THROTTLED), answered(429, retry_after="7")).wait == 7
    assert judged(Judgement(Meaning.THROTTLED), answered(200)).wait is None
    assert judged(Judgement(Meaning.THROTTLED, wait=1e9), answered(429)).wait == LONGEST_WAIT
    assert judged(Judgement(Meaning.THROTTLED, wait=-5), answered(429)).wait == 0
    assert judged(Judgement(Meaning.TRANSIENT, wait=5), answered(500)).wait is None


def test_a_judge_that_raises_leaves_it_to_the_status() -> None:
    def judge(status: int, body: bytes) -> Judgement:
        raise KeyError("ok")

    assert outcome_of(answered(200), NOW, judge).verdict is Verdict.DELIVERED


def test_only_answers_are_judged() -> None:
    lost = Answer(AnswerKind.TRANSIENT, error="reset")
    assert judged(Judgement(Meaning.DELIVERED), lost).verdict is Verdict.TRANSIENT
