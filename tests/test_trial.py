"""Trying a service: requests are shown without secrets, and really sent as a replica would, once."""

from __future__ import annotations

import asyncio
from functools import partial
from ipaddress import ip_network
from typing import Any, ClassVar

import pytest
from payloads import documented
from receivers import Receiver, Reply

from consumer.clock import SystemClock
from consumer.egress import EgressPolicy
from consumer.guarded import Guard, GuardedSession
from consumer.outcome import Verdict
from consumer.transport import Transport
from consumer.trial import MASK, Attempt, Shown, Trial, texts
from consumer.wire import Request
from consumer.workers import Workers
from services import Judgement, Meaning, Payload, RecordingSession, Secret, SecretUrl, ServiceBase, ServiceOptions

DELIVERY = "7f0c4ad2-f0c3-5c5e-a0a5-2a94ea9a50f4"
SECRET = 'se"cret ünd/more'
LOOPBACK = [ip_network("127.0.0.0/8")]


class Acme(ServiceBase):
    """
    Acme

    1. Instructions.
    """

    steps: ClassVar[int] = 1

    class Options(ServiceOptions):
        url: SecretUrl = SecretUrl("https://user:pass-word@acme.example/hooks/4711?key=k-e-y")
        token: Secret = Secret(SECRET)

    def send(self, payload: Payload) -> None:
        for step in range(self.steps):
            self.session.post(self.options.url, json={"step": step})

    def judge(self, status: int, body: bytes) -> Judgement | None:
        return Judgement(Meaning.TRANSIENT, f"busy, {SECRET}") if body == b"busy" else None


class Steps(Acme):
    steps = 3


class Patient(Acme):
    blocking = True

    def send(self, payload: Payload) -> None:
        assert self.session.post(self.options.url, json={}).status_code == 201


def trial(service: type[ServiceBase] = Acme, **options: Any) -> Trial:
    return Trial(service(options, RecordingSession()), documented("item"), DELIVERY, SystemClock())


def shown(*headers: str, url: str = "https://acme.example/", body: bytes | None = None) -> Shown:
    return trial().shown(Request("POST", url, list(headers), body))


def attempts(service: type[ServiceBase], url: str, *, allow: Any = LOOPBACK) -> list[Attempt]:
    async def made() -> list[Attempt]:
        policy = EgressPolicy(allow)
        transport, workers = Transport(policy=policy), Workers(1, session=partial(GuardedSession, Guard(policy)))
        try:
            return await trial(service, url=url).attempts(transport, workers)
        finally:
            await transport.aclose()
            await workers.aclose()

    return asyncio.run(made())


def test_an_address_keeps_its_host_only() -> None:
    [request] = trial().requests()
    assert trial().shown(request).address == f"https://acme.example/{MASK}"


def test_an_address_to_which_the_service_adds_parameters_is_masked_in_pieces() -> None:
    one = shown(url="https://acme.example/hooks/4711?chat=7&key=k-e-y")
    assert one.address == f"https://acme.example/{MASK}?chat=7&{MASK}"


def test_a_secret_within_an_address_is_masked_where_it_stands() -> None:
    one = shown(url="https://api.acme.example/bot/se%22cret%20%C3%BCnd%2Fmore/send?chat=7")
    assert one.address == f"https://api.acme.example/bot/{MASK}/send?chat=7"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Authorization: Basic dXNlcjpwYXNzd29yZA==", f"Authorization: Basic {MASK}"),
        ("authorization: dXNlcjpwYXNz", f"authorization: {MASK}"),
        ("X-Acme-Token: not an option", f"X-Acme-Token: {MASK}"),
        ("Cookie: session=1", f"Cookie: {MASK}"),
        ("X-Room: k-e-y/pass-word", f"X-Room: {MASK}/{MASK}"),
        ("Content-Type: application/json", "Content-Type: application/json"),
    ],
)
def test_a_header_that_is_a_credential_is_masked_whatever_it_holds(header: str, expected: str) -> None:
    assert shown(header).headers == [expected]


