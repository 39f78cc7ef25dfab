"""What a user can set, type, scrape or enable stands in the documentation."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from consumer.cli import COMMANDS, cli
from consumer.metrics import KINDS, Counter, Metrics
from consumer.settings import Settings

ROOT = Path(__file__).parent.parent
OPERATING = (ROOT / "docs/operating.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize("setting", Settings.load({}).describe(), ids=lambda setting: setting.variable)
def test_each_setting_stands_there_with_its_default_and_meaning(setting: object) -> None:
    assert f"| `{setting.variable}` | {setting.default or '(none)'} | {setting.description} |" in OPERATING  # type: ignore[attr-defined]


def test_each_metric_stands_there() -> None:
    metrics = [m for m in vars(Metrics()).values() if isinstance(m, KINDS)]
    names = [m.name + "_total" * isinstance(m, Counter) for m in metrics]
    assert [name for name in names if f"`{name}`" not in OPERATING] == []
    assert len(names) > 10


def commands() -> list[str]:
    context = click.Context(cli)
    names = []
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        nested = command.list_commands(context) if isinstance(command, click.Group) else []
        names += [f"{name} {sub}" for sub in nested] or [name]
    return names


@pytest.mark.parametrize("command", commands())
def test_each_command_stands_in_the_readme(command: str) -> None:
    assert f"`{command}" in README


def test_every_link_between_documents_leads_somewhere() -> None:
    missing = []
    for document in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")):
        targets = [part.split(")")[0] for part in document.read_text("utf-8").split("](")[1:]]
        missing += [
            f"{document.name}: {t}"
            for t in targets
            if "://" not in t and not t.startswith("#") and not (document.parent / t.split("#")[0]).exists()
        ]
    assert missing == []
