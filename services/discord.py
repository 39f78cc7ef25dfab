"""Posts each event to Discord as a message with one embed.

- Execute Webhook: https://discord.com/developers/docs/resources/webhook#execute-webhook
- Embeds and their limits: https://discord.com/developers/docs/resources/message#embed-object-embed-limits
- Error codes: https://discord.com/developers/docs/topics/opcodes-and-status-codes#json
- Rate limits: https://discord.com/developers/docs/topics/rate-limits. They vary, and applications are asked not to
  write them into their code, so there is no `rate` here: a 429 says how long to wait.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from services import Field, Judgement, Meaning, Payload, SecretUrl, ServiceBase, ServiceOptions
from services._bodies import fields
from services._markdown import DISCORD, escape, link, unlinked
from services._messages import Message, Reference, message
from services._text import fitted

TITLE, VALUE = 256, 1024
"""Characters that an embed's title and a field hold: the two limits that an escaped text can exceed."""

# Unknown Webhook, and Invalid Webhook Token. Whoever goes on posting to such a webhook is shut out for a while (see
# "Invalid Request Limit" on the page about rate limits).
_GONE = (10015, 50027)


class Service(ServiceBase):
    """
    Discord

    Announces what happens in your product in a channel of your Discord server.

    1. In Discord, choose *Edit Channel* (the gear beside the channel's name), then *Integrations*, then *Webhooks*. You
       need the permission *Manage Webhooks*.
    2. Choose *New Webhook*, and give it a name and a picture: messages come under them.
    3. `url` is what *Copy Webhook URL* gives you: `https://discord.com/api/webhooks/...`. Whoever has it can post to
       that channel, so treat it like a password.
    4. Leave `thread_id` out, unless the messages are to go into one thread of the channel, or into one post of a forum.
       With the developer mode on (*User Settings*, *Advanced*), a thread's menu has *Copy Thread ID*.
    """

    class Options(ServiceOptions):
        """Where to."""

        url: SecretUrl = Field(
            description="The webhook's address.",
            examples=["https://discord.com/api/webhooks/223704706495545344/3d89bb7572e0fb30d8128367b3b1b44f"],
        )
        thread_id: int | None = Field(
            None, gt=0, description="The thread of the channel to post to.", examples=[1138523741234567890]
        )

    limits = {  # and 6,000 in all, which messages are far below
        "embeds[].title": TITLE,
        "embeds[].description": 4096,
        "embeds[].fields[]": 25,
        "embeds[].fields[].name": 256,
        "embeds[].fields[].value": VALUE,
        "embeds[].footer.text": 2048,
    }

    def send(self, payload: Payload) -> None:
        """Post one message, and wait until it is saved: without `wait`, one that is not saved is no error."""
        body = {"embeds": [embed(message(payload))], "allowed_mentions": {"parse": []}}
        thread = {"thread_id": str(self.options.thread_id)} if self.options.thread_id else {}
        self.session.post(self.options.url, params={"wait": "true", **thread}, json=body)

    def judge(self, status: int, body: bytes) -> Judgement | None:
        """Wait as long as the body of a 429 says; a webhook that is not known any more is gone."""
        answer = fields(body)
        said = str(answer.get("message", ""))
        if status == 429:
            wait = answer.get("retry_after")
            return Judgement(Meaning.THROTTLED, said, float(wait) if isinstance(wait, int | float) else None)
        return Judgement(Meaning.GONE, said) if status >= 400 and answer.get("code") in _GONE else None


_escape = partial(escape, dialect=DISCORD)


def embed(said: Message) -> dict[str, Any]:
    """Return the message as an embed; what would be empty is left out."""
    quoted = f"\n> {_escape(said.excerpt)}" if said.excerpt else ""
    shown = {
        "title": fitted(said.subject.title, TITLE, _escape),
        "url": said.subject.url if said.subject.title else "",
        "description": said.sentence(_escape, link, Reference.short) + quoted,
        "color": int(said.colour[1:], 16),
        "fields": [
            {"name": field.label, "value": fitted(field.text, VALUE, _escape), "inline": field.short}
            for field in said.fields
        ],
        "footer": {"text": unlinked(said.product)} if said.product else {},  # it takes no markup
    }
    return {key: value for key, value in shown.items() if value}
