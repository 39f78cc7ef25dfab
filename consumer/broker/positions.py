"""How far each assigned partition has been read, so that what librdkafka reads again is noticed.

librdkafka (2.16, tried) may begin a partition twice: where it is paused while its first offset is looked up, the stale
answer to that leaves a timer behind, which half a second later sends the partition back to where it began.
"""

from __future__ import annotations

from collections.abc import Iterable

from consumer.event import Record, TopicPartition


class Positions:
    """What was handed out since the partitions were assigned."""

    def __init__(self) -> None:
        self._reached: dict[tuple[str, int], Reached] = {}

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget partitions: they are others' now, or begin anew."""
        for tp in partitions:
            self._reached.pop(tp, None)

    def is_new(self, record: Record) -> bool:
        """Note a record; False for one that was handed out before.

        Only where the first record came once more, the same as it was, is a lower offset one that was read before.
        Otherwise the log is another (a topic made anew, say), and the record is not ours to drop.
        """
        place = record[:2]
        reached = self._reached.get(place)
        if reached is None:
            self._reached[place] = Reached(record)
            return True
        if record.offset >= reached.next:
            reached.next = record.offset + 1
            reached.again = False
            return True
        if (record.offset, record.timestamp) == reached.first:
            reached.again = True
        return not reached.again


class Reached:
    """The first record of an assignment (offset and timestamp), and the offset after the last."""

    __slots__ = ("again", "first", "next")

    def __init__(self, record: Record) -> None:
        self.first = (record.offset, record.timestamp)
        self.next = record.offset + 1
        self.again = False  # whether what comes was read before
