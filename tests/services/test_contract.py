"""Every service, those of other packages included, keeps to the contract that docs/writing-a-service.md tells of.

What a service has to bring is in its class: each option that it needs, or that is a secret, has `examples`. It is tried
with each set of options that they make, on every model and action, and on what nobody should send.
"""

from __future__ import annotations

import asyncio
import copy
import errno
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from hostile import extended, hostile
from hypothesis import HealthCheck, given, settings
from payloads import NAMES, documented, payloads

from consumer.clock import SystemClock
from consumer.egress import EgressPolicy
from consumer.guarded import Guard, GuardedSession
from consumer.pages import subscription, variable
from consumer.render import RenderError
from consumer.subscriptions import parse_subscriptions
from consumer.trial import Trial, texts
from consumer.wire import Answer, AnswerKind, Request
from consumer.workers import Workers
from services import (
    OptionsError,
    Payload,
    RecordingSession,
    Secret,
    SecretUrl,
    ServiceBase,
    described,
    exceeded,
    get_available_services,
    matches,
    reveal,
)

ACTIONS = ("created", "updated", "deleted")
CREDENTIAL = re.compile(r"token|password|secret|api_?key|(^|_)key$|^auth")
"""Names of options that hold one, whatever their service calls it."""
SHORTEST = 8
"""Characters of an example secret: anything shorter might stand in a request by chance."""


def variants(name: str) -> list[Payload]:
    """Return payloads of one model that differ in what services tell apart."""
    payload = documented(name)
    found = [payload]
    for key, values in {"type": ("story", "task", "defect", "test"), "unblocked": (True, False)}.items():
        if key in payload["attributes"]:
            found += [{**payload, "attributes": {**payload["attributes"], key: value}} for value in values]
    return found


EVENTS = {
    (payload["model"], action): [{**one, "action": action} for one in variants(name)]
    for name in NAMES
    for payload in [documented(name)]
    for action in ACTIONS
}
EXAMPLES = [payload for found in EVENTS.values() for payload in found]
HOSTILE = hostile()
SERVICES = get_available_services()

each_service = pytest.mark.parametrize("service", SERVICES.values(), ids=list(SERVICES))


class _Network:
    """What hears of all that this process does, and lets nothing out while it is `closed`."""

    closed = False
    tried: list[str]

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.closed or not event.startswith("socket."):
            return
        if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
            self.tried.append(event)
            raise socket.gaierror(socket.EAI_AGAIN, "there is no network in this test")
        if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
            self.tried.append(event)
            raise OSError(errno.ENETUNREACH, "there is no network in this test")


network = _Network()
sys.addaudithook(network)  # it cannot be removed, and does nothing but in `unplugged`


@contextmanager
def unplugged() -> Iterator[list[str]]:
    """Yield the list of all that wants to use the network while the block runs, and fails to."""
    network.tried, network.closed = [], True
    try:
        yield network.tried
    finally:
        network.closed = False


def recording(service: type[ServiceBase], options: dict[str, Any]) -> ServiceBase:
    return service(options, RecordingSession())


def trial(service: ServiceBase, payload: Payload) -> Trial:
    return Trial(service, payload, "7f0c4ad2-f0c3-5c5e-a0a5-2a94ea9a50f4", SystemClock())


def rendered(service: ServiceBase, payload: Payload) -> list[Request]:
    with unplugged() as tried:
        try:
            requests = trial(service, payload).requests()
        except RenderError as error:
            pytest.fail("send uses the network by itself" if tried else str(error))
    assert tried == [], "send uses the network by itself"
    return requests


def answered(service: ServiceBase, payload: Payload) -> Answer:
    """Return what a replica makes of a blocking service whose network is down."""

    async def attempt() -> Answer:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        workers = Workers(1, session=lambda delivery: GuardedSession(Guard(EgressPolicy()), delivery))
        workers.start(service, payload, "7f0c4ad2-f0c3-5c5e-a0a5-2a94ea9a50f4", answer.set_result)
        try:
            return await answer
        finally:
            await workers.aclose()

    with unplugged():
        return asyncio.run(attempt())


def wants_to_send(service: ServiceBase, payload: Payload) -> bool:
    """Try a service on a payload: whatever it is, there are requests or none, and no failure."""
    before = copy.deepcopy(payload)
    if service.blocking:
        answer = answered(service, payload)
        assert answer.kind in (AnswerKind.ANSWERED, AnswerKind.TRANSIENT), (
            f"without a network an attempt is to be tried again: {answer.error}"
        )
        sends = answer.kind is AnswerKind.TRANSIENT
    else:
        requests = rendered(service, payload)
        for request in requests:
            assert exceeded(service.limits, request.body or b"") == []
        sends = bool(requests)
    changed = payload != before  # not in the assertion, which would compare megabytes for people
    assert not changed, "send changes the payload, which other subscriptions get as well"
    return sends


def secrets(service: ServiceBase) -> list[str]:
    options = dict(service.options)
    values = [options[option.name] for option in described(service.Options) if option.secret]
    flat = [one for value in values for one in (value if isinstance(value, list | tuple) else [value])]
    found = [reveal(one) for one in flat if isinstance(one, Secret)]
    paths = [urlsplit(reveal(one)).path for one in flat if isinstance(one, SecretUrl)]
    return found + [path for path in paths if len(path) >= SHORTEST]


