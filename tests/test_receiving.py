"""What a receiver gets, and what docs/receiving.md tells it to do: its code is run here, against real deliveries."""

from __future__ import annotations

import json
import re
import shlex
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import requests
import yaml
from harness import value
from installation import Installation
from receivers import Got, Receiver
from replicas import LETTERS, REPLAYS, Destination, Replica, cluster, committed, eventually, produce, running, scenario
from standardwebhooks import Webhook, WebhookVerificationError

from consumer.broker.memory import MemoryBroker
from consumer.deadletter import read_dead_letter
from consumer.egress import EgressPolicy, parse_cidrs
from consumer.replay import read_table, replay
from consumer.subscriptions import Subscription, parse_subscriptions
from consumer.transport import Transport
from services import StandardWebhook
from services.webhook import Service

TEXT = (Path(__file__).parents[1] / "docs" / "receiving.md").read_text("utf-8")
OLD = "whsec_b2xkIG9sZCBvbGQgb2xkIG9sZCBvbGQgb2xkIG9sZCE="
NEW = "bmV3IG5ldyBuZXcgbmV3IG5ldyBuZXcgbmV3IG5ldyE="  # without what may stand before it
OTHER = "whsec_b3RoZXIgb3RoZXIgb3RoZXIgb3RoZXIgb3RoZXIgISE="
EVENT = {"action": "created", "model": "Item", "product": {"id": 1}, "attributes": {"number": 1, "title": "ö"}}

Secrets: TypeAlias = str | list[str]
CHANGE: Mapping[str, tuple[Secrets, set[str]]] = {
    "before": (OLD, {OLD}),
    "during": ([NEW, OLD], {NEW, OLD}),
    "after": (NEW, {NEW}),
}
"""What the subscription has as its secret, and which secrets a receiver may know then."""


# What is sent


def hook(url: str, secret: Secrets) -> list[Subscription]:
    entry = {"id": "acme-hook", "product": "*", "service": "webhook", "options": {"urls": url, "secret": secret}}
    return list(parse_subscriptions(yaml.safe_dump({"subscriptions": [entry]}), {}))


async def deliver(broker: MemoryBroker, subscriptions: Sequence[Subscription], until: Callable[[], object]) -> None:
    """Run a replica with the wire of its own until that holds."""
    transport = Transport(policy=EgressPolicy(parse_cidrs("127.0.0.0/8")))
    async with running(Replica(broker, transport, subscriptions=subscriptions)):  # type: ignore[arg-type]
        await eventually(until, "it was not delivered")


def by_a_replica(url: str, secret: Secrets) -> None:
    async def play() -> None:
        broker = cluster()
        produce(broker, value(title="ö"))
        await deliver(broker, hook(url, secret), lambda: committed(broker) == 1)

    scenario(play)


def by_itself(url: str, secret: Secrets) -> None:
    Service({"urls": url, "secret": secret}).send(EVENT)


def sent(send: Callable[[str, Secrets], None], secret: Secrets) -> Got:
    with Receiver() as receiver:
        send(receiver.url, secret)
    [got] = receiver.requests
    return got


