"""Hostile peers on the real Kafka, all at once and in short: `make hostile` does the same for a minute."""

from __future__ import annotations

import hostile_peers
from peers import HTTP, MAIL

SECONDS = 5
LATE = 30.0  # seconds: beside three other workers, what is a second on a quiet machine was four


def test_no_hostile_peer_outlives_its_deadline_fills_the_memory_or_disturbs_the_others(kafka_bootstrap: str) -> None:
    found = hostile_peers.play(kafka_bootstrap, SECONDS, LATE)
    assert found.problems == []
    assert len(found.rows) == 2 * len(HTTP) + len(MAIL)
    assert sum(row.connections for row in found.rows) > 500
    assert found.healthy > hostile_peers.ITEMS
