"""The beginnings of a service: its name comes in, the files that it is made of go out, by path within the project."""

from __future__ import annotations

import keyword
import re

LONGEST = 40
"""Characters of a name; that of the file is the service's in every subscription."""
_NAME = re.compile(r"[a-z][a-z0-9_]*")

SERVICE = '''\
"""Posts one line of text for each new thing. The API: https://example.com/docs/incoming-webhooks."""

from __future__ import annotations

from services import Field, Payload, SecretUrl, ServiceBase, ServiceOptions, listen_to
from services._messages import message
from services._text import cut

LONGEST = 4_000  # characters of a text: https://example.com/docs/incoming-webhooks#limits


class Service(ServiceBase):
    """
    {title}

    Announces in {title} what is new in your product.

    1. In {title}, choose *Integrations*, then *Incoming webhook*.
    2. `url` is the address that it shows. Whoever has it can post there, so treat it like a password.
    """

    class Options(ServiceOptions):
        """Where to."""

        url: SecretUrl = Field(
            description="The incoming webhook's address.", examples=["https://example.com/hooks/0123456789abcdef"]
        )

    limits = {{"text": LONGEST}}

    @listen_to("*.created")
    def send(self, payload: Payload) -> None:
        """Post one line."""
        self.session.post(self.options.url, json={{"text": cut(message(payload).line(), LONGEST)}})
'''

TEST = '''\
"""The requests of the service {name}."""

from __future__ import annotations

from payloads import documented

from services.{name} import Service

URL = "https://example.com/hooks/0123456789abcdef"


def test_a_comment_is_one_line() -> None:
    [request] = Service({{"url": URL}}).requests_for(documented("comment"))
    assert (request.method, request.url) == ("POST", URL)
    sentence = 'Joe S. commented on the task "Change the spinner to our glowing running man." (#1212)'
    assert request.json["text"].startswith(sentence)


def test_new_things_are_announced() -> None:
    assert Service.events == ("*.created",)
'''

LIST = "docs/services.md"


def problem(name: str) -> str:
    """Return what is wrong with a name, in words that go on after it, or nothing."""
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        return "is no name for a service: it begins with a small letter, and small letters, digits and _ follow"
    return f"is longer than {LONGEST} characters" if len(name) > LONGEST else ""


def title(name: str) -> str:
    """Return a title to begin with: `Acme Chat` for `acme_chat`."""
    return " ".join(word.capitalize() for word in name.split("_") if word)


def files(name: str) -> dict[str, str]:
    """Return the service and its test, which pass as they are."""
    words = {"name": name, "title": title(name)}
    return {f"services/{name}.py": SERVICE.format(**words), f"tests/services/test_{name}.py": TEST.format(**words)}


def listed(text: str, name: str) -> str:
    """Return the list of services in docs/services.md, its last table, with one line more."""
    return f"{text.rstrip()}\n| people to read in {title(name)} what is new | [`{name}`](services/{name}.md) |\n"
