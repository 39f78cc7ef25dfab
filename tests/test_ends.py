"""Where logs end: what is told counts, what nobody tells is asked for, and what is not known is left out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from clock import FakeClock
from harness import TOPIC
from replicas import REPLAYS, cluster, eventually, produce, scenario

from consumer.broker.memory import MemoryBroker
from consumer.clock import SystemClock
from consumer.ends import Ends
from consumer.event import TopicPartition

P0, P1 = TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)


class Asked(MemoryBroker):
    """It remembers which partitions it was asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[set[TopicPartition]] = []

    def begins(
        self, partitions: Sequence[TopicPartition], since: float | None, timeout: float = 5.0
    ) -> dict[TopicPartition, tuple[int, int]]:
        self.asked.append(set(partitions))
        return super().begins(partitions, since, timeout)


def ends_of(broker: MemoryBroker, assigned: Sequence[TopicPartition]) -> Ends:
    return Ends(broker, TOPIC, lambda: tuple(assigned), SystemClock(), look=0.01)


@asynccontextmanager
async def asking(ends: Ends) -> AsyncIterator[None]:
    task = asyncio.create_task(ends.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def test_what_is_not_known_is_left_out() -> None:
    ends = ends_of(cluster(), [P0, P1])
    ends.take({P0: 7, TopicPartition(REPLAYS, 0): 5})
    assert ends.lags({P0: 5, P1: 1, TopicPartition(REPLAYS, 0): 0}) == {P0: 2}


def test_a_watermark_beyond_what_was_told_lags_behind_nothing() -> None:
    ends = ends_of(cluster(), [P0])
    ends.take({P0: 7})
    assert ends.lags({P0: 9}) == {P0: 0}


def test_what_nobody_tells_is_asked_for_and_what_is_gone_is_forgotten() -> None:
    async def play() -> None:
        broker, assigned = cluster(partitions=2), [P0, P1, TopicPartition(REPLAYS, 0)]
        ends = ends_of(broker, assigned)
        ends.take({P0: 0})
        async with asking(ends):
            produce(broker, *[b"1"] * 3, partition=0)
            produce(broker, b"1", partition=1)
            await eventually(lambda: ends.lags({P0: 0, P1: 0}) == {P0: 3, P1: 1}, "it does not ask")
            del assigned[1]
            await eventually(lambda: ends.lags({P0: 0, P1: 0}) == {P0: 3}, "it remembers what is gone")

    scenario(play)


def test_what_is_told_in_time_is_not_asked_for() -> None:
    async def play() -> None:
        broker = cluster(partitions=2, kind=Asked)
        assert isinstance(broker, Asked)
        clock = FakeClock()
        ends = Ends(broker, TOPIC, lambda: (P0, P1), clock, look=0.01)
        ends.take({P0: 5})
        async with asking(ends):
            await eventually(lambda: broker.asked == [{P1}], "it does not ask for the other one")
            clock.advance(1.0)
            await eventually(lambda: {P0, P1} in broker.asked, "it takes what it was told long ago for true")

    scenario(play)


def test_a_broker_that_is_away_is_asked_again_and_what_was_known_stays() -> None:
    async def play() -> None:
        broker = cluster(kind=Asked)
        assert isinstance(broker, Asked)
        ends = ends_of(broker, [P0])
        ends.take({P0: 1})
        broker.reachable = False
        async with asking(ends):
            await eventually(lambda: len(broker.asked) > 1, "it does not ask again")
            assert ends.lags({P0: 0}) == {P0: 1}
            broker.reachable = True
            produce(broker, *[b"1"] * 4)
            await eventually(lambda: ends.lags({P0: 0}) == {P0: 4}, "it has given up")

    scenario(play)
