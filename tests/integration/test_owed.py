"""What is owed, on the real Kafka: a destination that is down, replicas that are killed, and the order all the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from installation import Installation, eventually
from receivers import Got, Receiver, Reply
from sequences import ITEMS, Switch, event, first_deliveries, in_order

from consumer.state import State, latest_states

EVENTS = 2000


@pytest.fixture
def installation(kafka_bootstrap: str, tmp_path: Path) -> Installation:
    made = Installation(
        kafka_bootstrap, tmp_path, retry_delays="1s,1s,1s,1s", probe_pause="500ms", probe_longest_pause="1s"
    )
    made.create_topics()
    return made


def states(installation: Installation) -> list[State]:
    found, problems = latest_states(installation.kafka.read(f"{installation.topic}.state"))
    assert problems == []
    return list(found.values())


def state_records(installation: Installation) -> int:
    return len(list(installation.kafka.read(f"{installation.topic}.state")))


def test_a_dead_destination_costs_one_small_record_a_partition_and_catches_up_in_order_after_a_kill(
    installation: Installation,
) -> None:
    switch = Switch()
    with Receiver(switch) as receiver:
        installation.subscribe(dead=f"{receiver.url}/dead", well=f"{receiver.url}/well")
        installation.produce(*(event(sequence) for sequence in range(EVENTS)))
        with installation.consuming() as first:
            eventually(lambda: switch.count("/well") == EVENTS, "the dead one holds its neighbour up", first)
            eventually(lambda: installation.finished(EVENTS), "the dead one holds the offsets up", first)
            assert "a destination is believed down" in first.text
            first.kill()
        assert {state.subscription for state in states(installation)} == {"dead"}
        assert sum(len(state.owed) for state in states(installation)) < EVENTS // 2
        assert state_records(installation) < 100
        with installation.consuming() as second:
            installation.produce(*(event(sequence) for sequence in range(EVENTS, EVENTS + 200)))
            eventually(lambda: switch.count("/well") == EVENTS + 200, "the second does not go on", second)
            eventually(lambda: "a destination is believed down" in second.text, "it does not notice", second)
            switch.down.clear()
            eventually(lambda: switch.count("/dead") == EVENTS + 200, "it does not catch up", second)
            eventually(lambda: states(installation) == [], "its states are left over", second)
            assert "a destination is back" in second.text
            assert second.stop() == 0
        assert first_deliveries(switch.delivered, "/dead") == in_order(EVENTS + 200)
        assert first_deliveries(switch.delivered, "/well") == in_order(EVENTS + 200)
        assert installation.dead_letters() == []


def test_an_orderly_stop_hands_over_what_is_owed_and_brings_nothing_twice(installation: Installation) -> None:
    switch = Switch()
    with Receiver(switch) as receiver:
        installation.subscribe(dead=f"{receiver.url}/dead", well=f"{receiver.url}/well")
        installation.produce(*(event(sequence) for sequence in range(400)))
        for _ in range(2):
            with installation.consuming() as replica:
                eventually(lambda: "a destination is believed down" in replica.text, "it does not begin", replica)
                eventually(lambda: installation.finished(400), "it does not get on", replica)
                assert replica.stop() == 0
        switch.down.clear()
        with installation.consuming() as replica:
            eventually(lambda: states(installation) == [], "it is still owed", replica)
            assert replica.stop() == 0
        delivered = [(got.path, got.headers["webhook-id"]) for got in switch.delivered]
        assert len(delivered) == len(set(delivered)) == 800
        assert first_deliveries(switch.delivered, "/dead") == in_order(400)


def test_what_always_fails_is_exhausted_while_its_lane_waits_and_others_flow(installation: Installation) -> None:
    def answer(got: Got) -> int | Reply:
        attributes = json.loads(got.body)["attributes"]
        return Reply(500, b"not this one") if attributes["score"] == "0" else 204

    with Receiver(answer) as receiver:
        installation.subscribe(hook=receiver.url)
        installation.produce(*(event(sequence) for sequence in range(400)))
        with installation.consuming() as replica:
            eventually(lambda: len(first_deliveries(receiver.requests, "/")) == ITEMS, "the others wait", replica)
            eventually(installation.dead_letters, "it is tried for ever", replica)
            (letter,) = installation.dead_letters()
            assert (letter["reason"], letter["status"], letter["attempts"]) == ("exhausted", 500, 3 + 4)
            eventually(
                lambda: first_deliveries(receiver.requests, "/") == in_order(400), "its lane does not go on", replica
            )
            eventually(lambda: states(installation) == [], "something is still owed", replica)
            assert replica.stop() == 0
