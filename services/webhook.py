"""Posts each event, as it is, to any address: the service for receivers that people write themselves."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

from services import Field, Payload, SecretUrls, ServiceBase, ServiceOptions, SigningSecrets, StandardWebhook


class Service(ServiceBase):
    """
    Webhook

    Sends each event as JSON to addresses of your own.

    1. `urls` is the address that receives the events, or a list of several. Each gets a `POST` whose body has
       the keys `model`, `action`, `product` and `attributes`. Answer with a status of 2xx within 15 seconds;
       the same event may arrive more than once, always with the same `webhook-id`.
    2. `secret`, if you give one, signs each request, so that you can tell that it is ours. It is base64 of 24
       to 64 random bytes, with or without `whsec_` before it. `openssl rand -base64 32` makes one. To change it,
       give a list for a while, the new one first: each request is then signed by both, and a receiver may know
       either.

    Requests are signed by [Standard Webhooks](https://www.standardwebhooks.com/), whose libraries check the
    headers `webhook-id`, `webhook-timestamp` and `webhook-signature` for you.
    """

    class Options(ServiceOptions):
        """Where to, and signed by what."""

        destinations: ClassVar[str | None] = "urls"

        urls: SecretUrls = Field(
            description="The address that receives the events, or a list of several.",
            examples=["https://example.com/sprintly", ["https://example.com/sprintly", "https://example.net/sprintly"]],
        )
        secret: SigningSecrets | None = Field(
            None,
            description="Signs each request: base64 of 24 to 64 random bytes, whsec_ before it or not; while it "
            "changes a list of up to 4, the newest first.",
            examples=[
                "whsec_ZXhhbXBsZSBleGFtcGxlIGV4YW1wbGUh",
                ["whsec_YW5vdGhlciBhbm90aGVyIGV4YW1wbGUh", "whsec_ZXhhbXBsZSBleGFtcGxlIGV4YW1wbGUh"],
            ],
        )

    @cached_property
    def signature(self) -> StandardWebhook | None:
        """What signs the requests, where there is a secret."""
        return StandardWebhook(self.options.secret) if self.options.secret else None

    def send(self, payload: Payload) -> None:
        """Post the payload itself, to each address in turn."""
        for url in self.options.urls:
            self.session.post(url, json=payload, auth=self.signature)
