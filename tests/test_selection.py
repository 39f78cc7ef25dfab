"""Conditions on dead letters: each narrows by itself, all hold together, and wrong ones are named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from consumer.deadletter import DeadLetter, Stage
from consumer.errors import ConfigurationError, SprintlyError
from consumer.event import Record
from consumer.replay import Entry
from consumer.selection import Selection, read_moment, read_rate, read_status

NOW = 1_800_000_000.0
BASE = DeadLetter(
    id="3f2a-base",
    origin=Record("e", 0, 7, b"1111:42", b"\xc3\x01 Read the docs", 1_000),
    stage=Stage.DELIVER,
    reason="permanent",
    error="the receiver answered 400: no such channel",
    subscription="acme-slack",
    service="slack",
    product=1111,
    model="Item",
    action="created",
    status=400,
    attempts=1,
    last_attempt_at=NOW,
)
OTHERS: dict[str, dict[str, Any]] = {
    "subscriptions": {"subscription": "acme-hook"},
    "products": {"product": 2222},
    "services": {"service": "webhook"},
    "models": {"model": "Comment"},
    "actions": {"action": "deleted"},
    "stages": {"stage": Stage.RENDER},
    "reasons": {"reason": "exhausted"},
    "statuses": {"status": 503},
    "since": {"last_attempt_at": NOW - 60},
    "until": {"last_attempt_at": NOW + 60},
    "grep": {"error": "connection refused", "origin": BASE.origin._replace(value=b"\xc3\x01 Write")},
}
MEANT: dict[str, Any] = {
    "subscriptions": ("acme-slack",),
    "products": (1111, 3333),
    "services": ("slack",),
    "models": ("It*",),
    "actions": ("created",),
    "stages": ("deliver",),
    "reasons": ("perm*", "expired"),
    "statuses": (read_status("4xx"),),
    "since": NOW,
    "until": NOW + 1,
    "grep": "read THE docs",
}


def entries(*letters: DeadLetter) -> list[Entry]:
    return [Entry(letter, 0) for letter in letters]


def chosen(selection: Selection, *letters: DeadLetter) -> list[str]:
    return [entry.letter.id for entry in selection.choose(entries(*letters))]


@pytest.mark.parametrize("condition", OTHERS)
def test_each_condition_narrows_and_all_of_them_together_do(condition: str) -> None:
    other = replace(BASE, id="other", **OTHERS[condition])
    assert chosen(Selection(), BASE, other) == [BASE.id, "other"]
    assert chosen(Selection(**{condition: MEANT[condition]}), other, BASE) == [BASE.id]
    assert chosen(Selection(**MEANT), other, BASE) == [BASE.id]


@pytest.mark.parametrize(
    "text", ["NO SUCH", "1111:4", "\N{LATIN SMALL LETTER E WITH ACUTE}t\N{LATIN SMALL LETTER E WITH ACUTE}"]
)
def test_a_text_is_found_in_error_key_and_bytes(text: str) -> None:
    letter = replace(BASE, origin=BASE.origin._replace(value="un été".encode()))
    assert chosen(Selection(grep=text), letter) == [letter.id]
    assert chosen(Selection(grep=text + "x"), letter) == []


def test_what_was_never_attempted_failed_when_it_was_written() -> None:
    poison = replace(
        BASE, last_attempt_at=0.0, origin=BASE.origin._replace(value=None, key=None, timestamp=int(NOW) * 1000)
    )
    assert chosen(Selection(since=NOW), poison) == [poison.id]
    assert chosen(Selection(until=NOW), poison) == []
    assert chosen(Selection(grep="docs"), poison) == []


def test_the_limit_counts_what_fits() -> None:
    three = [replace(BASE, id=str(number), status=status) for number, status in enumerate((400, 503, 404))]
    assert chosen(Selection(statuses=(read_status("4xx"),), limit=2), *three) == ["0", "2"]
    assert chosen(Selection(limit=1), *three) == ["0"]


def test_an_id_may_be_given_by_its_beginning_if_it_is_the_only_one() -> None:
    letters = [replace(BASE, id=id_) for id_ in ("3f2a", "3f9b", "77aa")]
    assert chosen(Selection(ids=("77", "3F2")), *letters) == ["3f2a", "77aa"]
    with pytest.raises(ConfigurationError, match="2 dead letters have an id that begins with 3f: give more of it"):
        chosen(Selection(ids=("3f",)), *letters)
    with pytest.raises(SprintlyError, match="there is no dead letter whose id begins with 88"):
        chosen(Selection(ids=("88",)), *letters)


def test_only_a_selection_with_conditions_narrows() -> None:
    assert not Selection().narrows
    assert Selection(limit=1).narrows
    assert Selection(grep="x").narrows


@pytest.mark.parametrize(
    ("text", "expected"), [("404", (404, 404)), ("5xx", (500, 599)), (" 4XX ", (400, 499)), ("599", (599, 599))]
)
def test_a_status_is_a_code_or_a_class(text: str, expected: tuple[int, int]) -> None:
    assert read_status(text) == expected


@pytest.mark.parametrize("text", ["", "40", "4x4", "600", "0xx", "4044", "four", "-404"])
def test_any_other_status_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=f"'{text}' is no HTTP status"):
        read_status(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2027-01-15T08:00:00Z", NOW),
        ("2027-01-15T08:00", NOW),
        ("2027-01-15T10:00+02:00", NOW),
        ("2027-01-15", NOW - 8 * 3600),
        ("2h", NOW - 7200),
        ("1.5d", NOW - 129_600),
        ("90", NOW - 90),
    ],
)
def test_a_time_is_a_date_or_how_long_ago(text: str, expected: float) -> None:
    assert read_moment(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "2x", "-2h"])
def test_any_other_time_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=f"'{text}' is no time"):
        read_moment(text, NOW)


@pytest.mark.parametrize(("text", "expected"), [("500/s", 500), ("30/m", 0.5), ("7200 / H", 2), ("2.5", 2.5)])
def test_a_rate_is_a_number_a_second_minute_or_hour(text: str, expected: float) -> None:
    assert read_rate(text) == expected


@pytest.mark.parametrize("text", ["", "0", "0/s", "fast", "5/d", "-1/s", "nan", "inf"])
def test_any_other_rate_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=f"'{text}' is no rate"):
        read_rate(text)
