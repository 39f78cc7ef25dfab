"""Posts each event to a Campfire room as a line.

- Messages: https://github.com/basecamp/campfire-api/blob/master/sections/messages.md
- Authentication and limits: https://github.com/basecamp/campfire-api/blob/master/README.md

37signals' own Campfire of that time is closed. The one that they offer for one's own server now has another API.
"""

from __future__ import annotations

from services import Field, Payload, RateLimit, Secret, ServiceBase, ServiceOptions, listen_to
from services._addresses import BaseUrl, under
from services._automatic import tamed
from services._messages import message


class Service(ServiceBase):
    """
    Campfire

    Announces what happens in your product in a Campfire room.

    1. `subdomain` is the beginning of your Campfire's address: `acme` for `https://acme.campfirenow.com`.
    2. In Campfire, log in as who shall speak, and open *My info*: `auth_token` is the *API authentication token*.
    3. `room` is the number at the end of the room's address: `1234` for `https://acme.campfirenow.com/room/1234`.
    4. `url` is the address of your server, if it speaks Campfire's API. Without it, Campfire's own below
       `campfirenow.com` is meant, which is closed.

    New items, comments, favorites, blocks and deploys are announced, unless your subscription names other events.
    """

    class Options(ServiceOptions):
        """Which room, and as whom."""

        subdomain: str = Field(
            description="The name before .campfirenow.com.", pattern=r"^[A-Za-z0-9][-A-Za-z0-9]*$", examples=["acme"]
        )
        auth_token: Secret = Field(
            description="The API authentication token of who shall speak.", examples=["example-token-0123"]
        )
        room: int | str = Field(description="The room's number.", examples=[1234, "Dev"])
        url: BaseUrl | None = Field(
            None,
            description="The Campfire server's address, if it is another.",
            examples=["https://acme.campfirenow.com"],
        )

    # "up to 500 requests per 10 second period": https://github.com/basecamp/campfire-api/blob/master/README.md
    rate = RateLimit(per_second=25, burst=250)

    @listen_to("*.created")
    def send(self, payload: Payload) -> None:
        """Say one line; Campfire itself links the address at its end."""
        base = self.options.url or f"https://{self.options.subdomain}.campfirenow.com"
        # Without the type, Campfire guesses one: of an address of Twitter's, for one, it fetches the text.
        said = {"type": "TextMessage", "body": message(payload).line(tamed)}
        self.session.post(
            under(base, "room", self.options.room, "speak.json"),
            json={"message": said},
            auth=(self.options.auth_token.get_secret_value(), "X"),
        )
