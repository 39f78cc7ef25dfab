"""The highest value of the last minute."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumer.peak import Peak


def test_without_values_it_is_nothing() -> None:
    assert Peak().highest == 0.0


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), min_size=1))
def test_it_is_the_highest_of_the_window(values: list[tuple[int, int]]) -> None:
    peak, now, all_ = Peak(60.0), 0, []
    for pause, value in values:
        now += pause
        all_.append((now, value))
        peak.add(now, value)
        assert peak.highest == max(value for at, value in all_ if at >= now - 60)
