"""Partitions added on the real Kafka while replicas deliver, by our command and by Kafka's own way without it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from installation import Installation, Replica, eventually
from receivers import Receiver
from sequences import Switch, event


@pytest.fixture
def installation(kafka_bootstrap: str, tmp_path: Path) -> Installation:
    made = Installation(
        kafka_bootstrap, tmp_path, retry_delays="1s,1s,10m", probe_pause="500ms", probe_longest_pause="1s"
    )
    made.create_topics(partitions=2)
    return made


def grown(installation: Installation, *arguments: str) -> dict[str, tuple[int, int]]:
    rows = json.loads(installation.do("topics", "grow", *arguments, "--json"))
    assert [row["topic"].removeprefix(installation.topic) for row in rows] == [".state", ".replay", ""]
    return {row["topic"].removeprefix(installation.topic): (row["before"], row["now"]) for row in rows}


def wait_for_partitions(replicas: tuple[Replica, ...], count: int) -> None:
    def owned() -> int:
        lines = "".join(replica.get("/metrics") for replica in replicas).splitlines()
        return sum(int(float(line.split()[1])) for line in lines if line.startswith("sprintly_assigned_partitions "))

    eventually(lambda: owned() == count, f"they do not have {count} partitions", replicas[0])


def test_partitions_are_added_under_load_and_nothing_is_lost_or_comes_twice(installation: Installation) -> None:
    switch = Switch()
    with Receiver(switch) as receiver:
        installation.subscribe(hook=receiver.url + "/hook", dead=receiver.url + "/dead")
        with installation.consuming() as first, installation.consuming() as second:
            wait_for_partitions((first, second), 4)
            installation.produce(*map(event, range(400)))
            with ThreadPoolExecutor(1) as pool:
                meanwhile = pool.submit(installation.produce, *map(event, range(400, 800)))
                assert grown(installation, "--partitions", "6") == {".state": (2, 6), ".replay": (2, 6), "": (2, 6)}
                meanwhile.result()
            assert grown(installation, "--partitions", "6") == {".state": (6, 6), ".replay": (6, 6), "": (6, 6)}
            places = installation.produce(*map(event, range(800, 1200)))
            assert {row["partition"] for row in places} > {0, 1}
            wait_for_partitions((first, second), 12)
            eventually(lambda: switch.count("/hook") == 1200, "not all came", first)
            eventually(lambda: installation.finished(1200), "not all is committed or owed", first)
            fewer = installation.run("topics", "grow", "--partitions", "4")
            assert (fewer.returncode, fewer.stdout) == (2, "")
            assert f"--partitions 4: {installation.topic} has 6, and Kafka takes none away" in fewer.stderr
            assert first.reasons() == second.reasons() == {}
            switch.down.clear()
            eventually(lambda: switch.count("/dead") == 1200, "what was owed does not come", first)
            assert (first.stop(), second.stop()) == (0, 0)
        assert len(switch.delivered) == 2400
        assert installation.dead_letters() == []


def test_events_with_more_partitions_than_states_wait_and_go_on_by_the_command(
    installation: Installation,
) -> None:
    switch = Switch()
    with Receiver(switch) as receiver:
        installation.subscribe(hook=receiver.url)
        with installation.consuming() as replica:
            wait_for_partitions((replica,), 4)
            installation.kafka.grow(installation.topic, 4)  # as kafka-topics.sh --alter does
            places = installation.produce(*map(event, range(400)))
            soon = sum(row["partition"] < 2 for row in places)
            assert 0 < soon < 400
            eventually(lambda: len(switch.delivered) == soon, "those that have their place wait too", replica)
            eventually(lambda: "take-over" in replica.reasons(), "it does not say so", replica)
            reason = replica.reasons()["take-over"]
            assert f"the topic {installation.topic}.state has 2 partitions and needs 4" in reason
            assert grown(installation) == {".state": (2, 4), ".replay": (2, 4), "": (4, 4)}
            eventually(lambda: len(switch.delivered) == 400, "it does not go on", replica)
            eventually(lambda: replica.reasons() == {}, "it is still not ready", replica)
            assert replica.stop() == 0
        assert len(switch.delivered) == 400
