"""The dead-letter topic as a table of what is unresolved, and its entries sent again through the running consumers.

A replay moves entries: the record for the replay topic and the tombstone of the entry are one transaction, so at no
moment is one lost or there twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from consumer.broker import Broker, Writer
from consumer.deadletter import DeadLetter, read_dead_letter
from consumer.event import Outgoing, Record

if TYPE_CHECKING:
    from consumer.clock import Clock

BATCH = 100  # entries a transaction: what a kill in the middle leaves to a second run is everything but whole batches


class Entry(NamedTuple):
    """One unresolved dead letter and the partition of the dead-letter topic in which it stands."""

    letter: DeadLetter
    partition: int


class Table(NamedTuple):
    """What is unresolved, in the order of the original log, and how many records there are not entries of ours."""

    entries: list[Entry]
    foreign: int


def read_table(broker: Broker, topic: str) -> Table:
    """Read the dead-letter topic: the last word on each id counts, and a tombstone resolves it. Raises BrokerError."""
    records: dict[tuple[int, bytes | None], Record] = {}
    for record in broker.read(topic):
        place = (record.partition, record.key)
        records.pop(place, None)
        if record.value is not None:
            records[place] = record
    entries, foreign = [], 0
    for record in records.values():
        try:
            entries.append(Entry(read_dead_letter(record), record.partition))
        except ValueError:
            foreign += 1
    entries.sort(key=_place_in_the_log)
    return Table(entries, foreign)


class Pace:
    """At most so many entries a second, in batches of no more than a second's."""

    def __init__(self, per_second: float, clock: Clock, sleep: Callable[[float], None]) -> None:
        """Begin now; `sleep` waits for so many seconds."""
        self.batch = min(BATCH, max(1, int(per_second)))
        self._per_second = per_second
        self._clock = clock
        self._sleep = sleep
        self._due = clock.monotonic()  # when the next entry may go

    def spend(self, count: int) -> None:
        """Wait until so many entries may follow those before."""
        now = self._clock.monotonic()
        if self._due > now:
            self._sleep(self._due - now)
        self._due = max(now, self._due) + count / self._per_second


def replay(
    writer: Writer,
    entries: Iterable[Entry],
    *,
    dead_letters: str,
    replays: str,
    done: Callable[[int], None],
    pace: Pace | None = None,
) -> int:
    """Move `entries` from the topic `dead_letters` to the topic `replays`, batch by batch; returns how many.

    What `left_alone` names stays where it is. `writer` must have been made before the entries were read: then nobody
    else moves them meanwhile. `done` is called with the size of each batch that is durable. Raises ReplayOverrun where
    another replay has begun, CycleAborted where a batch did not become durable: those before it are replayed, it and
    those after it stand where they stood.
    """
    whole = (entry for entry in entries if entry.letter.is_whole)
    return _write(
        writer, whole, lambda e: (e.letter.replay(replays), _tombstone(e, dead_letters)), done=done, pace=pace
    )


def drop(
    writer: Writer,
    entries: Iterable[Entry],
    *,
    dead_letters: str,
    done: Callable[[int], None],
    pace: Pace | None = None,
) -> int:
    """Remove `entries` from the topic `dead_letters` for good, batch by batch; returns how many.

    For `writer` and `done`, and what it raises, see `replay`.
    """
    return _write(writer, entries, lambda e: (_tombstone(e, dead_letters),), done=done, pace=pace)


def _write(
    writer: Writer,
    entries: Iterable[Entry],
    records: Callable[[Entry], tuple[Outgoing, ...]],
    *,
    done: Callable[[int], None],
    pace: Pace | None,
) -> int:
    total = 0
    for batch in _batches(entries, pace.batch if pace else BATCH):
        if pace:
            pace.spend(len(batch))
        writer.write([record for entry in batch for record in records(entry)])
        total += len(batch)
        done(len(batch))
    return total


def left_alone(entries: Iterable[Entry]) -> list[str]:
    """Return a sentence for each entry that cannot be replayed: what is left of its record cannot be read."""
    return [_why_left(entry.letter) for entry in entries if not entry.letter.is_whole]


def _why_left(letter: DeadLetter) -> str:
    origin = letter.origin
    kept = f"only {len(origin.value or b''):,} of its record's {letter.truncated:,} bytes fitted into the dead letters"
    place = f"{origin.topic}[{origin.partition}] offset {origin.offset}"
    return f"{letter.id} is left alone: {kept}; the record itself was {place}"


def _tombstone(entry: Entry, dead_letters: str) -> Outgoing:
    return Outgoing(dead_letters, entry.letter.key, None, partition=entry.partition)


def _batches(entries: Iterable[Entry], size: int) -> Iterator[Sequence[Entry]]:
    remaining = iter(entries)
    while batch := list(islice(remaining, size)):
        yield batch


def _place_in_the_log(entry: Entry) -> tuple[str, int, int, str]:
    origin = entry.letter.origin
    return origin.topic, origin.partition, origin.offset, entry.letter.subscription
