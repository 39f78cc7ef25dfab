"""What is being read again of one partition."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumer.event import TopicPartition

if TYPE_CHECKING:
    from consumer.framing import Reference


class Scan:
    """Whether an order to read is under way, and what it cannot go on without."""

    __slots__ = ("awaiting", "tp", "under_way")

    def __init__(self, tp: TopicPartition) -> None:
        self.tp = tp
        self.under_way = False
        self.awaiting: Reference | None = None  # the schema of the next record
