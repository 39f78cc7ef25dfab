"""Events about few items in a known order, receivers that fail by path, and what arrived of it."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from receivers import Got

ITEMS = 40


def event(sequence: int) -> dict[str, Any]:
    """One of many events about few items; the score says where it stands among all."""
    attributes = {"number": sequence % ITEMS, "score": str(sequence)}
    return {"action": "created", "model": "Item", "product": {"id": 1}, "attributes": attributes}


def first_deliveries(requests: list[Got], path: str) -> dict[int, list[int]]:
    """Return, by item, the scores in the order in which they came first."""
    lanes: dict[int, dict[int, None]] = defaultdict(dict)
    for got in requests:
        if got.path == path:
            attributes = json.loads(got.body)["attributes"]
            lanes[attributes["number"]][int(attributes["score"])] = None
    return {item: list(scores) for item, scores in lanes.items()}


def in_order(count: int) -> dict[int, list[int]]:
    return {item: list(range(item, count, ITEMS)) for item in range(ITEMS)}


class Switch:
    """A receiver's answers: what is `down` fails, and is not counted as a delivery."""

    def __init__(self) -> None:
        self.down = {"/dead"}
        self.delivered: list[Got] = []

    def __call__(self, got: Got) -> int:
        if got.path in self.down:
            return 503
        self.delivered.append(got)
        return 204

    def count(self, path: str) -> int:
        return len({got.headers["webhook-id"] for got in list(self.delivered) if got.path == path})
