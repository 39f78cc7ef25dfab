"""Alerts: promtool takes them, each is tried by a file of its own that would notice a change, each has a section."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from observed import ALERTS, ROOT, alerts, metric_names, rules
from prometheus import metric, promtool, selectors

TESTS = ROOT / "tests/alerts"
OPERATING = (ROOT / "docs/operating.md").read_text("utf-8")
NAMES = sorted({alert["alert"] for alert in alerts()})
PARTS = ("**What it means.**", "**What to look at.**", "**What to do.**", "**When it is over.**")

by_promtool = pytest.mark.usefixtures("promtool_there")


@by_promtool
def test_promtool_takes_the_rules() -> None:
    checked = promtool("check", "rules", ALERTS)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(rules())} rules found" in checked.stdout


def test_there_is_a_file_for_each_alert() -> None:
    assert [name for name in NAMES if not (TESTS / f"{name}.yaml").exists()] == []


@by_promtool
@pytest.mark.parametrize("file", sorted(TESTS.glob("*.yaml")), ids=lambda file: file.stem)
def test_alerts_do_what_their_file_says(file: Path) -> None:
    tried = promtool("test", "rules", file)
    assert tried.returncode == 0, tried.stdout + tried.stderr


@by_promtool
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"expr": "vector(0) > 1", "for": "0s"}, id="never fires"),
        pytest.param({"for": "0s"}, id="fires too early"),
        pytest.param({"for": "300h"}, id="fires too late"),
        pytest.param({"keep_firing_for": "1000h"}, id="never ends"),
    ],
)
def test_the_file_of_an_alert_notices_that_it(name: str, change: dict[str, str], tmp_path: Path) -> None:
    """Whoever changes an alert so has to change its test: each can fail."""
    document = yaml.safe_load(ALERTS.read_text("utf-8"))
    changed = [rule for group in document["groups"] for rule in group["rules"] if rule.get("alert") == name]
    if change == {"for": "0s"} and "for" not in changed[0]:
        change = {
            "expr": "vector(1) > 0"
        }  # an alert that waits for nothing is too early when there is no reason at all
    for rule in changed:
        rule |= change
    (tmp_path / "alerts.yaml").write_text(yaml.safe_dump(document))
    text = (TESTS / f"{name}.yaml").read_text("utf-8")
    (tmp_path / "test.yaml").write_text(text.replace("../../deploy/alerts.yaml", "alerts.yaml"))
    assert promtool("test", "rules", tmp_path / "test.yaml").returncode == 1


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: f"{alert['alert']}-{alert['labels']['severity']}")
def test_an_alert_says_whom_it_wakes_and_where_to_read_on(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert alert["annotations"]["description"].endswith(".")
    assert alert["annotations"]["runbook_url"] == f"docs/operating.md#{alert['alert'].lower()}"


@pytest.mark.parametrize("name", NAMES)
def test_an_alert_has_a_section_that_says_what_to_do(name: str) -> None:
    section = re.search(rf"^### {name}\n(.*?)(?=^##)", OPERATING, re.MULTILINE | re.DOTALL)
    assert section, f"docs/operating.md has no section {name}"
    places = [section[1].find(part) for part in PARTS]
    assert -1 not in places
    assert places == sorted(places)


def test_no_section_is_left_of_an_alert_that_is_gone() -> None:
    assert [name for name in re.findall(r"^### (Sprintly\w+)", OPERATING, re.MULTILINE) if name not in NAMES] == []


def test_every_metric_that_a_rule_reads_exists() -> None:
    read = {metric(selector) for rule in rules() for selector in selectors(rule["expr"])}
    assert read - metric_names() == set()
    assert len(read) > 10
