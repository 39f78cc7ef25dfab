"""The directory: where subscriptions stand in a topic, it is read whole, then followed; what cannot be used is told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

from consumer.entries import Book, Entries, Refusal, nobody
from consumer.errors import KeysMissing
from consumer.event import TopicPartition
from consumer.logs import get_logger
from consumer.reload import Found, cut
from consumer.tail import ANSWER_TIME, to_end

if TYPE_CHECKING:
    from consumer.broker import Broker, LogReader
    from consumer.event import Record
    from consumer.health import Health
    from consumer.metrics import Metrics
    from consumer.sealed import Seal
    from consumer.subscriptions import Services

TOLD = 20  # records set aside that are named one by one
INTERVAL = 0.5  # seconds between two looks


class Directory:
    """The subscriptions topic, as a replica sees it."""

    def __init__(
        self,
        broker: Broker,
        topic: str,
        seal: Seal | None,
        services: Services,
        refusal: Refusal = nobody,
        *,
        health: Health,
        metrics: Metrics,
    ) -> None:
        """Read `topic`, whose options `seal` opens where they are sealed.

        `refusal` says of a service why it may not be used, "" where it may.
        """
        self.topic = topic
        self.name = f"kafka:{topic}"
        self._broker = broker
        self._known = seal, services, refusal
        self._book = Book(*self._known)
        self._health = health
        self._reader: LogReader | None = None
        self._id = ""  # of the topic of this name that is known
        self._next: dict[int, int] = {}  # by partition, up to where it is known
        self._aside: dict[str, str] = {}
        self._log = get_logger("subscriptions")
        metrics.set_aside.read_from(lambda: len(self._aside))

    async def wait(self) -> None:
        """Wait until there may be something new."""
        await asyncio.sleep(INTERVAL)

    async def close(self) -> None:
        """Do nothing: there is nobody to be told."""

    def read(self) -> Found:
        """Return the subscriptions that the topic holds now. Raises BrokerError.

        A record that cannot be used is set aside: the others are not to wait for it. But where none of the sealed ones
        can be opened, it is the keys that are wrong, and KeysMissing is raised: to go on without all of them would have
        events committed that nobody got.
        """
        self._book = Book(*self._known)
        self._begin(self._topic_id())
        self._book.take(map(self._noted, self._broker.read(self.topic)))
        found = self._found()
        self._log.info("subscriptions read", topic=self.topic, subscriptions=len(found.subscriptions))
        return found

    def look(self, *, anew: bool = False) -> Found | None:
        """Return what the topic holds if anything was written since it was read last, or `anew`; None if not.

        Raises BrokerError, and KeysMissing as `read` does.
        """
        news = list(self._news())
        if not news and not anew:
            return None
        self._book.take(map(self._noted, news))
        return self._found()

    def _news(self) -> Iterator[Record]:
        topic_id = self._topic_id()
        if topic_id != self._id:
            self._log.error(
                "the subscriptions topic was made anew: what it held stays active until it is removed or set there",
                topic=self.topic,
            )
            self._begin(topic_id)
        if self._reader is None:
            self._reader = self._broker.log_reader()
        for partition, offset in self._next.items():
            for chunk in to_end(self._reader, TopicPartition(self.topic, partition), offset):
                yield from chunk.records

    def _topic_id(self) -> str:
        return self._broker.topic_ids([self.topic], ANSWER_TIME)[self.topic]

    def _begin(self, topic_id: str) -> None:
        """Read from the begin of the log what comes next."""
        self._next = dict.fromkeys(range(self._broker.partitions(ANSWER_TIME).get(self.topic, 1)), 0)
        self._id = topic_id

    def _noted(self, record: Record) -> Record:
        """Note that a record is known: what is read before an error is not read again."""
        self._next[record.partition] = record.offset + 1
        return record

    def _found(self) -> Found:
        entries = self._book.entries()
        if entries.locked:
            raise KeysMissing(
                f"none of the {entries.locked} sealed subscription(s) of {self.topic} can be opened:"
                " does SPRINTLY_OPTIONS_KEY hold the right keys?"
            )
        self._tell(entries)
        return Found(entries.subscriptions, frozenset(entries.aside))

    def _tell(self, entries: Entries) -> None:
        """Log what is newly set aside, and have `/readyz` tell all of it."""
        former, self._aside = self._aside, dict(entries.aside)
        new = [f"subscription {name}: {why}" for name, why in self._aside.items() if former.get(name) != why]
        for sentence in cut(new, TOLD):
            self._log.error("a subscription is set aside", problem=sentence)
        problems = entries.problems
        detail = f"{len(problems)} record(s) of {self.topic} are set aside: " + "; ".join(cut(problems, TOLD))
        self._health.note("subscriptions", detail if problems else "")
