"""Reading logs by confluent-kafka without any group: a topic to its end, or pieces from wherever one wants.

Nothing is ever committed, and only what was committed by its writer is read.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import confluent_kafka as ck
from confluent_kafka import KafkaError, KafkaException

from consumer.broker import Chunk
from consumer.broker.access import opened
from consumer.broker.convert import GONE, at, place_of, record_of, refusal, take
from consumer.errors import BrokerError, BrokerUnreachable
from consumer.event import Record, TopicPartition

READ_TIME = 30.0  # seconds without any progress after which reading a topic is given up
QUIET = 0.25  # seconds without an answer after which the broker is asked how far a log goes
BATCH = 500  # messages taken from librdkafka at once

UNGROUPED = {"enable.auto.commit": False, "isolation.level": "read_committed", "enable.partition.eof": True}
# The end of a partition is told, and a fetch that waits there makes way for another, only after so many milliseconds.
# Nothing is fetched there but when somebody reads, so that this costs the broker little.
PATIENCE = {"fetch.wait.max.ms": 10}


def read_whole(
    config: Mapping[str, Any], bounds: Mapping[TopicPartition, tuple[int, int]], bootstrap: str
) -> Iterator[Record]:
    """Yield what is committed within the `bounds` of each partition (the oldest offset and the end).

    Raises BrokerError, and BrokerUnreachable where nothing comes for READ_TIME.
    """
    ends = {tp: end for tp, (oldest, end) in bounds.items() if oldest < end}
    if not ends:
        return
    consumer = opened(ck.Consumer, {**config, **UNGROUPED, **PATIENCE, "auto.offset.reset": "earliest"})
    try:
        consumer.assign([at(tp, bounds[tp][0]) for tp in ends])
        yield from _until(consumer, ends, bootstrap)
    finally:
        consumer.close()


def _until(consumer: ck.Consumer, ends: dict[TopicPartition, int], bootstrap: str) -> Iterator[Record]:
    """Yield records until each partition is read up to its end, or past it.

    Where a transaction is open, the client tells of an end before it first, and of the next when it is over.
    """
    quiet_since = time.monotonic()
    while ends:
        messages = [message for message in take(consumer, 0.2, BATCH) if not _of_its_group(message)]
        if messages:
            quiet_since = time.monotonic()
        elif time.monotonic() - quiet_since > READ_TIME:
            raise BrokerUnreachable(
                f"{min(ends)} could not be read to its end: no Kafka broker at {bootstrap} told of more for "
                f"{READ_TIME:g} s; it is away, or a transaction stays open"
            )
        for message in messages:
            place, error = place_of(message), message.error()
            reached = message.offset() or 0
            if error is None:
                yield record_of(message)
                reached += 1
            elif error.code() != KafkaError._PARTITION_EOF:
                _raise_unless_passing(error, place.topic)
                continue
            if place in ends and reached >= ends[place]:
                del ends[place]


class KafkaLogReader:
    """Reads pieces of partitions; see the protocol `LogReader`.

    One partition is assigned at a time, and fetched ahead, until its end has been read.
    """

    def __init__(self, config: Mapping[str, Any], bootstrap: str) -> None:
        """Read by a client of `config`; nothing is connected yet."""
        # With "error", an offset that the log does not have is told; the client does not go elsewhere by itself.
        self._consumer = opened(ck.Consumer, {**config, **UNGROUPED, **PATIENCE, "auto.offset.reset": "error"})
        self._bootstrap = bootstrap
        self._assigned: TopicPartition | None = None
        self._next = 0  # the offset from which on the assigned partition has not been handed out
        self._begin = 0  # where the log begins, if that is above what is just asked for

    def read(self, tp: TopicPartition, offset: int, most: int, timeout: float) -> Chunk:
        """Return up to `most` committed records from `offset` on, as soon as there are some, and where to go on."""
        deadline = time.monotonic() + timeout
        self._begin = 0
        goes_on = (tp, offset) == (self._assigned, self._next)
        try:
            if not goes_on:
                self._assign(tp, offset)
            chunk = self._await(tp, most, deadline)
            if goes_on and not chunk.records:  # that may be the end of some time ago, when it was fetched ahead
                self._assign(tp, chunk.next)
                chunk = self._await(tp, most, deadline)
            return chunk
        except BrokerError:
            self._unassign()  # the client says what is wrong only once for each assignment
            raise

    def close(self) -> None:
        """Give the reader up."""
        self._consumer.close()

    def _assign(self, tp: TopicPartition, offset: int) -> None:
        self._consumer.assign([at(tp, offset)])
        self._assigned, self._next = tp, offset

    def _unassign(self) -> None:
        self._consumer.unassign()
        self._assigned = None

    def _await(self, tp: TopicPartition, most: int, deadline: float) -> Chunk:
        while (left := deadline - time.monotonic()) >= 0:
            messages = take(self._consumer, min(left, QUIET), most)
            chunk = self._sort_out(messages, tp)
            if chunk is None and (not messages or self._assigned is None):
                chunk = self._look_up(tp, max(0.0, deadline - time.monotonic()))
            if chunk is not None:
                return chunk
        raise BrokerUnreachable(f"no Kafka broker at {self._bootstrap} told in time what {tp} holds at {self._next}")

    def _sort_out(self, messages: list[ck.Message], tp: TopicPartition) -> Chunk | None:
        """Return what messages tell; None where that is nothing yet, or that the log does not have the offset."""
        records: list[Record] = []
        ended = lost = False
        for message in messages:
            error = message.error()
            if place_of(message) != tp:
                continue  # it is of an earlier assignment
            if error is None:
                records.append(record_of(message))
                self._next, ended = records[-1].offset + 1, False
            elif error.code() == KafkaError._PARTITION_EOF:
                self._next, ended = max(self._next, message.offset() or 0), True
            elif error.code() == KafkaError._AUTO_OFFSET_RESET:
                lost = True
            else:
                _raise_unless_passing(error, tp.topic)
        if ended or lost:  # it would tell of the same end, or error, only once; and wait there for more, unasked
            self._unassign()
        return Chunk(records, self._next, self._begin) if records or ended else None

    def _look_up(self, tp: TopicPartition, timeout: float) -> Chunk | None:
        """Ask how far the log goes, where it does not have the offset, or nothing came.

        Nothing comes, nor is an end told, from inside a transaction that is open, and from a partition that is not
        there. Where an offset has expired, it goes on with the oldest.
        """
        try:
            oldest, end = self._consumer.get_watermark_offsets(at(tp, self._next), timeout / 2)
        except KafkaException as error:
            refused = refusal(error.args[0], (tp.topic,), "Read")
            if refused and (error.args[0].code() not in GONE or self._is_missing(tp, timeout / 2)):
                raise refused from None
            return None  # it may pass
        if self._next >= end:
            self._unassign()
            return Chunk([], self._next, self._begin)
        if self._next < oldest:
            self._begin = oldest
        if self._assigned is None or self._next < oldest:
            self._assign(tp, max(self._next, oldest))
        return None

    def _is_missing(self, tp: TopicPartition, timeout: float) -> bool:
        """Whether the broker says that there is no such partition; without a broker the client says so by itself."""
        try:
            topic = self._consumer.list_topics(tp.topic, timeout=timeout).topics[tp.topic]
        except KafkaException:
            return False
        return tp.partition not in topic.partitions


def _raise_unless_passing(error: KafkaError, topic: str) -> None:
    if not error.retriable():
        raise refusal(error, (topic,), "Read") or BrokerError(f"the topic {topic} could not be read: {error.str()}")


def _of_its_group(message: ck.Message) -> bool:
    """Whether it is the error that the group may not be used, whose name the client wants and which it never joins."""
    error = message.error()
    return error is not None and error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED
