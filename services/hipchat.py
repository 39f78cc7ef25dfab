"""Posts each event to a HipChat room as a notification.

- The request, its limits and the HTML it takes: https://developer.atlassian.com/hipchat/guide/sending-messages
- Rate limits: https://developer.atlassian.com/server/hipchat/hipchat-rest-api-rate-limits

Atlassian's own HipChat ended in 2019; HipChat Server and Data Center, and what is compatible, speak the same API.
"""

from __future__ import annotations

from services import Field, Payload, RateLimit, Secret, ServiceBase, ServiceOptions, listen_to
from services._addresses import BaseUrl, under
from services._html import HTML
from services._lines import told
from services._messages import COLOURS, message

LONGEST = 10_000
"""Characters of a notification."""

# HipChat paints a message's background in one of six named colours, and has no blue.
NAMED = {COLOURS["story"]: "green", COLOURS["task"]: "gray", COLOURS["defect"]: "red", COLOURS["test"]: "purple"}
OTHER = "yellow"


class Service(ServiceBase):
    """
    HipChat

    Announces what happens in your product in a HipChat room.

    1. In HipChat, open *Manage Rooms* (or *Rooms* of your group's administration) and choose the room.
    2. Under *Tokens*, create a token with the scope *Send Notification*: that is `auth_token`. Tokens of API v1 do
       not fit.
    3. `room_id` is the *API ID* of the room's summary, or its name.
    4. `url` is the address of your own server, such as `https://hipchat.example.com`. Without it, HipChat's cloud is
       meant, which is closed.

    New items, comments, favorites, blocks and deploys are announced, unless your subscription names other events.
    """

    class Options(ServiceOptions):
        """Which room, and on which server."""

        auth_token: Secret = Field(
            description="A token of the room that may send notifications (API v2).", examples=["example-token-0123"]
        )
        room_id: int | str = Field(description="The room's API ID, or its name.", examples=["dev", 1234])
        url: BaseUrl = Field("https://api.hipchat.com", description="The HipChat server's address.")

    # "limited to 30 requests per minute": https://developer.atlassian.com/server/hipchat/hipchat-rest-api-rate-limits
    rate = RateLimit(per_second=0.4, burst=6)

    @listen_to("*.created")
    def send(self, payload: Payload) -> None:
        """Send one notification."""
        said = message(payload)
        self.session.post(
            under(self.options.url, "v2", "room", self.options.room_id, "notification"),
            json={
                "message": told(said, HTML, LONGEST),
                "message_format": "html",
                "color": NAMED.get(said.colour, OTHER),
                "notify": False,
            },
            headers={"Authorization": f"Bearer {self.options.auth_token.get_secret_value()}"},
        )
