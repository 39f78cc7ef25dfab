"""A member of the consumer group by confluent-kafka.

confluent-kafka lets one call at a time into a consumer: another thread's call waits until `poll` returns, for ever
where polls follow closely (tried: 2.16), and a rebalance callback that waits for such a thread waits for itself. So
only the polling thread calls the consumer; what others need, it keeps ready for them or does for them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import confluent_kafka as ck
from confluent_kafka import KafkaError, KafkaException

from consumer.broker import Membership, Rebalance
from consumer.broker.access import denied, masked, opened
from consumer.broker.convert import at, ours, place_of, record_of, take, theirs, to_commit
from consumer.errors import BrokerError
from consumer.event import Commit, Record, TopicPartition

NEW = "group.protocol=consumer"

# A broker that has the new group protocol (KIP-848) switched off ends the client with this text inside a fatal error.
REFUSED = KafkaError(KafkaError.UNSUPPORTED_VERSION).str()
# One that has never heard of it (Kafka 3.6 and older, tried) lets the client try in silence. Seconds without an
# assignment after which the broker is asked whether it knows this group by that protocol; joining takes 0.1.
SILENCE = 5.0

# What a seek answers until the client has started to fetch the partition, which it does a moment after its assignment.
NOT_YET = frozenset({KafkaError._STATE, KafkaError._PREV_IN_PROGRESS})
AGAIN = 0.01  # seconds after which it is asked again
BOUNDS_TIME = 5.0  # seconds that the answer about a log's bounds may take
WAKING = 1.0  # seconds that it may take to wake the brokers' threads
REST = 1.0  # seconds after which it is asked for again

# For each partition the oldest offset and the end of its log.
Bounds: TypeAlias = Callable[[Sequence[TopicPartition], float], Mapping[TopicPartition, tuple[int, int]]]


class KafkaConsumer:
    """One member of the consumer group; see the protocol `GroupConsumer`."""

    def __init__(
        self,
        config: Mapping[str, Any],
        topics: list[str],
        rebalance: Rebalance,
        bounds: Bounds,
        *,
        fall_back: Mapping[str, Any] | None = None,
        recognised: Callable[[], bool | None] | None = None,
    ) -> None:
        """Join the group. `bounds` asks for the logs' bounds; it may raise BrokerError.

        `fall_back` is the configuration for brokers that do not know the group protocol of `config`; None where there
        is no other. `recognised` asks the broker whether it knows the group by that protocol (it returns None where
        there is no answer).
        """
        self._topics = topics
        self._rebalance = rebalance
        self._bounds = bounds
        self._fall_back = fall_back
        self._recognised = recognised
        self._member: str | None = None  # the id under which the present partitions were assigned
        self._metadata: bytes | None = None
        self._assigned: set[TopicPartition] = set()
        self._ordered: dict[TopicPartition, int] = {}  # where partitions are to begin
        self._checked: dict[TopicPartition, int] = {}  # the same, once it is an offset that the log has
        self._begun: set[TopicPartition] = set()
        self._paused: set[TopicPartition] = set()  # by the owner; what has not begun is paused besides
        self._ask_again = 0.0
        self._closing = False
        self._handed: deque[dict[TopicPartition, Commit]] = deque()
        self._consumer = self._join(config)

    def _join(self, config: Mapping[str, Any]) -> ck.Consumer:
        self._config = config
        consumer = opened(ck.Consumer, {**config, "error_cb": self._on_error})
        consumer.subscribe(self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)
        self._asked = time.monotonic()
        return consumer

    def poll(self, timeout: float, most: int) -> list[Record]:
        """Return up to `most` records, waiting up to `timeout` seconds for the first; serves rebalances."""
        self._begin_ordered()
        try:
            messages = take(self._consumer, min(timeout, AGAIN) if self._checked else timeout, most)
        except KafkaException as error:
            self._take_error(error.args[0])
            return []
        records = self._sort_out(messages)
        self._renew()
        self._commit_handed()
        if self._member is None:
            self._notice_silence()
        return records

    def begin(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Deliver the records of assigned partitions from these offsets on; others are ignored."""
        mine = {tp: offset for tp, offset in offsets.items() if tp in self._assigned}
        self._stop(mine)
        self._ordered |= mine  # the next poll does it: here, in a callback perhaps, nothing may take time

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Deliver nothing further from these partitions."""
        mine = self._assigned.intersection(partitions)
        self._paused |= mine
        self._consumer.pause(theirs(mine))

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Deliver from these partitions again, from where they were paused."""
        mine = self._assigned.intersection(partitions)
        self._paused -= mine
        self._consumer.resume(theirs(mine & self._begun))

    def ends(self) -> dict[TopicPartition, int]:
        """Return where the logs of partitions end that are being fetched, as far as that was heard of."""
        ends = {}
        for tp in self._begun - self._paused:
            try:
                _, end = self._consumer.get_watermark_offsets(at(tp, 0), cached=True)
            except KafkaException:  # the client does not know it (any more): what is wrong it says by `poll`
                continue
            if end >= 0:
                ends[tp] = end
        return ends

    def membership(self) -> Membership:
        """Return the proof of membership as of the last `poll` or callback; cheap, and safe on any thread."""
        return KafkaMembership(self._metadata, self._handed)

    def close(self) -> None:
        """Leave the group; what is still assigned is revoked first."""
        self._commit_handed()
        self._closing = True
        self._consumer.close()
        self._member = self._metadata = None

    def _sort_out(self, messages: Iterable[ck.Message]) -> list[Record]:
        records = []
        for message in messages:
            error = message.error()
            if error is not None:
                self._take_error(error, message.topic())
            elif place_of(message) in self._begun:
                records.append(record_of(message))
        return records

    # -- where partitions begin

    def _begin_ordered(self) -> None:
        if self._ordered and time.monotonic() >= self._ask_again:
            self._check_ordered()
        begun = []
        for tp, offset in list(self._checked.items()):
            try:
                self._consumer.seek(at(tp, offset))
            except KafkaException as error:
                if error.args[0].code() not in NOT_YET:
                    self._rebalance.on_trouble(f"{tp} could not begin at {offset}: {error.args[0].str()}")
                continue
            del self._checked[tp]
            self._begun.add(tp)
            if tp not in self._paused:
                self._consumer.resume(theirs([tp]))
                begun.append(tp)
        self._wake(begun)

    def _wake(self, partitions: list[TopicPartition]) -> None:
        """Have the brokers' threads notice that partitions go on: one with nothing to fetch sleeps up to a second.

        Neither `seek` nor `resume` wakes it (tried: 2.16); a request to the partitions' leaders does. Whatever it
        answers does not matter, and where it fails they wake a second later by themselves.
        """
        if partitions:
            with suppress(KafkaException):
                self._consumer.offsets_for_times([at(tp, 0) for tp in partitions], WAKING)

    def _check_ordered(self) -> None:
        """See to it that partitions begin at offsets that their logs have.

        The client would look the oldest up by itself; but where that comes late, because the partition has been sent
        elsewhere meanwhile, it goes back to the oldest half a second later (tried: 2.16).
        """
        try:
            bounds = self._bounds(list(self._ordered), BOUNDS_TIME)
        except BrokerError as error:
            self._rebalance.on_trouble(f"{len(self._ordered)} partition(s) cannot begin yet: {error}")
            self._ask_again = time.monotonic() + REST
            return
        for tp, (oldest, end) in bounds.items():
            offset = self._ordered.pop(tp)
            self._checked[tp] = offset if oldest <= offset <= end else oldest

    def _stop(self, partitions: Iterable[TopicPartition]) -> None:
        """Have nothing delivered from partitions until they begin, or begin again."""
        for tp in partitions:
            self._begun.discard(tp)
            self._paused.discard(tp)
            self._ordered.pop(tp, None)
            self._checked.pop(tp, None)

    # -- the rebalance

    def _on_assign(self, consumer: ck.Consumer, partitions: list[ck.TopicPartition]) -> None:
        """Assign partitions so that the client fetches nothing, and looks no offset up, until they begin.

        They are paused before they are assigned, for which the client must know of them: `position` sees to that.
        """
        gained = ours(partitions)
        if self._closing:  # they came while it leaves, and are revoked at once
            self._member = None  # to ask who it is may never end now (tried: 2.16)
            consumer.incremental_assign([at(tp, 0) for tp in gained])
            return
        consumer.position(theirs(gained))
        consumer.pause(theirs(gained))
        consumer.incremental_assign([at(tp, 0) for tp in gained])
        self._member = consumer.memberid()
        self._renew()
        self._assigned.update(gained)
        if gained:  # the classic protocol also tells that nothing changed
            self._rebalance.on_assigned(gained)

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
        self._assigned.difference_update(gone)
        self._stop(gone)
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
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._asked = time.monotonic()  # it is silence only from a broker that is there
        if error.code() != KafkaError._FATAL and not error.fatal():  # these come by `poll` as well
            self._rebalance.on_trouble(self._said(error))

    def _said(self, error: KafkaError, topic: str | None = None) -> str:
        """Return what is wrong; it came for a topic, or for the topics of the group."""
        sentence = denied(error, (topic,) if topic else self._topics, group=str(self._config["group.id"]))
        return sentence or masked(error.str(), self._config)

    def _take_error(self, error: KafkaError, topic: str | None = None) -> None:
        fatal = error.fatal() or error.code() == KafkaError._FATAL
        if not fatal:
            self._rebalance.on_trouble(self._said(error, topic))
        elif self._fall_back is not None and REFUSED in error.str():
            self._join_again(self._fall_back)
        else:
            raise BrokerError(f"this member of the consumer group cannot go on: {self._said(error, topic)}")

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

    def __init__(self, metadata: bytes | None, handed: deque[dict[TopicPartition, Commit]]) -> None:
        self.metadata = metadata
        self._handed = handed

    def hand_over(self, offsets: Mapping[TopicPartition, Commit]) -> None:
        """Have the member commit `offsets` after its current poll or callback, and before any partition goes."""
        self._handed.append(dict(offsets))
