"""A Kafka cluster by confluent-kafka. This package alone imports it, and turns its errors into ours.

A `Kafka` is handed the settings and gives out consumers and writers. librdkafka's own log goes to the logger
`librdkafka`, whose lines say what it tries again by itself.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import confluent_kafka as ck
from confluent_kafka import ConsumerGroupType, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from consumer.broker import Rebalance, TopicSpec, Writer, Written, missing
from consumer.broker.convert import record_of, take
from consumer.broker.group import KafkaConsumer
from consumer.broker.writers import AcknowledgedWriter, Report, TransactionalWriter, send, serve
from consumer.errors import BrokerError, BrokerUnreachable
from consumer.event import Outgoing, Record

LARGEST_RECORD = 4 * 1024 * 1024  # bytes; what this side sends at most, as the dead-letter topic allows (see topics)
ANSWER_TIME = 5.0  # seconds that one question to the cluster may take
READ_TIME = 30.0  # seconds without any progress after which reading a topic is given up
BATCH = 500  # messages taken from librdkafka at once

# librdkafka would prefetch 64 MiB, and wait a second when that is full: then memory would be its, not ours, and a scan
# crawl (measured: 1,300 records/s instead of 135,000).
PREFETCH = {"queued.min.messages": 1000, "queued.max.messages.kbytes": 8192, "fetch.queue.backoff.ms": 10}

# What waits to be sent, at most; librdkafka's own 100,000 records and 1 GiB are more than a CLI should hold.
SEND_QUEUE = {"queue.buffering.max.messages": 20_000, "queue.buffering.max.kbytes": 65_536}

CLASSIC = {"group.protocol": "classic", "partition.assignment.strategy": "cooperative-sticky"}
CONSUMER = {"group.protocol": "consumer"}  # KIP-848; all else about the session is the broker's there

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
            "logger": logging.getLogger("librdkafka"),
            **(properties or {}),
        }

    def partitions(self, timeout: float = ANSWER_TIME) -> dict[str, int]:
        """Return the number of partitions of every topic. Raises BrokerUnreachable, naming the address."""
        topics = self._metadata(timeout).topics
        return {name: len(topic.partitions) for name, topic in topics.items() if topic.error is None}

    def size(self, timeout: float = ANSWER_TIME) -> int:
        """Return the number of brokers. Raises BrokerUnreachable."""
        return len(self._metadata(timeout).brokers)

    def create(self, topics: Sequence[TopicSpec]) -> dict[str, bool]:
        """Create topics; for each name, whether it was created (False: it was there). Raises BrokerError.

        What was there stays as it is, with whatever partitions and settings. What was created can be used at once.
        """
        there = self.partitions()
        new = [topic for topic in topics if topic.name not in there]
        made = self._create_embedded(new) if self.embedded else self._create(new)
        self._await({name for name, created in made.items() if created})
        return {topic.name: made.get(topic.name, False) for topic in topics}

    def group_consumer(self, topics: Sequence[str], rebalance: Rebalance) -> KafkaConsumer:
        """Join the consumer group for `topics`."""
        config = self._group_config()
        if self._protocol == "classic":
            return KafkaConsumer(config | CLASSIC, list(topics), rebalance)
        if self.embedded:  # it knows the new protocol, by which a member has its partitions at once and not after 3 s
            return KafkaConsumer(config | CONSUMER, list(topics), rebalance)
        return KafkaConsumer(
            EACH_TOPIC | config | CONSUMER,
            list(topics),
            rebalance,
            fall_back=config | CLASSIC if self._protocol == "auto" else None,
            recognised=self._recognised,
        )

    def writer(self, name: str | None = None) -> Writer:
        """Return a transactional writer; under a `name`, it ends all earlier writers of that name."""
        if self.embedded:
            return AcknowledgedWriter(self._producer_config())
        return TransactionalWriter(self._producer_config(), name, self._transaction_timeout)

    def produce(self, records: Iterable[Outgoing]) -> Iterator[Written]:
        """Write records, in order, and yield for each where it became durable.

        Raises BrokerError for the first that did not; of those after it, some may have.
        """
        there = self.partitions()
        producer = ck.Producer(
            self._producer_config() | {"enable.idempotence": True, "message.timeout.ms": int(READ_TIME * 1000)}
        )
        reports: deque[Report] = deque()
        try:
            for record in records:
                if record.topic not in there:
                    raise BrokerError(missing(record.topic))
                reports.append(send(producer, record))
                yield from _done(reports)
            while reports:  # each is done after `message.timeout.ms` at the latest
                serve(producer.poll, 0.1)
                yield from _done(reports)
        except KafkaException as error:
            raise BrokerError(f"records could not be written: {error.args[0].str()}") from None

    def read(self, topic: str) -> Iterator[Record]:
        """Yield all that is committed in `topic` now, partition by partition in any order, without any group."""
        partitions = self.partitions().get(topic)
        if partitions is None:
            raise BrokerError(missing(topic))
        consumer = ck.Consumer(
            PREFETCH
            | self._common
            | {
                "group.id": f"{self._group}-reader",  # librdkafka wants one; nothing is ever committed by it
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 50,  # the end of an empty partition is told only after that
            }
        )
        try:
            consumer.assign([ck.TopicPartition(topic, number, ck.OFFSET_BEGINNING) for number in range(partitions)])
            yield from self._until_ends(consumer, topic, partitions)
        finally:
            consumer.close()

    def _until_ends(self, consumer: ck.Consumer, topic: str, partitions: int) -> Iterator[Record]:
        ended: set[int | None] = set()
        quiet_since = time.monotonic()
        while len(ended) < partitions:
            messages = take(consumer, 0.2, BATCH)
            if messages:
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since > READ_TIME:
                raise BrokerUnreachable(f"no Kafka broker at {self.bootstrap} answered while {topic} was being read")
            for message in messages:
                error = message.error()
                if error is None:
                    yield record_of(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    ended.add(message.partition())
                elif not error.retriable():
                    raise BrokerError(f"the topic {topic} could not be read: {error.str()}")

    def _metadata(self, timeout: float) -> Any:
        try:
            return AdminClient(self._common).list_topics(timeout=timeout)
        except KafkaException as error:
            raise BrokerUnreachable(
                f"no Kafka broker answered at {self.bootstrap} within {timeout:g} s ({error.args[0].str()}); "
                "see SPRINTLY_BOOTSTRAP_SERVERS"
            ) from None

    def _create(self, topics: Sequence[TopicSpec]) -> dict[str, bool]:
        if not topics:
            return {}
        admin = AdminClient(self._common)  # kept in a variable: the answers come no more once it is collected
        new = [NewTopic(t.name, t.partitions, t.replication, config=dict(t.config)) for t in topics]
        created = {}
        for name, future in admin.create_topics(new, request_timeout=3 * ANSWER_TIME).items():
            try:
                future.result()
                created[name] = True
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise BrokerError(f"the topic {name} could not be created: {error.args[0].str()}") from None
                created[name] = False
        return created

    def _create_embedded(self, topics: Sequence[TopicSpec]) -> dict[str, bool]:
        """The mock cluster makes a topic when a producer asks for it, always with its own number of partitions."""
        producer = ck.Producer(self._producer_config())
        for topic in topics:
            producer.list_topics(topic.name, timeout=ANSWER_TIME)
        return {topic.name: True for topic in topics}

    def _await(self, topics: set[str]) -> None:
        """Wait until the brokers know of topics that the controller has made."""
        deadline = time.monotonic() + ANSWER_TIME
        while unknown := topics - set(self.partitions()):
            if time.monotonic() > deadline:
                raise BrokerError(f"the topic {min(unknown)} was created, but no broker knows it yet")
            time.sleep(0.05)

    def _recognised(self) -> bool | None:
        """Whether the coordinators know our group by the new protocol; None if they do not say."""
        admin = AdminClient(self._common)
        try:
            listing = admin.list_consumer_groups(request_timeout=ANSWER_TIME).result()
        except KafkaException:
            return None
        if listing.errors:
            return None
        return any(g.group_id == self._group and g.type == ConsumerGroupType.CONSUMER for g in listing.valid)

    def _group_config(self) -> dict[str, Any]:
        return (
            PREFETCH
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
