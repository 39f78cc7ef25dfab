"""The drill's parts: every alert has a night, what the documentation shows can be typed, the rules stay the same."""

from __future__ import annotations

import re

import click
import pytest
import yaml
from nights.drill import NAMES, NIGHTS
from nights.night import hurried
from nights.runbook import OPERATING, OURS, Command, blocks, section
from observed import ALERTS, rules

from consumer.cli import cli

TEXT = """\
### SprintlySomething

**What it means.** Not this:

    sprintly-services consume

**What to look at.** Who:

    sprintly-services deliveries owed
    sprintly-services dlq show ID        # one of them

**What to do.** First this,

    SPRINTLY_POISON_LIMIT=off sprintly-services consume

then that: `sprintly-services demo`

    kafka-configs.sh --describe --entity-name sprintly.events
    curl -s http://REPLICA:9464/readyz

## Another
"""


def shown() -> list[Command]:
    """All commands that docs/operating.md shows, also those behind a prompt."""
    text = OPERATING.read_text("utf-8").replace("    $ ", "    ")
    return [command for block in blocks(text) for command in block]


def test_each_alert_has_a_night() -> None:
    assert {night.alert for night in NIGHTS} == set(NAMES)


@pytest.mark.parametrize("night", NIGHTS, ids=lambda night: night.__name__)
def test_a_night_says_how_it_is_provoked_and_what_is_done(night: type) -> None:
    assert night.how  # type: ignore[attr-defined]
    assert night.done  # type: ignore[attr-defined]
    hurried(ALERTS.read_text("utf-8"), night.rules)  # type: ignore[attr-defined]  # what it changes is there


@pytest.mark.parametrize("command", [each for each in shown() if each.program == OURS], ids=str)
def test_what_the_documentation_shows_can_be_typed(command: Command) -> None:
    context = click.Context(cli)
    arguments = list(command.arguments)
    found: click.Command | None = cli
    while isinstance(found, click.Group):
        name = arguments.pop(0)
        found = found.get_command(context, name)
        assert found, f"there is no command {name}"
    assert found
    found.make_context(found.name, arguments, parent=context)  # raises what `sprintly-services` would say


def test_the_documentation_shows_commands_of_every_kind() -> None:
    found = {" ".join(each.arguments[:2]) for each in shown()}
    assert found >= {"deliveries owed", "dlq replay", "subscriptions enable", "topics grow", "topics create", "consume"}


def test_a_section_has_the_commands_that_stand_in_lines_of_their_own() -> None:
    found = section("SprintlySomething", TEXT)
    (look,) = found.look
    assert [str(each) for each in look] == ["sprintly-services deliveries owed", "sprintly-services dlq show ID"]
    first, then = found.do
    assert first == (Command(OURS, ("consume",), (("SPRINTLY_POISON_LIMIT", "off"),)),)
    assert [each.program for each in then] == ["kafka-configs.sh"]
    assert len(found.commands) == 4
    assert str(look[1].filled(ID="3f2a")) == "sprintly-services dlq show 3f2a"
    with pytest.raises(LookupError, match="no section SprintlyOther"):
        section("SprintlyOther", TEXT)


def test_a_minute_of_the_rules_is_a_second_and_nothing_else_changes() -> None:
    text = ALERTS.read_text("utf-8")
    quick = [rule for group in yaml.safe_load(hurried(text, {}))["groups"] for rule in group["rules"]]
    assert len(quick) == len(rules())
    for before, after in zip(rules(), quick, strict=True):
        pattern = re.sub(r"\b\d+[mh]\b", r"\\d+s", re.escape(before["expr"]).replace("\\ ", " "))
        assert re.fullmatch(pattern, after["expr"].replace("\\ ", " ")), after["expr"]
        assert not re.search(r"\b\d+[mh]\b", after["expr"] + after.get("for", ""))
    assert "for: 10s" in hurried("for: 10m", {})
    assert hurried("[1h] offset 1h", {}) == "[60s] offset 60s"
    with pytest.raises(AssertionError, match="0 times"):
        hurried(text, {"> 4711": "> 1"})
