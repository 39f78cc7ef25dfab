"""The thread that owns the group consumer: records and rebalances go from it to the loop, pauses come back.

Nothing else may call the consumer: confluent-kafka lets one call in at a time, and another thread's waits for as long
as this one polls. A rebalance callback blocks this thread until the loop has given the partitions up, so nobody else
can own them while their deliveries still run.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from consumer.broker import Broker, GroupConsumer, Membership
from consumer.event import Record, TopicPartition

T = TypeVar("T")

BATCH = 500  # records handed over at once
HANDED_OVER = 8  # batches that the loop may be behind; beyond that the thread waits for it
POLL = 0.1  # seconds that a quiet topic is waited for, and so that a pause or a stop may have to wait
ENDS = 1.0  # seconds between two looks at where logs end
CALLBACK_TIME = 60.0  # seconds after which a loop that does not give partitions up is believed dead


class Steering(NamedTuple):
    """What is ordered before the next poll: partitions to begin, each with its offset, to pause, and to resume."""

    begin: dict[TopicPartition, int]
    pause: list[TopicPartition]
    resume: list[TopicPartition]


class Owner(Protocol):
    """What the loop does with all this; every call comes on the loop."""

    def received(self, records: Sequence[Record]) -> None:
        """Take records in."""

    def assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """Take partitions over."""

    async def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """Give partitions up in order; they are others' once this returns."""

    def lost(self, partitions: Sequence[TopicPartition]) -> None:
        """Forget partitions that are others' already."""

    def ends(self, ends: Mapping[TopicPartition, int]) -> None:
        """Take in where the logs of partitions end now, as far as that is known in passing."""

    def trouble(self, sentence: str) -> None:
        """Note what the client itself tries to mend."""

    def failed(self, error: BaseException) -> None:
        """Stop: there will be no further records."""


class Intake:
    """Polls until it is stopped. It is the `Rebalance` of its own consumer."""

    def __init__(
        self,
        broker: Broker,
        topics: Sequence[str],
        owner: Owner,
        loop: asyncio.AbstractEventLoop,
        beat: Callable[[], None],
    ) -> None:
        """Hand everything to `owner` on `loop`; `beat` is called at each poll, as a sign of life."""
        self._broker = broker
        self._topics = topics
        self._owner = owner
        self._loop = loop
        self._beat = beat
        self._credit = threading.Semaphore(HANDED_OVER)
        self._orders: deque[Steering] = deque()
        self._stopping = threading.Event()
        self._consumer: GroupConsumer | None = None
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)

    # -- called on the loop

    def start(self) -> None:
        """Join the group and begin to poll."""
        self._thread.start()

    def steer(self, pause: list[TopicPartition], resume: list[TopicPartition]) -> None:
        """Have partitions paused and resumed before the next poll."""
        if pause or resume:
            self._orders.append(Steering({}, pause, resume))

    def begin(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Have records of assigned partitions delivered from these offsets on."""
        self._orders.append(Steering(dict(offsets), [], []))

    def membership(self) -> Membership | None:
        """Return the latest proof of membership; None while there is none."""
        return None if self._consumer is None else self._consumer.membership()

    def stop(self) -> None:
        """Have the group left; `join` waits for it."""
        self._stopping.set()

    def join(self, timeout: float) -> bool:
        """Wait for the thread to end, up to `timeout` seconds; False if it did not."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    # -- the thread

    def _run(self) -> None:
        try:
            consumer = self._consumer = self._broker.group_consumer(self._topics, self)
            looked = 0.0
            try:
                while not self._stopping.is_set():
                    self._obey(consumer)
                    records = consumer.poll(POLL, BATCH)
                    self._beat()
                    if records:
                        self._hand_over(records)
                    if (now := time.monotonic()) - looked > ENDS:
                        looked = now
                        self._tell(self._owner.ends, consumer.ends())
            finally:
                consumer.close()
        except BaseException as error:  # noqa: BLE001 - a thread has nobody above it: the loop is told, and stops
            self._tell(self._owner.failed, error)

    def _obey(self, consumer: GroupConsumer) -> None:
        while self._orders:
            begin, pause, resume = self._orders.popleft()
            consumer.begin(begin)
            consumer.pause(pause)
            consumer.resume(resume)

    def _hand_over(self, records: list[Record]) -> None:
        """Give records to the loop, and wait for it when it is far behind."""
        while not self._credit.acquire(timeout=POLL):
            if self._stopping.is_set():
                return
        self._tell(self._received, records)

    def _received(self, records: list[Record]) -> None:
        self._credit.release()
        self._owner.received(records)

    def _tell(self, call: Callable[[T], None], what: T) -> None:
        try:
            self._loop.call_soon_threadsafe(call, what)
        except RuntimeError:  # the loop is closed: the process is ending, and what was read is read again
            self._stopping.set()

    # -- the rebalance

    def on_assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """Partitions are ours now; records follow once `begin` says from where."""
        self._tell(self._owner.assigned, partitions)

    def on_revoked(self, partitions: Sequence[TopicPartition], membership: Membership) -> None:
        """Wait until the loop has finished and committed what was begun there."""
        self._wait_for(self._owner.revoked(partitions))
        self._gone(partitions)

    def on_lost(self, partitions: Sequence[TopicPartition]) -> None:
        """Wait until the loop has forgotten them."""
        self._wait_for(self._forget(partitions))
        self._gone(partitions)

    def on_trouble(self, sentence: str) -> None:
        """Pass on what the client tries to mend."""
        self._tell(self._owner.trouble, sentence)

    def _gone(self, partitions: Sequence[TopicPartition]) -> None:
        """Drop what was ordered for partitions that may come back before the next poll: it was for their old selves."""
        gone = set(partitions)
        for begin, pause, resume in list(self._orders):  # the loop may add to it meanwhile
            for tp in gone.intersection(begin):
                del begin[tp]
            pause[:] = [tp for tp in pause if tp not in gone]
            resume[:] = [tp for tp in resume if tp not in gone]

    async def _forget(self, partitions: Sequence[TopicPartition]) -> None:
        self._owner.lost(partitions)

    def _wait_for(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine on the loop and wait for it; what goes wrong stops the loop, and never raises here."""
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:  # the loop is closed: there is no memory left to give up
            coroutine.close()
            return
        try:
            future.result(CALLBACK_TIME)
        except (Exception, concurrent.futures.CancelledError) as error:  # noqa: BLE001 - a callback that raises loses records
            self._tell(self._owner.failed, error)
