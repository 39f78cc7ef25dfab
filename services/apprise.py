"""Tells of each event by Apprise, the library that knows the addresses of well over a hundred services.

- The library: https://appriseit.com/library/, https://github.com/caronc/apprise
- What an address looks like: https://appriseit.com/services/
- What it does with long texts, which are therefore cut here: https://appriseit.com/qa/data-overflow

It is an extra of this package and imported where it is needed, so that nobody else has to have it.

Apprise opens its connections by itself. In the consumer Python tells of each before it is made, and the address policy
is asked about the address that is really connected to. That covers what plugins do by `requests`, `smtplib` or sockets.
It does not cover threads that a plugin starts, nor libraries in C, so addresses that mean this machine (D-Bus, the
system log ...) are refused. Where the environment names a proxy, `requests` uses it, and only its address is checked.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import unquote

from pydantic import field_validator

from services import Field, NotDelivered, Payload, Secret, Secrets, ServiceBase, ServiceOptions, listen_to
from services._inert import inert
from services._messages import Message, message
from services._options import SHORTEST_MASKED
from services._text import cut

if TYPE_CHECKING:
    from apprise import NotifyBase

MISSING = "the library Apprise is not there: install sprintly-services[apprise]"

# The desktop's notifications, the system log, and a light in a USB port.
_THIS_MACHINE = frozenset({"blink1", "dbus", "gio", "glib", "gnome", "kde", "macosx", "qt", "syslog", "windows"})


class Service(ServiceBase):
    """
    Apprise

    Announces what happens in your product by any service that [Apprise](https://appriseit.com/services/) knows.

    1. Whoever runs this consumer installs the library with it: `pip install 'sprintly-services[apprise]'`.
    2. Find your service on [its list](https://appriseit.com/services/), and put an address together as the page says,
       such as `ntfys://ntfy.example.com/sprintly` or `tgram://TOKEN/CHAT`.
    3. `urls` is that address, or a list of several. They hold tokens and passwords, so treat them like those.

    New items, comments, favorites, blocks and deploys are announced, unless your subscription names other events.
    """

    blocking = True

    class Options(ServiceOptions):
        """Where to."""

        destinations: ClassVar[str | None] = "urls"

        urls: Secrets = Field(description="An address as Apprise writes them, or a list of several.")

        @field_validator("urls")
        @classmethod
        def _are_known(cls, urls: tuple[Secret, ...]) -> tuple[Secret, ...]:
            for url in urls:
                _plugin(url)
            return urls

    @listen_to("*.created")
    def send(self, payload: Payload) -> None:
        """Notify each address; raises NotDelivered if Apprise says that it did not get through."""
        from apprise import Apprise, NotifyFormat

        said = message(payload)
        for url in self.options.urls:
            plugin = _plugin(url)
            title, body = fitted(said, plugin.title_maxlen, plugin.body_maxlen)
            library = Apprise(asset=plugin.asset)
            library.add(plugin)
            with self.session.guarded(), _heard() as heard:
                if not library.notify(body, title, body_format=NotifyFormat.TEXT):
                    reason = self.redact(" ".join(heard[-1:]) or "it gives no reason")
                    raise NotDelivered(f"Apprise did not deliver: {reason}")

    def redact(self, text: str) -> str:
        """Return the text with the addresses' secrets as asterisks, and all that they are put together of."""
        parts = {part for url in self.options.urls for part in _parts(url.get_secret_value())}
        return re.sub("|".join(map(re.escape, sorted(parts, key=len, reverse=True))) or r"(?!)", "**********", text)


def fitted(said: Message, title_limit: int, body_limit: int) -> tuple[str, str]:
    """Return title and body within a service's limits, cut visibly; a title that it does not take is left out."""
    lines = [said.line(inert), *(f"{field.label}: {inert(field.text)}" for field in said.fields)]
    room = min(title_limit, body_limit // 2)  # for some services the title is a part of the body
    title = cut(inert(said.subject.listed() or said.product or "Sprint.ly"), room) if title_limit > 0 else ""
    return title, cut("\n".join(lines), body_limit - len(title) - len("\r\n"))


def _plugin(url: Secret) -> NotifyBase:
    """Return what Apprise makes of an address; raises ValueError, without the address in its text."""
    try:
        from apprise import Apprise, AppriseAsset
    except ImportError:
        raise ValueError(MISSING) from None
    text = url.get_secret_value().strip()
    if text.partition(":")[0].lower() in _THIS_MACHINE:
        raise ValueError("an address of this machine itself")
    # In this thread, where the session guards it, and without redirects, as everywhere.
    asset = AppriseAsset(async_mode=False, service_timeout=0, http_redirects=False)
    plugin = Apprise.instantiate(text, asset=asset)
    if plugin is None:
        raise ValueError("not an address that Apprise knows, or one that needs a library of its own")
    return plugin


def _parts(url: str) -> Iterator[str]:
    for part in re.split(r"[/:@?&=#,]+", url.partition("://")[2]):
        yield from (text for text in (part, unquote(part)) if len(text) >= SHORTEST_MASKED)


_hearing: ContextVar[list[str] | None] = ContextVar("_hearing", default=None)


class _Ear(logging.Handler):
    """Keeps what Apprise warns of for the attempt that it belongs to: it is all that tells why it failed."""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one warning."""
        if (heard := _hearing.get()) is not None:
            heard.append(" ".join(record.getMessage().split()))


_EAR = _Ear(logging.WARNING)


@contextmanager
def _heard() -> Iterator[list[str]]:
    logging.getLogger("apprise").addHandler(_EAR)  # once: it is the same one each time
    heard: list[str] = []
    token = _hearing.set(heard)
    try:
        yield heard
    finally:
        _hearing.reset(token)
