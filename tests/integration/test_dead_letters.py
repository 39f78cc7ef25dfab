"""An operator and a table of dead letters of mixed causes, on the real Kafka."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from installation import Installation, eventually
from payloads import documented
from receivers import Receiver

from consumer.codec import Codec
from consumer.deadletter import DeadLetter, Stage
from consumer.delivery import delivery_id
from consumer.event import Record

CAUSES = ((400, "permanent"), (503, "exhausted"), (0, "exhausted"), (404, "permanent"))
EVENT = Codec().encode(documented("item"))


@pytest.fixture
def installation(kafka_bootstrap: str, tmp_path: Path) -> Installation:
    made = Installation(kafka_bootstrap, tmp_path)
    made.create_topics()
    return made


def bury(installation: Installation, count: int, replays: int = 0, first: int = 0) -> None:
    """Write dead letters of two subscriptions and four causes, as consumers would."""
    installation.produce_raw(
        *(_letter(installation, first + n, replays).outgoing(f"{installation.topic}.dlq") for n in range(count))
    )


def _letter(installation: Installation, number: int, replays: int) -> DeadLetter:
    subscription = ("a", "b")[number % 2]
    record = Record(installation.topic, number % 4, number, b"1:%d" % (number % 50), EVENT, 1_700_000_000_000 + number)
    status, reason = CAUSES[number % len(CAUSES)]
    return DeadLetter(
        delivery_id(record, subscription),
        record,
        Stage.DELIVER,
        reason,
        f"the receiver answered {status}" if status else "connection refused",
        subscription,
        "webhook",
        1,
        "Item",
        "created",
        status,
        attempts=3,
        last_attempt_at=1_700_000_000.0 + number,
        replays=replays,
    )


def listed(installation: Installation, *conditions: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(installation.do("dlq", "list", "--json", *conditions))
    return found


def test_a_summary_conditions_and_what_is_dropped(installation: Installation) -> None:
    bury(installation, 120)
    assert [(g["reason"], g["subscription"], g["count"]) for g in listed(installation, "--summary")] == [
        ("permanent", "a", 30),
        ("exhausted", "b", 30),
        ("exhausted", "a", 30),
        ("permanent", "b", 30),
    ]
    shown = installation.do("dlq", "list", "--summary", "--reason", "permanent")
    assert "60 dead letter(s)" in shown
    assert "exhausted" not in shown
    assert len(listed(installation, "--subscription", "a", "--status", "4xx")) == 30
    assert len(listed(installation, "--grep", "REFUSED", "--limit", "7")) == 7
    assert len(listed(installation, "--since", "2023-11-14T22:14:20")) == 60  # 60 s after the first
    assert len(listed(installation, "--until", "2023-11-14T22:14:20", "--model", "It*", "--product", "1")) == 60

    refused = installation.run("dlq", "drop", "--reason", "permanent", "--until", "2h", input="n\n")
    assert refused.returncode == 0, "60 are few enough not to be asked for"
    assert "60 dead letter(s) dropped" in refused.stdout
    refused = installation.run("dlq", "drop", input="n\n")
    assert refused.returncode == 1
    assert "Drop 60 dead letter(s)?" in refused.stderr, "all of them are always asked for"
    assert "60 dead letter(s) would be dropped" in installation.do("dlq", "drop", "--dry-run")
    assert len(listed(installation)) == 60
    assert "60 dead letter(s) dropped" in installation.do("dlq", "drop", "--yes")
    assert listed(installation) == []


def test_what_was_replayed_in_vain_is_left_alone_unless_forced_or_named(installation: Installation) -> None:
    bury(installation, 4, replays=2)
    bury(installation, 4, replays=3, first=4)
    dry = installation.run("dlq", "replay", "--dry-run")
    assert "4 dead letter(s) would be replayed" in dry.stdout
    assert "4 dead letter(s) are left alone: replayed 3 times without success (--force)" in dry.stderr
    assert "8 dead letter(s) would be replayed" in installation.do("dlq", "replay", "--dry-run", "--force")
    hopeless = next(entry["id"] for entry in listed(installation) if entry["replays"] == 3)
    assert "1 dead letter(s) would be replayed" in installation.do("dlq", "replay", "--dry-run", "--id", hopeless)


def test_wrong_conditions_are_named_and_nothing_is_done(installation: Installation) -> None:
    for arguments, words in (
        (("--status", "teapot"), "'teapot' is no HTTP status"),
        (("--since", "soon"), "'soon' is no time"),
        (("--stage", "nowhere"), "'nowhere' is not one of"),
        (("--limit", "0"), "0 is not in the range"),
        (("--rate", "0/s"), "'0/s' is no rate"),
    ):
        done = installation.run("dlq", "replay", *arguments)
        assert done.returncode == 2, arguments
        assert words in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_replay_that_is_stopped_in_the_middle_and_repeated_brings_each(
    installation: Installation, how: signal.Signals
) -> None:
    bury(installation, 600)
    with Receiver() as receiver:
        installation.subscribe(a=receiver.url + "/a", b=receiver.url + "/b")
        with installation.consuming() as replica:
            replica.wait_until_ready()
            began = installation.start("dlq", "replay", "--rate", "20/s", "--status", "4xx", "--yes")
            eventually(lambda: receiver.count >= 20, "nothing arrived", replica)
            began.send_signal(how)
            _, said = began.communicate(timeout=30)
            assert began.returncode != 0
            if how is signal.SIGINT:
                assert "the others stand where they stood" in said
            left = len(listed(installation, "--status", "4xx"))
            assert 0 < left < 300
            installation.do("dlq", "replay", "--status", "4xx", "--yes")
            eventually(
                lambda: len({r.headers["webhook-id"] for r in receiver.requests}) == 300, "some are missing", replica
            )
            assert replica.stop() == 0
        assert receiver.count == 300, "none came twice"
    assert len(listed(installation)) == 300
