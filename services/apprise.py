"""Tells of each event by Apprise, the library that knows the addresses of well over a hundred services; see `_apprise`.

Apprise opens its connections by itself. In the consumer Python tells of each before it is made, and the address policy
is asked about the address that is really connected to. That covers what plugins do by `requests`, `smtplib` or sockets.
It does not cover threads that a plugin starts, nor libraries in C, so addresses that mean this machine (D-Bus, the
system log ...) are refused. Where the environment names a proxy, `requests` uses it, and only its address is checked;
of the consumer's own proxy it knows nothing. So it is off unless an operator allows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pydantic import field_validator

from services import Field, NotDelivered, Payload, Secret, Secrets, ServiceBase, ServiceOptions, listen_to
from services._apprise import notify, parts, plugin_for
from services._messages import message


class Service(ServiceBase):
    """
    Apprise

    Announces what happens in your product by any service that [Apprise](https://appriseit.com/services/) knows.

    1. Whoever runs this consumer installs the library with it: `pip install 'sprintly-services[apprise]'`, and allows
       this service by `SPRINTLY_EGRESS_UNGUARDED=apprise`: Apprise opens its connections by itself, so the rules about
       addresses cannot hold for all that it does, and it does not use the consumer's proxy.
    2. Find your service on [its list](https://appriseit.com/services/), and put an address together as the page says,
       such as `ntfys://ntfy.example.com/sprintly` or `tgram://TOKEN/CHAT`.
    3. `urls` is that address, or a list of several. They hold tokens and passwords, so treat them like those.

    New items, comments, favorites, blocks and deploys are announced, unless your subscription names other events.
    """

    blocking = True
    unguarded = True

    class Options(ServiceOptions):
        """Where to."""

        destinations: ClassVar[str | None] = "urls"

        urls: Secrets = Field(
            description="An address as Apprise writes them, or a list of several.",
            examples=["json://user:example-password@example.com/path"],
        )

        @field_validator("urls")
        @classmethod
        def _are_known(cls, urls: tuple[Secret, ...]) -> tuple[Secret, ...]:
            for url in urls:
                plugin_for(url.get_secret_value())
            return urls

    @listen_to("*.created")
    def send(self, payload: Payload) -> None:
        """Notify each address; raises NotDelivered if Apprise says that it did not get through."""
        said = message(payload)
        for url in self.options.urls:
            with self.session.guarded():
                failure = notify(plugin_for(url.get_secret_value()), said)
                if failure is not None:
                    raise NotDelivered(f"Apprise did not deliver: {self.redact(failure)}")

    def secrets(self) -> Iterator[str]:
        """Return the addresses, and all that they are put together of: what of it is secret, only Apprise knows."""
        for url in self.options.urls:
            yield url.get_secret_value()
            yield from parts(url.get_secret_value())
