"""What is observed: the dashboard's panels and the alerts as their files have them, and the metrics that there are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from consumer.metrics import Metrics

ROOT = Path(__file__).resolve().parent.parent
DASHBOARD, ALERTS = ROOT / "deploy/grafana.json", ROOT / "deploy/alerts.yaml"
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}


def panels() -> Iterator[dict[str, Any]]:
    """Yield the dashboard's panels, without its rows' titles."""
    yield from (panel for panel in json.loads(DASHBOARD.read_text("utf-8"))["panels"] if panel["type"] != "row")


def rules() -> list[dict[str, Any]]:
    """Return all rules, those that record something among them."""
    return [rule for group in yaml.safe_load(ALERTS.read_text("utf-8"))["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    """Return the rules that alert."""
    return [rule for rule in rules() if "alert" in rule]


def metric_names() -> set[str]:
    """Return the names under which Prometheus has what a replica tells, what rules record, and its own `up`."""
    families = list(Metrics().registry.collect())
    names = {family.name + suffix for family in families for suffix in SUFFIXES.get(family.type, ("",))}
    return names | {rule["record"] for rule in rules() if "record" in rule} | {"up"}
