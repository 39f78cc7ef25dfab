"""Wrong input gets one clear sentence on stderr, the right exit code, and no traceback; nothing is sent."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from installation import Installation, eventually
from payloads import documented

from services import get_available_services

CLOSED = "127.0.0.1:1"  # a port where nothing listens


@pytest.fixture
def here(tmp_path: Path) -> Installation:
    """An installation whose Kafka cannot be reached."""
    return Installation(CLOSED, tmp_path)


def sentence(here: Installation, *arguments: str, code: int = 2, input: str = "", **environ: str) -> str:
    done = here.run(*arguments, input=input, **environ)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.strip()


def test_a_wrong_setting_is_named(here: Installation) -> None:
    here.subscribe(hook="https://example.com")
    said = sentence(here, "consume", SPRINTLY_ATTEMPT_TIMEOUT="soon", SPRINTLY_MAX_IN_FLIGHT="0")
    assert len(said.splitlines()) == 2
    assert "SPRINTLY_ATTEMPT_TIMEOUT: 'soon'" in said
    assert "SPRINTLY_MAX_IN_FLIGHT" in said


def test_a_missing_subscriptions_file_is_named(here: Installation) -> None:
    said = sentence(here, "consume")
    assert said == f"sprintly-services: {here.subscriptions}: there is no such subscriptions file; " + (
        "SPRINTLY_SUBSCRIPTIONS says which one is read"
    )


def test_all_that_is_wrong_with_the_subscriptions_is_listed_at_once(here: Installation) -> None:
    here.subscribe(
        one={"service": "slac", "options": {}},
        two={"options": {}},
        three={"options": {"urls": "https://example.com", "secret": "${NOT_SET}"}},
    )
    lines = sentence(here, "consume").splitlines()
    assert len(lines) == 3
    for line, words in zip(lines, (("one", "slac"), ("two", "urls"), ("three", "NOT_SET")), strict=True):
        assert all(word in line for word in words), line


def test_a_service_that_no_guard_covers_is_off_unless_it_is_allowed(here: Installation) -> None:
    here.subscribe(push={"service": "apprise", "options": {"urls": "json://127.0.0.1/"}})
    options = here.subscriptions.with_name("options.yaml")
    options.write_text('urls: "json://127.0.0.1:1/"')

    refused = sentence(here, "consume").splitlines()[-1]
    checked = sentence(here, "subscriptions", "check")
    tried = sentence(here, "services", "test", "apprise", "--options", str(options))

    why = "the service apprise connects in ways that the rules about addresses cannot wholly cover; "
    how = "SPRINTLY_EGRESS_UNGUARDED=apprise allows it all the same"
    assert refused.endswith(f": subscription push: {why}{how}")
    assert checked.endswith(f"subscriptions.yaml: subscription push: {why}{how}")
    assert tried.endswith(why + how)
    assert here.run("subscriptions", "check", SPRINTLY_EGRESS_UNGUARDED="apprise").returncode == 0


def test_a_payload_that_does_not_fit_is_named_by_file_and_path_and_nothing_is_sent(here: Installation) -> None:
    good, without, unknown = (here.folder / f"{name}.json" for name in ("good", "without", "unknown"))
    good.write_text(json.dumps(documented("item")))
    payload = documented("item")
    del payload["model"]
    without.write_text(json.dumps(payload))
    payload = documented("comment")
    payload["attributes"]["item"]["colour"] = "red"
    unknown.write_text(json.dumps(payload))
    lines = sentence(here, "produce", str(good), str(without), str(unknown)).splitlines()
    assert len(lines) == 3
    assert str(without) in lines[0]
    assert "model" in lines[0]
    assert f"{unknown}: attributes.item.colour: " in lines[1]
    assert lines[2] == "sprintly-services: nothing was sent"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "standard input: holds no event"),
        ("{", "standard input: not JSON"),
        ('{"a": NaN}', "standard input: not JSON: NaN is no JSON number"),
        ('{"model": "Item", "model": "Deploy"}', "the key 'model' stands twice in one object"),
        ('{"model": "Item"}\n{"model"', "standard input, line 2: not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "standard input: "),
    ],
)
def test_what_is_no_json_is_named(here: Installation, text: str, problem: str) -> None:
    assert problem in sentence(here, "produce", "-", input=text)


def test_no_broker_is_a_sentence_with_its_address(here: Installation) -> None:
    payload = json.dumps(documented("item"))
    assert CLOSED in sentence(here, "topics", "create", code=1)
    assert CLOSED in sentence(here, "dlq", "list", code=1)
    assert CLOSED in sentence(here, "produce", "-", code=1, input=payload)


def test_consume_keeps_trying_to_reach_a_broker_and_is_not_ready(here: Installation) -> None:
    here.subscribe(hook="https://example.com")
    with here.consuming() as replica:
        eventually(lambda: "waiting for Kafka" in replica.text, "it does not wait", replica)
        assert f"no Kafka broker answered at {CLOSED}" in replica.text
        assert replica.stop() == 0


def test_a_port_that_is_taken_is_named(here: Installation) -> None:
    here.subscribe(hook="https://example.com")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = sentence(here, "consume", code=1, SPRINTLY_HTTP=address)
    assert address in said
    assert "SPRINTLY_HTTP" in said


def test_unknown_commands_and_services_are_usage_errors(here: Installation) -> None:
    assert "bogus" in sentence(here, "bogus")
    assert f"there is no service bogus; there are: {', '.join(get_available_services())}" in sentence(
        here, "services", "show", "bogus"
    )


def test_a_misspelt_variable_is_pointed_out(here: Installation) -> None:
    done = here.run("dlq", "list", SPRINTLY_BOOTSTRAP_SERVER="x")
    assert "SPRINTLY_BOOTSTRAP_SERVERS" in done.stderr


def test_the_services_are_listed_and_shown(here: Installation) -> None:
    (webhook,) = [s for s in json.loads(here.do("services", "list", "--json")) if s["name"] == "webhook"]
    assert webhook["title"] == "Webhook"
    assert [option["name"] for option in webhook["options"]] == ["urls", "secret"]
    assert "urls" in here.do("services", "show", "webhook")
    assert here.do("--version").startswith("sprintly-services, version ")


def test_the_demo_tells_its_story_to_the_end(here: Installation) -> None:
    said = " ".join(here.do("demo").split())
    assert "15 deliveries arrived (/audit 5, /team-chat 5, /tracker 5), 0 of them twice." in said
    assert "1 was refused, became a dead letter, was replayed, and arrived" in said


SIGNALLED = """
import os, signal, sys, threading, time
from consumer.cli import main
def terminate():
    while signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=terminate, daemon=True).start()
sys.argv = ["sprintly-services", "produce", "-"]
main()
"""


def test_sigterm_ends_a_command_that_has_only_just_begun() -> None:
    """By a handler of its own: as the first process of a container it would not be ended by the signal itself."""
    with subprocess.Popen([sys.executable, "-c", SIGNALLED], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.wait(60) == 128 + signal.SIGTERM
        assert process.stderr is not None
        assert process.stderr.read() == b""
