"""The pages about services are made of what services say of themselves, and those in docs/services are current."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from consumer.cli.services.pages import differences, write
from consumer.errors import ConfigurationError
from consumer.pages import INDEX, MADE, pages, written_pages
from services import Field, Payload, RateLimit, Secret, ServiceBase, ServiceOptions, get_available_services, listen_to

ROOT = Path(__file__).parents[2]
OWN = [name for name, service in get_available_services().items() if service.__module__.startswith("services.")]


class Acme(ServiceBase):
    """
    Acme

    1. `token` is on the first page.
    """

    name = "acme"
    rate = RateLimit(0.5)
    limits = {"text": 4_000, "embeds[]": 10, "*": 65_536}
    blocking = True

    class Options(ServiceOptions):
        token: Secret = Field(description="The key.", examples=["example-token"])
        room: int = Field(description="Which room.", examples=[7])
        as_: str | None = Field(None, description="As whom.", examples=["Joe"])

    @listen_to("Item.*", "Block.created")
    def send(self, payload: Payload) -> None:
        pass


PAGE = """

# `acme`: Acme

1. `token` is on the first page.

## Options

| option | type | required | secret | what it is |
| --- | --- | --- | --- | --- |
| `token` | text | yes | yes | The key. |
| `room` | whole number | yes | no | Which room. |
| `as_` | text | no | no | As whom. |

## What is sent

- Events: `Item.*`, `Block.created`, unless the subscription names its own.
- Rate: 0.5 a second; what is more waits.
- `text` has at most 4,000 characters.
- `embeds[]` has at most 10 entries.
- The whole body has at most 65,536 bytes.
- It needs answers in between, or speaks something else than HTTP, so each attempt has a thread.

## A subscription

```yaml
subscriptions:
  - id: acme-acme
    product: 1111
    service: acme
    options:
      token: ${ACME_ACME_TOKEN}
      room: 7
```
"""


def test_the_pages_in_docs_are_current() -> None:
    assert list(differences(ROOT / "docs/services", own=True)) == [], "sprintly-services services docs writes them anew"


def test_each_service_and_no_other_is_listed_for_those_who_choose() -> None:
    text = (ROOT / "docs/services.md").read_text("utf-8")
    rows = "".join(re.findall(r"^\| .+ \|$", text, re.MULTILINE))
    assert sorted(set(re.findall(r"\[`(\w+)`\]\(services/\1\.md\)", rows))) == OWN


def test_a_page_is_made_of_what_the_service_says_of_itself() -> None:
    page = pages([Acme], {})["acme.md"]
    assert page.startswith(MADE)
    assert page[page.index("\n") :] == PAGE.rstrip("\n") + "\n"


def test_notes_are_kept(tmp_path: Path) -> None:
    write(tmp_path, pages([Acme], {}))
    path = tmp_path / "acme.md"
    path.write_text(path.read_text("utf-8").replace("whole number", "old") + "\n## Notes\n\nBy hand.\n\n### More\n")
    made = pages([Acme], written_pages(tmp_path))["acme.md"]
    assert made.endswith("```\n\n## Notes\n\nBy hand.\n\n### More\n")
    assert made[: made.index("\n\n## Notes")].endswith(PAGE.rstrip("\n"))
    assert pages([Acme], {"acme.md": made})["acme.md"] == made


def test_what_is_not_current_is_named_and_what_is_gone_removed(tmp_path: Path) -> None:
    write(tmp_path, differences(tmp_path, own=True))
    assert differences(tmp_path, own=True) == {}
    (tmp_path / "slack.md").unlink()
    (tmp_path / "gone.md").write_text(f"{MADE} -->\n")
    (tmp_path / "mine.md").write_text("# Mine\n")
    found = differences(tmp_path, own=True)
    assert list(found) == ["slack.md", "gone.md"]
    write(tmp_path, found)
    assert {path.name for path in tmp_path.iterdir()} == {INDEX, "mine.md", *(f"{name}.md" for name in OWN)}


def test_what_was_not_made_here_is_not_overwritten(tmp_path: Path) -> None:
    readme = tmp_path / INDEX
    readme.write_text("# A project\n")
    with pytest.raises(ConfigurationError, match="was not made by `services docs`"):
        write(tmp_path, differences(tmp_path, own=True))
    assert readme.read_text() == "# A project\n"
    assert len(list(tmp_path.iterdir())) == 1
