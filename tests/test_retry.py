"""Quick attempts are few, begin within their window, and wait longer each time."""

from __future__ import annotations

from consumer.retry import FIRST_PAUSE, JITTER, Doubling, QuickRetries


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
