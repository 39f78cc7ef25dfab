"""What became of each record: what was written, delivered and dead-lettered comes in, what does not add up goes out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import orjson
from fuzzed.ledger import digest

from consumer.codec import Codec
from consumer.deadletter import DeadLetter, Stage, read_dead_letter
from consumer.delivery import delivery_id
from consumer.event import Record

CODEC = Codec()


class Accounts:
    """Claims, for each record, the deliveries and dead letters that it has come to; each may be claimed once."""

    def __init__(
        self,
        topic: str,
        subscriptions: Sequence[str],
        arrived: Mapping[str, Mapping[str, bytes]],
        letters: Iterable[Record],
    ) -> None:
        """Read events from `topic`; `arrived` has what each subscription got, `letters` the dead-letter topic."""
        self._topic = topic
        self._subscriptions = subscriptions
        self._arrived = {name: dict(arrived.get(name, {})) for name in subscriptions}
        self._letters: dict[str, list[DeadLetter]] = {}
        for record in letters:
            letter = read_dead_letter(record)
            assert record.key == letter.key, f"{letter.id} stands under another key"
            self._letters.setdefault(letter.id, []).append(letter)
        self.outcomes: Counter[tuple[str, str]] = Counter()  # by kind and outcome
        self.problems: list[str] = []

    def check(self, kind: str, record: Record) -> None:
        """Account for a record; what does not add up is a problem that names its place."""
        outcomes = list(self._of_event(record) if record.topic == self._topic else self._of_replay(record))
        self.outcomes.update((kind, outcome) for outcome in outcomes)
        wanted = 1 if len(outcomes) == 1 and not outcomes[0].startswith("delivered") else len(self._subscriptions)
        if record.topic == self._topic and len(outcomes) != wanted:
            self._problem(kind, record, f"it came to {outcomes or 'nothing'}")
        elif not outcomes:
            self._problem(kind, record, "it came to nothing")

    def close(self) -> None:
        """Look for what belongs to no record."""
        for name, left in self._arrived.items():
            if left:
                self.problems.append(f"{name} got {len(left)} deliveries of no record, {next(iter(left))} for example")
        if unclaimed := [letter for some in self._letters.values() for letter in some]:
            self.problems.append(f"{len(unclaimed)} dead letters are of no record: {unclaimed[0].origin!r:.300}")

    def _of_event(self, record: Record) -> Iterator[str]:
        poison = self._claim(delivery_id(record, ""), record)
        if poison is not None:
            if poison.stage is not Stage.DECODE:
                self._problem("", record, f"a dead letter of stage {poison.stage.value} names no subscription")
            yield "dead: poison"
        for name in self._subscriptions:
            yield from self._delivered(name, record, record)

    def _of_replay(self, record: Record) -> Iterator[str]:
        try:
            entry = read_dead_letter(record)
        except ValueError:
            if self._claim(delivery_id(record, ""), record) is not None:
                yield "dead: no entry of ours"
            return
        letter = self._claim(entry.id, entry.origin)
        if letter is not None:
            yield f"dead: {letter.reason}"
            return
        for name in [entry.subscription] if entry.subscription else self._subscriptions:
            yield from self._delivered(name, record, entry.origin)

    def _delivered(self, name: str, record: Record, origin: Record) -> Iterator[str]:
        id_ = delivery_id(origin, name)
        body = self._arrived.get(name, {}).pop(id_, None)
        if body is not None:
            yield f"delivered: {name}"
            if name == self._subscriptions[0] and body != digest(_body(origin)):
                self._problem("", record, f"{name} got another body")
        letter = self._claim(id_, origin)
        if letter is not None:
            yield f"dead: {letter.reason}, {name}"

    def _claim(self, id_: str, origin: Record) -> DeadLetter | None:
        """Take the dead letter of this id that holds exactly this record: its bytes, key, headers and coordinates."""
        some = self._letters.get(id_, [])
        for letter in some:
            if letter.origin == origin:
                some.remove(letter)
                return letter
        return None

    def _problem(self, kind: str, record: Record, what: str) -> None:
        self.problems.append(f"{record.topic}[{record.partition}] offset {record.offset} {kind}: {what}")


def _body(record: Record) -> bytes:
    """Return what a webhook is to get of an event."""
    payload = CODEC.decode(record.value, record.headers)
    if not isinstance(payload, dict):
        return b""
    payload.setdefault("action", "created")
    return orjson.dumps(payload)
