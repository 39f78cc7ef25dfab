"""Between confluent-kafka's values and ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

import confluent_kafka as ck

from consumer.event import Headers, Record, TopicPartition


def record_of(message: ck.Message) -> Record:
    """Return a message that holds no error as a record."""
    headers = cast("list[tuple[str, bytes | None]] | None", message.headers())
    return Record(
        cast("str", message.topic()),
        cast("int", message.partition()),
        cast("int", message.offset()),
        message.key(),
        message.value(),
        message.timestamp()[1],
        cast("Headers", tuple(headers or ())),
    )


def ours(partitions: Iterable[ck.TopicPartition]) -> list[TopicPartition]:
    """Return the client's partitions as ours."""
    return [TopicPartition(tp.topic, tp.partition) for tp in partitions]


def theirs(partitions: Iterable[TopicPartition]) -> list[ck.TopicPartition]:
    """Return our partitions as the client's."""
    return [ck.TopicPartition(tp.topic, tp.partition) for tp in partitions]


def to_commit(offsets: Mapping[TopicPartition, int]) -> list[ck.TopicPartition]:
    """Return offsets to commit as the client wants them."""
    return [ck.TopicPartition(tp.topic, tp.partition, offset) for tp, offset in offsets.items()]


def take(consumer: ck.Consumer, timeout: float, most: int) -> list[ck.Message]:
    """Return up to `most` messages, errors among them, as soon as there is one; wait up to `timeout` seconds for it.

    `consume` alone would wait for all of `most` until the time is up. Raises KafkaException.
    """
    first = consumer.poll(timeout)
    return [] if first is None else [first, *consumer.consume(most - 1, 0)]