# What it says of itself


@each_service
def test_it_has_a_title_instructions_and_a_word_on_each_option(service: type[ServiceBase]) -> None:
    assert service.title
    assert "\n" not in service.title
    for option in described(service.Options):
        assert f"`{option.name}`" in service.description, f"the instructions do not mention {option.name}"
        assert option.description, f"{option.name} has no description"
        assert "|" not in option.description, "it stands in tables"


@each_service
def test_each_option_has_an_example(service: type[ServiceBase]) -> None:
    examples = service.Options.examples()
    tried = {name for options in examples for name in options}
    without = [
        option.name
        for option in described(service.Options)
        if option.name not in tried
        and (option.required or option.secret or service.Options.model_fields[option.name].default is None)
    ]
    assert without == [], "Field(…, examples=[…]) says with what an option is tried"
    for options in examples:
        service.read_options(options)


@each_service
def test_wrong_options_are_named_without_their_values(service: type[ServiceBase]) -> None:
    wrong = {name: {"hunter2": "hunter2"} for name in service.Options.model_fields} | {"hunter": "hunter2"}
    with pytest.raises(OptionsError) as caught:
        service(wrong, RecordingSession())
    assert "hunter2" not in str(caught.value)
    assert "hunter is not an option of this service" in str(caught.value)


@each_service
def test_the_subscription_on_its_page_is_one(service: type[ServiceBase]) -> None:
    examples = service.Options.examples()[0]
    environ = {
        variable(service, name): value[0] if isinstance(value, list) else str(value) for name, value in examples.items()
    }
    [found] = parse_subscriptions(subscription(service), environ)
    assert found.service.name == service.name


# Its secrets


@each_service
def test_what_is_named_like_a_credential_is_a_secret(service: type[ServiceBase]) -> None:
    assert [o.name for o in described(service.Options) if CREDENTIAL.search(o.name) and not o.secret] == []


@each_service
def test_its_secrets_are_shown_nowhere(service: type[ServiceBase]) -> None:
    for options in service.Options.examples():
        one = recording(service, options)
        found = secrets(one)
        assert all(len(secret) >= SHORTEST for secret in found), f"an example secret is shorter than {SHORTEST}"
        shown = [repr(one.options), str(one.options), one.options.model_dump_json(), one.redact(" ".join(found))]
        if not service.blocking:
            for payload in EXAMPLES:
                shown += ["\n".join(texts(trial(one, payload).shown(request))) for request in rendered(one, payload)]
        assert [secret for secret in found if any(secret in text for text in shown)] == []


# What it makes of events


@each_service
def test_it_tells_of_all_that_it_listens_to(service: type[ServiceBase]) -> None:
    one = recording(service, service.Options.examples()[0])
    listened = {event: payloads for event, payloads in EVENTS.items() if matches(service.events, *event)}
    assert listened, "it listens to no event that there is"
    silent = [event for event, payloads in listened.items() if not any(wants_to_send(one, p) for p in payloads)]
    assert silent == [], "it listens to events that it sends nothing for: listen_to says which it wants"


@each_service
def test_with_any_options_no_event_makes_it_fail(service: type[ServiceBase]) -> None:
    """A subscription may ask for events that the service does not listen to by itself."""
    for options in service.Options.examples():
        one = recording(service, options)
        for payload in EXAMPLES:
            wants_to_send(one, payload)


@each_service
def test_keys_that_are_added_later_are_harmless(service: type[ServiceBase]) -> None:
    one = recording(service, service.Options.examples()[0])
    for payload in EXAMPLES:
        assert wants_to_send(one, extended(payload)) == wants_to_send(one, payload)


@pytest.mark.parametrize("payload", HOSTILE.values(), ids=list(HOSTILE))
@each_service
def test_no_payload_makes_it_fail(service: type[ServiceBase], payload: Payload) -> None:
    for options in service.Options.examples():
        wants_to_send(recording(service, options), payload)


@each_service
def test_whatever_an_event_holds_it_does_not_fail(service: type[ServiceBase]) -> None:
    one = recording(service, service.Options.examples()[0])

    @settings(max_examples=10 if service.blocking else 50, suppress_health_check=list(HealthCheck), database=None)
    @given(payload=payloads)
    def tried(payload: Payload) -> None:
        wants_to_send(one, {"action": "created", **payload})

    tried()


@each_service
def test_it_depends_on_nothing_but_payload_and_options(service: type[ServiceBase]) -> None:
    """A delivery is rendered anew after a restart, and goes on with the first request."""
    if service.blocking:
        pytest.skip("its requests are its own affair")
    for payload in EXAMPLES:
        options = service.Options.examples()[-1]
        first, again = (rendered(recording(service, options), payload) for _ in range(2))
        assert [_without_signature(request) for request in first] == [_without_signature(request) for request in again]


def _without_signature(request: Request) -> Request:
    return request._replace(headers=[line for line in request.headers if not line.startswith("webhook-")])
