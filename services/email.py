"""Sends each event as a mail, by a mail server that takes it over an encrypted connection; see `_mail` and `_smtp`."""

from __future__ import annotations

import re
from email.message import EmailMessage
from typing import ClassVar, Self

from pydantic import field_validator, model_validator

from services import Field, Payload, Secret, ServiceBase, ServiceOptions, Texts, listen_to
from services._mail import is_mailbox, is_sender, mail
from services._messages import message
from services._smtp import Security, mail_server


class Service(ServiceBase):
    """
    Email

    Mails what happens in your product, by your own mail server or one that you have an account on.

    1. `host` is the mail server that takes mails from you: its pages call it *SMTP server* or *outgoing server*.
    2. `security` says how the connection is encrypted: `starttls`, unless you say otherwise, or `tls` from the first
       byte. `none` is for a relay on the same machine or in a private network only, and without a login.
    3. `port` is 587 for `starttls`, 465 for `tls` and 25 for `none`, unless you give another.
    4. `username` and `password` are those of the account that sends. Leave both out if the server wants no login.
    5. `sender` is who the mails are from, `hooks@example.com` or `Sprint.ly <hooks@example.com>`. The server must
       allow the account to send as that.
    6. `recipients` is the address that receives the mails, or a list of several. Each gets a mail of its own.

    New items, comments, favorites, blocks and deploys are mailed, unless your subscription names other events. Mails
    about one item make one conversation.
    """

    blocking = True

    class Options(ServiceOptions):
        """From whom, to whom, and by which server."""

        # A server may take one recipient and refuse another: as destinations, each has retries and dead letters of
        # its own. One mail to all could only come again to those who have it, or be lost to those who do not.
        destinations: ClassVar[str | None] = "recipients"

        host: str = Field(description="The mail server.", examples=["smtp.example.com"])
        security: Security = Field("starttls", description="How the connection is encrypted.", examples=["tls"])
        port: int | None = Field(
            None, ge=1, le=65_535, description="587, 465 or 25, by security, unless it is given.", examples=[2525]
        )
        username: str | None = Field(
            None, description="The account that sends, if the server wants a login.", examples=["sprintly"]
        )
        password: Secret | None = Field(None, description="That of the account.", examples=["example-password"])
        sender: str = Field(
            description="The address that mails are from, with or without a name before it.",
            examples=["Sprint.ly <hooks@example.com>"],
        )
        recipients: Texts = Field(
            description="The address that receives the mails, or a list of several.",
            examples=["team@example.com", ["team@example.com", "boss@example.net"]],
        )

        @field_validator("host")
        @classmethod
        def _is_a_host(cls, host: str) -> str:
            if not re.fullmatch(r"[\w.:-]+", host, re.ASCII):
                raise ValueError("not the name or address of a host")
            return host

        @field_validator("sender")
        @classmethod
        def _is_a_sender(cls, sender: str) -> str:
            if not is_sender(sender):
                raise ValueError("neither an address, such as hooks@example.com, nor a name with one in <>")
            return sender

        @field_validator("recipients")
        @classmethod
        def _are_mailboxes(cls, recipients: tuple[str, ...]) -> tuple[str, ...]:
            if not all(map(is_mailbox, recipients)):
                raise ValueError("not an address such as team@example.com")
            return recipients

        @model_validator(mode="after")
        def _login_is_whole_and_safe(self) -> Self:
            if (self.username is None) != (self.password is None):
                raise ValueError("username and password belong together")
            if self.username is not None and self.security == "none":
                raise ValueError("security none would send the password in the clear")
            return self

    @listen_to("*.created")
    def send(self, payload: Payload) -> None:
        """Send a mail to each recipient."""
        options = self.options
        login = (options.username, options.password.get_secret_value()) if options.username else None
        with mail_server(self.session, options.host, options.port, options.security, login) as server:
            for recipient in options.recipients:
                server.send_message(self.mail(payload, recipient))

    def mail(self, payload: Payload, recipient: str) -> EmailMessage:
        """Return what one recipient gets; the same delivery has the same Message-ID at each attempt."""
        product = payload["product"].get("id")
        number = product if isinstance(product, int) else None
        return mail(message(payload), number, self.session.delivery_id, self.options.sender, recipient)