def test_in_json_a_secret_is_found_although_it_is_escaped_there() -> None:
    body = rb'{"a": ["se\"cret \u00fcnd/more", 1, null], "se\"cret \u00fcnd/more": {"x": "as se\"cret \u00fcnd/more"}}'
    assert shown(body=body).body == {"a": [MASK, 1, None], MASK: {"x": f"as {MASK}"}}


def test_a_form_is_shown_by_its_fields() -> None:
    form = "Content-Type: application/x-www-form-urlencoded"
    assert shown(form, body=b"room=&key=se%22cret+%C3%BCnd%2Fmore").body == {"room": "", "key": MASK}


def test_text_is_shown_as_text() -> None:
    assert shown(body=f"<a>{SECRET}</a>".encode()).body == f"<a>{MASK}</a>"


def test_what_cannot_be_seen_is_shown_as_an_escape() -> None:
    lines = list(texts(Shown("POST", "https://a", ["X: y"], {"text": "a\u2060b \u202e\U000e0001 ü"})))
    assert lines[:3] == ["POST https://a", "X: y", ""]
    assert lines[3] == '{\n  "text": "a\\u2060b \\u202e\\udb40\\udc01 ü"\n}'
    assert list(texts(Shown("GET", "https://a", [], None))) == ["GET https://a"]


def test_a_delivery_goes_out_under_its_id_and_is_timed() -> None:
    with Receiver([Reply(200, delay=0.05)]) as receiver:
        [attempt] = attempts(Acme, f"{receiver.url}/hooks/4711")
    assert attempt.outcome.verdict is Verdict.DELIVERED
    assert attempt.outcome.status == 200
    assert attempt.seconds >= 0.05
    assert attempt.request is not None
    assert attempt.request.address == f"{receiver.url}/{MASK}"
    assert receiver.requests[0].headers["webhook-id"] == DELIVERY


def test_several_requests_go_out_in_order_up_to_the_first_that_fails() -> None:
    with Receiver([204, 500, 204]) as receiver:
        made = attempts(Steps, receiver.url)
    assert [attempt.outcome.verdict for attempt in made] == [Verdict.DELIVERED, Verdict.TRANSIENT]
    assert [request.body for request in receiver.requests] == [b'{"step":0}', b'{"step":1}']


def test_the_service_judges_the_answer_and_no_secret_in_it_is_told() -> None:
    with Receiver([Reply(200, b"busy")]) as receiver:
        [attempt] = attempts(Acme, receiver.url)
    assert attempt.outcome.verdict is Verdict.TRANSIENT
    assert attempt.outcome.error == f"the receiver answered 200: busy, {MASK}"


def test_an_address_that_is_not_allowed_is_not_called() -> None:
    with Receiver() as receiver:
        [attempt] = attempts(Acme, receiver.url, allow=[])
    assert attempt.outcome.verdict is Verdict.PERMANENT
    assert "SPRINTLY_EGRESS_ALLOW does not list it" in attempt.outcome.error
    assert receiver.count == 0


@pytest.mark.parametrize(("answer", "verdict"), [(201, Verdict.DELIVERED), (503, Verdict.TRANSIENT)])
def test_a_blocking_service_sends_by_itself_on_a_thread(answer: int, verdict: Verdict) -> None:
    with Receiver([answer]) as receiver:
        [attempt] = attempts(Patient, receiver.url)
    assert attempt.request is None
    assert attempt.outcome.verdict is verdict
    assert receiver.requests[0].headers["webhook-id"] == DELIVERY


def test_a_blocking_service_keeps_to_the_same_addresses() -> None:
    with Receiver() as receiver:
        [attempt] = attempts(Patient, receiver.url, allow=[])
    assert attempt.outcome.verdict is Verdict.PERMANENT
    assert receiver.count == 0
