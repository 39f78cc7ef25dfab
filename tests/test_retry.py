"""Quick attempts are few, begin within their window, and wait longer each time; what is owed waits as it was told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumer.retry import FIRST_PAUSE, GRAIN, JITTER, RETRY_DELAYS, Delays, Doubling, QuickRetries


def test_pauses_grow_and_jitter_is_only_added() -> None:
    retries = QuickRetries(attempts=5, window=60)
    for attempts in (1, 2, 3, 4):
        least = FIRST_PAUSE * 2 ** (attempts - 1)
        pauses = [retries.pause(attempts, 0.0) for _ in range(50)]
        assert all(pause is not None and least <= pause <= least + JITTER for pause in pauses)
        assert len(set(pauses)) > 1


def test_three_attempts_are_all() -> None:
    retries = QuickRetries(attempts=3, window=60)
    assert retries.pause(2, 1.0) is not None
    assert retries.pause(3, 1.0) is None


def test_a_retry_that_would_begin_after_the_window_does_not() -> None:
    retries = QuickRetries(attempts=3, window=5)
    assert retries.pause(1, 4.0) is not None
    assert retries.pause(1, 4.9) is None


def test_pauses_double_up_to_the_longest() -> None:
    pauses = Doubling(0.5, 5.0)
    assert [pauses.after(failures) for failures in (1, 2, 3, 4, 5, 50)] == [0.5, 1, 2, 4, 5, 5]


def test_a_first_attempt_that_lies_in_the_future_only_means_that_the_clock_went_back() -> None:
    assert QuickRetries(attempts=3, window=5).pause(1, -3600.0) is not None


@given(st.integers(0, len(RETRY_DELAYS) - 1), st.floats(0, 2e9))
def test_a_due_time_is_its_delay_away_and_rounded_up_to_the_grain(used: int, now: float) -> None:
    due = Delays(RETRY_DELAYS).due(used, now)
    assert due is not None
    assert due % GRAIN == 0
    assert 0 <= due - (now + RETRY_DELAYS[used]) < GRAIN


def test_after_the_last_delay_there_is_none() -> None:
    assert Delays((30.0, 300.0)).due(1, 0.0) == 300.0
    assert Delays((30.0, 300.0)).due(2, 0.0) is None
    assert Delays((30.0,)).due(7, 0.0) is None  # a state of a release that had more of them
