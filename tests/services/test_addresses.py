"""Addresses that are put together."""

from __future__ import annotations

import pytest

from services._addresses import under


@pytest.mark.parametrize(
    ("base", "parts", "expected"),
    [
        ("https://a.example", ("v2", "room", 12), "https://a.example/v2/room/12"),
        ("https://a.example/", ("x",), "https://a.example/x"),
        ("https://a.example/chat/", ("x",), "https://a.example/chat/x"),
        ("https://a.example", ("!a:b/c?d#e", "f g"), "https://a.example/%21a%3Ab%2Fc%3Fd%23e/f%20g"),
    ],
)
def test_each_part_stays_one(base: str, parts: tuple[object, ...], expected: str) -> None:
    assert under(base, *parts) == expected


def test_what_is_safe_is_left_as_it_is() -> None:
    assert under("https://a.example", "bot1:a/b", safe=":") == "https://a.example/bot1:a%2Fb"
