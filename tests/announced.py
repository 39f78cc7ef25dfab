"""What the tests of the chat services share: payloads, hostile ones among them, and requests kept as files.

A request is written anew by `WRITE_REQUESTS=1 python -m pytest tests/services/test_hipchat.py`, to read the difference.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onfile
import requests
from payloads import NAMES, NOT_WRITTEN, documented, hostile

from services import Payload, RecordingSession, ServiceBase, record

SERVICES = Path(__file__).parent / "services"
ACTIONS = ("created", "updated", "deleted")
DELIVERY = "0b1f6a52-8f0c-5c0e-9d2a-6f1d3c1b7a44"

HOSTILE = (
    "<!channel> <script>alert(1)</script> [x](http://evil) @everyone *a*",
    "</a><b onclick='x'>&lt;i&gt; &amp; &#60;u> \" <br/>",
    "@**all** @*team* @_**Joe** #**dev** :smile: `c` ~~d~~",
    "$$x$$ <time:2020-01-01> > q\n# h\n- l\n1. n | t |",
    "- l ## h 1. n \\*b\\* **b** __u__ ||s|| !{ } = + ~~~",
    "http://evil.example joe@evil.example www.evil.example",
    "#tag $USD /start 127.0.0.1 @channel @room tg://evil",
    "[x](http://evil.example) ![i](http://evil.example/i)",
)
KEPT = (*NOT_WRITTEN, "type")


def hostile_payloads() -> list[Payload]:
    """Every model and action, with each hostile text for all that people write, and for what they cannot."""
    found = []
    for text in HOSTILE:
        for name in NAMES:
            written = hostile(documented(name), text, KEPT)
            if name == "item":
                written["attributes"] |= {"tags": [text, text], "parent": {"number": 1, "title": text}}
                written["attributes"]["close_reason"] = text
            found += [{**written, "action": action} for action in (*ACTIONS, text)]
        found.append({**hostile(documented("item"), text, KEPT), "model": text})
        typed = hostile(documented("item"), text, KEPT)
        typed["attributes"]["type"] = text
        del typed["attributes"]["number"], typed["attributes"]["short_url"]
        found.append(typed)
    return found


def every_payload() -> list[Payload]:
    """Every documented model with every action, those with little in them, and one of a model to come."""
    models = ("Item", "Comment", "Favorite", "Block", "Deploy", "ReleaseNote")
    bare = [{"model": model, "product": {}, "attributes": {}} for model in models]
    return [{**documented(name), "action": action} for name in NAMES for action in ACTIONS] + bare


def endless(character: str) -> list[Payload]:
    """Payloads whose texts are all as long as can be, and longer."""
    found = []
    for name in NAMES:
        payload = hostile(documented(name), character * 5000, KEPT)
        item = {"number": 2**63 - 1, "title": character * 5000, "short_url": "http://sprint.ly/" + "&" * 480}
        attributes = payload["attributes"]
        attributes.update({"type": character * 99, "item": item, "items": [item] * 20, "blocked": {**item}})
        if name == "item":
            attributes.update({"tags": [character * 99] * 99, "parent": item, "short_url": item["short_url"]})
        found.append(payload)
    return found


KINDS = {
    "item-created": documented("item"),
    "item-hostile": hostile(documented("item"), HOSTILE[0], KEPT),
    "comment-created": documented("comment"),
    "block-created": documented("block"),
    "deploy-created": documented("deploy"),
}


def recorded(service: type[ServiceBase], options: dict[str, Any], payload: Payload) -> requests.Request:
    """Return the one request, as the consumer has it made."""
    [request] = record(service(options, RecordingSession()), payload, DELIVERY)
    return request


def compare(service: type[ServiceBase], options: dict[str, Any], name: str) -> None:
    """Compare the request for one of KINDS with its file; fails where they differ."""
    request = recorded(service, options, KINDS[name])
    shown = {
        "method": request.method,
        "url": request.url,
        "headers": dict(request.headers),
        **({"auth": list(request.auth)} if request.auth else {}),
        "body": request.json or request.data,
    }
    text = json.dumps(shown, indent=2, ensure_ascii=False).replace("\u2060", "\\u2060") + "\n"
    onfile.compare(text, SERVICES / service.name / f"{name}.json")
