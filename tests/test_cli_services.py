"""`services test` and `services docs` as processes: what they print, and their exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from installation import Installation
from payloads import documented
from receivers import Receiver, Reply

TRY = ("services", "test")


@pytest.fixture
def here(tmp_path: Path) -> Installation:
    """An installation without Kafka: trying a service needs none."""
    return Installation("127.0.0.1:1", tmp_path)


def options(here: Installation, text: str) -> str:
    path = here.folder / "options.yaml"
    path.write_text(text)
    return str(path)


def payload(here: Installation, *payloads: Any) -> str:
    path = here.folder / "payload.json"
    path.write_text("\n".join(json.dumps(one) for one in payloads))
    return str(path)


def test_a_dry_run_needs_nothing_and_shows_the_comment(here: Installation) -> None:
    done = here.run(*TRY, "slack", "--dry-run")
    assert done.returncode == 0
    assert done.stdout.startswith("POST https://hooks.slack.com/**********\nContent-Type: application/json\n")
    assert "Joe S. commented on the task" in done.stdout
    assert "T00000000" not in done.stdout
    assert done.stderr == "slack, with its example options: Comment.created from the bundled example comment\n"


def test_a_dry_run_for_programs(here: Installation) -> None:
    [request] = json.loads(here.do(*TRY, "webhook", "--dry-run", "--json", "--payload", "deploy"))
    assert (request["method"], request["address"]) == ("POST", "https://example.com/**********")
    assert request["body"] == documented("deploy")
    assert "Content-Type: application/json" in request["headers"]


def test_one_event_is_delivered_with_options_from_the_environment(here: Installation) -> None:
    file = options(here, 'urls: "${ACME_URL}"\nsecret: "${ACME_SECRET}"\n')
    with Receiver([Reply(200, b"ok")]) as receiver:
        environ = {"ACME_URL": f"{receiver.url}/hook", "ACME_SECRET": "whsec_ZXhhbXBsZSBleGFtcGxlIGV4YW1wbGUh"}
        done = here.run(*TRY, "webhook", "--options", file, **environ)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"POST {receiver.url}/**********: delivered (the receiver answered 200), in 0.")
    [request] = receiver.requests
    assert json.loads(request.body) == documented("comment")
    assert request.headers["webhook-signature"].startswith("v1,")


def test_each_destination_gets_it_and_one_that_refuses_is_told(here: Installation) -> None:
    with Receiver() as good, Receiver([Reply(404, b"no such hook")]) as bad:
        file = options(here, json.dumps({"urls": [f"{bad.url}/a", f"{good.url}/b"]}))  # JSON is YAML
        done = here.run(*TRY, "webhook", "--options", file, "--json")
    assert done.returncode == 1
    refused, delivered = json.loads(done.stdout)
    assert (refused["outcome"], refused["status"]) == ("permanent", 404)
    assert refused["error"] == "the receiver answered 404: no such hook"
    assert (delivered["outcome"], delivered["status"], delivered["error"]) == ("delivered", 204, None)
    assert 0 <= delivered["seconds"] < 60


@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        (500, "a replica would try again (the receiver answered 500)"),
        (429, "a replica would wait, then try again (the receiver answered 429)"),
        (400, "a replica would make a dead letter of it (the receiver answered 400)"),
        (410, "a replica would disable the subscription (the receiver answered 410)"),
    ],
)
def test_an_answer_is_told_with_what_it_means(here: Installation, answer: int, meaning: str) -> None:
    with Receiver([answer]) as receiver:
        done = here.run(*TRY, "slack", "--options", options(here, f"url: {receiver.url}/hook"))
    assert done.returncode == 1
    assert f"not delivered; {meaning}, in 0." in done.stdout
    assert receiver.count == 1


def test_an_address_that_the_settings_do_not_allow_is_not_called(here: Installation) -> None:
    with Receiver() as receiver:
        file = options(here, f"url: {receiver.url}/hook")
        done = here.run(*TRY, "slack", "--options", file, SPRINTLY_EGRESS_ALLOW="")
    assert done.returncode == 1
    assert "127.0.0.1 is a loopback address, and SPRINTLY_EGRESS_ALLOW does not list it" in done.stdout
    assert receiver.count == 0


def test_an_event_that_it_does_not_listen_to_is_sent_all_the_same(here: Installation) -> None:
    updated = payload(here, {**documented("item"), "action": "updated"})
    done = here.run(*TRY, "slack", "--dry-run", "--payload", updated)
    assert "was updated" in done.stdout
    assert "by itself the service listens to *.created" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bogus", "--dry-run"], "there is no service bogus; there are: "),
        (["slack"], "give --options FILE; only with --dry-run the service's example options will do"),
        (["slack", "--options", "absent.yaml"], "absent.yaml: there is no such options file"),
        (["slack", "--dry-run", "--payload", "absent.json"], "absent.json: cannot be read: No such file"),
    ],
)
def test_what_is_missing_is_named(here: Installation, arguments: list[str], said: str) -> None:
    done = here.run(*TRY, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("url: ${NOT_SET}", "option url needs the environment variable NOT_SET, which is not set"),
        ("url: ftp://hunter2", "option url is wrong: not an http or https address with a host"),
        ("", "option url is missing"),
        ("- url", "options is not a mapping"),
        ("url: [", "line 2, column 1: not YAML: "),
        ("urll: http://a.example", "option urll is not an option of this service; did you mean url?"),
    ],
)
def test_wrong_options_are_named_by_file_and_option(here: Installation, text: str, said: str) -> None:
    file = options(here, text)
    done = here.run(*TRY, "slack", "--options", file)
    assert done.returncode == 2
    assert f"sprintly-services: {file}: {said}" in done.stderr
    assert "hunter2" not in done.stderr


def test_a_payload_is_one_event_that_fits_the_schema(here: Installation) -> None:
    item = documented("item")
    done = here.run(*TRY, "slack", "--dry-run", "--payload", payload(here, item, item))
    assert (done.returncode, done.stderr) == (
        2,
        f"sprintly-services: {payload(here)}: holds 2 events, and one is sent\n",
    )
    wrong = payload(here, {**item, "product": {"id": "1"}})
    done = here.run(*TRY, "slack", "--dry-run", "--payload", wrong)
    assert done.returncode == 2
    assert f"sprintly-services: {wrong}: product.id: " in done.stderr


def test_pages_are_written_anywhere_and_checked(here: Installation) -> None:
    folder = here.folder / "pages"
    assert str(folder / "slack.md") in here.do("services", "docs", str(folder))
    assert here.do("services", "docs", "--check", str(folder)) == ""
    (folder / "slack.md").write_text((folder / "slack.md").read_text() + "more")
    done = here.run("services", "docs", "--check", str(folder))
    assert (done.returncode, done.stdout) == (1, f"{folder / 'slack.md'}: out of date\n")
    assert here.do("services", "docs", str(folder)) == f"{folder / 'slack.md'}\n"