def verifies(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    try:
        Webhook(secret).verify(body, dict(headers))
    except WebhookVerificationError:
        return False
    return True


@pytest.mark.parametrize("when", CHANGE)
@pytest.mark.parametrize("send", [by_a_replica, by_itself])
def test_before_during_and_after_a_change_it_verifies_by_what_is_known_then(
    send: Callable[[str, Secrets], None], when: str
) -> None:
    given, known = CHANGE[when]
    got = sent(send, given)
    assert {secret for secret in (OLD, NEW, OTHER) if verifies(secret, got.headers, got.body)} == known
    later = str(int(got.headers["webhook-timestamp"]) + 1)
    for secret in known:
        assert Webhook(secret).verify(got.body, dict(got.headers)) == EVENT
        assert not verifies(secret, got.headers, got.body.replace(b'"number":', b'"number": ')), "tampered with"
        assert not verifies(secret, {**got.headers, "webhook-id": "another"}, got.body)
        assert not verifies(secret, {**got.headers, "webhook-timestamp": later}, got.body)


# A change, step by step


@pytest.mark.parametrize(
    "steps",
    [
        [(OLD, [OLD]), ([NEW, OLD], [OLD]), ([NEW, OLD], [NEW]), (NEW, [NEW])],
        [(OLD, [OLD]), (OLD, [NEW, OLD]), (NEW, [NEW, OLD]), (NEW, [NEW])],
    ],
    ids=["we sign by both", "the receiver knows both"],
)
def test_in_no_step_of_a_change_anything_is_refused_or_lost(steps: list[tuple[Secrets, list[str]]]) -> None:
    known: list[str] = []

    def answer(got: Got) -> int:
        return 204 if any(verifies(secret, got.headers, got.body) for secret in known) else 401

    async def play() -> None:
        broker = cluster()
        with Receiver(answer) as receiver:
            for number, (secret, now_known) in enumerate(steps, 1):
                known[:] = now_known
                produce(broker, *(value(n) for n in range(20)))
                await deliver(broker, hook(receiver.url, secret), lambda end=20 * number: committed(broker) == end)
            assert len({got.headers["webhook-id"] for got in receiver.requests}) == receiver.count == 80
        assert list(broker.read(LETTERS)) == []

    scenario(play)


def test_what_was_refused_for_its_signature_is_replayed_with_that_of_the_new_secret() -> None:
    def answer(got: Got) -> int:
        return 204 if verifies(NEW, got.headers, got.body) else 401

    async def play() -> None:
        broker = cluster()
        produce(broker, value())
        with Receiver(answer) as receiver:
            await deliver(broker, hook(receiver.url, OTHER), lambda: committed(broker) == 1)
            [letter] = [read_dead_letter(record) for record in broker.read(LETTERS)]
            assert (letter.reason, letter.status) == ("permanent", 401)
            entries = read_table(broker, LETTERS).entries
            replay(broker.writer("r"), entries, dead_letters=LETTERS, replays=REPLAYS, done=lambda _: None)
            await deliver(broker, hook(receiver.url, NEW), lambda: receiver.count == 2)
        refused, taken = receiver.requests
        assert (refused.headers["webhook-id"], refused.body) == (taken.headers["webhook-id"], taken.body)
        assert not verifies(NEW, refused.headers, refused.body)
        assert verifies(NEW, taken.headers, taken.body)
        assert read_table(broker, LETTERS).entries == []

    scenario(play)


# The page


def blocks(language: str) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```$", TEXT, re.MULTILINE | re.DOTALL)


def code(*texts: str) -> dict[str, Any]:
    """Return what those blocks of the page define."""
    defined: dict[str, Any] = {"__name__": "receiver"}
    for text in texts:
        exec(compile(text, "docs/receiving.md", "exec"), defined)
    return defined


LIBRARY, *BY_HAND = blocks("python")
event_of = code(LIBRARY)["event_of"]
PAGE = code(*BY_HAND)


def by_the_library(secrets: list[str], headers: Mapping[str, str], body: bytes) -> bool:
    try:
        event_of(secrets, headers, body)
    except WebhookVerificationError:
        return False
    return True


each_way = pytest.mark.parametrize("genuine", [by_the_library, PAGE["is_genuine"]], ids=["library", "by hand"])
Genuine: TypeAlias = Callable[[list[str], Mapping[str, str], bytes], bool]


@each_way
@pytest.mark.parametrize("when", CHANGE)
def test_each_way_takes_what_was_signed_by_a_secret_that_is_known(genuine: Genuine, when: str) -> None:
    given, known = CHANGE[when]
    got = sent(by_a_replica, given)
    for secrets in ([OLD], [NEW], [OLD, NEW], [OTHER], [OTHER, OLD], []):
        assert genuine(secrets, got.headers, got.body) == bool(known & {*secrets}), secrets
    assert event_of([*known], got.headers, got.body) == EVENT


@each_way
def test_neither_way_takes_anything_else_or_fails_on_it(genuine: Genuine) -> None:
    got = sent(by_itself, OLD)
    now = int(got.headers["webhook-timestamp"])
    signed = got.headers["webhook-signature"]
    assert genuine([OLD], {**got.headers, "webhook-signature": f"v1a,x {signed} v2,{signed[3:]}"}, got.body)
    assert not genuine([OLD], got.headers, got.body + b" ")
    assert not genuine([OLD], got.headers, b"\xff")
    for wrong in (
        {"webhook-id": "another"},
        {"webhook-timestamp": str(now + 1)},
        *({"webhook-timestamp": text} for text in ("", "soon", "9" * 100, "9" * 5_000, "nan", "-1", "²")),
        *({"webhook-signature": text} for text in ("", ",", "v1", "v1,", "v1,ö", "v2," + signed[3:], signed[:-4])),
    ):
        assert not genuine([OLD], {**got.headers, **wrong}, got.body), wrong
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
        assert not genuine([OLD], {key: text for key, text in got.headers.items() if key != name}, got.body)
    for age in (-310, 310):
        assert not genuine([OLD], StandardWebhook(OLD).headers("id", now - age, b"{}"), b"{}")
    for age in (-280, 280):
        assert genuine([OLD], StandardWebhook(OLD).headers("id", now - age, b"{}"), b"{}")


@contextmanager
def serving(path: Path) -> Iterator[str]:
    """Run the page's receiver; yields its address."""
    server = PAGE["receiver"](0, [OLD], str(path))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/sprintly"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def done(path: Path) -> list[int]:
    """Do what waits in an inbox; returns the numbers of the items, in the order in which they were done."""
    numbers: list[int] = []
    inbox = PAGE["open_inbox"](str(path))
    PAGE["work"](inbox, lambda _inbox, _delivery, event: numbers.append(event["attributes"]["number"]))
    inbox.close()
    return numbers


def test_the_pages_receiver_does_once_what_comes_twice(tmp_path: Path) -> None:
    path = tmp_path / "inbox.db"

    async def play() -> None:
        broker = cluster()
        produce(broker, *(value(n) for n in range(30)))
        again = broker.of_group("again")
        with serving(path) as url:
            await deliver(broker, hook(url, OLD), lambda: committed(broker) == 30)
            assert sorted(done(path)) == list(range(30))
            produce(broker, value(30))
            await deliver(again, hook(url, OLD), lambda: committed(again) == 31)
        assert list(broker.read(LETTERS)) == []

    scenario(play)
    assert done(path) == [30]
    assert done(path) == []


def test_what_work_fails_on_is_not_done_and_nothing_of_it_is_written(tmp_path: Path) -> None:
    inbox = PAGE["open_inbox"](str(tmp_path / "inbox.db"))
    inbox.execute("CREATE TABLE seen (number INTEGER)")
    for number in (1, 2, 3):
        assert PAGE["store"](inbox, f"id-{number}", b'{"number": %d}' % number)
    assert not PAGE["store"](inbox, "id-2", b"{}")

    def see(inbox: Any, delivery: str, event: Any, unable: int = 2) -> None:
        assert delivery == f"id-{event['number']}"
        inbox.execute("INSERT INTO seen VALUES (?)", (event["number"],))
        if event["number"] == unable:
            raise RuntimeError("cannot")

    with pytest.raises(RuntimeError):
        PAGE["work"](inbox, see)
    assert inbox.execute("SELECT number FROM seen").fetchall() == [(1,)]
    PAGE["work"](inbox, lambda *args: see(*args, unable=0))
    assert inbox.execute("SELECT number FROM seen").fetchall() == [(1,), (2,), (3,)]
    forget = re.search(r"`(DELETE FROM inbox [^`]*)`", TEXT)
    assert forget
    assert inbox.execute(forget[1]).rowcount == 0
    inbox.execute("UPDATE inbox SET received = datetime('now', '-32 days') WHERE delivery = 'id-1'")
    assert inbox.execute(forget[1]).rowcount == 1
    inbox.close()


def test_the_pages_receiver_refuses_what_is_not_genuine(tmp_path: Path) -> None:
    path = tmp_path / "inbox.db"
    got = sent(by_itself, OLD)
    signed = {name: text for name, text in got.headers.items() if name.startswith("webhook-")}
    with serving(path) as url, requests.Session() as session:
        session.trust_env = False

        def answer(body: bytes, **headers: str) -> int:
            return session.post(url, data=body, headers={**signed, **headers}, timeout=10).status_code

        assert answer(got.body + b" ") == 401
        assert answer(got.body, **{"webhook-signature": "v1,bm8="}) == 401
        assert answer(b"", **{"content-length": "9" * 20}) == 413
        assert answer(b"", **{"content-length": "-1"}) == 413
        assert [answer(got.body), answer(got.body)] == [204, 204]
    assert done(path) == [1]


def test_a_receiver_that_knows_another_secret_costs_a_dead_letter_that_says_so(tmp_path: Path) -> None:
    async def play() -> None:
        broker = cluster()
        produce(broker, value())
        with serving(tmp_path / "inbox.db") as url:
            await deliver(broker, hook(url, OTHER), lambda: committed(broker) == 1)
        [letter] = [read_dead_letter(record) for record in broker.read(LETTERS)]
        assert (letter.reason, letter.status) == ("permanent", 401)
        assert not any(part in letter.error for part in (OTHER, OTHER.removeprefix("whsec_")))

    scenario(play)


def test_the_request_that_the_page_shows_is_as_those_that_are_sent() -> None:
    shown = re.search(r"\n\n    POST /sprintly HTTP/1\.1\n(.*?)\n\n    (\{.*?\})\n", TEXT, re.DOTALL)
    assert shown
    headers = dict(line.strip().split(": ", 1) for line in shown[1].splitlines())
    got = sent(by_a_replica, OLD)
    assert [name.lower() for name in headers] == [
        *(name for name in got.headers if not name.startswith(("webhook-", "content-length"))),
        "content-length",
        *(name for name in got.headers if name.startswith("webhook-")),
    ]
    assert int(headers["Content-Length"]) == len(shown[2].encode())
    assert json.dumps(json.loads(shown[2]), separators=(",", ":")) == shown[2]


def test_the_subscription_of_the_first_step_signs_by_both() -> None:
    destination = Destination()

    async def play() -> None:
        broker = cluster()
        produce(broker, value(product=1111))
        subscriptions = parse_subscriptions(blocks("yaml")[0], {"ACME_NEW": NEW, "ACME_OLD": OLD})
        async with running(Replica(broker, destination, subscriptions=subscriptions)):
            await eventually(lambda: committed(broker) == 1, "it was not delivered")

    scenario(play)
    [request] = destination.got
    headers = dict(line.split(": ", 1) for line in request.headers)
    assert headers["webhook-signature"].count("v1,") == 2
    assert all(verifies(secret, headers, request.body or b"") for secret in (NEW, OLD))


def test_the_pages_receiver_is_tried_by_its_commands(tmp_path: Path) -> None:
    here = Installation("127.0.0.1:1", tmp_path)
    del here.environ["SPRINTLY_EGRESS_ALLOW"]
    with serving(tmp_path / "inbox.db") as url:
        (tmp_path / "options.yaml").write_text(blocks("yaml")[1].replace("http://127.0.0.1:8000/sprintly", url))
        said = []
        for line in blocks("sh")[0].splitlines():
            words = [word.replace("options.yaml", str(tmp_path / "options.yaml")) for word in shlex.split(line)]
            at = words.index("sprintly-services")
            environ = dict(word.split("=", 1) for word in words[:at])
            ended = here.run(*words[at + 1 :], ACME_SECRET=OLD, **environ)
            assert ended.returncode == 0, ended.stderr
            said.append(ended.stdout)
    assert ": delivered (the receiver answered 204), in 0." in said[0]
    assert "webhook-signature: v1," in said[1]
    inbox = PAGE["open_inbox"](str(tmp_path / "inbox.db"))
    assert inbox.execute("SELECT count(*) FROM inbox").fetchone() == (1,)
    inbox.close()


def test_the_ids_are_the_same_in_another_group_and_differ_between_addresses() -> None:
    async def play() -> None:
        broker = cluster()
        produce(broker, value())
        with Receiver() as receiver:
            entry = {"id": "a", "product": "*", "service": "webhook"}
            urls = [f"{receiver.url}/1", f"{receiver.url}/2"]
            text = yaml.safe_dump({"subscriptions": [{**entry, "options": {"urls": urls, "secret": OLD}}]})
            for one in (broker, broker.of_group("again")):
                await deliver(one, parse_subscriptions(text, {}), lambda one=one: committed(one) == 1)
        ids = sorted({(got.path, got.headers["webhook-id"]) for got in receiver.requests})
        assert receiver.count == 4
        assert [path for path, _ in ids] == ["/1", "/2"]
        assert ids[0][1] != ids[1][1]

    scenario(play)
