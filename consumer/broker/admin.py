"""What is asked of the cluster as a whole: which topics there are, what they are like, and that new ones be made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeAlias

import confluent_kafka as ck
from confluent_kafka import ConsumerGroupType, KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    ResourceType,
)
from confluent_kafka.cimpl import NewPartitions, NewTopic

from consumer.broker import TopicSpec, missing
from consumer.broker.access import Right, Witness, denied, opened
from consumer.broker.convert import refusal
from consumer.errors import BrokerError

# Kept whole while answers are awaited: they come no more once the client is collected.
Client: TypeAlias = tuple[AdminClient, Witness]

CONFIGS = "DescribeConfigs"  # as Kafka's ACLs call it
ANSWER_TIME = 5.0  # seconds that one question to the cluster may take


class Admin:
    """Asks by clients of its own; see the protocol `Broker` for what is raised."""

    def __init__(self, config: Mapping[str, Any], bootstrap: str) -> None:
        """Ask by clients of `config`."""
        self._config = dict(config)
        self._bootstrap = bootstrap

    def metadata(self, timeout: float) -> Any:
        """Return the cluster's brokers and topics."""
        admin, witness = self._client()
        try:
            return admin.list_topics(timeout=timeout)
        except KafkaException as error:
            admin.poll(0)  # the witness hears of errors only then
            raise witness.no_answer(timeout, error.args[0]) from None

    def topic_ids(self, topics: Sequence[str], timeout: float) -> dict[str, str]:
        """Return each topic's id."""
        if not topics:
            return {}
        client = self._client()
        asked = client[0].describe_topics(TopicCollection(list(topics)), request_timeout=timeout)
        answers = {name: _answer(client, future, name, "Describe", timeout) for name, future in asked.items()}
        return {name: str(answer.topic_id) for name, answer in answers.items()}

    def lacking(self, topics: Mapping[str, Sequence[str]], timeout: float) -> list[str]:
        """Return a sentence for each right that is known to be missing, of operations by topic."""
        admin, _ = self._client()
        asked = admin.describe_topics(
            TopicCollection(list(topics)), include_authorized_operations=True, request_timeout=timeout
        )
        sentences = []
        for name, future in asked.items():
            operations = _not_allowed(future, topics[name])
            if CONFIGS in operations and self._configurable(admin, name, timeout):
                operations.remove(CONFIGS)
            if operations:
                sentences.append(Right(operations, "topic", (name,)).lacking())
        return sentences

    def _configurable(self, admin: AdminClient, topic: str, timeout: float) -> bool:
        """Whether the settings of a topic may be read; one may be allowed that and not to know that it is there."""
        (asked,) = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)], request_timeout=timeout).values()
        try:
            asked.result()
        except KafkaException as error:
            return bool(error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART)
        return True

    def retention(self, topic: str, timeout: float) -> float | None:
        """Return the seconds after which a topic's records expire; None where they never do."""
        client = self._client()
        resource = ConfigResource(ResourceType.TOPIC, topic)
        (asked,) = client[0].describe_configs([resource], request_timeout=timeout).values()
        answer = _answer(client, asked, topic, CONFIGS, timeout)
        settings = {name: entry.value for name, entry in answer.items()}
        milliseconds = int(settings["retention.ms"])
        return milliseconds / 1000 if milliseconds >= 0 and "delete" in settings["cleanup.policy"] else None

    def create(self, topics: Sequence[TopicSpec]) -> dict[str, bool]:
        """Create topics; for each name, whether it was created (False: it was there). Raises BrokerError."""
        if not topics:
            return {}
        admin, _ = self._client()
        new = [NewTopic(t.name, t.partitions, t.replication, config=dict(t.config)) for t in topics]
        created = {}
        for name, future in admin.create_topics(new, request_timeout=3 * ANSWER_TIME).items():
            try:
                future.result()
                created[name] = True
            except KafkaException as error:
                reason = error.args[0]
                if reason.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    said = denied(reason, (name,), ("Create", "Describe")) or reason.str()
                    raise BrokerError(f"the topic {name} could not be created: {said}") from None
                created[name] = False
        return created

    def grow(self, topic: str, partitions: int) -> None:
        """Give a topic more partitions, so that it has so many. Raises BrokerError."""
        admin, _ = self._client()
        (asked,) = admin.create_partitions([NewPartitions(topic, partitions)], request_timeout=3 * ANSWER_TIME).values()
        try:
            asked.result()
        except KafkaException as error:
            reason = error.args[0]
            said = denied(reason, (topic,), ("Alter", "Describe")) or reason.str()
            raise BrokerError(f"the topic {topic} could not be given {partitions} partitions: {said}") from None

    def recognises(self, group: str) -> bool | None:
        """Whether the coordinators know a group by the new protocol; None if they do not say."""
        admin, _ = self._client()
        try:
            listing = admin.list_consumer_groups(request_timeout=ANSWER_TIME).result()
        except KafkaException:
            return None
        if listing.errors:
            return None
        return any(g.group_id == group and g.type == ConsumerGroupType.CONSUMER for g in listing.valid)

    def _client(self) -> Client:
        witness = Witness(self._config, self._bootstrap)
        return opened(AdminClient, witness.config), witness


def _answer(client: Client, asked: Future[Any], topic: str, operation: str, timeout: float) -> Any:
    admin, witness = client
    try:
        return asked.result()
    except KafkaException as error:
        reason = error.args[0]
        admin.poll(0)
        raise refusal(reason, (topic,), operation) or witness.no_answer(timeout, reason) from None


def _not_allowed(asked: Future[Any], needed: Sequence[str]) -> list[str]:
    """Return those of the `needed` operations on a topic that its description says are not allowed.

    Brokers older than Kafka 2.3 do not say; and of a topic that is not there nothing is known.
    """
    try:
        allowed = asked.result().authorized_operations
    except KafkaException as error:
        return list(needed) if error.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED else []
    if not allowed:
        return []
    names = {operation.name.replace("_", "") for operation in allowed}
    return [operation for operation in needed if operation.upper() not in names]


class EmbeddedAdmin(Admin):
    """The same of the embedded mock cluster, which answers no such requests and knows no ids and no retention."""

    def topic_ids(self, topics: Sequence[str], timeout: float) -> dict[str, str]:
        """Return "" for each topic."""
        there = self.metadata(timeout).topics
        for name in topics:
            if name not in there:
                raise BrokerError(missing(name))
        return dict.fromkeys(topics, "")

    def lacking(self, topics: Mapping[str, Sequence[str]], timeout: float) -> list[str]:
        """Return nothing: everything is allowed."""
        return []

    def retention(self, topic: str, timeout: float) -> float | None:
        """Return None."""
        self.topic_ids([topic], timeout)
        return None

    def grow(self, topic: str, partitions: int) -> None:
        """Raise BrokerError: this cluster gives no topic more partitions."""
        raise BrokerError(f"the topic {topic} stays as it is: the embedded cluster gives none more partitions")

    def create(self, topics: Sequence[TopicSpec]) -> dict[str, bool]:
        """Have topics made by asking for them as a producer does; each gets the cluster's own number of partitions."""
        producer = opened(ck.Producer, self._config)
        for topic in topics:
            producer.list_topics(topic.name, timeout=ANSWER_TIME)
        return {topic.name: True for topic in topics}
