"""Which partitions wait for which schemas of the registry, and which schemas it has said it does not have.

References and the time go in; what is waited for comes out. It asks nobody: the pipeline does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from consumer.event import TopicPartition

if TYPE_CHECKING:
    from consumer.framing import Reference

REMEMBERED = 30.0  # seconds that a "not found" is believed: a schema may be registered a moment after its first record
MAX_REFUSED = 1000  # of them are kept: random bytes make up references without end


class Waiter(Protocol):
    """A partition, or what reads it again."""

    tp: TopicPartition
    awaiting: Reference | None


class Awaited:
    """The schemas that hold partitions up, and those that never will."""

    def __init__(self) -> None:
        self._waiting: dict[Reference, set[Waiter]] = {}
        self._refused: dict[Reference, tuple[float, str]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def __len__(self) -> int:
        """How many partitions wait; safe to ask from any thread."""
        return sum(len(waiting) for waiting in list(self._waiting.values()))

    def places(self) -> dict[Reference, list[TopicPartition]]:
        """Return what is waited for, and by which partitions."""
        return {reference: sorted(p.tp for p in waiting) for reference, waiting in self._waiting.items()}

    def wait(self, partition: Waiter, reference: Reference) -> None:
        """Hold a partition until `arrived` or `refuse` is told of its schema."""
        partition.awaiting = reference
        self._waiting.setdefault(reference, set()).add(partition)

    def arrived(self, reference: Reference) -> None:
        """Let the partitions go on that waited for this schema."""
        for partition in self._waiting.pop(reference, ()):
            partition.awaiting = None

    def refuse(self, reference: Reference, reason: str, now: float) -> None:
        """Let them go on as well, and keep the reason why there is no such schema, for half a minute."""
        self._refused.pop(reference, None)
        while len(self._refused) >= MAX_REFUSED:
            del self._refused[next(iter(self._refused))]
        self._refused[reference] = (now + REMEMBERED, reason)
        self.arrived(reference)

    def refusal(self, reference: Reference, now: float) -> str | None:
        """Return why there is no such schema, as far as that is still believed."""
        until, reason = self._refused.get(reference, (now, ""))
        if until > now:
            return reason
        self._refused.pop(reference, None)
        return None

    def leave(self, partitions: Iterable[Waiter]) -> None:
        """Wait no longer for the sake of partitions that are given up."""
        for partition in partitions:
            if partition.awaiting is not None:
                waiting = self._waiting[partition.awaiting]
                waiting.discard(partition)
                if not waiting:
                    del self._waiting[partition.awaiting]
                partition.awaiting = None
