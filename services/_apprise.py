"""The library Apprise: an address and a message come in, and out comes whether it is delivered, or why not.

- The library: https://appriseit.com/library/, https://github.com/caronc/apprise
- What an address looks like: https://appriseit.com/services/
- What it does with long texts, which are therefore cut here: https://appriseit.com/qa/data-overflow

It is an extra of this package and imported where it is needed, so that nobody else has to have it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING
from urllib.parse import unquote

from services._inert import inert
from services._messages import Message
from services._text import cut

if TYPE_CHECKING:
    from apprise import NotifyBase

MISSING = "the library Apprise is not there: install sprintly-services[apprise]"

# The desktop's notifications, the system log, and a light in a USB port.
_THIS_MACHINE = frozenset({"blink1", "dbus", "gio", "glib", "gnome", "kde", "macosx", "qt", "syslog", "windows"})


def plugin_for(url: str) -> NotifyBase:
    """Return what Apprise makes of an address; raises ValueError, without the address in its text."""
    try:
        from apprise import Apprise, AppriseAsset
    except ImportError:
        raise ValueError(MISSING) from None
    if url.strip().partition(":")[0].lower() in _THIS_MACHINE:
        raise ValueError("an address of this machine itself")
    # In the thread that asks, where the session guards it, and without redirects, as everywhere.
    asset = AppriseAsset(async_mode=False, service_timeout=0, http_redirects=False)
    plugin = Apprise.instantiate(url, asset=asset)
    if plugin is None:
        raise ValueError("not an address that Apprise knows, or one that needs a library of its own")
    return plugin


def notify(plugin: NotifyBase, said: Message) -> str | None:
    """Send the message, and return None if it is delivered, or else what Apprise has to say about it."""
    from apprise import Apprise, NotifyFormat

    title, body = fitted(said, plugin.title_maxlen, plugin.body_maxlen)
    library = Apprise(asset=plugin.asset)
    library.add(plugin)
    with _heard() as heard:
        if library.notify(body, title, body_format=NotifyFormat.TEXT):
            return None
    return heard[-1] if heard else "it gives no reason"


def fitted(said: Message, title_limit: int, body_limit: int) -> tuple[str, str]:
    """Return title and body within a service's limits, cut visibly; a title that it does not take is left out."""
    lines = [said.line(inert), *(f"{field.label}: {inert(field.text)}" for field in said.fields)]
    room = min(title_limit, body_limit // 2)  # for some services the title is a part of the body
    title = cut(inert(said.subject.listed() or said.product or "Sprint.ly"), room) if title_limit > 0 else ""
    return title, cut("\n".join(lines), body_limit - len(title) - len("\r\n"))


def parts(url: str) -> Iterator[str]:
    """Yield all that an address is put together of, any of which may be a secret."""
    for part in re.split(r"[/:@?&=#,]+", url.partition("://")[2]):
        yield from (part, unquote(part))


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
