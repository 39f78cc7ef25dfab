"""Sends each event to a Matrix room.

- The request: https://spec.matrix.org/latest/client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid
- Its body: https://spec.matrix.org/latest/client-server-api/#mroommessage-msgtypes
- Mentions: https://spec.matrix.org/latest/client-server-api/#user-and-room-mentions
- Errors: https://spec.matrix.org/latest/client-server-api/#standard-error-response and #rate-limiting

Rates are each server's own, so none is declared: a server that wants fewer says for how long.
"""

from __future__ import annotations

import uuid

from services import Field, Judgement, Meaning, Payload, Secret, ServiceBase, ServiceOptions, listen_to
from services._addresses import BaseUrl, under
from services._automatic import tamed
from services._bodies import fields, number, text
from services._html import HTML
from services._lines import told
from services._messages import message

LONGEST = 10_000
"""Characters of the HTML: an event may be 65,536 bytes in all (https://spec.matrix.org/latest/client-server-api/#size-limits)."""


class Service(ServiceBase):
    """
    Matrix

    Announces what happens in your product in a Matrix room. The room must not be encrypted.

    1. Register an account for the announcements on your homeserver, and log in with it, in Element for one.
    2. `url` is the homeserver's address, such as `https://matrix.example.org`. In Element it stands under
       *Settings*, *Help & About*.
    3. `access_token` stands there, too. It lasts until that session logs out, so do not log out: close the window.
    4. Invite the account to the room, and accept the invitation.
    5. `room_id` is the room's internal ID, under *Room settings*, *Advanced*. It begins with `!`.

    New items, comments, favorites, blocks and deploys are announced, unless your subscription names other events.
    """

    class Options(ServiceOptions):
        """Which room, and as whom."""

        url: BaseUrl = Field(description="The homeserver's address.", examples=["https://matrix.example.org"])
        access_token: Secret = Field(
            description="The access token of the account that sends.", examples=["syt_example_token_0123456789"]
        )
        room_id: str = Field(
            description="The room's internal ID, such as !abc:example.org.",
            pattern="^!",
            examples=["!abcdefgh:example.org"],
        )

    @listen_to("*.created")
    def send(self, payload: Payload) -> None:
        """Put one message; however often a delivery is repeated, its transaction stays the same, and so one message."""
        said = message(payload)
        transaction = self.session.delivery_id or str(uuid.uuid4())
        path = ("_matrix", "client", "v3", "rooms", self.options.room_id, "send", "m.room.message", transaction)
        self.session.put(
            under(self.options.url, *path),
            json={
                "msgtype": "m.notice",  # what automatic senders use, so that no other of them answers
                "body": said.line(tamed),
                "format": "org.matrix.custom.html",
                "formatted_body": told(said, HTML, LONGEST),
                "m.mentions": {},  # without it, older servers and clients would look for names and @room in the body
            },
            headers={"Authorization": f"Bearer {self.options.access_token.get_secret_value()}"},
        )

    def judge(self, status: int, body: bytes) -> Judgement | None:
        """Go by `errcode`, and by `retry_after_ms` of servers that send no `Retry-After` yet."""
        answer = fields(body)
        code = text(answer, "errcode")
        said = ": ".join(filter(None, [code, text(answer, "error")]))
        if code == "M_LIMIT_EXCEEDED":
            wait = number(answer, "retry_after_ms")
            return Judgement(Meaning.THROTTLED, said, None if wait is None else wait / 1000)
        if not code or status in (408, 425, 429) or status >= 500:
            return None
        return Judgement(Meaning.PERMANENT, said)
