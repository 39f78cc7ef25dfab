"""A word on subscriptions said to all replicas: written to the control topic, and followed until it is carried out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from consumer.control import Note, Word, read_note, write_word

if TYPE_CHECKING:
    from consumer.broker import Broker
    from consumer.clock import Clock
    from consumer.event import TopicPartition

AGAIN = 0.25  # seconds after which it is asked again whether a word is carried out
ANSWER_TIME = 20.0  # seconds that the question may take: open transactions are waited for


class Progress(NamedTuple):
    """In how many partitions, of how many, what was said is carried out."""

    done: int
    of: int


def announce(broker: Broker, topic: str, words: Sequence[Word]) -> Note:
    """Write words to the control topic; returns the note of who has carried them out. Raises BrokerError."""
    written = list(broker.produce([write_word(topic, word) for word in words]))
    return Note(max(each.offset for each in written) + 1, broker.topic_ids([topic], ANSWER_TIME)[topic])


def follow(
    broker: Broker,
    partitions: Sequence[TopicPartition],
    said: Note,
    *,
    patience: float,
    clock: Clock,
    sleep: Callable[[float], None],
    told: Callable[[Progress], None],
) -> Progress:
    """Wait until all partitions have carried out what was `said`, for `patience` seconds at most.

    `told` is told each time how far they are. Returns how far they came. Raises BrokerUnreachable.
    """
    deadline = clock.monotonic() + patience
    while True:
        commits = broker.committed(partitions, ANSWER_TIME)
        notes = [read_note(commit.metadata) if commit is not None else None for commit in commits.values()]
        done = [note for note in notes if note is not None and not note.is_of_another(said.topic) and note.covers(said)]
        progress = Progress(len(done), len(partitions))
        told(progress)
        if progress.done == progress.of or clock.monotonic() >= deadline:
            return progress
        sleep(AGAIN)
