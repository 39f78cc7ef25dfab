"""Posts each event to a Zulip channel, where each item is a topic.

- The request and its limits: https://zulip.com/api/send-message
- Errors and rates: https://zulip.com/api/rest-error-handling
- Bots: https://zulip.com/help/add-a-bot-or-integration
"""

from __future__ import annotations

import json

from services import Field, Judgement, Meaning, Payload, RateLimit, Secret, ServiceBase, ServiceOptions, listen_to
from services._addresses import BaseUrl, under
from services._automatic import tamed
from services._bodies import fields, number, text
from services._lines import told
from services._messages import message
from services._text import cut
from services._zulip_markdown import MARKDOWN

LONGEST, LONGEST_TOPIC = 10_000, 60
"""Characters of a message and of a topic, unless the server's administrator changed them."""


class Service(ServiceBase):
    """
    Zulip

    Announces what happens in your product in a Zulip channel; what happens to one item is one topic.

    1. In Zulip, open *Personal settings*, *Bots*, and choose *Add a new bot* of the type *Incoming webhook*.
    2. `url` is your organization's address, such as `https://acme.zulipchat.com`.
    3. `email` and `api_key` are those of the bot, as the list of bots shows them.
    4. `channel` is the channel's name, or its number. If it is private, subscribe the bot to it.
    5. `topic` puts all messages under one topic. Leave it out, and each item has its own.

    New items, comments, favorites, blocks and deploys are announced, unless your subscription names other events.
    """

    class Options(ServiceOptions):
        """Which channel, and as which bot."""

        url: BaseUrl = Field(
            description="The address of your Zulip organization.", examples=["https://acme.zulipchat.com"]
        )
        email: str = Field(description="The bot's email address.", examples=["sprintly-bot@acme.zulipchat.com"])
        api_key: Secret = Field(description="The bot's API key.", examples=["example-key-0123456789"])
        channel: int | str = Field(description="The channel's name, or its number.", examples=["sprintly", 7])
        topic: str | None = Field(
            None, description="One topic for all messages, instead of one for each item.", examples=["news"]
        )

    # "limited to 200 total API requests per minute": https://zulip.com/api/rest-error-handling
    rate = RateLimit(per_second=3, burst=20)

    @listen_to("*.created")
    def send(self, payload: Payload) -> None:
        """Send one message."""
        said = message(payload)
        # Topics are not Markdown, but an address in one gets a link beside it.
        topic = self.options.topic or tamed(said.subject.listed() or said.product) or "Sprint.ly"
        form = {
            "type": "stream",  # what Zulip 9 calls a channel, and takes under either name
            "to": json.dumps(self.options.channel),  # so that a name of digits stays a name
            "topic": cut(topic, LONGEST_TOPIC),
            "content": told(said, MARKDOWN, LONGEST),
        }
        login = (self.options.email, self.options.api_key.get_secret_value())
        self.session.post(under(self.options.url, "api", "v1", "messages"), data=form, auth=login)

    def judge(self, status: int, body: bytes) -> Judgement | None:
        """Go by `result` and `code`, which say more than the status."""
        answer = fields(body)
        said = text(answer, "msg")
        if text(answer, "code") == "RATE_LIMIT_HIT":
            return Judgement(Meaning.THROTTLED, said, number(answer, "retry-after"))
        if answer.get("result") != "error" or status in (408, 425, 429) or status >= 500:
            return None
        return Judgement(Meaning.PERMANENT, said)
