"""A broken producer on the real Kafka: the replica stops taking events in, says so, and loses nothing."""

from __future__ import annotations

import json
from pathlib import Path

from installation import Installation, eventually
from receivers import Receiver

from consumer.codec import Codec
from consumer.event import Outgoing

GOOD = Codec().encode({"model": "Item", "product": {"id": 1}, "attributes": {"number": 1}})


def test_a_broken_producer_stops_a_replica_which_stays_alive_and_an_operator_lets_it_go_on(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    installation = Installation(kafka_bootstrap, tmp_path, poison_limit="20")
    installation.create_topics(1)
    with Receiver() as receiver:
        installation.subscribe(hook=receiver.url)
        values = [GOOD, *[b"broken"] * 50, GOOD]
        installation.produce_raw(*(Outgoing(installation.topic, None, value, partition=0) for value in values))
        with installation.consuming() as replica:
            eventually(lambda: "poison" in replica.reasons(), "it goes on", replica)
            place = f"{installation.topic}[0] offset 20: not Avro"
            assert f"20 records in a row cannot be read, the last one at {place}" in replica.reasons()["poison"]
            assert json.loads(replica.get("/livez"))["ok"]
            assert "sprintly_poisoned 1.0" in replica.get("/metrics")
            eventually(lambda: installation.finished(21), "what was taken in is not finished", replica)
            assert '"level": "error"' in next(line for line in replica.text.splitlines() if "must be broken" in line)
            assert replica.stop() == 0
        assert (installation.committed(), len(installation.dead_letters()), receiver.count) == ({0: 21}, 20, 1)
        with installation.consuming(SPRINTLY_POISON_LIMIT="off") as replica:
            eventually(lambda: installation.finished(52), "it does not go on", replica)
            assert replica.reasons() == {}
            assert replica.stop() == 0
        assert (len(installation.dead_letters()), receiver.count) == (50, 2)
