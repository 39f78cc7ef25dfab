"""Opens an alert in PagerDuty while an item is blocked, and resolves it when the block is over.

- Alert events, their fields and lengths: https://developer.pagerduty.com/docs/events-api-v2/trigger-events/
- What the answers mean: https://developer.pagerduty.com/docs/events-api-v2/overview/
- About 120 events a minute for each integration key, in
  https://github.com/PagerDuty/developer-docs/blob/main/docs/events-API-v2/05-Rate-Limits.md
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import field_validator

from services import Field, Payload, RateLimit, Secret, SecretUrl, ServiceBase, ServiceOptions, listen_to
from services._automatic import tamed
from services._messages import Message, message, refer
from services._text import cut

LONGEST_SUMMARY, LONGEST_KEY = 1024, 255
"""Characters that PagerDuty takes."""


class Service(ServiceBase):
    """
    PagerDuty

    Opens an alert when an item is blocked, and resolves it when the item is unblocked or the block is deleted.

    1. In PagerDuty, open the service that is to be alerted, choose *Integrations*, then *Add an integration*, and
       add *Events API V2*.
    2. `routing_key` is the *Integration Key* that the integration then shows: 32 characters.
    3. `severity` is that of the alerts: `critical`, `error`, `warning` (unless you choose another) or `info`.
    4. `url` is where events go. Leave it out, unless your account is in PagerDuty's European region: then it is
       `https://events.eu.pagerduty.com/v2/enqueue`.

    Each block has one alert of its own. An event that comes again changes nothing: PagerDuty knows the alert by the
    numbers of the product and the block.
    """

    class Options(ServiceOptions):
        """Whom to alert, and how loudly."""

        routing_key: Secret = Field(
            description="The integration key of an Events API V2 integration.",
            examples=["0123456789abcdef0123456789abcdef"],
        )
        severity: Literal["critical", "error", "warning", "info"] = Field(
            "warning", description="That of the alerts.", examples=["critical"]
        )
        url: str = Field(
            "https://events.pagerduty.com/v2/enqueue",
            description="Where events go: another address for accounts in the European region.",
        )

        @field_validator("url")
        @classmethod
        def _is_an_address(cls, url: str) -> str:
            return SecretUrl(url).get_secret_value()

    # 120 in any minute: a burst, and what trickles in during the minute after it, stay within that.
    rate = RateLimit(per_second=1.5, burst=30)

    @listen_to("Block.*")
    def send(self, payload: Payload) -> None:
        """Trigger the block's alert, or resolve it; PagerDuty answers 202, and drops what resolves no open alert."""
        if payload["model"] != "Block":  # nothing else has a beginning and an end
            return
        block = payload["attributes"]
        over = payload["action"] == "deleted" or block.get("unblocked") is True
        event = {
            "routing_key": self.options.routing_key.get_secret_value(),
            "event_action": "resolve" if over else "trigger",
            "dedup_key": f"sprintly-{payload['product']['id']}-block-{block['id']}"[:LONGEST_KEY],
        }
        self.session.post(self.options.url, json=event if over else event | self._alert(payload, message(payload)))

    def _alert(self, payload: Payload, said: Message) -> dict[str, Any]:
        block = payload["attributes"]
        items = [refer(item) for item in (block.get("blocked"), block.get("item")) if isinstance(item, dict)]
        details = {field.label: tamed(field.text) for field in said.fields}
        if said.subject.listed():
            details["Blocked"] = tamed(said.subject.listed())
        alert: dict[str, Any] = {
            "summary": cut(tamed(said.sentence()), LONGEST_SUMMARY),
            "source": f"sprint.ly product {payload['product']['id']}",
            "severity": self.options.severity,
            "class": "block",
            "custom_details": details,
        }
        if said.product:
            alert["group"] = said.product
        links = [{"href": item.url, "text": tamed(item.listed())} for item in items if item.url]
        return {"payload": alert, "links": links, "client": "Sprint.ly"}
