"""The contract of a service: options and one payload come in, `requests` calls on `self.session` go out.

A service is a module of this package, or of an entry point in the group `sprintly.services`, with one class
named `Service`. `docs/writing-a-service.md` walks through one.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, NamedTuple, TypeAlias, cast

import requests
from pydantic import Field

from services._answers import Judgement, Meaning
from services._catalogue import find_services
from services._described import Option, described
from services._errors import NotDelivered, OptionsError, ServiceError
from services._events import EVERYTHING, is_glob, listen_to, matches
from services._limits import exceeded
from services._options import (
    Secret,
    Secrets,
    SecretUrl,
    SecretUrls,
    ServiceOptions,
    Texts,
    read_options,
    reveal,
    secrets_of,
)
from services._redaction import Redaction
from services._session import Judge, PingSession, RecordingSession, Session
from services._signature import SigningSecrets, StandardWebhook

__all__ = [
    "Field",
    "Judge",
    "Judgement",
    "Meaning",
    "NotDelivered",
    "Option",
    "OptionsError",
    "Payload",
    "PingSession",
    "RateLimit",
    "RecordingSession",
    "Secret",
    "SecretUrl",
    "SecretUrls",
    "Secrets",
    "ServiceBase",
    "ServiceError",
    "ServiceOptions",
    "Session",
    "SigningSecrets",
    "StandardWebhook",
    "Texts",
    "described",
    "exceeded",
    "get_available_services",
    "is_glob",
    "listen_to",
    "matches",
    "record",
    "reveal",
]

Payload: TypeAlias = dict[str, Any]
"""What happened: `model`, `action`, `product` and `attributes` (design 2.1)."""


class RateLimit(NamedTuple):
    """A rate that a third party allows: `burst` at once, and `per_second` from then on."""

    per_second: float
    burst: int = 1


class ServiceBase:
    """How to talk to one third party: subclasses are named `Service`, with `Options`, a docstring and `send`.

    The docstring's first line is the title; below the blank line is Markdown for the person who installs it.
    """

    name: ClassVar[str] = ""
    """The name in subscriptions: that of the file."""
    title: ClassVar[str] = ""
    description: ClassVar[str] = ""
    """Markdown, without the docstring's indentation."""
    events: ClassVar[tuple[str, ...]] = EVERYTHING
    """The globs of `listen_to`."""
    rate: ClassVar[RateLimit | None] = None
    """How many pings the third party takes, where it says so; all replicas together keep to it."""
    limits: ClassVar[Mapping[str, int]] = {}
    """The longest that the third party takes of a text or list, by its place in the body: `embeds[].title`, `embeds[]`.

    Texts are counted in characters, lists (those that end in `[]`) in entries, and the whole body, `*`, in bytes.
    """
    blocking: ClassVar[bool] = False
    """Whether `send` needs answers in between or speaks something else than HTTP.

    In the consumer it then runs on a thread of its own, with a real session, on an instance made for the one attempt.
    """
    unguarded: ClassVar[bool] = False
    """Whether it connects in ways that the consumer's rules about addresses cannot wholly cover.

    The consumer runs such a service only where its operator has allowed it by name.
    """

    class Options(ServiceOptions):
        """No options at all, unless a service says otherwise."""

    options: Any
    session: Session

    def __init__(self, options: Mapping[str, Any] | ServiceOptions, session: Session | None = None) -> None:
        """Take options that fit `Options`; without a session, pings are really sent. Raises OptionsError."""
        self.options = self.read_options(options)
        self.session = PingSession(self.judge) if session is None else session

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in vars(cls):
            cls.name = cls.__module__.rpartition(".")[2]
        title, _, text = inspect.cleandoc(cls.__doc__ or "").partition("\n")
        cls.title, cls.description = title.strip(), text.strip()
        if "send" in vars(cls):
            cls.send = _with_action(cls.send)  # type: ignore[assignment,method-assign]
        cls.events = getattr(cls.send, "events", EVERYTHING)

    @classmethod
    def read_options(cls, options: Mapping[str, Any] | ServiceOptions) -> ServiceOptions:
        """Return the options as this service's `Options`; raises OptionsError with all that is wrong."""
        return read_options(cls.name, cls.Options, options)

    def send(self, payload: Payload) -> None:
        """Tell the third party what happened, by calls on `self.session`; no action means `created`."""
        raise NotImplementedError

    def judge(self, status: int, body: bytes) -> Judgement | None:
        """Return what an answer means beyond its status; None, as here, leaves it to the status.

        `body` is the first 64 KiB of the answer; whatever it holds, nothing is raised. It is not asked about the
        answers that a `blocking` service reads by itself.
        """
        return None

    def redact(self, text: str) -> str:
        """Return the text with this service's secrets as asterisks; answers and errors of third parties repeat them."""
        return self._redaction.redact(text)

    def secrets(self) -> Iterable[str]:
        """Return the texts that `redact` masks: those of the options' secrets, and of addresses also the parts."""
        return secrets_of(self.options)

    @functools.cached_property
    def _redaction(self) -> Redaction:
        return Redaction(self.secrets())

    def requests_for(self, payload: Payload) -> list[requests.Request]:
        """Return what `send` would send, without sending it: this is what a service's tests look at.

        One that is `blocking` and reads answers raises ServiceError here: its tests run it against a local server.
        """
        return record(type(self)(self.options, RecordingSession()), payload)


def _with_action(send: Callable[[Any, Payload], None]) -> Callable[[Any, Payload], None]:
    @functools.wraps(send)
    def send_with_action(self: ServiceBase, payload: Payload) -> None:
        return send(self, payload if "action" in payload else {**payload, "action": "created"})

    return send_with_action


def record(service: ServiceBase, payload: Payload, delivery_id: str = "") -> list[requests.Request]:
    """Return the requests that `send` records for this payload, in order; none: nothing is to be delivered.

    The service must hold a RecordingSession, whose `delivery_id` is as given meanwhile. What `send` raises comes
    through, and leaves nothing behind for the next payload.
    """
    session = cast(RecordingSession, service.session)
    recorded = session.recorded = []
    session.delivery_id = delivery_id
    service.send(payload)
    return recorded


def get_available_services() -> dict[str, type[ServiceBase]]:
    """Return every service by name, sorted; raises ServiceError, naming the module, where one is broken."""
    return find_services(__name__, __path__, ServiceBase)
