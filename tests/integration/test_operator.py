"""What an operator says of subscriptions while replicas run, on the real Kafka, by the commands themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from installation import Installation, eventually
from receivers import Got, Receiver
from sequences import Switch, event, first_deliveries, in_order


@pytest.fixture
def installation(kafka_bootstrap: str, tmp_path: Path) -> Installation:
    made = Installation(
        kafka_bootstrap, tmp_path, retry_delays="1s,1s,10m", probe_pause="500ms", probe_longest_pause="1s"
    )
    made.create_topics()
    return made


def listed(installation: Installation, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(installation.do(*arguments, "--json"))
    return found


def owed(installation: Installation) -> dict[str, dict[str, Any]]:
    return {row["subscription"]: row for row in listed(installation, "deliveries", "owed")}


def test_disabled_enabled_skipped_and_backfilled(installation: Installation) -> None:
    switch = Switch()
    with Receiver(switch) as receiver:
        installation.subscribe(hook=receiver.url + "/hook", other=receiver.url + "/other")
        with installation.consuming() as first, installation.consuming() as second:
            first.wait_until_ready()
            second.wait_until_ready()

            said = installation.do("subscriptions", "disable", "hook", "--reason", "moving house")
            assert said == "hook: disabled: what is for it waits until it is enabled\n"
            standing = {
                row["id"]: (row["standing"], row["reason"]) for row in listed(installation, "subscriptions", "list")
            }
            assert standing == {"hook": ("disabled", "moving house"), "other": ("enabled", "")}
            installation.produce(*map(event, range(600)))
            eventually(lambda: switch.count("/other") == 600, "the other one waits too", first)
            assert switch.count("/hook") == 0
            eventually(lambda: "hook" in owed(installation), "what is owed is not shown", first)
            row = owed(installation)["hook"]
            assert row["standing"] == "disabled"
            assert row["events_behind_at_most"] >= 500
            assert row["oldest_age_seconds"] >= 0
            assert "sprintly_disabled 1.0" in first.get("/metrics")

            installation.do("subscriptions", "enable", "hook")
            eventually(lambda: switch.count("/hook") == 600, "it does not catch up", first)
            assert first_deliveries(switch.delivered, "/hook") == in_order(600)
            eventually(lambda: owed(installation) == {}, "something is still owed", first)

            installation.do("subscriptions", "disable", "hook")
            installation.produce(*map(event, range(600, 800)))
            eventually(lambda: switch.count("/other") == 800, "the other one waits too", first)
            said = installation.do("subscriptions", "enable", "ho", "--skip")
            assert said == "hook: enabled: it goes on from now\n"
            installation.produce(*map(event, range(800, 900)))
            eventually(lambda: switch.count("/hook") == 700, "it does not go on", first)

            before = len(switch.delivered)
            backfill = ("subscriptions", "backfill", "hook", "--since", "1h")
            assert "would be backfilled with 900 event(s)" in installation.do(*backfill, "--dry-run")
            assert "backfilled with 900 event(s)" in installation.do(*backfill)
            eventually(lambda: switch.count("/hook") == 900, "what was skipped does not come", first)
            eventually(lambda: len(switch.delivered) == before + 900, "not all of it comes again", first)
            assert {got.path for got in switch.delivered[before:]} == {"/hook"}
            assert first_deliveries(switch.delivered[before:], "/hook") == in_order(900)
            assert (first.stop(), second.stop()) == (0, 0)
        assert installation.dead_letters() == []


def test_a_destination_that_is_gone_is_disabled_until_it_is_enabled(installation: Installation) -> None:
    gone, delivered = True, []

    def answers(got: Got) -> int:
        if got.path == "/hook" and gone:
            return 410
        delivered.append(got)
        return 204

    with Receiver(answers) as receiver:
        installation.subscribe(hook=receiver.url + "/hook", other=receiver.url + "/other")
        with installation.consuming() as replica:
            replica.wait_until_ready()
            installation.produce(*map(event, range(100)))
            eventually(lambda: len(delivered) == 100, "the other one does not get on", replica)

            def disabled() -> bool:
                (row,) = [row for row in listed(installation, "subscriptions", "list") if row["id"] == "hook"]
                return (row["standing"], row["reason"]) == ("disabled", "the receiver answered 410")

            eventually(disabled, "it is not disabled", replica)
            assert installation.dead_letters() == []
            assert replica.stop() == 0
        with installation.consuming() as another:
            another.wait_until_ready()
            gone = False
            installation.do("subscriptions", "enable", "hook")
            eventually(lambda: len(delivered) == 200, "it does not go on", another)
            assert first_deliveries(delivered, "/hook") == in_order(100)


def test_what_one_that_is_gone_is_owed_is_listed_kept_and_forgotten(installation: Installation) -> None:
    switch = Switch()
    with Receiver(switch) as receiver:
        installation.subscribe(former=receiver.url + "/dead", other=receiver.url + "/other")
        with installation.consuming() as replica:
            replica.wait_until_ready()
            installation.produce(*map(event, range(100)))
            eventually(lambda: "former" in owed(installation), "it is owed nothing", replica)
            assert owed(installation)["former"]["last_error"] == "the receiver answered 503"
            assert replica.stop() == 0
        refused = installation.run("subscriptions", "forget", "former", "--yes")
        assert refused.returncode == 2
        assert "former is in" in refused.stderr
        assert "enable --skip" in refused.stderr
        installation.subscribe(other=receiver.url + "/other")
        with installation.consuming() as replica:
            replica.wait_until_ready()
            assert owed(installation)["former"]["standing"] == "gone"
            declined = installation.run("subscriptions", "forget", "former", input="n\n")
            assert declined.returncode == 1
            assert "Forget what former is owed?" in declined.stderr
            assert "forgotten" in installation.do("subscriptions", "forget", "former", "--yes")
            assert owed(installation) == {}


def test_a_word_that_nobody_carries_out_is_said_to_wait(installation: Installation) -> None:
    installation.subscribe(hook="http://127.0.0.1:1/")
    waits = installation.run("subscriptions", "disable", "hook", "--wait", "500ms")
    assert waits.returncode == 1
    assert "it is said, and 0 of 8 partitions have carried it out within 0.5 s" in waits.stderr
    assert [row["standing"] for row in listed(installation, "subscriptions", "list")] == ["disabled"]
    unknown = installation.run("subscriptions", "disable", "hok")
    assert unknown.returncode == 2
    assert "there is no subscription hok; did you mean hook?" in unknown.stderr
    for arguments in (("backfill", "hook"), ("backfill", "hook", "--since", "soon"), ("enable",)):
        wrong = installation.run("subscriptions", *arguments)
        assert wrong.returncode == 2, arguments
        assert "Traceback" not in wrong.stderr
