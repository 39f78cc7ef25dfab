"""The services that docs/writing-a-service.md builds are really built, by its commands, in a copy of the checkout."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkouts import Checkout
from receivers import Receiver

import services
from consumer.subscriptions import parse_subscriptions
from services import get_available_services

TEXT = (Path(__file__).parents[2] / "docs" / "writing-a-service.md").read_text("utf-8")
BUILT = ("example", "desk")
CONTRACT = "tests/services/test_contract.py"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    """Return the arguments of each `sprintly-services services` on the page, in order."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    split = [shlex.split(line, comments=True) for line in lines]
    return [words[2:] for words in split if words[:2] == ["sprintly-services", "services"]]


@pytest.fixture
def _found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put the page's service into the package `services`, in place of one that somebody has begun by this page."""
    (tmp_path / "example.py").write_text(blocks("python")[0])
    monkeypatch.setattr(services, "__path__", [str(tmp_path), *services.__path__])
    monkeypatch.delitem(sys.modules, "services.example", raising=False)
    yield
    del sys.modules["services.example"], services.example  # type: ignore[attr-defined]


@pytest.mark.usefixtures("_found")
def test_the_service_is_found_with_its_instructions() -> None:
    example = get_available_services()["example"]
    assert (example.title, example.events) == ("Example", ("*.created", "Item.updated"))
    assert example.description.startswith("1. On your team's page")


@pytest.mark.usefixtures("_found")
def test_its_subscription_is_one() -> None:
    environ = {"ACME_EXAMPLE_URL": "https://example.com/hooks/abc"}
    [found] = parse_subscriptions(blocks("yaml")[1], environ)
    assert (found.id, found.product, found.service.name) == ("acme-example", 1111, "example")
    assert found.wants("Item", "created")
    assert not found.wants("Item", "updated")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout in which somebody has followed the page, up to the services and their tests."""
    made = Checkout(tmp_path_factory.mktemp("checkout"))
    assert commands()[0] == ["new", "example"]
    for name, service, test in zip(BUILT, blocks("python")[::2], blocks("python")[1::2], strict=True):
        if not (made.folder / f"services/{name}.py").exists():
            made.do("new", name)
        (made.folder / f"services/{name}.py").write_text(service, "utf-8")
        (made.folder / f"tests/services/test_{name}.py").write_text(test, "utf-8")
    made.do("docs")
    return made


def test_their_tests_pass_and_they_keep_the_contract(checkout: Checkout) -> None:
    """One of them is blocking, and has the contract tried on a network that is down."""
    tests = [f"tests/services/test_{name}.py" for name in BUILT]
    said = checkout.test(*tests, CONTRACT, "tests/services/test_pages.py", "-k", "example or desk or current or listed")
    assert "passed" in said


def test_they_are_laid_out_as_everything_here(checkout: Checkout) -> None:
    checkout.run("ruff", "check", "--no-cache", "services", "tests")
    checkout.run("ruff", "format", "--no-cache", "--check", "services", "tests")


def test_a_blocking_one_says_that_it_sends_by_itself(checkout: Checkout) -> None:
    assert "desk sends by itself (it is blocking)" in checkout.do("test", "desk", "--dry-run")


def test_each_command_of_the_page_does_what_it_says(checkout: Checkout) -> None:
    (checkout.folder / "options.yaml").write_text(blocks("yaml")[0])
    said = []
    with Receiver() as receiver:
        for arguments in commands()[1:]:
            said.append(
                checkout.do(*arguments, EXAMPLE_URL=f"{receiver.url}/hook", SPRINTLY_EGRESS_ALLOW="127.0.0.0/8")
            )
    dry, docs, comment, deploy = said
    assert "POST https://example.com/**********" in dry
    assert docs == ""  # they are current
    for name, text in {"Comment": comment, "Deploy": deploy}.items():
        assert f"{name}.created" in text
        assert ": delivered (the receiver answered 204), in 0." in text
    assert [request.path for request in receiver.requests] == ["/hook", "/hook"]
    assert receiver.requests[1].body == b'{"room":"dev","text":"Deploy created in sprint.ly"}'
