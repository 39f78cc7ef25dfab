"""Three nights of `make nights`: an alert each, its section followed, and all well again."""

from __future__ import annotations

import pytest
from nights.configuration import ConfigurationRefused
from nights.destinations import DestinationDown
from nights.drill import play
from nights.night import Place
from nights.replicas import NoReplica


@pytest.mark.usefixtures("promtool_there")
def test_alerts_fire_their_sections_are_followed_and_all_is_well_again(kafka_bootstrap: str) -> None:
    nights = (NoReplica, DestinationDown, ConfigurationRefused)
    rows = play(nights, Place(kafka_bootstrap))
    assert [problem for row in rows for problem in row.problems] == []
    assert [row.alert for row in rows] == [night.alert for night in nights]
    assert all(row.well and row.ran for row in rows)
