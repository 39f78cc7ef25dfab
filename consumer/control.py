"""What operators, and replicas, say of subscriptions: words of the control topic, written and read (DESIGN 2.4).

The topic has one partition and is compacted. A word stands under `subscription|kind`, so of each kind the last one
counts. How many of them a partition has carried out stands in the metadata of its committed offset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import NamedTuple

import orjson

from consumer.event import Outgoing, Record, TopicPartition
from consumer.state import SEPARATOR

VERSION = 1


class Kind(Enum):
    """What a word is about."""

    SWITCH = "switch"
    BACKFILL = "backfill"
    FORGET = "forget"


class Word(NamedTuple):
    """One word on one subscription.

    A switch says whether it is `enabled`, and if so whether it is to `skip` what it is owed. A backfill says from which
    of the `offsets` on (by partition of the topic with the events) it is to get everything, again if need be. `reason`
    is for people, `at` the time (seconds since 1970), and `offset` where the word stands, -1 before it is written.
    """

    subscription: str
    kind: Kind
    enabled: bool = True
    skip: bool = False
    offsets: tuple[tuple[int, int], ...] = ()
    reason: str = ""
    at: float = 0.0
    offset: int = -1

    @property
    def key(self) -> bytes:
        """The key under which it stands."""
        return SEPARATOR.join((self.subscription, self.kind.value)).encode()


def control_partition(topic: str) -> TopicPartition:
    """Return the only partition of the control topic."""
    return TopicPartition(topic, 0)


def write_word(topic: str, word: Word) -> Outgoing:
    """Return a word as a record for `topic`."""
    value = {
        "version": VERSION,
        "enabled": word.enabled,
        "skip": word.skip,
        "offsets": {str(partition): offset for partition, offset in word.offsets},
        "reason": word.reason,
        "at": word.at,
    }
    return Outgoing(topic, word.key, orjson.dumps(value), partition=control_partition(topic).partition)


def read_word(record: Record) -> Word:
    """Return the word that a record holds. Raises ValueError, with a sentence, for one that is none of ours."""
    try:
        subscription, kind = (record.key or b"").decode().split(SEPARATOR)
        value = orjson.loads(record.value or b"null")
        if value["version"] != VERSION:
            raise ValueError(f"its version is {value['version']}, and this release reads version {VERSION}")
        return Word(
            subscription,
            Kind(kind),
            bool(value["enabled"]),
            bool(value["skip"]),
            tuple((int(partition), int(offset)) for partition, offset in value["offsets"].items()),
            str(value["reason"]),
            float(value["at"]),
            record.offset,
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{record.topic} offset {record.offset} is not a word that can be read: {error}") from None


class Words:
    """The last word of each kind on each subscription, as far as the topic was read: up to `end`."""

    def __init__(self) -> None:
        self._last: dict[bytes, Word] = {}
        self.end = 0

    def take(
        self, records: Iterable[Record], end: int, waits: Callable[[Word], bool] = lambda _: False
    ) -> tuple[list[Word], list[str]]:
        """Take in what was read up to `end`; returns the new words in order, and a sentence for each unreadable one.

        A word that `waits` is left for another time, with all that come after it.
        """
        words, problems = [], []
        for record in records:
            if record.value is None:
                self._last.pop(record.key or b"", None)
                continue
            try:
                word = read_word(record)
            except ValueError as problem:
                problems.append(str(problem))
                continue
            if waits(word):
                end = word.offset
                break
            self._last[word.key] = word
            words.append(word)
        self.end = max(self.end, end)
        return words, problems

    def since(self, offset: int) -> list[Word]:
        """Return the words that stand at `offset` or later, in order."""
        return sorted((word for word in self._last.values() if word.offset >= offset), key=lambda word: word.offset)

    def switch(self, subscription: str) -> Word | None:
        """Return the last word on whether a subscription is enabled; None where nobody ever said."""
        return self._last.get(Word(subscription, Kind.SWITCH).key)

    def is_off(self, subscription: str) -> bool:
        """Whether a subscription is disabled."""
        word = self.switch(subscription)
        return word is not None and not word.enabled

    @property
    def off(self) -> dict[str, Word]:
        """The disabled subscriptions, each with the word that says so."""
        words = self._last.values()
        return {word.subscription: word for word in words if word.kind is Kind.SWITCH and not word.enabled}


class Note(NamedTuple):
    """How much of the control topic is carried out: all below `offset` in the topic with this id ("" where unknown)."""

    offset: int
    topic: str = ""

    def is_of_another(self, topic: str) -> bool:
        """Whether it is known to be of another topic of the same name, that is, of one that was there before."""
        return bool(self.topic and topic and self.topic != topic)

    def covers(self, other: Note) -> bool:
        """Whether it says as much as the other, or that one is of another topic."""
        return self.offset >= other.offset or self.is_of_another(other.topic)


NOTHING = Note(0)


def write_note(note: Note) -> str:
    """Return the metadata of a committed offset that says how much of the control topic is carried out with it."""
    value: dict[str, object] = {"control": note.offset}
    return orjson.dumps(value | {"topic": note.topic} if note.topic else value).decode()


def read_note(metadata: str) -> Note | None:
    """Return what the metadata of a committed offset says of the control topic; None where it says nothing of it."""
    try:
        value = orjson.loads(metadata)
        return Note(int(value["control"]), str(value.get("topic", "")))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
