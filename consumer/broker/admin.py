"""What is asked of the cluster as a whole: which topics there are, what they are like, and that new ones be made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import confluent_kafka as ck
from confluent_kafka import ConsumerGroupType, KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    ResourceType,
)
from confluent_kafka.cimpl import NewTopic

from consumer.broker import TopicSpec, missing
from consumer.broker.convert import no_answer, refusal
from consumer.errors import BrokerError

ANSWER_TIME = 5.0  # seconds that one question to the cluster may take


class Admin:
    """Asks by clients of its own; see the protocol `Broker` for what is raised."""

    def __init__(self, config: Mapping[str, Any], bootstrap: str) -> None:
        """Ask by clients of `config`."""
        self._config = dict(config)
        self._bootstrap = bootstrap

    def metadata(self, timeout: float) -> Any:
        """Return the cluster's brokers and topics."""
        try:
            return AdminClient(self._config).list_topics(timeout=timeout)
        except KafkaException as error:
            raise no_answer(self._bootstrap, timeout, error.args[0]) from None

    def topic_ids(self, topics: Sequence[str], timeout: float) -> dict[str, str]:
        """Return each topic's id."""
        if not topics:
            return {}
        admin = AdminClient(self._config)  # kept in a variable: the answers come no more once it is collected
        asked = admin.describe_topics(TopicCollection(list(topics)), request_timeout=timeout)
        return {name: str(self._answer(future, name, timeout).topic_id) for name, future in asked.items()}

    def retention(self, topic: str, timeout: float) -> float | None:
        """Return the seconds after which a topic's records expire; None where they never do."""
        admin = AdminClient(self._config)
        (asked,) = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)], request_timeout=timeout).values()
        settings = {name: entry.value for name, entry in self._answer(asked, topic, timeout).items()}
        milliseconds = int(settings["retention.ms"])
        return milliseconds / 1000 if milliseconds >= 0 and "delete" in settings["cleanup.policy"] else None

    def create(self, topics: Sequence[TopicSpec]) -> dict[str, bool]:
        """Create topics; for each name, whether it was created (False: it was there). Raises BrokerError."""
        if not topics:
            return {}
        admin = AdminClient(self._config)
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

    def recognises(self, group: str) -> bool | None:
        """Whether the coordinators know a group by the new protocol; None if they do not say."""
        admin = AdminClient(self._config)
        try:
            listing = admin.list_consumer_groups(request_timeout=ANSWER_TIME).result()
        except KafkaException:
            return None
        if listing.errors:
            return None
        return any(g.group_id == group and g.type == ConsumerGroupType.CONSUMER for g in listing.valid)

    def _answer(self, asked: Future[Any], topic: str, timeout: float) -> Any:
        try:
            return asked.result()
        except KafkaException as error:
            reason = error.args[0]
            raise refusal(reason, topic) or no_answer(self._bootstrap, timeout, reason) from None


class EmbeddedAdmin(Admin):
    """The same of the embedded mock cluster, which answers no such requests and knows no ids and no retention."""

    def topic_ids(self, topics: Sequence[str], timeout: float) -> dict[str, str]:
        """Return "" for each topic."""
        there = self.metadata(timeout).topics
        for name in topics:
            if name not in there:
                raise BrokerError(missing(name))
        return dict.fromkeys(topics, "")

    def retention(self, topic: str, timeout: float) -> float | None:
        """Return None."""
        self.topic_ids([topic], timeout)
        return None

    def create(self, topics: Sequence[TopicSpec]) -> dict[str, bool]:
        """Have topics made by asking for them as a producer does; each gets the cluster's own number of partitions."""
        producer = ck.Producer(self._config)
        for topic in topics:
            producer.list_topics(topic.name, timeout=ANSWER_TIME)
        return {topic.name: True for topic in topics}
