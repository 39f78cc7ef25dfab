"""A member of the consumer group by confluent-kafka.

confluent-kafka lets one call at a time into a consumer: another thread's call waits until `poll` returns, for ever
where polls follow closely (tried: 2.16), and a rebalance callback that waits for such a thread waits for itself. So
only the polling thread calls the consumer; what others need, it keeps ready for them or does for them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import confluent_kafka as ck
from confluent_kafka import KafkaError, KafkaException

from consumer.broker import Membership, Rebalance
from consumer.broker.convert import ours, record_of, take, theirs, to_commit
from consumer.broker.positions import Positions
from consumer.errors import BrokerError
from consumer.event import Record, TopicPartition

NEW = "group.protocol=consumer"

# A broker that has the new group protocol (KIP-848) switched off ends the client with this text inside a fatal error.
REFUSED = KafkaError(KafkaError.UNSUPPORTED_VERSION).str()
# One that has never heard of it (Kafka 3.6 and older, tried) lets the client try in silence. Seconds without an
# assignment after which the broker is asked whether it knows this group by that protocol; joining takes 0.1.
SILENCE = 5.0


class KafkaConsumer:
    """One member of the consumer group; see the protocol `GroupConsumer`."""

    def __init__(
        self,
        config: Mapping[str, Any],
        topics: list[str],
        rebalance: Rebalance,
        *,
        fall_back: Mapping[str, Any] | None = None,
        recognised: Callable[[], bool | None] | None = None,
    ) -> None:
        """Join the group.

        `fall_back` is the configuration for brokers that do not know the group protocol of `config`; None where there
        is no other. `recognised` asks the broker whether it knows the group by that protocol (it returns None where
        there is no answer).
        """
        self._topics = topics
        self._rebalance = rebalance
        self._fall_back = fall_back
        self._recognised = recognised
        self._member: str | None = None  # the id under which the present partitions were assigned
        self._metadata: bytes | None = None
        self._given_up: set[TopicPartition] = set()  # during this poll
        self._positions = Positions()
        self._handed: deque[dict[TopicPartition, int]] = deque()
        self._consumer = self._join(config)

    def _join(self, config: Mapping[str, Any]) -> ck.Consumer:
        consumer = ck.Consumer({**config, "error_cb": self._on_error})
        consumer.subscribe(self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)
        self._asked = time.monotonic()
        return consumer

    def poll(self, timeout: float, most: int) -> list[Record]:
        """Return up to `most` records, waiting up to `timeout` seconds for the first; serves rebalances."""
        self._given_up.clear()
        try:
            messages = take(self._consumer, timeout, most)
        except KafkaException as error:
            self._take_error(error.args[0])
            return []
        if messages and self._given_up and _place(messages[0]) in self._given_up:
            del messages[0]  # it was fetched before its partition went; the rest the client has dropped itself
        records = self._sort_out(messages)
        self._renew()
        self._commit_handed()
        if self._member is None:
            self._notice_silence()
        return records

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Deliver nothing further from these partitions."""
        self._consumer.pause(theirs(partitions))

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Deliver from these partitions again, from where they were paused."""
        self._consumer.resume(theirs(partitions))

    def membership(self) -> Membership:
        """Return the proof of membership as of the last `poll` or callback; cheap, and safe on any thread."""
        return KafkaMembership(self._metadata, self._handed)

    def close(self) -> None:
        """Leave the group; what is still assigned is revoked first."""
        self._commit_handed()
        self._consumer.close()
        self._member = self._metadata = None

    def _sort_out(self, messages: Iterable[ck.Message]) -> list[Record]:
        records = []
        for message in messages:
            error = message.error()
            if error is not None:
                self._take_error(error)
            elif self._positions.is_new(record := record_of(message)):
                records.append(record)
        return records

    # -- the rebalance

    def _on_assign(self, consumer: ck.Consumer, partitions: list[ck.TopicPartition]) -> None:
        consumer.incremental_assign(partitions)
        consumer.resume(partitions)  # a pause would survive from an earlier assignment
        self._member = consumer.memberid()
        self._renew()
        if partitions:  # the classic protocol also tells that nothing changed
            self._rebalance.on_assigned(ours(partitions))

    def _on_revoke(self, consumer: ck.Consumer, partitions: list[ck.TopicPartition]) -> None:
        self._renew()
        self._rebalance.on_revoked(ours(partitions), self.membership())
        self._commit_handed()
        self._give_up(consumer, partitions)

    def _on_lost(self, consumer: ck.Consumer, partitions: list[ck.TopicPartition]) -> None:
        self._member = self._metadata = None
        self._handed.clear()
        self._rebalance.on_lost(ours(partitions))
        self._give_up(consumer, partitions)

    def _give_up(self, consumer: ck.Consumer, partitions: list[ck.TopicPartition]) -> None:
        gone = ours(partitions)
        self._given_up.update(gone)
        self._positions.forget(gone)
        consumer.incremental_unassign(partitions)

    def _renew(self) -> None:
        """Keep the metadata of now, as long as we are the member that we were told to be.

        A member that was thrown out loses its id before its callback comes; metadata without an id would pass as that
        of a client outside any group, which the broker does not fence.
        """
        if self._member is not None:
            metadata = self._consumer.consumer_group_metadata()
            if self._consumer.memberid() == self._member:
                self._metadata = metadata

    def _commit_handed(self) -> None:
        """Commit what the writer of the embedded cluster has handed over."""
        while self._handed:
            offsets = self._handed.popleft()
            try:
                results = self._consumer.commit(offsets=to_commit(offsets), asynchronous=False)
                errors = [result.error for result in results if result.error is not None]
            except KafkaException as error:
                errors = [error.args[0]]
            if errors:
                self._rebalance.on_trouble(f"offsets were not committed: {errors[0].str()}")

    # -- troubles

    def _on_error(self, error: KafkaError) -> None:
        if error.code() != KafkaError._FATAL and not error.fatal():  # these come by `poll` as well
            self._rebalance.on_trouble(error.str())

    def _take_error(self, error: KafkaError) -> None:
        fatal = error.fatal() or error.code() == KafkaError._FATAL
        if not fatal:
            self._rebalance.on_trouble(error.str())
        elif self._fall_back is not None and REFUSED in error.str():
            self._join_again(self._fall_back)
        else:
            raise BrokerError(f"this member of the consumer group cannot go on: {error.str()}")

    def _notice_silence(self) -> None:
        if self._recognised is None or time.monotonic() - self._asked < SILENCE:
            return
        self._asked = time.monotonic()
        recognised = self._recognised()
        if recognised:
            self._recognised = None
        elif recognised is False and self._fall_back is not None:
            self._join_again(self._fall_back)
        elif recognised is False:
            self._rebalance.on_trouble(f"the brokers do not know this group by {NEW}; see SPRINTLY_GROUP_PROTOCOL")

    def _join_again(self, config: Mapping[str, Any]) -> None:
        """Join by the classic protocol: this broker does not know the new one."""
        self._fall_back = self._recognised = None
        self._consumer.close()
        self._consumer = self._join(config)


class KafkaMembership:
    """The group metadata of one moment (None where nothing is assigned), and where offsets for the member are put."""

    __slots__ = ("_handed", "metadata")

    def __init__(self, metadata: bytes | None, handed: deque[dict[TopicPartition, int]]) -> None:
        self.metadata = metadata
        self._handed = handed

    def hand_over(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Have the member commit `offsets` after its current poll or callback, and before any partition goes."""
        self._handed.append(dict(offsets))


def _place(message: ck.Message) -> TopicPartition | None:
    topic, partition = message.topic(), message.partition()
    return None if topic is None or partition is None else TopicPartition(topic, partition)
