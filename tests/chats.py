"""Payloads for the tests of chat services: each documented one with each action, hostile ones, and the longest."""

from __future__ import annotations

import json
from pathlib import Path

import onfile
import requests
from payloads import NAMES, changed, documented, hostile, without

from services import Payload

ACTIONS = ("created", "updated", "deleted")
HOSTILE = (
    "<!channel> <script>alert(1)</script> [x](http://evil) @everyone *a* &amp; `c` ~d~\n> \u202e_e_ <http://evil|f>"
)
# The same, and more, short enough for what is cut after 60 characters or less.
MORE_HOSTILE = (
    "[x](http://evil) @everyone *a* <b>",
    "<!channel> <@12> <@&12> <#12> </x:1> <t:1>",
    "@all @here :tada: :) <3 ~town #tag $a$",
    "www.evil.com/x evil.com joe@evil.com tel:1",
    "# a",
    "> a",
    "- a",
    "1. a",
    "**a** __b__ ~~c~~ ||d|| ![x](//evil)",
    "{{DATE(2017-02-14T06:00:00Z)}} <at>Joe</at>",
    "a\\*b\\* \\[x](http://evil) \\\\",
    '"><a href=http://evil> &lt;b> <!-- <users/all>',
)


def longest(character: str) -> list[Payload]:
    """Return an Item and a Deploy of which each text is longer than any message takes."""
    text = character * 3000
    item = {"number": 2**63 - 1, "short_url": f"http://sprint.ly/{'x' * 483}", "tags": [text]}
    item |= dict.fromkeys(["type", "status", "title", "score", "close_reason"], text)
    person = {"first_name": text, "last_name": text}
    product = {"id": 1, "name": text}
    whole = {**item, "created_by": person, "assigned_to": person, "parent": item}
    deploy = {"environment": text, "version": text, "notes": text, "user": person, "items": [item] * 13}
    block = {"blocked": item, "item": item, "user": person}
    return [
        {"model": model, "action": text, "product": product, "attributes": attributes}
        for model, attributes in (("Item", whole), ("Deploy", deploy), ("Block", block), (text, whole))
    ]


def hostile_payloads() -> list[Payload]:
    """Return every documented payload, hostile in each way; actions, models and types are hostile, too."""
    payloads = []
    for text in (HOSTILE, *MORE_HOSTILE):
        for name in NAMES:
            payload = hostile(documented(name), text)
            payloads += [{**payload, "action": action} for action in (*ACTIONS, text)]
            payloads.append({**payload, "model": text})
        payloads.append({**hostile(changed("item", parent=documented("item")["attributes"], tags=["a"]), text)})
    return payloads


def written(request: requests.Request) -> str:
    """Return all that the request says, to be read; the invisible joiner is written as an escape."""
    whole = {"method": request.method, "url": request.url, "headers": dict(request.headers)}
    whole |= {"params": request.params} if request.params else {}
    text = json.dumps(whole | {"body": request.json}, indent=2, ensure_ascii=False)
    return text.replace("\u2060", "\\u2060") + "\n"


def compare(request: requests.Request, file: Path) -> None:
    """Fail if the request is not the one on file; with WRITE_REQUESTS=1, write it there instead."""
    onfile.compare(written(request), file)


ON_FILE: dict[str, Payload] = {
    **{f"{name}-created": documented(name) | {"action": "created"} for name in NAMES},
    "item-updated": {**documented("item"), "action": "updated"},
    "item-hostile": hostile(changed("item", tags=["ios", "ipad"], type="defect"), HOSTILE) | {"action": "created"},
    "comment-hostile": hostile(documented("comment"), HOSTILE),
    "block-deleted": {**documented("block"), "action": "deleted"},
    "deploy-of-many": changed("deploy", items=[{"number": n, "title": f"Item {n}"} for n in range(1, 14)]),
    "item-without-address": without(documented("item"), "short_url"),
    "bare": {"model": "Item", "product": {"id": 1111}, "attributes": {"number": 1212}},
}
"""The payloads whose requests are kept as files, to be looked through."""
