"""Posts each event to Slack as a message with one attachment.

- Incoming webhooks: https://api.slack.com/messaging/webhooks
- What only the older ones take, `channel` among it:
  https://docs.slack.dev/legacy/legacy-custom-integrations/legacy-custom-integrations-incoming-webhooks
- Attachments: https://api.slack.com/reference/messaging/attachments
- One message a second, short bursts aside: https://docs.slack.dev/apis/web-api/rate-limits
- Errors: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks#handling_errors
"""

from __future__ import annotations

from typing import Any

from services import (
    Field,
    Judgement,
    Meaning,
    Payload,
    RateLimit,
    SecretUrl,
    ServiceBase,
    ServiceOptions,
    listen_to,
)
from services._messages import Message, Reference, message
from services._mrkdwn import entities, escape, link

# The body of an error is one word. Those of _GONE are about the webhook, its channel or its workspace, and true of
# whatever comes next; those of _REFUSED are about this one message, or about what an administrator may permit again.
_GONE = {"no_service", "no_service_id", "no_active_hooks", "no_team", "team_disabled", "channel_is_archived"}
_REFUSED = {
    *("invalid_payload", "no_text", "too_many_attachments", "user_not_found", "channel_not_found", "invalid_token"),
    *("action_prohibited", "posting_to_general_channel_denied"),
}


class Service(ServiceBase):
    """
    Slack

    Announces what happens in your product in a Slack channel.

    1. On [api.slack.com/apps](https://api.slack.com/apps), create an app in your workspace, or choose one you have.
    2. Under *Incoming Webhooks*, switch *Activate Incoming Webhooks* on.
    3. Choose *Add New Webhook to Workspace*, then the channel for the messages.
    4. `url` is the *Webhook URL* that now stands there: `https://hooks.slack.com/services/...`. Whoever has it can
       post to that channel, so treat it like a password.
    5. Leave `channel` out, unless the webhook is of the older kind (the custom integration *Incoming WebHooks*).
       Those may post to another channel, such as `#dev`; an app's webhook keeps to the one chosen in step 3.

    New items, comments, favorites, blocks and deploys are announced, unless your subscription names other events.
    """

    class Options(ServiceOptions):
        """Where to."""

        url: SecretUrl = Field(
            description="The incoming webhook's address.",
            examples=["https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX"],
        )
        channel: str | None = Field(
            None, description="Another channel, such as #dev: for legacy webhooks only.", examples=["#dev"]
        )

    # "1 per second, short bursts >1 allowed": https://docs.slack.dev/apis/web-api/rate-limits
    rate = RateLimit(per_second=1, burst=4)

    @listen_to("*.created")
    def send(self, payload: Payload) -> None:
        """Post one message."""
        body: dict[str, Any] = {"attachments": [attachment(message(payload))]}
        if self.options.channel:
            body["channel"] = self.options.channel
        self.session.post(self.options.url, json=body)

    def judge(self, status: int, body: bytes) -> Judgement | None:
        """Go by the word that Slack answers with, whatever its status: formerly that was 500 for all of them."""
        word = body.decode(errors="replace").strip()
        if word in _GONE | _REFUSED:
            return Judgement(Meaning.GONE if word in _GONE else Meaning.PERMANENT, word)
        return None


def attachment(said: Message) -> dict[str, Any]:
    """Return the message as an attachment; what would be empty is left out."""
    subject = said.subject
    shown = {
        # For notifications, and for clients that show no attachments.
        "fallback": said.line(escape, entities),
        "color": said.colour,
        "pretext": said.sentence(escape, link, Reference.short),
        "title": escape(subject.title),
        "title_link": subject.url if subject.title else "",
        "text": escape(said.excerpt),
        "fields": [{"title": field.label, "value": escape(field.text), "short": field.short} for field in said.fields],
        "footer": escape(said.product),
    }
    # An empty mrkdwn_in says that nothing is to be formatted. Clients have ignored it, so `escape` goes without it.
    return {key: value for key, value in shown.items() if value} | {"mrkdwn_in": []}
