"""A Kafka cluster by confluent-kafka. This package alone imports it, and turns its errors into ours.

A `Kafka` is handed the settings and gives out consumers and writers. librdkafka's own log goes to the logger
`librdkafka`, whose lines say what it tries again by itself.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import confluent_kafka as ck
from confluent_kafka import KafkaException

from consumer.broker import Rebalance, TopicSpec, Writer, Written, first_millisecond, missing
from consumer.broker.access import ClientLog, Right, denied, opened
from consumer.broker.admin import ANSWER_TIME, Admin, EmbeddedAdmin
from consumer.broker.group import KafkaConsumer
from consumer.broker.offsets import Offsets
from consumer.broker.reader import BATCH as BATCH
from consumer.broker.reader import READ_TIME, KafkaLogReader, read_whole
from consumer.broker.writers import AcknowledgedWriter, Report, TransactionalWriter, send, serve
from consumer.errors import BrokerError
from consumer.event import Commit, Outgoing, Record, TopicPartition

LARGEST_RECORD = 4 * 1024 * 1024  # bytes; what this side sends at most, as the dead-letter topic allows (see topics)

# librdkafka would prefetch 64 MiB, and wait a second when that is full: then memory would be its, not ours, and a scan
# crawl (measured: 1,300 records/s instead of 135,000).
PREFETCH = {"queued.min.messages": 1000, "queued.max.messages.kbytes": 8192, "fetch.queue.backoff.ms": 10}

# Milliseconds that a fetch may wait for records. A partition that begins, or goes on after a pause, may have to wait as
# long (500 by librdkafka's default), since it is fetched from the same broker only after that.
FETCH_WAIT = {"fetch.wait.max.ms": 100}

# A broker that is back is found after so many milliseconds at the most, half as many again by chance; librdkafka's own
# 10 s are longer than a cycle may stall, and than a broker may be silent about a group (see group.SILENCE).
RECONNECT = {"reconnect.backoff.max.ms": 3000}

# By the classic protocol the members notice that a topic was given more partitions when they look at it next, after 5
# minutes by librdkafka's default. (By the new one the broker does, within seconds: tried on 4.3.1.)
LOOK_AGAIN = {"topic.metadata.refresh.interval.ms": 60_000}

# What waits to be sent, at most; librdkafka's own 100,000 records and 1 GiB are more than a CLI should hold.
SEND_QUEUE = {"queue.buffering.max.messages": 20_000, "queue.buffering.max.kbytes": 65_536}

CLASSIC = {"group.protocol": "classic", "partition.assignment.strategy": "cooperative-sticky"}
CONSUMER = {"group.protocol": "consumer"}  # KIP-848; all else about the session is the broker's there

# Properties for members of a group. A client that joins none needs none of them, and with some would not start: what
# goes together depends on the group protocol.
MEMBERSHIP = frozenset({"group.remote.assignor", "heartbeat.interval.ms", "max.poll.interval.ms", "session.timeout.ms"})

# Each topic is spread over the replicas by itself. The broker's own default, uniform, counts the partitions of all
# topics together: of three replicas one was seen with the replays' alone. The settings' properties may choose it again.
EACH_TOPIC = {"group.remote.assignor": "range"}


class Kafka:
    """A cluster as the settings describe it."""

    def __init__(
        self,
        bootstrap: str,
        group: str,
        *,
        protocol: str = "auto",
        properties: Mapping[str, Any] | None = None,
        transaction_timeout: float = 10.0,
        embedded: bool = False,
    ) -> None:
        """Describe the cluster; nothing is connected yet.

        `protocol` is that of the group (auto, consumer, classic), `properties` are librdkafka's own,
        `transaction_timeout` is in seconds. `embedded` says that the cluster is librdkafka's mock, which keeps no
        offsets in transactions and answers no admin requests.
        """
        self.bootstrap = bootstrap
        self.embedded = embedded
        self._group = group
        self._protocol = protocol
        self._transaction_timeout = transaction_timeout
        self._common: dict[str, Any] = {
            "bootstrap.servers": bootstrap,
            "client.id": "sprintly-services",
            "logger": ClientLog(properties or {}),
            **RECONNECT,
            **(properties or {}),
        }
        self._admin = (EmbeddedAdmin if embedded else Admin)(self._common, bootstrap)
        self._ungrouped = {name: value for name, value in self._common.items() if name not in MEMBERSHIP}
        self._offsets = Offsets(self._ungrouped | {"group.id": group}, bootstrap)

    def partitions(self, timeout: float = ANSWER_TIME) -> dict[str, int]:
        """Return the number of partitions of every topic. Raises BrokerUnreachable, naming the address."""
        topics = self._admin.metadata(timeout).topics
        return {name: len(topic.partitions) for name, topic in topics.items() if topic.error is None}

    def size(self, timeout: float = ANSWER_TIME) -> int:
        """Return the number of brokers. Raises BrokerUnreachable."""
        return len(self._admin.metadata(timeout).brokers)

    def topic_ids(self, topics: Sequence[str], timeout: float = ANSWER_TIME) -> dict[str, str]:
        """Return each topic's id; "" on the embedded cluster. Raises BrokerUnreachable, BrokerError."""
        return self._admin.topic_ids(topics, timeout)

    def lacking(
        self, topics: Mapping[str, Sequence[str]], timeout: float = ANSWER_TIME, *, member: bool = False
    ) -> list[str]:
        """Return a sentence for each right that is known to be missing, with the command that gives it."""
        sentences = self._admin.lacking(topics, timeout)
        if member and not self.embedded and self._offsets.hidden(next(iter(topics)), timeout):
            sentences.append(Right(("Read",), "group", (self._group,)).lacking())
        return sentences

    def retention(self, topic: str, timeout: float = ANSWER_TIME) -> float | None:
        """Return the seconds after which a topic's records expire; None where they never do or nobody says."""
        return self._admin.retention(topic, timeout)

    def create(self, topics: Sequence[TopicSpec]) -> dict[str, bool]:
        """Create topics; for each name, whether it was created (False: it was there). Raises BrokerError.

        What was there stays as it is, with whatever partitions and settings. What was created can be used at once.
        """
        there = self.partitions()
        new = [topic for topic in topics if topic.name not in there]
        made = self._admin.create(new)
        self._await({name for name, created in made.items() if created})
        return {topic.name: made.get(topic.name, False) for topic in topics}

    def grow(self, topic: str, partitions: int) -> bool:
        """Have a topic have so many partitions, where it has fewer; whether that was so. Raises BrokerError."""
        there = self.partitions().get(topic)
        if there is None:
            self._complain(topic, "Alter")
        if there >= partitions:
            return False
        self._admin.grow(topic, partitions)
        self._await({topic}, partitions)
        return True

    def group_consumer(self, topics: Sequence[str], rebalance: Rebalance) -> KafkaConsumer:
        """Join the consumer group for `topics`."""
        config = self._group_config()
        if self._protocol == "classic":
            return KafkaConsumer(config | CLASSIC, list(topics), rebalance, self._offsets.bounds)
        if self.embedded:  # it knows the new protocol, by which a member has its partitions at once and not after 3 s
            return KafkaConsumer(config | CONSUMER, list(topics), rebalance, self._offsets.bounds)
        return KafkaConsumer(
            EACH_TOPIC | config | CONSUMER,
            list(topics),
            rebalance,
            self._offsets.bounds,
            fall_back=config | CLASSIC if self._protocol == "auto" else None,
            recognised=lambda: self._admin.recognises(self._group),
        )

    def writer(self, name: str | None = None) -> Writer:
        """Return a transactional writer; under a `name`, it ends all earlier writers of that name.

        Raises WriterLost where none can be had.
        """
        if self.embedded:
            return AcknowledgedWriter(self._producer_config())
        return TransactionalWriter(self._producer_config(), self._group, name, self._transaction_timeout)

    def produce(self, records: Iterable[Outgoing]) -> Iterator[Written]:
        """Write records, in order, and yield for each where it became durable.

        Raises BrokerError for the first that did not; of those after it, some may have.
        """
        there = self.partitions()
        topic = ""
        producer = opened(
            ck.Producer,
            self._producer_config() | {"enable.idempotence": True, "message.timeout.ms": int(READ_TIME * 1000)},
        )
        reports: deque[Report] = deque()
        try:
            for record in records:
                if record.topic not in there:
                    self._complain(record.topic, "Write")
                topic = record.topic
                reports.append(send(producer, record))
                yield from _done(reports)
            while reports:  # each is done after `message.timeout.ms` at the latest
                serve(producer.poll, 0.1)
                yield from _done(reports)
        except KafkaException as error:
            said = denied(error.args[0], (topic,), ("Write",)) or error.args[0].str()
            raise BrokerError(f"records could not be written: {said}") from None

    def committed(
        self, partitions: Sequence[TopicPartition], timeout: float = ANSWER_TIME
    ) -> dict[TopicPartition, Commit | None]:
        """Return what the group has committed, None for nothing; offsets in open transactions are waited for."""
        return self._offsets.committed(partitions, timeout)

    def begins(
        self, partitions: Sequence[TopicPartition], since: float | None, timeout: float = ANSWER_TIME
    ) -> dict[TopicPartition, tuple[int, int]]:
        """Return each partition's oldest offset, and its first of `since` (seconds since 1970) or later.

        The end is asked for before the time: a record that comes in between is of `since` or later, and not passed.
        """
        bounds = self._offsets.bounds(partitions, timeout)
        if since is None:
            return {tp: (oldest, oldest) for tp, (oldest, _) in bounds.items()}
        found = self._search(bounds, since) if self.embedded else self._offsets.since(partitions, since, timeout)
        return {tp: (oldest, max(oldest, found.get(tp, end))) for tp, (oldest, end) in bounds.items()}

    def read(self, topic: str, partitions: Collection[int] | None = None) -> Iterator[Record]:
        """Yield all that is committed in `topic` now, partition by partition in any order, without any group."""
        count = self.partitions().get(topic)
        wanted = set(range(count or 0) if partitions is None else partitions)
        if count is None:
            self._complain(topic, "Read")
        if not wanted <= set(range(count or 0)):
            raise BrokerError(missing(topic))
        bounds = self._offsets.bounds([TopicPartition(topic, number) for number in sorted(wanted)], ANSWER_TIME)
        empty = all(oldest == end for oldest, end in bounds.values())  # then nothing is fetched, which would be refused
        if empty and (refused := self._refused(topic, "Read")):
            raise BrokerError(refused)
        return read_whole(self._reader_config(), bounds, self.bootstrap)

    def log_reader(self) -> KafkaLogReader:
        """Return a reader for going through the log again."""
        return KafkaLogReader(self._reader_config(), self.bootstrap)

    def _search(self, bounds: Mapping[TopicPartition, tuple[int, int]], since: float) -> dict[TopicPartition, int]:
        """Look for the first record of `since` or later: the embedded cluster answers no questions about time."""
        records = read_whole(self._reader_config(), bounds, self.bootstrap)
        found: dict[TopicPartition, int] = {}
        for record in records:
            if record.timestamp >= first_millisecond(since):
                found.setdefault(TopicPartition(record.topic, record.partition), record.offset)
        return found

    def _complain(self, topic: str, operation: str) -> NoReturn:
        """Say why a topic cannot be seen, which is needed for `operation`: it may not be known of, or is not there."""
        raise BrokerError(self._refused(topic, operation) or missing(topic))

    def _refused(self, topic: str, operation: str) -> str:
        """Return which right is missing for an operation on a topic, as far as that is known; "" if none."""
        return "; ".join(self._admin.lacking({topic: (operation,)}, ANSWER_TIME))

    def _await(self, topics: set[str], partitions: int = 1) -> None:
        """Wait until the brokers know of topics, or so many partitions of theirs, that the controller has made."""
        deadline = time.monotonic() + ANSWER_TIME
        while unknown := topics - {name for name, count in self.partitions().items() if count >= partitions}:
            if time.monotonic() > deadline:
                raise BrokerError(f"the topic {min(unknown)} was made, or grew, but no broker knows it yet")
            time.sleep(0.05)

    def _reader_config(self) -> dict[str, Any]:
        """The client wants a group; it never joins it, and nothing is ever committed by it."""
        return PREFETCH | self._ungrouped | {"group.id": f"{self._group}-reader"}

    def _group_config(self) -> dict[str, Any]:
        return (
            PREFETCH
            | FETCH_WAIT
            | LOOK_AGAIN
            | self._common
            | {
                "group.id": self._group,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest",  # a new group begins with what waits, and skips nothing
                "isolation.level": "read_committed",
            }
        )

    def _producer_config(self) -> dict[str, Any]:
        return (
            SEND_QUEUE
            | self._common
            | {
                "partitioner": "murmur2_random",  # Java's, so that a key finds the same partition from both
                "linger.ms": 5,
                "message.max.bytes": LARGEST_RECORD,
                "topic.metadata.propagation.max.ms": 3000,  # then a topic is missing, and its records need not time out
            }
        )


class EmbeddedKafka:
    """librdkafka's own mock cluster: a broker on a TCP port of this machine, with nothing to install.

    It forgets all. Each topic has 4 partitions.
    """

    def __init__(self) -> None:
        self._host = ck.Producer(
            {"bootstrap.servers": "embedded", "test.mock.num.brokers": 1, "logger": logging.getLogger("librdkafka")}
        )
        brokers = self._host.list_topics(timeout=ANSWER_TIME).brokers.values()
        self.bootstrap = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)

    def kafka(self, group: str) -> Kafka:
        """Return the cluster for one consumer group."""
        return Kafka(self.bootstrap, group, embedded=True)


def _done(reports: deque[Report]) -> Iterator[Written]:
    while reports and reports[0].done:
        yield reports.popleft().written()
