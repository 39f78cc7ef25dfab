"""Mail servers: a session and where to comes in, an SMTP client goes out that is encrypted and logged in.

- Submission, its ports and TLS: https://www.rfc-editor.org/rfc/rfc6409, https://www.rfc-editor.org/rfc/rfc8314
"""

from __future__ import annotations

import contextlib
import errno
import io
import smtplib
import socket
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Literal, TypeAlias

from services._errors import ServiceError
from services._session import Session

Security: TypeAlias = Literal["starttls", "tls", "none"]

PORTS = {"starttls": 587, "tls": 465, "none": 25}

_LONGEST_LINE = 8_192  # as for smtplib, which takes a longer one for a refusal; RFC 5321 has 512
_MOST_LINES = 100  # of one reply: smtplib keeps all of them; an EHLO's has some twenty


@contextlib.contextmanager
def mail_server(
    session: Session, host: str, port: int | None, security: Security, login: tuple[str, str] | None
) -> Iterator[smtplib.SMTP]:
    """Yield a client that may be given mails; raises smtplib.SMTPException, OSError, and what the session raises.

    ServiceError is raised where nothing encrypts what would go to a public address.
    """
    server = _Client(session, security, host, port or PORTS[security])
    try:
        if security == "starttls":  # a server that does not offer it raises: nothing goes out in the clear
            server.starttls(context=session.tls_context())
        if login:
            server.login(*login)
        yield server
        with contextlib.suppress(OSError):  # the mails are taken, however the server says goodbye
            server.quit()
    finally:
        server.close()


class _Client(smtplib.SMTP):
    """An SMTP client whose connections are the session's."""

    def __init__(self, session: Session, security: Security, host: str, port: int) -> None:
        self._session = session
        self._security = security
        super().__init__(host, port)

    def getreply(self) -> tuple[int, bytes]:
        """Return the server's next reply; one without an end raises SMTPServerDisconnected."""
        if self.file is None:
            assert self.sock is not None
            self.file = _Replies(self.sock.makefile("rb").detach())
        self.file.lines = 0
        return super().getreply()

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


class _Replies(io.BufferedReader):
    """What a mail server says; a line that breaks off is none."""

    lines = 0

    def readline(self, _size: int | None = -1, /) -> bytes:
        """Return a line, or nothing where the connection ended; raises OSError for what has no end."""
        self.lines += 1
        line = super().readline(_LONGEST_LINE)
        if self.lines > _MOST_LINES or len(line) == _LONGEST_LINE:
            raise OSError(errno.EMSGSIZE, "a reply without an end")
        return line if line.endswith(b"\n") else b""


def _require_private(address: str) -> None:
    try:
        ip_address(address)
    except ValueError:  # what a name leads to, only the proxy knows
        raise ServiceError("security none is for private networks only, not for names behind a proxy") from None
    if not ip_address(address).is_private:
        raise ServiceError(f"security none is for private networks only, and {address} is a public address")
