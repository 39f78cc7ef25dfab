"""Questions about places in partitions: how far the logs go, when records came, and what the group has committed.

Each is asked by a client of its own, which joins no group and commits nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any, TypeAlias

import confluent_kafka as ck
from confluent_kafka import KafkaError, KafkaException

from consumer.broker import first_millisecond
from consumer.broker.access import Witness, opened
from consumer.broker.convert import at as place
from consumer.broker.convert import refusal, theirs
from consumer.event import Commit, TopicPartition

# A lookup by time takes these, which are Kafka's own, for times; so one request asks for all partitions of a broker.
END, OLDEST = -1, -2
AGAIN = 0.05  # seconds after which a question is asked again: leaders move, and of a new topic not all is known at once

# What a client is asked about partitions, within so many seconds: it raises KafkaException, or each answer may be one.
Question: TypeAlias = Callable[[ck.Consumer, list[ck.TopicPartition], float], list[ck.TopicPartition]]
Client: TypeAlias = tuple[ck.Consumer, Witness]


class Offsets:
    """What the cluster knows about offsets; see the protocol `Broker` for what is raised."""

    def __init__(self, config: Mapping[str, Any], bootstrap: str) -> None:
        """Ask by clients of `config`, which names the group."""
        self._config = dict(config)
        self._bootstrap = bootstrap

    def committed(self, partitions: Sequence[TopicPartition], timeout: float) -> dict[TopicPartition, Commit | None]:
        """Return what the group has committed, None for nothing; offsets in open transactions are waited for."""
        with self._client("read_committed") as client:  # by which it waits, and asks again itself
            found = self._ask(client, theirs(partitions), timeout, ck.Consumer.committed)
        return {tp: Commit(at.offset, at.metadata or "") if at.offset >= 0 else None for tp, at in found.items()}

    def hidden(self, topic: str, timeout: float) -> bool:
        """Whether the brokers say nothing of the group to this client, as they do where it may not Read it.

        Not by describing the group: when a description comes after its time-out, librdkafka 2.16 ends the process
        (`rd_kafka_enq_once_del_source_return: Assertion`).
        """
        with self._client("read_uncommitted") as (consumer, _):
            try:
                errors = [at.error for at in consumer.committed([ck.TopicPartition(topic, 0)], timeout)]
            except KafkaException as error:
                errors = [error.args[0]]
                while (message := consumer.poll(0)) is not None:  # it says so only here where it finds no coordinator
                    errors.append(message.error())
        return any(error is not None and error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED for error in errors)

    def bounds(self, partitions: Sequence[TopicPartition], timeout: float) -> dict[TopicPartition, tuple[int, int]]:
        """Return the oldest offset of each partition and its end, uncommitted records included (the high watermark)."""
        with self._client("read_uncommitted") as client:
            oldest = self._look_up(client, partitions, OLDEST, timeout)
            ends = self._look_up(client, partitions, END, timeout)
        return {tp: (oldest[tp].offset, ends[tp].offset) for tp in partitions}

    def since(self, partitions: Sequence[TopicPartition], since: float, timeout: float) -> dict[TopicPartition, int]:
        """Return the first offset of each partition that is of `since` or later; those without one are left out."""
        with self._client("read_uncommitted") as client:
            found = self._look_up(client, partitions, first_millisecond(since), timeout)
        return {tp: at.offset for tp, at in found.items() if at.offset >= 0}

    @contextmanager
    def _client(self, isolation: str) -> Iterator[Client]:
        witness = Witness(self._config | {"isolation.level": isolation}, self._bootstrap)
        with closing(opened(ck.Consumer, witness.config)) as consumer:
            yield consumer, witness

    def _look_up(
        self, client: Client, partitions: Sequence[TopicPartition], when: int, timeout: float
    ) -> dict[TopicPartition, ck.TopicPartition]:
        return self._ask(client, [place(tp, when) for tp in partitions], timeout, ck.Consumer.offsets_for_times)

    def _ask(
        self, client: Client, partitions: list[ck.TopicPartition], timeout: float, question: Question
    ) -> dict[TopicPartition, ck.TopicPartition]:
        """Ask until there is an answer for all partitions, a refusal, or no time left."""
        consumer, witness = client
        deadline = time.monotonic() + timeout
        while partitions:
            left = deadline - time.monotonic()
            try:
                answers = question(consumer, partitions, max(0.0, left))
                for answer in answers:
                    if answer.error is not None:
                        raise KafkaException(answer.error, answer.topic)
            except KafkaException as error:
                reason, *topics = error.args
                topics = topics or sorted({tp.topic for tp in partitions})
                if refused := refusal(reason, topics, "Read", group=self._config["group.id"]):
                    raise refused from None
                if left <= AGAIN:
                    consumer.poll(0)  # the witness hears of errors only then
                    raise witness.no_answer(timeout, reason) from None
                time.sleep(AGAIN)
            else:
                return {TopicPartition(answer.topic, answer.partition): answer for answer in answers}
        return {}
