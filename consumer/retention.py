"""What leaves the log undelivered: where partitions begin, and what is about to expire, goes to the core."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

from consumer.errors import BrokerError
from consumer.sidethread import aside

if TYPE_CHECKING:
    from consumer.broker import Broker
    from consumer.core import Core
    from consumer.event import TopicPartition

LOOK = 60.0  # seconds between two looks
ANSWER_TIME = 10.0  # seconds
WELL_ABOVE = 1.5  # times the retry span: what a retention should be at least
LONGEST_MARGIN = 3600.0  # seconds before it expires that something owed becomes a dead letter, or …
MARGIN = 0.05  # … this share of the retention, where that is less


class Retention:
    """Looks, now and then, at the logs of partitions in which something is owed."""

    def __init__(self, broker: Broker, core: Core, retry_span: float) -> None:
        """Warn when what is owed may expire before `retry_span` seconds are over."""
        self._broker = broker
        self._core = core
        self._retry_span = retry_span
        self._warned: set[str] = set()
        self._log = structlog.get_logger("retention")

    async def run(self) -> None:
        """Look until it is cancelled."""
        while True:
            partitions = list(self._core.partitions)
            owing = self._core.owing()
            try:
                for topic in sorted({tp.topic for tp in partitions}):
                    await self._look(topic, [tp for tp in owing if tp.topic == topic])
            except BrokerError as error:
                self._log.warning("it cannot be seen what is about to expire", error=str(error))
            await asyncio.sleep(LOOK)

    async def _look(self, topic: str, owing: Sequence[TopicPartition]) -> None:
        retention = await aside(self._broker.retention, topic, ANSWER_TIME)
        if retention is not None and retention < WELL_ABOVE * self._retry_span and topic not in self._warned:
            self._warned.add(topic)
            self._log.warning(
                "the topic keeps events hardly longer than they are retried",
                topic=topic,
                retention=retention,
                retry_span=self._retry_span,
            )
        if owing:
            since = None if retention is None else time.time() - retention + min(LONGEST_MARGIN, MARGIN * retention)
            begins = await aside(self._broker.begins, owing, since, ANSWER_TIME)
            for tp, (begin, expiring) in begins.items():
                self._core.log_begins(tp, begin, -1 if since is None else expiring)
