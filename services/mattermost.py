"""Posts each event to Mattermost as a message with one attachment.

- Incoming webhooks: https://developers.mattermost.com/integrate/webhooks/incoming/
- Attachments: https://developers.mattermost.com/integrate/reference/message-attachments/
- Errors have an `id`, as all of the API's: https://developers.mattermost.com/api-documentation/

A server may limit requests, and is set up for that by its administrator: there is no `rate` that holds for all.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from services import Field, Judgement, Meaning, Payload, SecretUrl, ServiceBase, ServiceOptions
from services._bodies import fields
from services._markdown import MATTERMOST, escape, link, unlinked
from services._messages import Message, Reference, message

# No such webhook, and webhooks switched off for the whole server.
_GONE = ("web.incoming_webhook.invalid.app_error", "web.incoming_webhook.disabled.app_error")


class Service(ServiceBase):
    """
    Mattermost

    Announces what happens in your product in a Mattermost channel.

    1. In Mattermost, open the product menu, then *Integrations*, then *Incoming Webhooks*. If *Integrations* is not
       there, ask your administrator to allow incoming webhooks.
    2. Choose *Add Incoming Webhook*, and the channel for the messages.
    3. `url` is the address that is then shown: `https://your-server/hooks/...`. Whoever has it can post to that
       channel, so treat it like a password.
    4. Leave `channel` out, unless the messages are to go elsewhere than to the channel chosen in step 2. It takes the
       name from the channel's address, such as `town-square`, or `@joe` for direct messages to Joe. A webhook that is
       locked to its channel refuses others.
    5. `username` and `icon_url` are the name and the picture that messages come under. They need the administrator's
       permission for integrations to override usernames and profile pictures, and are ignored without it.
    """

    class Options(ServiceOptions):
        """Where to, and as whom."""

        url: SecretUrl = Field(
            description="The incoming webhook's address.",
            examples=["https://chat.example.com/hooks/xxx-generatedkey-xxx"],
        )
        channel: str | None = Field(
            None, description="Another channel, such as town-square, or @joe for Joe alone.", examples=["town-square"]
        )
        username: str | None = Field(None, description="The name that messages come under.", examples=["Sprint.ly"])
        icon_url: str | None = Field(
            None,
            description="The address of the picture that messages come under.",
            examples=["https://example.com/icon.png"],
        )

    # What a message holds in all, which no text of one exceeds by itself.
    limits = {"attachments[].pretext": 16_383, "attachments[].text": 16_383, "attachments[].fields[].value": 16_383}

    def send(self, payload: Payload) -> None:
        """Post one message."""
        body: dict[str, Any] = {"attachments": [attachment(message(payload))]}
        for name in ("channel", "username", "icon_url"):
            if value := getattr(self.options, name):
                body[name] = value
        self.session.post(self.options.url, json=body)

    def judge(self, status: int, body: bytes) -> Judgement | None:
        """Take a webhook that the server does not know, or does not allow, for gone: it answers 400, and 501."""
        answer = fields(body)
        gone = status >= 400 and answer.get("id") in _GONE
        return Judgement(Meaning.GONE, str(answer.get("message", ""))) if gone else None


_escape = partial(escape, dialect=MATTERMOST)


def attachment(said: Message) -> dict[str, Any]:
    """Return the message as an attachment; what would be empty is left out."""
    title = _escape(said.subject.title)
    heading = link(said.subject.url, title) if title and said.subject.url else title
    shown = {
        "fallback": said.line(unlinked),
        "color": said.colour,
        "pretext": said.sentence(_escape, link, Reference.short),
        # Not as `title`: that one takes no markup if it has a `title_link`, and some if it has none.
        "text": "\n".join(filter(None, [heading, _escape(said.excerpt)])),
        "fields": [{"title": field.label, "value": _escape(field.text), "short": field.short} for field in said.fields],
        "footer": unlinked(said.product),
    }
    return {key: value for key, value in shown.items() if value}
