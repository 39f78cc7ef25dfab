"""Three replicas, scraped by a real Prometheus, while a destination goes down and comes back (see `make observe`)."""

from __future__ import annotations

from pathlib import Path

import observe
import pytest


@pytest.mark.usefixtures("promtool_there")
def test_every_panel_and_alert_answers_and_the_one_about_a_destination_fires_and_ends(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    found = observe.play(kafka_bootstrap, tmp_path)
    assert found.problems == []
    assert all(row.answer for row in found.rows)
    assert {row.what for row in found.rows} >= {panel["title"] for panel in observe.panels()}
    assert {row.what for row in found.rows} >= {rule["alert"] for rule in observe.rules() if "alert" in rule}
    answers = {row.what: row.answer for row in found.rows}
    assert [series.value for series in answers["Versions"]] == [observe.REPLICAS]
    assert sum(series.value for series in answers["SprintlyExpired"]) >= observe.EXPIRED
