"""The apprise service: by Apprise's own `json://` to a receiver on loopback, and where the library is not installed."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import uvloop
from hypothesis import given
from payloads import NAMES, documented, hostile, payloads
from receivers import Raw, Receiver, Reply

from consumer.egress import EgressPolicy, parse_cidrs
from consumer.guarded import Guard, GuardedSession
from consumer.subscriptions import parse_subscriptions
from consumer.wire import Answer, AnswerKind
from consumer.workers import Workers
from services import NotDelivered, OptionsError, Payload, RecordingSession, ServiceError
from services._apprise import MISSING, fitted
from services._messages import message
from services.apprise import Service

ROOT = Path(__file__).parents[2]
ACTIONS = ("created", "updated", "deleted", "archived")
HOSTILE = (
    "<!channel> <@U1> <script>alert(1)</script> [x](http://evil.example) [y]: http://evil.example @everyone *a* `c` "
    "~d~ _e_\n# f\n> g\u202e"
)


def address(receiver: Receiver, rest: str = "/hook") -> str:
    return f"json://127.0.0.1:{receiver.port}{rest}"


def answer_of(url: str, allow: str = "127.0.0.0/8") -> Answer:
    """Return what one attempt in the consumer comes to."""
    guard = Guard(EgressPolicy(parse_cidrs(allow)))

    async def main() -> Answer:
        workers = Workers(session=lambda own: GuardedSession(guard, own))
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        workers.start(Service({"urls": url}, RecordingSession()), documented("item"), "id", future.set_result)
        try:
            return await asyncio.wait_for(future, 20)
        finally:
            await workers.aclose()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())._replace(seconds=0.0)


# To a receiver


def test_alone_it_notifies_each_address() -> None:
    with Receiver() as receiver:
        Service({"urls": [address(receiver, "/1"), address(receiver, "/2")]}).send(documented("item"))
    assert [request.path for request in receiver.requests] == ["/1", "/2"]
    body = json.loads(receiver.requests[0].body)
    assert body["title"].startswith("#1212 As a user, I want outbound service hooks")
    first, *details = body["message"].splitlines()
    assert first.startswith('Joe S. created the story "As a user')
    assert first.endswith(" http://sprint.ly/i/1/116550/")
    assert "Status: backlog" in details


def test_in_the_consumer_it_notifies() -> None:
    with Receiver() as receiver:
        assert answer_of(address(receiver)) == Answer(AnswerKind.ANSWERED, 200)
    assert receiver.count == 1


@pytest.mark.parametrize("answer", [400, 500, Reply(302, headers={"Location": "/elsewhere"}), Raw()])
def test_a_failure_is_transient_and_says_what_apprise_says(answer: Any) -> None:
    with Receiver([answer]) as receiver:
        found = answer_of(address(receiver, "/hook?:x=hush-hush"))
    assert found.kind is AnswerKind.TRANSIENT
    assert found.error.startswith("Apprise did not deliver: ")
    if not isinstance(answer, Raw):
        assert str(answer.status if isinstance(answer, Reply) else answer) in found.error
    assert receiver.count == 1, "a redirect was followed, or Apprise tried again by itself"


def test_alone_a_failure_raises() -> None:
    with Receiver([500]) as receiver, pytest.raises(NotDelivered, match=r"error=500"):
        Service({"urls": address(receiver)}).send(documented("item"))


def test_nobody_there_is_transient() -> None:
    with Receiver() as receiver:
        url = address(receiver)
    assert answer_of(url).kind is AnswerKind.TRANSIENT


def test_an_address_that_is_not_permitted_is_not_connected_to() -> None:
    with Receiver() as receiver:
        for host in ("127.0.0.1", "localhost"):
            answer = answer_of(f"json://{host}:{receiver.port}/", allow="10.0.0.0/8")
            assert answer.kind is AnswerKind.REFUSED
            assert answer.error.startswith("no connection: ")
            assert "is a loopback address, and SPRINTLY_EGRESS_ALLOW does not list it" in answer.error
        assert receiver.connections == 0


def test_mails_of_apprise_are_not_connected_to_either() -> None:
    with Receiver() as receiver:
        answer = answer_of(
            f"mailto://joe:secret@localhost:{receiver.port}/?from=c@d.example&to=a@b.example&smtp=127.0.0.1",
            allow="10.0.0.0/8",
        )
        assert answer.kind is AnswerKind.REFUSED
        assert receiver.connections == 0


def test_a_recorded_notification_says_what_it_is() -> None:
    with pytest.raises(ServiceError, match="blocking = True"):
        Service({"urls": "json://127.0.0.1:1/"}).requests_for(documented("item"))


# What it says


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("action", ACTIONS)
def test_every_event_makes_a_title_and_a_text(name: str, action: str) -> None:
    title, body = fitted(message({**documented(name), "action": action}), 250, 32_768)
    assert title
    assert body


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("action", [*ACTIONS, HOSTILE])
def test_nobody_writes_markup_links_or_mentions(name: str, action: str) -> None:
    active = re.compile(r"<[!@#/a-z]|\]\(|\]:|\w+://|\w\.[a-z]{2,}|@\w|`|(?<!\w)[*_~]\S|^\s*(?:#+\s|>)", re.I | re.M)
    title, body = fitted(message({**hostile(documented(name), HOSTILE), "action": action}), 250, 32_768)
    for text in (title, re.sub(r"http://sprint\.ly/\S*", "", body)):
        assert active.findall(text) == []


@given(payloads)
def test_any_payload_fits(payload: Payload) -> None:
    said = message(payload)
    for title_limit, body_limit in ((250, 32_768), (0, 160), (250, 250), (0, 60)):
        title, body = fitted(said, title_limit, body_limit)
        assert len(title) <= title_limit
        assert 0 < len(body) <= body_limit - len(title)


def test_what_does_not_fit_is_cut_visibly() -> None:
    title, body = fitted(message(documented("item")), 0, 60)
    assert title == ""
    assert body.startswith("Joe S. created")
    assert body.endswith("...")


def test_new_things_are_announced() -> None:
    assert Service.events == ("*.created",)
    assert Service.blocking


# Options


@pytest.mark.parametrize(
    ("urls", "problem"),
    [
        ("nothing", "urls is wrong: not an address that Apprise knows, or one that needs a library of its own"),
        ("bogus://x", "urls is wrong: not an address that Apprise knows, or one that needs a library of its own"),
        ("syslog://", "urls is wrong: an address of this machine itself"),
        ("dbus://", "urls is wrong: an address of this machine itself"),
        ([], "urls is wrong: neither an address nor a list of addresses"),
        (["json://a/", "json://a/"], "urls is wrong: numbers 1 and 2 are the same address"),
    ],
)
def test_wrong_options_are_named(urls: Any, problem: str) -> None:
    with pytest.raises(OptionsError) as caught:
        Service({"urls": urls})
    assert str(caught.value) == f"apprise: {problem}"


def test_the_address_is_a_secret_and_so_is_what_it_is_made_of() -> None:
    service = Service({"urls": "json://joe:hush%2Dhush@example.com/tok3n?:key=value1"})
    assert "tok3n" not in repr(service.options)
    said = service.redact("POST to example.com/tok3n as hush-hush (hush%2Dhush) with value1: error=500")
    assert said == "POST to **********/********** as ********** (**********) with **********: error=500"


def test_each_address_is_a_subscription() -> None:
    entry = {"id": "push", "product": 1, "service": "apprise", "options": {"urls": ["json://a/", "json://b/"]}}
    found = parse_subscriptions(json.dumps({"subscriptions": [entry]}), {})
    assert len({each.id for each in found}) == 2


def test_the_instructions_name_every_option() -> None:
    assert (Service.name, Service.title) == ("apprise", "Apprise")
    assert all(f"`{name}`" in Service.description for name in Service.Options.model_fields)


def test_what_apprise_logs_is_heard_by_its_own_attempt_only() -> None:
    with Receiver([500]) as receiver:
        with pytest.raises(NotDelivered):
            Service({"urls": address(receiver)}).send(documented("item"))
        logging.getLogger("apprise").warning("of somebody else")
        with pytest.raises(NotDelivered) as caught:
            Service({"urls": address(receiver)}).send(documented("item"))
    assert "somebody" not in str(caught.value)


# Without the library

WITHOUT = """
import sys

class Gone:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "apprise":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Gone())
from services import OptionsError, get_available_services
services = get_available_services()
assert {"apprise", "slack"} <= set(services)
services["slack"]({"url": "https://hooks.slack.com/x"})
try:
    services["apprise"]({"urls": "json://127.0.0.1/"})
except OptionsError as error:
    print(error)
"""


def test_without_the_library_the_service_is_listed_and_says_what_to_install() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == (f"apprise: urls is wrong: {MISSING}\n", "")
    assert "sprintly-services[apprise]" in MISSING


def test_listing_the_services_does_not_import_the_library() -> None:
    code = "import sys, services; services.get_available_services(); print('apprise' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n"
