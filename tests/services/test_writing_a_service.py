"""The service that docs/writing-a-service.md builds is really built, found, tested and subscribed to."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import services
from consumer.subscriptions import parse_subscriptions
from services import get_available_services

TEXT = (Path(__file__).parents[2] / "docs" / "writing-a-service.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def _example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put the page's service into the package `services`."""
    (tmp_path / "example.py").write_text(blocks("python")[0])
    monkeypatch.setattr(services, "__path__", [*services.__path__, str(tmp_path)])
    yield
    del sys.modules["services.example"], services.example  # type: ignore[attr-defined]


def test_the_service_is_found_with_its_instructions() -> None:
    example = get_available_services()["example"]
    assert (example.title, example.events) == ("Example", ("*.created", "Item.updated"))
    assert example.description.startswith("1. On your team's page")
    assert all(f"`{name}`" in example.description for name in example.Options.model_fields)


def test_its_test_passes() -> None:
    names: dict[str, object] = {}
    exec(compile(blocks("python")[1], "writing-a-service.md", "exec"), names)
    tests = [test for name, test in names.items() if name.startswith("test_") and callable(test)]
    assert len(tests) == 2
    for test in tests:
        test()


def test_its_subscription_is_one() -> None:
    environ = {"ACME_EXAMPLE_URL": "https://example.com/hooks/abc"}
    [found] = parse_subscriptions(blocks("yaml")[0], environ)
    assert (found.id, found.product, found.service.name) == ("acme-example", 1111, "example")
    assert found.wants("Item", "created")
    assert not found.wants("Item", "updated")
