"""What one subscription is owed of one partition, as a record of the compacted state topic and back (DESIGN 2.4).

The value is JSON: `{version, topic_id, next, owed, failing_since, last_error}`. It is always whole, never a change, so
it does not matter how often it is written. A tombstone says that nothing is owed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson

from consumer.event import Outgoing, Record, TopicPartition

VERSION = 1
SEPARATOR = "|"  # stands in no subscription's id and in no topic's name
LONGEST_ERROR = 200  # characters of `last_error`


class Owed(NamedTuple):
    """One delivery that is owed. Times are seconds since 1970, 0 for none; `lane` is None where it is in none."""

    offset: int
    attempts: int = 0
    delays: int = 0  # of the retry delays, how many were used
    first_attempt: int = 0
    due: int = 0
    lane: int | None = None


class State(NamedTuple):
    """What a subscription is owed of a partition: what stands in `owed`, and everything from `next` on.

    `next` is None where it reads with the partition. `failing_since` is 0 while it delivers.
    """

    subscription: str
    partition: TopicPartition
    topic_id: str = ""
    next: int | None = None
    owed: tuple[Owed, ...] = ()
    failing_since: int = 0
    last_error: str = ""


def state_key(subscription: str, tp: TopicPartition) -> bytes:
    """Return the key under which a state stands."""
    return SEPARATOR.join((subscription, tp.topic, str(tp.partition))).encode()


def tombstone(topic: str, subscription: str, tp: TopicPartition) -> Outgoing:
    """Return the record for `topic` that says that a subscription is owed nothing of a partition."""
    return Outgoing(topic, state_key(subscription, tp), None, partition=tp.partition)


def write_state(topic: str, state: State) -> Outgoing:
    """Return a state as a record for `topic`, in the partition of the same number; a tombstone if nothing is owed."""
    key = state_key(state.subscription, state.partition)
    if state.next is None and not state.owed:
        return tombstone(topic, state.subscription, state.partition)
    value = {
        "version": VERSION,
        "topic_id": state.topic_id,
        "next": state.next,
        "owed": [tuple(owed) for owed in state.owed],
        "failing_since": state.failing_since,
        "last_error": state.last_error[:LONGEST_ERROR],
    }
    return Outgoing(topic, key, orjson.dumps(value), partition=state.partition.partition)


def read_state(record: Record) -> State:
    """Return the state that a record holds. Raises ValueError, with a sentence, for one that is none of ours."""
    try:
        subscription, topic, partition = (record.key or b"").decode().split(SEPARATOR)
        value = orjson.loads(record.value or b"null")
        if value["version"] != VERSION:
            raise ValueError(f"its version is {value['version']}, and this release reads version {VERSION}")
        return State(
            subscription,
            TopicPartition(topic, int(partition)),
            str(value["topic_id"]),
            None if value["next"] is None else int(value["next"]),
            tuple(_owed(entry) for entry in value["owed"]),
            int(value["failing_since"]),
            str(value["last_error"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        place = f"{record.topic}[{record.partition}] offset {record.offset}"
        raise ValueError(f"{place} is not a state that can be read: {error}") from None


def latest_states(records: Iterable[Record]) -> tuple[dict[bytes, State], list[str]]:
    """Return the last state under each key, tombstones left out, and a sentence for each that cannot be read."""
    last: dict[bytes, Record] = {}
    for record in records:
        last[record.key or b""] = record
    states, problems = {}, []
    for key, record in last.items():
        if record.value is None:
            continue
        try:
            states[key] = read_state(record)
        except ValueError as problem:
            problems.append(str(problem))
    return states, problems


def _owed(entry: Any) -> Owed:
    offset, attempts, delays, first_attempt, due, lane = entry
    numbers = (int(offset), int(attempts), int(delays), int(first_attempt), int(due))
    return Owed(*numbers, None if lane is None else int(lane))
