"""Posts each event to Google Chat as a card, in one thread for each item.

- Incoming webhooks, threads, one message a second: https://developers.google.com/workspace/chat/quickstart/webhooks
- What a message holds, in 32,000 bytes: https://developers.google.com/workspace/chat/api/reference/rest/v1/spaces.messages
- The HTML that cards take: https://developers.google.com/workspace/chat/format-messages#card-formatting
- Quotas: https://developers.google.com/workspace/chat/limits
"""

from __future__ import annotations

import html
from typing import Any

from services import Field, Judgement, Meaning, Payload, RateLimit, SecretUrl, ServiceBase, ServiceOptions
from services._bodies import fields
from services._markdown import unlinked
from services._messages import Message, Reference, message


class Service(ServiceBase):
    """
    Google Chat

    Announces what happens in your product in a space of Google Chat, in one thread for each item.

    1. In a browser, open [chat.google.com](https://chat.google.com) and the space for the messages.
    2. In the menu beside the space's name, choose *Apps & integrations*, then *Add webhooks*. If it is not there, your
       Google Workspace administrator has not allowed incoming webhooks.
    3. Give it a name, such as *Sprint.ly*, and choose *Save*.
    4. `url` is what *Copy link* gives you: `https://chat.googleapis.com/v1/spaces/...`. Whoever has it can post to that
       space, so treat it like a password.
    """

    class Options(ServiceOptions):
        """Where to."""

        url: SecretUrl = Field(
            description="The incoming webhook's address, with its key and token.",
            examples=["https://chat.googleapis.com/v1/spaces/AAAAxxxx/messages?key=example-key&token=example-token"],
        )

    # "Writes per minute: 60", shared by all that post to the space: https://developers.google.com/workspace/chat/limits
    rate = RateLimit(per_second=1)
    limits = {"*": 32_000}

    def send(self, payload: Payload) -> None:
        """Post one card, to the item's thread if there is an item; its first message begins the thread."""
        said = message(payload)
        product = payload.get("product") or {}
        # What stands in for the card in notifications; it takes no markup.
        body: dict[str, Any] = {
            "cardsV2": [{"cardId": "event", "card": card(said)}],
            "fallbackText": said.line(unlinked),
        }
        params = {}
        if said.subject.number is not None:
            body["thread"] = {"threadKey": f"sprintly-{product.get('id')}-{said.subject.number}"}
            params = {"messageReplyOption": "REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD"}
        self.session.post(self.options.url, params=params, json=body)

    def judge(self, status: int, body: bytes) -> Judgement | None:
        """Take it for gone if Google finds nothing there: with this reply option, that can only be the space itself."""
        error = fields(body).get("error")
        if status == 404 and isinstance(error, dict) and error.get("status") == "NOT_FOUND":
            return Judgement(Meaning.GONE, str(error.get("message", "")))
        return None


def card(said: Message) -> dict[str, Any]:
    """Return the message as a card; what would be empty is left out."""
    title, url = escape(said.subject.title), said.subject.url
    paragraphs = [
        said.sentence(escape, link, Reference.short),
        f"<b>{link(url, title) if url else title}</b>" if title else "",
        f"<i>{escape(said.excerpt)}</i>" if said.excerpt else "",
    ]
    fields = [
        {"decoratedText": {"topLabel": field.label, "text": escape(field.text), "wrapText": True}}
        for field in said.fields
    ]
    product = [{"textParagraph": {"text": escape(said.product)}}] if said.product else []
    texts = [{"textParagraph": {"text": text}} for text in paragraphs if text]
    return {"sections": [{"widgets": [*texts, *fields, *product]}]}


def escape(text: str) -> str:
    """Return the HTML of a card for the text; it has no tag, entity, address or mention in it."""
    return html.escape(unlinked(text), quote=False).replace("\n", "<br>")


def link(url: str, text: str) -> str:
    """Return a link with a text that is escaped already."""
    return f'<a href="{html.escape(url)}">{text}</a>'
