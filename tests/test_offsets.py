"""The watermark is the lowest unfinished offset, whatever the order in which offsets are finished."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.errors import BrokerError
from consumer.offsets import Offsets


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[tuple[int, int]], list[int]]:
    """Offsets with holes and their number of parts, and an order in which the parts are finished."""
    steps = draw(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3)), max_size=30))
    received, offset = [], draw(st.integers(0, 1000))
    for step, parts in steps:
        received.append((offset, parts))
        offset += step
    order = draw(st.permutations([offset for offset, parts in received for _ in range(parts)]))
    return received, order[: draw(st.integers(0, len(order)))]


@given(histories())
def test_the_watermark_is_the_lowest_unfinished_offset(history: tuple[list[tuple[int, int]], list[int]]) -> None:
    received, finished = history
    offsets = Offsets()
    for offset, parts in received:
        offsets.received(offset, parts)
    for offset in finished:
        offsets.finished(offset)
    unfinished = [offset for offset, parts in received if finished.count(offset) < parts]
    end = received[-1][0] + 1 if received else None
    assert offsets.watermark() == min(unfinished, default=end)
    assert offsets.lowest == min(unfinished, default=None)
    assert len(offsets) == len(unfinished)


@given(histories())
def test_what_is_finishing_counts_as_finished(history: tuple[list[tuple[int, int]], list[int]]) -> None:
    received, finishing = history
    promised, done = Offsets(), Offsets()
    for offset, parts in received:
        promised.received(offset, parts)
        done.received(offset, parts)
    for offset in finishing:
        done.finished(offset)
    assert promised.watermark({offset: finishing.count(offset) for offset in finishing}) == done.watermark()


def test_the_last_part_of_an_offset_says_so() -> None:
    offsets = Offsets()
    offsets.received(7, 2)
    assert not offsets.finished(7)
    assert offsets.finished(7)


def test_an_offset_that_comes_again_is_refused() -> None:
    offsets = Offsets()
    offsets.received(7, 0)
    with pytest.raises(BrokerError, match="offset 3 came after 7"):
        offsets.received(3, 0)


class Model:
    """The same in the plainest words: every offset ever received, with what is left of it."""

    def __init__(self) -> None:
        self.left: dict[int, int] = {}
        self.position: int | None = None

    def watermark(self) -> int | None:
        return min((offset for offset, left in self.left.items() if left), default=self.position)


STEPS = st.tuples(st.sampled_from(["receive", "receive", "finish", "rewind"]), st.integers(0, 20))


@given(st.lists(STEPS, max_size=60))
def test_with_rewinding_it_is_as_if_what_was_forgotten_had_never_come(steps: list[tuple[str, int]]) -> None:
    offsets, model = Offsets(), Model()
    for step, number in steps:
        unfinished = [offset for offset, left in model.left.items() if left]
        if step == "receive":
            offset = (model.position or 0) + number % 3
            offsets.received(offset, number % 4)
            model.left[offset], model.position = number % 4, offset + 1
        elif step == "finish" and unfinished:
            offset = unfinished[number % len(unfinished)]
            model.left[offset] -= 1
            assert offsets.finished(offset) == (model.left[offset] == 0)
        elif step == "rewind" and model.position is not None:
            model.position -= number % (model.position + 1)
            offsets.rewind(model.position)
            model.left = {offset: left for offset, left in model.left.items() if offset < model.position}
        assert offsets.watermark() == model.watermark()
        assert offsets.position == model.position
        later = [offset for offset, left in model.left.items() if left and offset > number]
        assert offsets.open_after(number) == min(later, default=model.position or 0)
        assert len(offsets) == sum(1 for left in model.left.values() if left)


def test_what_was_left_to_the_next_owner_may_end_without_effect() -> None:
    offsets = Offsets()
    offsets.received(7, 1)
    offsets.received(8, 1)
    offsets.rewind(8)
    assert not offsets.finished(8)
    assert offsets.watermark() == 7
    assert offsets.finished(7)
    assert offsets.watermark() == 8
