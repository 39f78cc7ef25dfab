"""Sends each event as a mail, by a mail server that takes it over an encrypted connection.

- Submission, its ports and TLS: https://www.rfc-editor.org/rfc/rfc6409, https://www.rfc-editor.org/rfc/rfc8314
- Headers: https://www.rfc-editor.org/rfc/rfc5322 (Message-ID, References), https://www.rfc-editor.org/rfc/rfc2919
  (List-Id), https://www.rfc-editor.org/rfc/rfc3834 (Auto-Submitted)
"""

from __future__ import annotations

import contextlib
import re
import smtplib
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import make_msgid, parseaddr
from ipaddress import ip_address
from typing import Any, ClassVar, Literal, Self

from pydantic import field_validator, model_validator

from services import Field, Payload, Secret, ServiceBase, ServiceError, ServiceOptions, Session, Texts, listen_to
from services._html import escape, link
from services._inert import JOINER, unlinked
from services._messages import Message, message
from services._text import cut

LONGEST_SUBJECT = 200
"""Characters; a choice: mail programs show less than half of it."""

PORTS = {"starttls": 587, "tls": 465, "none": 25}

# What HTML's email fields take (https://html.spec.whatwg.org/multipage/input.html#valid-e-mail-address): no blanks, no
# quotes, nothing that could end a header or an SMTP command.
_MAILBOX = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]+@([a-z0-9-]+\.)*[a-z0-9-]+", re.ASCII | re.IGNORECASE)

_PAGE = """\
<!DOCTYPE html>
<html lang="en"><body style="font-family: sans-serif">
<p>{sentence}</p>
{rest}</body></html>
"""


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

        host: str = Field(description="The mail server.")
        security: Literal["starttls", "tls", "none"] = Field("starttls", description="How the connection is encrypted.")
        port: int | None = Field(None, ge=1, le=65_535, description="587, 465 or 25, by security, unless it is given.")
        username: str | None = Field(None, description="The account that sends, if the server wants a login.")
        password: Secret | None = Field(None, description="That of the account.")
        sender: str = Field(description="The address that mails are from, with or without a name before it.")
        recipients: Texts = Field(description="The address that receives the mails, or a list of several.")

        @field_validator("host")
        @classmethod
        def _is_a_host(cls, host: str) -> str:
            if not re.fullmatch(r"[\w.:-]+", host, re.ASCII):
                raise ValueError("not the name or address of a host")
            return host

        @field_validator("sender")
        @classmethod
        def _is_a_sender(cls, sender: str) -> str:
            _, address = parseaddr(sender)
            if not (sender.isprintable() and _MAILBOX.fullmatch(address)):
                raise ValueError("neither an address, such as hooks@example.com, nor a name with one in <>")
            return sender

        @field_validator("recipients")
        @classmethod
        def _are_mailboxes(cls, recipients: tuple[str, ...]) -> tuple[str, ...]:
            if not all(map(_MAILBOX.fullmatch, recipients)):
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
        mails = [self.mail(payload, recipient) for recipient in self.options.recipients]
        with self._server() as server:
            for mail in mails:
                server.send_message(mail)

    def mail(self, payload: Payload, recipient: str) -> EmailMessage:
        """Return what one recipient gets; the same delivery has the same Message-ID at each attempt."""
        said = message(payload)
        name, sender = parseaddr(self.options.sender)
        domain = sender.rpartition("@")[2]
        mail = EmailMessage(SMTP)
        mail["From"] = Address(name, addr_spec=sender)
        mail["To"] = Address(addr_spec=recipient)
        mail["Subject"] = _subject(said)
        mail["Date"] = datetime.now(UTC)
        own = self.session.delivery_id
        mail["Message-ID"] = f"<{own}@{domain}>" if own else make_msgid(domain=domain)
        if thread := _thread(payload, said):
            mail["In-Reply-To"] = mail["References"] = f"<{thread}@{domain}>"
        mail["List-Id"] = f"<{_product(payload)}.sprintly.{domain}>"
        mail["Auto-Submitted"] = "auto-generated"  # no replies from those who are on holiday
        # Quoted-printable, since a server that does not offer 8BITMIME takes nothing else.
        mail.set_content(_plain(said), cte="quoted-printable")
        mail.add_alternative(_page(said), subtype="html", cte="quoted-printable")
        return mail

    @contextlib.contextmanager
    def _server(self) -> Iterator[smtplib.SMTP]:
        options = self.options
        server = _Server(self.session, options.security, options.host, options.port or PORTS[options.security])
        try:
            if options.security == "starttls":  # a server that does not offer it raises: nothing goes out in the clear
                server.starttls(context=self.session.tls_context())
            if options.username is not None:
                server.login(options.username, options.password.get_secret_value())
            yield server
            with contextlib.suppress(OSError):  # the mail is taken, however the server says goodbye
                server.quit()
        finally:
            server.close()


class _Server(smtplib.SMTP):
    """An SMTP client whose connections are the session's."""

    def __init__(self, session: Session, security: str, host: str, port: int) -> None:
        self._session = session
        self._security = security
        super().__init__(host, port)

    def _get_socket(self, host: str, port: int, timeout: object) -> socket.socket:
        """Return what smtplib is to speak over; SMTP_SSL overrides the same."""
        opened = self._session.connect(host, port)
        try:
            if self._security == "tls":
                return self._session.tls_context().wrap_socket(opened, server_hostname=host)
            if self._security == "none":
                _require_private(opened.getpeername()[0])
        except BaseException:
            opened.close()
            raise
        return opened


def _require_private(address: str) -> None:
    if not ip_address(address).is_private:
        raise ServiceError(f"security none is for private networks only, and {address} is a public address")


def _subject(said: Message) -> str:
    what = " ".join(filter(None, [said.product and f"[{said.product}]", said.subject.listed() or said.sentence()]))
    # =? would begin an encoded word, in which anything may be written: header lines, too.
    return cut(what.replace("=?", f"={JOINER}?"), LONGEST_SUBJECT)


def _product(payload: Payload) -> str:
    number: Any = payload.get("product", {}).get("id")
    return str(number) if isinstance(number, int) else "product"


def _thread(payload: Payload, said: Message) -> str:
    """Return what mails about one item refer to: a mail that does not exist, as whichever came first may be missing."""
    return "" if said.subject.number is None else f"{_product(payload)}.{said.subject.number}.sprintly"


def _plain(said: Message) -> str:
    paragraphs = [
        unlinked(said.sentence()),
        f"> {unlinked(said.excerpt)}" if said.excerpt else "",
        "\n".join(f"{field.label}: {unlinked(field.text)}" for field in said.fields),
        said.subject.url or "",
    ]
    return "\n\n".join(filter(None, paragraphs)) + "\n"


def _page(said: Message) -> str:
    quoted = f"<blockquote>{_shown(said.excerpt)}</blockquote>\n" if said.excerpt else ""
    rows = "".join(
        f'<tr><th align="left" valign="top">{escape(field.label)}</th><td>{_shown(field.text)}</td></tr>\n'
        for field in said.fields
    )
    return _PAGE.format(sentence=said.sentence(_shown, link), rest=quoted + (rows and f"<table>\n{rows}</table>\n"))


def _shown(text: str) -> str:
    return escape(unlinked(text)).replace("\n", "<br>")
