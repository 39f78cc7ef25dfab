"""Posts each event, as it is, to any address: the service for receivers that people write themselves."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

from pydantic import field_validator

from services import Field, Payload, Secret, SecretUrls, ServiceBase, ServiceOptions, StandardWebhook
from services._signature import signing_key


class Service(ServiceBase):
    """
    Webhook

    Sends each event as JSON to addresses of your own.

    1. `urls` is the address that receives the events, or a list of several. Each gets a `POST` whose body has
       the keys `model`, `action`, `product` and `attributes`. Answer with a status of 2xx within 15 seconds;
       the same event may arrive more than once, always with the same `webhook-id`.
    2. `secret`, if you give one, signs each request, so that you can tell that it is ours. It is base64 of 24
       to 64 random bytes, with or without `whsec_` before it. `openssl rand -base64 32` makes one.

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
        secret: Secret | None = Field(
            None,
            description="Signs each request: base64 of 24 to 64 random bytes, whsec_ before it or not.",
            examples=["whsec_ZXhhbXBsZSBleGFtcGxlIGV4YW1wbGUh"],
        )

        @field_validator("secret")
        @classmethod
        def _holds_a_key(cls, secret: Secret | None) -> Secret | None:
            if secret is not None:
                signing_key(secret)
            return secret

    @cached_property
    def signature(self) -> StandardWebhook | None:
        """What signs the requests, where there is a secret."""
        return StandardWebhook(self.options.secret) if self.options.secret else None

    def send(self, payload: Payload) -> None:
        """Post the payload itself, to each address in turn."""
        for url in self.options.urls:
            self.session.post(url, json=payload, auth=self.signature)
