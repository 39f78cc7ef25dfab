"""The control topic followed: read whole before anything begins, then every second; what is new goes to the core."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import structlog

from consumer.control import control_partition
from consumer.errors import BrokerError
from consumer.reminder import Reminder
from consumer.sidethread import SideThread

if TYPE_CHECKING:
    from consumer.broker import Broker, Chunk, LogReader
    from consumer.clock import Clock
    from consumer.control import Note
    from consumer.core import Core
    from consumer.event import Record, TopicPartition
    from consumer.health import Health

INTERVAL = 1.0  # seconds between two looks
ANSWER_TIME = 5.0  # seconds
BATCH = 500  # records read at once
PATIENCE = 15.0  # seconds without an answer after which the replica says so: longer than a transaction stays open


def to_end(reader: LogReader, place: TopicPartition, offset: int) -> Iterator[Chunk]:
    """Yield what a partition has from `offset` on, piece by piece; the last one is empty. Raises BrokerError."""
    while True:
        chunk = reader.read(place, offset, BATCH, ANSWER_TIME)
        yield chunk
        if not chunk.records:
            return
        offset = chunk.next


class Tail:
    """Reads the control topic to its end, again and again."""

    def __init__(
        self, broker: Broker, topic: str, core: Core, soon: Callable[[], None], *, clock: Clock, health: Health
    ) -> None:
        """Bring the words of `topic` to `core`, and have it make a turn `soon` after."""
        self._broker = broker
        self._place = control_partition(topic)
        self._core = core
        self._soon = soon
        self._clock = clock
        self._health = health
        self._thread = SideThread("control")
        self._reader: LogReader | None = None
        self._looks = 0  # that came to the end
        self._looked = asyncio.Condition()
        self._wanted = asyncio.Event()  # set where somebody cannot wait for the next look
        self._well_at = clock.monotonic()
        self._reminder = Reminder(clock)
        self._log = structlog.get_logger("control")

    async def run(self) -> None:
        """Follow the topic until it is cancelled."""
        while True:
            self._wanted.clear()
            try:
                news = await self._thread.do(self._read, self._core.told_up_to)
            except BrokerError as error:
                self._trouble(str(error))
            else:
                await self._take(*news)
            try:
                await asyncio.wait_for(self._wanted.wait(), INTERVAL)
            except TimeoutError:
                continue

    def close(self) -> None:
        """Give up."""
        self._thread.close()

    async def reach(self, notes: Sequence[Note]) -> None:
        """Wait until as much is known as these notes say, or else all that there is now."""
        begun = self._looks
        async with self._looked:
            while not (self._looks > begun + 1 or (self._looks and all(map(self._core.told_up_to.covers, notes)))):
                self._wanted.set()
                await self._looked.wait()

    def _read(self, known: Note) -> tuple[list[Record], int, str]:
        """Read what is not known yet, up to the end, and of which topic it is; called on a thread. Raises BrokerError.

        A topic that was deleted and made anew counts its offsets from 0 again, and is read whole.
        """
        topic = self._broker.topic_ids([self._place.topic], ANSWER_TIME)[self._place.topic]
        offset = 0 if known.is_of_another(topic) else known.offset
        if self._reader is None:
            self._reader = self._broker.log_reader()
        found: list[Record] = []
        for chunk in to_end(self._reader, self._place, offset):
            found += chunk.records
            offset = chunk.next
        return found, offset, topic

    async def _take(self, records: list[Record], end: int, topic: str) -> None:
        self._core.told(records, end, topic)
        self._well_at = self._clock.monotonic()
        self._health.clear("control")
        async with self._looked:
            self._looks += 1
            self._looked.notify_all()
        if records:
            self._soon()

    def _trouble(self, sentence: str) -> None:
        if self._clock.monotonic() - self._well_at < PATIENCE:
            return
        self._health.set("control", f"what operators say cannot be read: {sentence}")
        if self._reminder.is_due():
            self._log.error("the control topic cannot be read", trouble=sentence)
