"""Posts each event to Microsoft Teams as an Adaptive Card, by the webhook of a workflow.

- Workflows: https://support.microsoft.com/office/create-incoming-webhooks-with-workflows-for-microsoft-teams-8ae491c7-0394-4861-ba59-055e33f75498
- The message around the card, of 28 KB at most:
  https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/add-incoming-webhook
- Rates, and the errors of older webhooks, which answer 200 for them:
  https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using
- Text in cards: https://learn.microsoft.com/adaptive-cards/create/textfeatures

Text blocks and facts take Markdown, which Teams' clients do not read alike. Text runs take none, whatever the client:
everything that people wrote goes there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from services import Field, Judgement, Meaning, Payload, RateLimit, SecretUrl, ServiceBase, ServiceOptions
from services._automatic import JOINER
from services._bodies import fields
from services._markdown import unlinked
from services._messages import COLOURS, Message, Reference, message

# What the address of a workflow that was deleted, or switched off, answers with 404 and 400.
_GONE = ("WorkflowNotFound", "WorkflowTriggerIsNotEnabled")

# Cards have no colours of their own, only meanings that the reader's theme gives a colour to.
_MEANINGS = {COLOURS["story"]: "good", COLOURS["defect"]: "attention", COLOURS["test"]: "accent"}


class Service(ServiceBase):
    """
    Microsoft Teams

    Announces what happens in your product in a channel of Microsoft Teams.

    1. In Teams, open the menu (*...*) beside the channel for the messages, and choose *Workflows*.
    2. Choose the template for webhooks. It is called *Send webhook alerts to a channel*, or *Post to a channel when a
       webhook request is received*.
    3. Give it a name, such as *Sprint.ly*, confirm the team and the channel, and choose *Add workflow*.
    4. `url` is the address that is then shown. Whoever has it can post to that channel, so treat it like a password.

    The workflow belongs to the person who made it, and ends with their account: name a second owner in *Workflows*.
    """

    class Options(ServiceOptions):
        """Where to."""

        url: SecretUrl = Field(
            description="The address of the workflow's webhook.",
            examples=[
                "https://prod-00.westeurope.logic.azure.com/workflows/0123456789abcdef/triggers/manual/paths/invoke"
            ],
        )

    # 60 in 30 seconds, by the table of "rate limiting for connectors" on the page about them; what it allows in an hour
    # or a day is less than that, and known only once Teams says so.
    rate = RateLimit(per_second=2)
    limits = {"*": 28_000}

    def send(self, payload: Payload) -> None:
        """Post one message."""
        content = card(message(payload))
        attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": content}
        self.session.post(self.options.url, json={"type": "message", "attachments": [attachment]})

    def judge(self, status: int, body: bytes) -> Judgement | None:
        """Tell a workflow that is gone, and the failures that older webhooks hide in a 200."""
        error = fields(body).get("error")
        if status >= 400 and isinstance(error, dict) and error.get("code") in _GONE:
            return Judgement(Meaning.GONE, str(error.get("message", "")))
        text = body.decode(errors="replace")
        if status == 200 and (hidden := re.search(r"returned HTTP error (\d{3})", text)):
            return Judgement(_meaning(int(hidden[1])), text)
        return None


def _meaning(status: int) -> Meaning:
    if status == 429:
        return Meaning.THROTTLED
    return Meaning.TRANSIENT if status >= 500 else Meaning.PERMANENT


def card(said: Message) -> dict[str, Any]:
    """Return the message as an Adaptive Card."""
    return {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.5",
        "body": [
            {"type": "RichTextBlock", "inlines": inlines} | ({"separator": True} if first else {})
            for first, inlines in _lines(said)
        ],
    }


def _lines(said: Message) -> Iterator[tuple[bool, list[dict[str, Any]]]]:
    """Return each line of the card, and whether a rule is drawn above it."""
    yield False, list(_sentence(said))
    if said.subject.title:
        colour = _MEANINGS.get(said.colour, "default")
        yield False, [_run(said.subject.title, said.subject.url, weight="bolder", size="medium", color=colour)]
    if said.excerpt:
        yield False, [_run(said.excerpt, italic=True)]
    for number, field in enumerate(said.fields):
        head, *others = field.text.split("\n")
        yield number == 0, [_run(f"{field.label}: ", weight="bolder"), _run(head)]
        yield from ((False, [_run(line)]) for line in others)
    if said.product:
        yield False, [_run(said.product, isSubtle=True, size="small")]


def _sentence(said: Message) -> Iterator[dict[str, Any]]:
    for number, part in enumerate(said.parts):
        between = " " if number else ""
        if isinstance(part, Reference):
            if part.short():
                yield from [_run(" "), _run(part.short(), part.url)]
        else:
            yield _run(f"{between}{part}")


def _run(text: str, url: str | None = None, **style: Any) -> dict[str, Any]:
    """Return text as it is, but for {{DATE(...)}} and the like, which clients replace, and addresses in it."""
    run = {"type": "TextRun", "text": unlinked(text).replace("{{", f"{{{JOINER}{{"), **style}
    return run | {"selectAction": {"type": "Action.OpenUrl", "url": url}} if url else run
