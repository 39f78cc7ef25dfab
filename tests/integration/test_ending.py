"""A replica that is to end while a question to Kafka has no answer yet: it ends, whatever becomes of the question."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import confluent_kafka as ck
from installation import PATIENCE, Installation, eventually
from receivers import Receiver

from consumer.takeover import COMMITTED_TIME

TAKEN = "partitions taken over"


@contextmanager
def offsets_in_an_open_transaction(installation: Installation) -> Iterator[None]:
    """Hold back what the group has committed, as a replica that was killed in its cycle does until that times out."""
    client = {"bootstrap.servers": installation.environ["SPRINTLY_BOOTSTRAP_SERVERS"]}
    member = ck.Consumer(client | {"group.id": installation.group, "enable.auto.commit": False})
    producer = ck.Producer(client | {"transactional.id": f"test-{uuid4()}", "transaction.timeout.ms": 600_000})
    producer.init_transactions(PATIENCE)
    producer.begin_transaction()
    place = ck.TopicPartition(installation.topic, 0, 0)
    producer.send_offsets_to_transaction([place], member.consumer_group_metadata(), PATIENCE)
    try:
        yield
    finally:
        producer.abort_transaction(PATIENCE)
        member.close()


def test_a_replica_ends_while_its_take_over_waits(kafka_bootstrap: str, tmp_path: Path) -> None:
    installation = Installation(kafka_bootstrap, tmp_path)
    installation.create_topics(partitions=1)
    with Receiver() as receiver:
        installation.subscribe(hook=receiver.url)
        with offsets_in_an_open_transaction(installation), installation.consuming() as replica:
            eventually(lambda: "take-over" in replica.reasons(), "it does not wait", replica)
            assert replica.stop(within=COMMITTED_TIME / 2) == 0  # which has just begun
            assert TAKEN not in replica.text
        with installation.consuming() as replica:
            eventually(lambda: TAKEN in replica.text, "nobody takes over now", replica)
            assert replica.stop() == 0
