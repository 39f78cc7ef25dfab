"""The topics of one installation and their settings (DESIGN 2.4 and 2.5)."""

from __future__ import annotations

from consumer.broker import TopicSpec

# What the other topics' names add to that of the events.
DEAD_LETTERS, REPLAYS, STATES, CONTROL = ".dlq", ".replay", ".state", ".control"

DAY_MS = 24 * 60 * 60 * 1000
DEFAULT_PARTITIONS = 12
EVENT_RETENTION_MS = 7 * DAY_MS  # all that is owed must still be in the log when it is retried
DEAD_LETTER_RETENTION_MS = 30 * DAY_MS  # Kafka's default of 7 would be over before somebody is back from holiday
SUPERSEDED_MS = 60 * 60 * 1000  # then former options, which may be readable ones, are compacted away
LARGEST_RECORD = 4 * 1024 * 1024  # bytes; above Kafka's 1 MiB, since a dead letter is its record and a few headers more
STATE_SEGMENT = 1024 * 1024  # bytes; small, so that compaction keeps a take-over short (Kafka 4 allows no less)


def topic_specs(topic: str, partitions: int, replication: int) -> list[TopicSpec]:
    """Return all topics of an installation whose events are in `topic`.

    State and replay topics have as many partitions as the events: a partition's state lies in the partition of the same
    number.
    """
    durable = _durable(replication)
    compacted = _compacted(replication)
    kept = {"retention.ms": str(DEAD_LETTER_RETENTION_MS), "max.message.bytes": str(LARGEST_RECORD)} | durable
    return [
        TopicSpec(topic, partitions, durable | {"retention.ms": str(EVENT_RETENTION_MS)}, replication),
        TopicSpec(topic + DEAD_LETTERS, partitions, kept | {"cleanup.policy": "compact,delete"}, replication),
        TopicSpec(topic + REPLAYS, partitions, kept | {"cleanup.policy": "delete"}, replication),
        TopicSpec(topic + STATES, partitions, compacted, replication),
        TopicSpec(topic + CONTROL, 1, compacted, replication),
    ]


def growing(topic: str) -> list[str]:
    """Return the topics that have as many partitions as the events, in the order in which they are given more.

    The states come first: a partition of the others whose number they lack is not taken over until they have it.
    """
    return [topic + STATES, topic + REPLAYS, topic]


def subscriptions_spec(name: str, replication: int) -> TopicSpec:
    """Return the topic that holds the subscriptions, where one does."""
    return TopicSpec(name, 1, _compacted(replication) | {"max.compaction.lag.ms": str(SUPERSEDED_MS)}, replication)


def _durable(replication: int) -> dict[str, str]:
    return {"min.insync.replicas": "2"} if replication >= 3 else {}


def _compacted(replication: int) -> dict[str, str]:
    return _durable(replication) | {
        "cleanup.policy": "compact",
        "segment.bytes": str(STATE_SEGMENT),
        "max.message.bytes": str(LARGEST_RECORD),
        "min.cleanable.dirty.ratio": "0.1",
    }
