"""Partitions taken over: what the group has committed and what is owed are found out, then core and consumer begin.

Meanwhile the partitions are paused, and everything else goes on. Committed offsets first, then the states: a
transaction that is still open moves both, and is waited for. Last, all has to be known that operators said before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import structlog

from consumer.broker import FOREVER, missing
from consumer.control import NOTHING, Note, read_note
from consumer.errors import BrokerError
from consumer.reminder import Reminder
from consumer.sidethread import SideThread
from consumer.state import State, latest_states

if TYPE_CHECKING:
    from consumer.broker import Broker
    from consumer.clock import Clock
    from consumer.core import Core
    from consumer.event import Commit, TopicPartition
    from consumer.health import Health

COMMITTED_TIME = 40.0  # seconds: an open transaction of a replica that was killed is waited for until it times out
ANSWER_TIME = 10.0  # seconds for any other question
AGAIN = 1.0  # seconds until it is tried again
PATIENCE = 5.0  # seconds after which a take-over that goes on makes the replica unready: its partitions stand still


class Found(NamedTuple):
    """Where a partition begins, what is owed there, its topic's id, and how many offsets expired before being read.

    `applied` is how much of the control topic its owners have carried out; None: nobody knows.
    """

    offset: int
    states: list[State]
    topic_id: str
    expired: int
    applied: Note | None


class TakeOver:
    """Takes partitions over, those that are assigned together in one go, as far as what they owe has its place."""

    def __init__(
        self,
        core: Core,
        broker: Broker,
        states: str,
        begin: Callable[[Mapping[TopicPartition, int]], None],
        reach: Callable[[Sequence[Note]], Awaitable[None]],
        *,
        clock: Clock,
        health: Health,
        patience: float = PATIENCE,
    ) -> None:
        """Read what is owed from the topic `states`; `begin` has records of partitions delivered from an offset on.

        `reach` waits until the control topic is known as far as notes say. What takes longer than `patience` is said.
        """
        self._core = core
        self._broker = broker
        self._states = states
        self._begin = begin
        self._reach = reach
        self._clock = clock
        self._health = health
        self._patience = patience
        self._under_way: dict[TopicPartition, object] = {}  # each with what tells this assignment from a later one
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = SideThread("take-over")
        self._reminder = Reminder(clock)
        self._log = structlog.get_logger("takeover")

    def start(self, partitions: Sequence[TopicPartition], ended: Callable[[asyncio.Task[None]], None]) -> None:
        """Begin to take partitions over; `ended` is told when that is done."""
        token = object()
        self._under_way |= dict.fromkeys(partitions, token)
        task = asyncio.create_task(self._run(list(partitions), token))
        late = asyncio.get_running_loop().call_later(self._patience, self._say_late, list(partitions), token)
        task.add_done_callback(lambda _: late.cancel())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(ended)

    def leave(self, partitions: Sequence[TopicPartition]) -> None:
        """Give up partitions, taken over or not."""
        for tp in partitions:
            self._under_way.pop(tp, None)
        if not self._under_way:
            self._health.clear("take-over")

    def close(self) -> None:
        """Give everything up."""
        self._under_way.clear()
        for task in list(self._tasks):
            task.cancel()
        self._thread.close()

    async def _run(self, partitions: list[TopicPartition], token: object) -> None:
        began = self._clock.monotonic()
        while partitions := [tp for tp in partitions if self._under_way.get(tp) is token]:
            try:
                found, there = await self._thread.do(self._find, partitions)
            except BrokerError as error:
                self._say(partitions, str(error))
                await asyncio.sleep(AGAIN)
                continue
            await self._reach([what.applied or NOTHING for what in found.values()])
            self._take({tp: what for tp, what in found.items() if self._under_way.get(tp) is token}, began)
            if partitions := [tp for tp in partitions if tp not in found]:
                self._say(partitions, _too_few(self._states, there, partitions))
                await asyncio.sleep(AGAIN)

    def _find(self, partitions: list[TopicPartition]) -> tuple[dict[TopicPartition, Found], int]:
        """Ask the broker; called on a thread. Returns also how many partitions the state topic has.

        Those that have no partition of the same number there are not found: what they owe would have no place. It is so
        where somebody has given the events more partitions, and not the states. Raises BrokerError.
        """
        broker = self._broker
        there = broker.partitions(ANSWER_TIME).get(self._states)
        if there is None:
            raise BrokerError(missing(self._states))
        partitions = [tp for tp in partitions if tp.partition < there]
        if not partitions:
            return {}, there
        committed = broker.committed(partitions, COMMITTED_TIME)
        spans = broker.begins(partitions, FOREVER, ANSWER_TIME)
        records = broker.read(self._states, sorted({tp.partition for tp in partitions}))
        states, problems = latest_states(records)
        ids = broker.topic_ids(sorted({tp.topic for tp in partitions}), ANSWER_TIME)
        for problem in problems:
            self._log.error("a state is left alone", problem=problem)
        found = {
            tp: _found(committed[tp], spans[tp], [s for s in states.values() if s.partition == tp], ids[tp.topic])
            for tp in partitions
        }
        return found, there

    def _take(self, found: Mapping[TopicPartition, Found], began: float) -> None:
        if not found:
            return
        for tp, what in found.items():
            if what.expired:
                self._log.error("records left the log before they were read", partition=str(tp), offsets=what.expired)
            self._core.begin(tp, what.offset, what.states, what.topic_id, what.applied)
        self.leave(list(found))
        self._begin({tp: what.offset for tp, what in found.items()})
        seconds = round(self._clock.monotonic() - began, 3)
        self._log.info("partitions taken over", partitions=len(found), seconds=seconds)

    def _say_late(self, partitions: Sequence[TopicPartition], token: object) -> None:
        late = [tp for tp in partitions if self._under_way.get(tp) is token]
        if late and not self._health.has("take-over"):
            self._say(late, f"no answer for {self._patience:g} s; a transaction may still be open")

    def _say(self, partitions: Sequence[TopicPartition], trouble: str) -> None:
        sentence = f"{len(partitions)} partitions cannot be taken over yet: {trouble}"
        self._health.set("take-over", sentence)
        if self._reminder.is_due():
            self._log.error("waiting for Kafka", trouble=sentence)


def _found(committed: Commit | None, span: tuple[int, int], states: list[State], topic_id: str) -> Found:
    oldest, end = span
    applied = None if committed is None else read_note(committed.metadata)
    if committed is None or committed.offset > end:  # a new group; or a topic made anew, which counts from 0 again
        return Found(oldest, states, topic_id, 0, applied)
    return Found(max(committed.offset, oldest), states, topic_id, max(0, oldest - committed.offset), applied)


def _too_few(states: str, there: int, partitions: Sequence[TopicPartition]) -> str:
    needed = 1 + max(tp.partition for tp in partitions)
    return (
        f"the topic {states} has {there} partitions and needs {needed}, else there is no place for what they owe;"
        " `sprintly-services topics grow` gives it as many as the events have"
    )
