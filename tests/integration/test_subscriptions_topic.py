"""Subscriptions in a topic of the real Kafka: set by the command, sealed in the log, read by replicas."""

from __future__ import annotations

import json
import os
from pathlib import Path

from cryptography.fernet import Fernet
from installation import Installation, Replica, eventually
from receivers import Receiver
from sequences import Switch, event

OLD, NEW = (Fernet.generate_key().decode() for _ in range(2))


def waits_for(topic: str, replica: Replica) -> bool:
    return any("waiting for Kafka" in line and topic in line for line in replica.text.splitlines())


def test_subscriptions_are_set_sealed_and_read(kafka_bootstrap: str, tmp_path: Path) -> None:
    topic = f"t{os.urandom(5).hex()}.subscriptions"
    made = Installation(kafka_bootstrap, tmp_path, options_key=OLD)
    made.environ["SPRINTLY_SUBSCRIPTIONS"] = f"kafka:{topic}"
    switch = Switch()
    with Receiver(switch) as receiver:
        with made.consuming() as replica:
            eventually(lambda: waits_for(topic, replica), "it does not wait for the topic", replica)
            made.create_topics()
            (tmp_path / "url").write_text(f"{receiver.url}/t0ps3cret\n")
            made.subscribe(hook="file:url", gone=f"{receiver.url}/gone", former=f"{receiver.url}/former")
            assert replica.stop() == 0
        made.do("subscriptions", "set", str(made.subscriptions))
        made.subscribe(hook="file:url", other=f"{receiver.url}/other")
        said = made.do("subscriptions", "set", str(made.subscriptions), "--prune", "--yes")
        assert said == "hook: set\nother: set\nformer: removed\ngone: removed\n"
        assert made.do("subscriptions", "check").endswith("2 subscription(s), and nothing is wrong with them\n")
        rows = json.loads(made.do("subscriptions", "list", "--json"))
        assert [(row["id"], row["standing"]) for row in rows] == [("hook", "enabled"), ("other", "enabled")]

        with made.consuming() as replica:
            replica.wait_until_ready()
            made.produce(*map(event, range(50)))
            eventually(lambda: switch.count("/t0ps3cret") == switch.count("/other") == 50, "not all arrived", replica)
            assert replica.reasons() == {}
            assert replica.stop() == 0
            assert "t0ps3cret" not in replica.text

        both = {"SPRINTLY_OPTIONS_KEY": f"{NEW},{OLD}"}
        sealed_again = made.run("subscriptions", "set", "--reseal", **both)
        assert (sealed_again.returncode, sealed_again.stdout) == (0, "hook: sealed again\nother: sealed again\n")
        records = list(made.kafka.read(topic))
        assert len(records) >= 2
        assert not [record for record in records if b"t0ps3cret" in (record.value or b"")]

        with made.consuming() as replica:  # by the old key
            said = "none of the 2 sealed subscription(s)"
            eventually(lambda: said in replica.reasons().get("kafka", ""), "it is not told of", replica)
            assert replica.stop() == 0
        with made.consuming(SPRINTLY_OPTIONS_KEY=NEW) as replica:
            replica.wait_until_ready()
            made.produce(*map(event, range(50, 60)))
            eventually(lambda: switch.count("/t0ps3cret") == 60, "it does not go on", replica)

            made.delete_topic(topic)  # by mistake; what it held stays active
            made.create_topics()
            made.subscribe(new=f"{receiver.url}/new")
            assert made.run("subscriptions", "set", str(made.subscriptions), SPRINTLY_OPTIONS_KEY=NEW).returncode == 0
            eventually(lambda: "subscriptions changed" in replica.text, "it is not read", replica)
            assert "the subscriptions topic was made anew" in replica.text
            made.produce(*map(event, range(60, 70)))
            counts = {"/t0ps3cret": 70, "/other": 70, "/new": 10}
            eventually(lambda: {path: switch.count(path) for path in counts} == counts, "not all arrived", replica)
            assert replica.stop() == 0
