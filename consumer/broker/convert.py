"""Between confluent-kafka's values and errors and ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import methodcaller
from typing import cast

import confluent_kafka as ck
from confluent_kafka import KafkaError

from consumer.broker import missing
from consumer.broker.access import denied
from consumer.errors import BrokerError
from consumer.event import Commit, Headers, Record, TopicPartition

GONE = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})

# Kafka takes any bytes for a header's name. For those that are not UTF-8 the client returns a list *and* sets an
# exception, as tried with confluent-kafka 2.16. Where a line calls a method again and again, Python 3.11 and later
# leave out the check for that, and the exception surfaces anywhere afterwards; what a methodcaller calls is checked.
_headers = methodcaller("headers")


def record_of(message: ck.Message) -> Record:
    """Return a message that holds no error as a record; one with a header's name that is not UTF-8 has no headers."""
    try:
        headers = cast("list[tuple[str, bytes | None]] | None", _headers(message))
    except (SystemError, UnicodeDecodeError):
        headers = None
    return Record(
        cast("str", message.topic()),
        cast("int", message.partition()),
        cast("int", message.offset()),
        message.key(),
        message.value(),
        message.timestamp()[1],
        cast("Headers", tuple(headers or ())),
    )


def place_of(message: ck.Message) -> TopicPartition:
    """Return the partition that a message is of."""
    return TopicPartition(cast("str", message.topic()), cast("int", message.partition()))


def ours(partitions: Iterable[ck.TopicPartition]) -> list[TopicPartition]:
    """Return the client's partitions as ours."""
    return [TopicPartition(tp.topic, tp.partition) for tp in partitions]


def theirs(partitions: Iterable[TopicPartition]) -> list[ck.TopicPartition]:
    """Return our partitions as the client's."""
    return [ck.TopicPartition(tp.topic, tp.partition) for tp in partitions]


def at(tp: TopicPartition, offset: int) -> ck.TopicPartition:
    """Return a place in a partition as the client wants it."""
    return ck.TopicPartition(tp.topic, tp.partition, offset)


def to_commit(offsets: Mapping[TopicPartition, Commit]) -> list[ck.TopicPartition]:
    """Return what to commit as the client wants it."""
    return [ck.TopicPartition(tp.topic, tp.partition, offset, metadata) for tp, (offset, metadata) in offsets.items()]


def take(consumer: ck.Consumer, timeout: float, most: int) -> list[ck.Message]:
    """Return up to `most` messages, errors among them, as soon as there is one; wait up to `timeout` seconds for it.

    `consume` alone would wait for all of `most` until the time is up. Raises KafkaException.
    """
    first = consumer.poll(timeout)
    return [] if first is None else [first, *consumer.consume(most - 1, 0)]


def refusal(error: KafkaError, topics: Sequence[str], operation: str, *, group: str = "") -> BrokerError | None:
    """Return what a definite answer about topics means; None for all that may be over when it is asked again.

    It was asked for `operation`, of Kafka's ACLs, and maybe on behalf of a `group`.
    """
    if error.code() in GONE:
        return BrokerError(missing(", ".join(topics)))
    sentence = denied(error, topics, (operation,), group=group)
    return BrokerError(sentence) if sentence else None
