"""The sessions: one really sends, one only records; no mocks."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from receivers import Receiver, Reply, certificate

from services import (
    Field,
    Judgement,
    Meaning,
    Payload,
    PingSession,
    RecordingSession,
    SecretUrl,
    ServiceBase,
    ServiceError,
    ServiceOptions,
    Session,
    StandardWebhook,
    record,
)

PAYLOAD = {"action": "created", "model": "Item", "product": {"id": 1}, "attributes": {"number": 1}}


class Service(ServiceBase):
    class Options(ServiceOptions):
        url: SecretUrl

    def send(self, payload: dict[str, Any]) -> None:
        self.session.post(self.options.url, json=payload)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def test_alone_a_service_sends_its_ping(receiver: Receiver) -> None:
    Service({"url": f"{receiver.url}/hook"}).send(PAYLOAD)
    [request] = receiver.requests
    assert (request.method, request.path) == ("POST", "/hook")
    assert json.loads(request.body) == PAYLOAD


def test_a_payload_without_action_is_sent_as_created_and_not_changed(receiver: Receiver) -> None:
    payload = {name: value for name, value in PAYLOAD.items() if name != "action"}
    Service({"url": receiver.url}).send(payload)
    assert json.loads(receiver.requests[0].body) == PAYLOAD
    assert "action" not in payload


@pytest.mark.parametrize("status", [302, 400, 404, 410, 500, 503])
def test_alone_an_answer_other_than_2xx_raises(status: int) -> None:
    answers = [Reply(status, headers={"Location": "/elsewhere"})]
    with Receiver(answers) as receiver, pytest.raises(requests.HTTPError) as caught:
        Service({"url": f"{receiver.url}/t0ps3cret"}).send(PAYLOAD)
    assert str(caught.value).startswith(f"127.0.0.1 answered {status} ")
    assert caught.value.response.status_code == status
    assert [request.path for request in receiver.requests] == ["/t0ps3cret"]


def test_redirects_are_not_followed_whatever_the_method() -> None:
    receiver = Receiver([Reply(307, headers={"Location": "/elsewhere"})])
    with receiver, PingSession() as session, pytest.raises(requests.HTTPError, match="307"):
        session.get(f"{receiver.url}/here", allow_redirects=True)
    assert [request.path for request in receiver.requests] == ["/here"]


def test_errors_name_the_host_and_no_more_of_the_address() -> None:
    with Receiver() as gone:
        url = f"{gone.url}/t0ps3cret"
    with pytest.raises(requests.ConnectionError) as caught:
        Service({"url": url}).send(PAYLOAD)
    assert str(caught.value).startswith("no answer from 127.0.0.1: ConnectionError (")
    assert "t0ps3cret" not in str(caught.value)
    with PingSession() as session, pytest.raises(requests.exceptions.InvalidURL) as invalid:
        session.get("http://*./t0ps3cret")
    assert "t0ps3cret" not in str(invalid.value)


def test_time_outs_have_defaults_and_can_be_set() -> None:
    used: list[Any] = []

    class Noting(requests.adapters.HTTPAdapter):
        def send(self, request: Any, *args: Any, timeout: Any = None, **kwargs: Any) -> requests.Response:
            used.append(timeout)
            response = requests.Response()
            response.status_code, response.raw = 200, None
            return response

    with PingSession() as session:
        session.mount("http://", Noting())
        session.post("http://a/")
        session.post("http://a/", timeout=1)
        session.timeout = (1.0, 2.0)
        session.post("http://a/")
    assert used == [(5.0, 15.0), 1, (1.0, 2.0)]


class Delivering(PingSession):
    """A session as the consumer gives it to a blocking service."""

    delivery_id = "msg-1"


def test_a_redirect_to_an_impossible_address_is_an_answer_like_any_other() -> None:
    receiver = Receiver([Reply(302, headers={"Location": "http://["})])
    with receiver, PingSession() as session, pytest.raises(requests.HTTPError, match="answered 302"):
        session.get(receiver.url)


@pytest.mark.parametrize("session", [PingSession(), RecordingSession()])
def test_outside_of_a_delivery_there_is_no_id(session: Session) -> None:
    assert session.delivery_id == ""


def test_a_request_of_a_delivery_names_it_whatever_the_service_says(receiver: Receiver) -> None:
    with Delivering() as session:
        session.get(receiver.url)
        session.get(receiver.url, headers={"Webhook-ID": "another"})
        session.send(requests.Request("GET", receiver.url).prepare())
    with PingSession() as session:
        session.get(receiver.url)
    assert [got.headers.get("webhook-id") for got in receiver.requests] == ["msg-1"] * 3 + [None]


@pytest.mark.parametrize("body", [{"data": "text"}, {"data": b"bytes"}, {"json": {"a": 1}}, {}])
@pytest.mark.parametrize("of_the_session", [False, True])
def test_a_request_of_a_delivery_is_signed_under_its_id(
    receiver: Receiver, body: dict[str, Any], of_the_session: bool
) -> None:
    auth = StandardWebhook("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    with Delivering() as session:
        session.auth = auth if of_the_session else None
        session.post(receiver.url, auth=None if of_the_session else auth, **body)
    [got] = receiver.requests
    expected = auth.headers("msg-1", int(got.headers["webhook-timestamp"]), got.body)
    assert expected.items() <= dict(got.headers).items()


def test_what_a_service_has_signed_by_itself_keeps_its_id(receiver: Receiver) -> None:
    auth = StandardWebhook("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    prepared = requests.Request("POST", receiver.url, json={"a": 1}, auth=auth).prepare()
    with Delivering() as session:
        session.send(prepared)
    [got] = receiver.requests
    assert got.headers["webhook-id"] == prepared.headers["webhook-id"] != "msg-1"


def recorded(send: Any) -> requests.Request:
    """Return the one request that a service with this `send` records."""

    class Recorder(ServiceBase):
        pass

    Recorder.send = send  # type: ignore[method-assign]
    [request] = record(Recorder({}, RecordingSession()), PAYLOAD)
    return request


def test_recording_keeps_the_request_as_it_was_asked_for() -> None:
    request = recorded(
        lambda self, payload: self.session.put(
            SecretUrl("http://a/b"),
            json=payload,
            params={"q": "1"},
            headers={"x-a": "1"},
            auth=("me", "pw"),
            timeout=3,
            cookies={"c": "1"},
        )
    )
    assert isinstance(request, requests.Request)
    assert (request.method, request.url, request.params) == ("PUT", "http://a/b", {"q": "1"})
    assert request.json is PAYLOAD
    assert (request.headers, request.auth, request.cookies) == ({"x-a": "1"}, ("me", "pw"), {"c": "1"})
    assert request.prepare().url == "http://a/b?q=1"


@pytest.mark.parametrize("verb", ["get", "options", "head", "post", "put", "patch", "delete"])
def test_every_verb_is_recorded(verb: str) -> None:
    assert recorded(lambda self, payload: getattr(self.session, verb)("http://a/")).method == verb.upper()


def test_bodies_and_files_are_recorded() -> None:
    request = recorded(lambda self, payload: self.session.post("http://a/", data={"a": "b"}, files={"f": b"x"}))
    assert (request.data, request.files) == ({"a": "b"}, {"f": b"x"})


def test_what_is_set_on_the_session_goes_into_each_request() -> None:
    def send(self: ServiceBase, payload: dict[str, Any]) -> None:
        self.session.headers.update({"Authorization": "Bearer x", "x-a": "0"})
        self.session.params = {"v": "2"}
        self.session.auth = ("me", "pw")
        self.session.cookies.set("c", "1")
        self.session.post("http://a/", headers={"X-A": "1"}, params={"q": "1"}, cookies={"d": "2"})

    request = recorded(send)
    assert dict(request.headers) == {"Authorization": "Bearer x", "X-A": "1"}
    assert (request.params, request.auth, request.cookies) == ({"v": "2", "q": "1"}, ("me", "pw"), {"c": "1", "d": "2"})


def test_nothing_of_requests_own_is_added() -> None:
    assert recorded(lambda self, payload: self.session.post("http://a/")).headers == {}


@pytest.mark.parametrize("read", ["status_code", "ok", "text", "content", "headers", "json", "iter_lines", "cookies"])
def test_reading_an_answer_says_what_to_do(read: str) -> None:
    with pytest.raises(ServiceError) as caught:
        recorded(lambda self, payload: getattr(self.session.post("http://a/"), read))
    assert str(caught.value) == (
        f"send reads {read} of an answer, but the request is only recorded: "
        "a service that needs answers sets blocking = True"
    )


def test_judging_an_answer_by_its_truth_is_reading_it() -> None:
    with pytest.raises(ServiceError, match="blocking = True"):
        recorded(lambda self, payload: self.session.post("http://a/") or None)


def test_a_recorded_answer_takes_raise_for_status_and_closing() -> None:
    def send(self: ServiceBase, payload: dict[str, Any]) -> None:
        with self.session.post("http://a/") as answer:
            answer.raise_for_status()
            assert repr(answer) == "<Recorded>"

    assert recorded(send).url == "http://a/"


@pytest.mark.parametrize(
    "decided", [{"verify": False}, {"cert": "x.pem"}, {"proxies": {"http": "x"}}, {"stream": True}]
)
def test_what_the_consumer_decides_is_refused(decided: dict[str, Any]) -> None:
    with pytest.raises(ServiceError, match="which the consumer decides"):
        recorded(lambda self, payload: self.session.post("http://a/", **decided))


def test_a_prepared_request_is_refused() -> None:
    with pytest.raises(ServiceError, match=r"call self\.session\.request\(\)"):
        recorded(lambda self, payload: self.session.send(requests.Request("GET", "http://a/").prepare()))


def test_a_recording_session_cannot_connect_even_when_a_service_mounts_an_adapter() -> None:
    session = RecordingSession()
    session.mount("http://", requests.adapters.HTTPAdapter())
    with pytest.raises(requests.exceptions.InvalidSchema):
        session.get_adapter("http://a/")


def test_several_requests_are_recorded_in_order_and_none_is_fine() -> None:
    class Several(ServiceBase):
        def send(self, payload: dict[str, Any]) -> None:
            for number in range(payload["attributes"]["number"]):
                self.session.get(f"http://a/{number}")

    service = Several({}, RecordingSession())
    urls = [request.url for request in record(service, {**PAYLOAD, "attributes": {"number": 3}})]
    assert urls == ["http://a/0", "http://a/1", "http://a/2"]
    assert record(service, {**PAYLOAD, "attributes": {"number": 0}}) == []


def test_a_send_that_raises_leaves_nothing_behind() -> None:
    class Failing(ServiceBase):
        def send(self, payload: dict[str, Any]) -> None:
            self.session.get("http://a/")
            self.session.get(f"http://a/{payload['attributes']['title']}")

    service = Failing({}, RecordingSession())
    with pytest.raises(KeyError):
        record(service, PAYLOAD)
    assert len(record(service, {**PAYLOAD, "attributes": {"title": "x"}})) == 2


def test_requests_for_leaves_the_session_of_its_own_alone() -> None:
    service = Service({"url": "http://a/"})
    session = service.session
    [request] = service.requests_for(PAYLOAD)
    assert (request.url, request.json) == ("http://a/", PAYLOAD)
    assert service.session is session
    assert isinstance(session, PingSession)


# -- what a service says of an answer, and which delivery it is for


class Judging(ServiceBase):
    """
    Judging

    Takes an answer with `"ok": false` for a refusal.
    """

    name = "judging"

    class Options(ServiceOptions):
        url: SecretUrl = Field(description="Where it goes.")

    def send(self, payload: Payload) -> None:
        self.session.put(f"{self.options.url.get_secret_value()}/{self.session.delivery_id}", json={})

    def judge(self, status: int, body: bytes) -> Judgement | None:
        return Judgement(Meaning.PERMANENT, "chat not found") if b'"ok": false' in body else None


def test_on_its_own_a_service_raises_for_an_answer_that_it_takes_for_a_refusal() -> None:
    with Receiver([Reply(200, b'{"ok": true}'), Reply(200, b'{"ok": false}')]) as receiver:
        service = Judging({"url": receiver.url})
        service.send({})
        with pytest.raises(requests.HTTPError, match=r"127\.0\.0\.1 answered 200, and refuses: chat not found"):
            service.send({})


def test_a_recorded_request_may_name_its_delivery() -> None:
    service = Judging({"url": "http://127.0.0.1/rooms"}, RecordingSession())
    (request,) = record(service, {}, "an-id")
    assert request.url == "http://127.0.0.1/rooms/an-id"
    (request,) = record(service, {})
    assert request.url == "http://127.0.0.1/rooms/"


def test_alone_a_session_connects_with_its_timeouts(receiver: Receiver) -> None:
    with PingSession().connect("127.0.0.1", receiver.port) as opened:
        assert opened.getpeername() == ("127.0.0.1", receiver.port)
        assert opened.gettimeout() == 15.0
    with PingSession().guarded():
        socket.create_connection(("127.0.0.1", receiver.port), 5).close()


def test_alone_tls_checks_certificates_and_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = PingSession().tls_context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate(tmp_path)))
    assert len(PingSession().tls_context().get_ca_certs()) == 1


def test_a_recorded_connection_says_what_to_do() -> None:
    with pytest.raises(ServiceError, match="blocking = True"):
        RecordingSession().connect("127.0.0.1", 1)
    with pytest.raises(ServiceError, match="blocking = True"):
        RecordingSession().guarded()
