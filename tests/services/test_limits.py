"""A third party's limits, and what does not keep them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services import exceeded

BODY = {"text": "four", "embeds": [{"title": "ö"}, {"title": "long", "fields": [{"value": "no"}, {"value": "yes"}]}]}


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"text": 4, "embeds[]": 2, "embeds[].title": 4, "embeds[].fields[]": 2}, []),
        ({"text": 3}, ["text is 4 long, and 3 is the most"]),
        ({"embeds[]": 1}, ["embeds[] is 2 long, and 1 is the most"]),
        ({"embeds[].title": 1}, ["embeds[].title is 4 long, and 1 is the most"]),
        ({"embeds[].fields[].value": 2}, ["embeds[].fields[].value is 3 long, and 2 is the most"]),
        ({"absent": 0, "text.absent": 0, "embeds.title": 0, "text[]": 4}, []),
        ({"*": 10_000}, []),
    ],
)
def test_texts_and_lists_are_measured_where_they_stand(limits: dict[str, int], expected: list[str]) -> None:
    assert exceeded(limits, json.dumps(BODY).encode()) == expected


def test_the_whole_body_is_measured_in_bytes() -> None:
    assert exceeded({"*": 3}, '"ö"'.encode()) == ["* is 4 long, and 3 is the most"]


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"[1]", b"null"])
def test_any_body_may_be_asked_about(body: Any) -> None:
    assert exceeded({"text": 0, "a[].b": 0}, body) == []


def test_a_form_is_looked_into_as_well() -> None:
    assert exceeded({"text": 3, "x": 1}, b"text=l%C3%B6ng&x=1") == ["text is 4 long, and 3 is the most"]
