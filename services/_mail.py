"""Mails: what happened comes in, one mail goes out, as plain text and as a page.

- Headers: https://www.rfc-editor.org/rfc/rfc5322 (Message-ID, References), https://www.rfc-editor.org/rfc/rfc2919
  (List-Id), https://www.rfc-editor.org/rfc/rfc3834 (Auto-Submitted)
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import make_msgid, parseaddr

from services._automatic import JOINER, tamed
from services._html import escape, link
from services._messages import Message
from services._text import cut

LONGEST_SUBJECT = 200
"""Characters; a choice: mail programs show less than half of it."""

# What HTML's email fields take (https://html.spec.whatwg.org/multipage/input.html#valid-e-mail-address): no blanks, no
# quotes, nothing that could end a header or an SMTP command.
_MAILBOX = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]+@([a-z0-9-]+\.)*[a-z0-9-]+", re.ASCII | re.IGNORECASE)

_PAGE = """\
<!DOCTYPE html>
<html lang="en"><body style="font-family: sans-serif">
<p>{sentence}</p>
{rest}</body></html>
"""


def is_mailbox(text: str) -> bool:
    """Return whether the text is an address such as team@example.com."""
    return _MAILBOX.fullmatch(text) is not None


def is_sender(text: str) -> bool:
    """Return whether the text is such an address, or a name with one in <>."""
    name, address = parseaddr(text)
    # What parseaddr passes over, a second address for one, must not be lost silently.
    whole = text in (address, f"{name} <{address}>", f'"{name}" <{address}>')
    return text.isprintable() and whole and is_mailbox(address)


def mail(said: Message, product: int | None, delivery_id: str, sender: str, recipient: str) -> EmailMessage:
    """Return the mail about something in a product; its Message-ID is a new one where there is no delivery id."""
    name, address = parseaddr(sender)
    domain = address.rpartition("@")[2]
    made = EmailMessage(SMTP)
    made["From"] = Address(name, addr_spec=address)
    made["To"] = Address(addr_spec=recipient)
    made["Subject"] = _subject(said)
    made["Date"] = datetime.now(UTC)
    made["Message-ID"] = f"<{delivery_id}@{domain}>" if delivery_id else make_msgid(domain=domain)
    label = "product" if product is None else str(product)
    if said.subject.number is not None:
        # Mails about one item make one conversation. What they refer to is no mail: the first may never have come.
        made["In-Reply-To"] = made["References"] = f"<{label}.{said.subject.number}.sprintly@{domain}>"
    made["List-Id"] = f"<{label}.sprintly.{domain}>"
    made["Auto-Submitted"] = "auto-generated"  # no replies from those who are on holiday
    # Quoted-printable, since a server that does not offer 8BITMIME takes nothing else.
    made.set_content(_plain(said), cte="quoted-printable")
    made.add_alternative(_page(said), subtype="html", cte="quoted-printable")
    return made


def _subject(said: Message) -> str:
    what = " ".join(filter(None, [said.product and f"[{said.product}]", said.subject.listed() or said.sentence()]))
    # =? would begin an encoded word, in which anything may be written: header lines, too.
    return cut(what.replace("=?", f"={JOINER}?"), LONGEST_SUBJECT)


def _plain(said: Message) -> str:
    paragraphs = [
        tamed(said.sentence()),
        f"> {tamed(said.excerpt)}" if said.excerpt else "",
        "\n".join(f"{field.label}: {tamed(field.text)}" for field in said.fields),
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
    return escape(tamed(text)).replace("\n", "<br>")
