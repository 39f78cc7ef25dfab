"""A working SMTP server on 127.0.0.1 (aiosmtpd): keeps each mail that it takes, and refuses what it is told to.

with MailServer(tls=tls(pem), login=("joe", "secret")) as server:  # STARTTLS, which is then required
    ...  # send to server.port
    [mail] = server.mails
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from types import TracebackType
from typing import Any, NamedTuple, Self, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


class Taken(NamedTuple):
    """A mail as it came: the envelope, whether by TLS and who was logged in, and the message."""

    sender: str
    recipients: list[str]
    encrypted: bool
    login: str | None
    message: EmailMessage
    raw: bytes


class MailServer:
    """Listens on a free port of 127.0.0.1 while its `with` block runs.

    With `tls` it offers STARTTLS and requires it, or with `implicit` speaks TLS from the first byte. With `login` it
    requires that. `replies` holds what it answers to MAIL, RCPT, DATA and QUIT instead of taking them.
    """

    def __init__(
        self,
        replies: Mapping[str, str] | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        implicit: bool = False,
        login: tuple[str, str] | None = None,
    ) -> None:
        self.mails: list[Taken] = []
        self.replies = dict(replies or {})
        self._login = login
        starttls = tls is not None and not implicit
        self._controller = _Controller(
            self,
            hostname="127.0.0.1",
            ssl_context=tls if implicit else None,
            tls_context=tls if starttls else None,
            require_starttls=starttls,
            auth_required=login is not None,
            auth_require_tls=tls is not None and not implicit,
            authenticator=self._authenticate,
        )

    @property
    def port(self) -> int:
        """Where it listens."""
        return cast(int, self._controller.port)

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._controller.stop()

    def _authenticate(self, _server: SMTP, _session: Session, _envelope: Envelope, _how: str, data: Any) -> AuthResult:
        given = isinstance(data, LoginPassword) and (data.login.decode(), data.password.decode())
        return AuthResult(success=given == self._login, handled=False, auth_data=given and given[0])

    # What aiosmtpd asks its handler

    async def handle_MAIL(
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if "MAIL" not in self.replies:
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return self.replies.get("MAIL", "250 OK")

    async def handle_RCPT(
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if "RCPT" not in self.replies:
            envelope.rcpt_tos.append(address)
        return self.replies.get("RCPT", "250 OK")

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if "DATA" not in self.replies:
            raw = cast(bytes, envelope.content)
            message = cast(EmailMessage, message_from_bytes(raw, policy=default))
            encrypted = session.ssl is not None or isinstance(
                server.transport.get_extra_info("ssl_object"), ssl.SSLObject
            )
            self.mails.append(
                Taken(
                    envelope.mail_from or "",
                    list(map(str, envelope.rcpt_tos)),
                    encrypted,
                    session.auth_data,
                    message,
                    raw,
                )
            )
        return self.replies.get("DATA", "250 taken")

    async def handle_QUIT(self, _server: SMTP, _session: Session, _envelope: Envelope) -> str:
        return self.replies.get("QUIT", "221 bye")


class _Controller(Controller):
    """A controller on whatever port is free."""

    def _create_server(self) -> Any:
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        make: Callable[..., Any] = self.loop.create_server
        return make(self._factory_invoker, sock=listener, ssl=self.ssl_context)
