"""When what is still so is said again."""

from consumer.reminder import REMIND, Reminder
from tests.clock import FakeClock


def test_is_said_at_once_and_again_only_after_the_interval() -> None:
    clock = FakeClock()
    reminder = Reminder(clock)
    assert reminder.is_due()
    assert not reminder.is_due()
    clock.advance(REMIND - 1)
    assert not reminder.is_due()
    clock.advance(1)
    assert reminder.is_due()
    assert not reminder.is_due()
