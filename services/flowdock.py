"""Posts each event to a Flowdock flow, where each item is a thread.

- Messages: https://www.flowdock.com/api/messages and https://www.flowdock.com/api/message-types
- Threads, and tokens: https://www.flowdock.com/api/threads, https://www.flowdock.com/api/integration-getting-started

Its push API to the team inbox, with a token in the address, was deprecated for this one, and Flowdock itself closed in
2023 (source: https://github.com/flowdock/api-docs). No limit of its rate is documented.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services import Field, Payload, Secret, ServiceBase, ServiceOptions, listen_to
from services._addresses import BaseUrl, under
from services._html import escape, link
from services._messages import COLOURS, Message, message

NAMED = {COLOURS["story"]: "green", COLOURS["task"]: "grey", COLOURS["defect"]: "red", COLOURS["test"]: "cyan"}
OTHER = "lime"
AUTHOR = "Sprint.ly"


class Service(ServiceBase):
    """
    Flowdock

    Announces what happens in your product in a Flowdock flow; what happens to one item is one thread.

    1. In Flowdock, under *Account*, *Developer applications*, create an application, or choose one you have.
    2. On its page, under *Tools*, generate a source for your flow.
    3. `auth_token` is the *flow token* that is shown once now. The API token of a flow or a person does not fit.
    4. `url` is the address of your server that speaks Flowdock's API. Flowdock's own, the default, is closed.

    New items, comments, favorites, blocks and deploys are announced, unless your subscription names other events.
    """

    class Options(ServiceOptions):
        """Which flow, and on which server."""

        auth_token: Secret = Field(
            description="The flow token of a source.", examples=["0123456789abcdef0123456789abcdef"]
        )
        url: BaseUrl = Field("https://api.flowdock.com", description="The address of the Flowdock API.")

    @listen_to("*.created")
    def send(self, payload: Payload) -> None:
        """Post one activity, or a discussion if it is a comment."""
        said = message(payload)
        body: dict[str, Any] = {
            "flow_token": self.options.auth_token.get_secret_value(),
            "event": "discussion" if payload.get("model") == "Comment" else "activity",
            "author": {"name": AUTHOR},  # required; who did it stands in the sentence
            "title": said.sentence(escape, link),
            "external_thread_id": thread_id(payload, said),
            "thread": thread(said),
        }
        if said.excerpt:
            body["body"] = escape(said.excerpt)
        self.session.post(under(self.options.url, "messages"), json=body)


def thread_id(payload: Payload, said: Message) -> str:
    """Return what is the same for all that concerns one item, and for all else of a product that has no item."""
    product = payload.get("product")
    number = said.subject.number
    return f"{product.get('id') if isinstance(product, Mapping) else None}:{'' if number is None else number}"


def thread(said: Message) -> dict[str, Any]:
    """Return the thread: the item as it is now, as far as the event tells; what would be empty is left out."""
    # A value is one line: of HTML it takes links only.
    fields = {field.label: escape(field.text.replace("\n", "; ")) for field in said.fields}
    status = fields.pop("Status", "")
    shown = {
        "title": escape(said.subject.listed() or said.product) or AUTHOR,
        "external_url": said.subject.url,
        "status": {"value": status, "color": NAMED.get(said.colour, OTHER)} if status else None,
        "fields": [{"label": label, "value": value} for label, value in fields.items()],
    }
    return {name: value for name, value in shown.items() if value}
