"""Between confluent-kafka's values and errors and ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import methodcaller
from typing import cast

import confluent_kafka as ck
from confluent_kafka import KafkaError

from consumer.broker import missing
from consumer.errors import BrokerError, BrokerUnreachable
from consumer.event import Commit, Headers, Record, TopicPartition

GONE = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})
FORBIDDEN = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)


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


def refusal(error: KafkaError, topic: str) -> BrokerError | None:
    """Return what a definite answer about a topic means; None for all that may be over when it is asked again."""
    if error.code() in GONE:
        return BrokerError(missing(topic))
    return BrokerError(f"the topic {topic} may not be used: {error.str()}") if error.code() in FORBIDDEN else None


def no_answer(bootstrap: str, timeout: float, error: KafkaError) -> BrokerUnreachable:
    """Return the error that says that a question was not answered in time, and why as far as that is known."""
    return BrokerUnreachable(
        f"no Kafka broker answered at {bootstrap} within {timeout:g} s ({error.str()}); see SPRINTLY_BOOTSTRAP_SERVERS"
    )
