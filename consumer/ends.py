"""Where logs end: what the consumer learns in passing comes in, and for the rest Kafka is asked now and then.

The consumer learns nothing of a partition that is paused: of one that waits for a schema, say, which is when it matters
how much is waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import structlog

from consumer.broker import FOREVER
from consumer.errors import BrokerError
from consumer.reminder import Reminder
from consumer.sidethread import aside

if TYPE_CHECKING:
    from consumer.broker import Broker
    from consumer.clock import Clock
    from consumer.event import TopicPartition

LOOK = 10.0  # seconds after which an end that nobody told is asked for
ANSWER_TIME = 5.0  # seconds


class Ends:
    """The ends of the partitions of one topic that this replica has, as far as they are known."""

    def __init__(
        self,
        broker: Broker,
        topic: str,
        assigned: Callable[[], tuple[TopicPartition, ...]],
        clock: Clock,
        look: float = LOOK,
    ) -> None:
        """Ask for what `assigned` returns and nobody has told for `look` seconds."""
        self._broker = broker
        self._topic = topic
        self._assigned = assigned
        self._clock = clock
        self._look = look
        self._known: dict[TopicPartition, tuple[int, float]] = {}  # each with the time when it was told (monotonic)
        self._reminder = Reminder(clock)
        self._log = structlog.get_logger("ends")

    def take(self, ends: Mapping[TopicPartition, int]) -> None:
        """Take in where logs end now."""
        now = self._clock.monotonic()
        self._known = self._known | {tp: (end, now) for tp, end in ends.items() if tp.topic == self._topic}

    def lags(self, watermarks: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Return how far each watermark is from its log's end, as far as that is known. Safe on any thread."""
        known = self._known
        return {tp: max(0, known[tp][0] - offset) for tp, offset in watermarks.items() if tp in known}

    async def run(self) -> None:
        """Ask for what nobody tells, until it is cancelled."""
        while True:
            await asyncio.sleep(self._look)
            assigned = [tp for tp in self._assigned() if tp.topic == self._topic]
            self._known = {tp: known for tp, known in self._known.items() if tp in assigned}
            told_since = self._clock.monotonic() - self._look
            untold = [tp for tp in assigned if tp not in self._known or self._known[tp][1] < told_since]
            if untold:
                await self._ask(untold)

    async def _ask(self, partitions: list[TopicPartition]) -> None:
        try:
            spans = await aside(self._broker.begins, partitions, FOREVER, ANSWER_TIME)
        except BrokerError as error:
            if self._reminder.is_due():
                self._log.warning("it cannot be seen where logs end", error=str(error))
        else:
            self.take({tp: end for tp, (_, end) in spans.items()})
