"""Entries of the subscriptions topic: a compacted topic's records come in and go out, one a subscription (DESIGN 2.3).

The key is the subscription's id, the value a JSON object with the fields that it has in a subscriptions file, and a
tombstone removes it. `sealed` stands in place of `options` where they are sealed. Who writes to the topic need not be
the operator of this machine, so references in options are refused: they would read its files and environment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import orjson

from consumer.errors import SealedFast
from consumer.event import Outgoing
from consumer.references import Nothing, escape
from consumer.strictyaml import DEEPEST
from consumer.subscriptions import ID, Services, Subscription, read_entry
from services import ServiceBase

if TYPE_CHECKING:
    from consumer.event import Record
    from consumer.sealed import Seal

Refusal: TypeAlias = Callable[[type[ServiceBase]], str]

SEALED = "sealed"
LONGEST_SENTENCE = 500  # characters; a field's name or a service's comes from outside


@dataclass(frozen=True)
class Entries:
    """What the topic holds: usable subscriptions in the order of their ids, and those set aside, with the reason."""

    subscriptions: tuple[Subscription, ...] = ()
    aside: Mapping[str, str] = field(default_factory=dict)
    locked: int = 0
    """Those whose sealed options no key at hand opens, where none that is sealed can be opened; else 0."""

    @property
    def problems(self) -> list[str]:
        """One sentence for each record that is set aside."""
        return [f"subscription {name}: {reason}" for name, reason in self.aside.items()]


def write_entry(topic: str, fields: Mapping[str, Any], seal: Seal | None) -> Outgoing:
    """Return a subscription's fields, whose options mean themselves, as a record. Raises ValueError."""
    return write_fields(topic, {**fields, "options": escape(fields.get("options", {}))}, seal)


def write_fields(topic: str, fields: Mapping[str, Any], seal: Seal | None) -> Outgoing:
    """Return fields as `read_fields` gives them as a record. Raises ValueError, with the rest of a sentence."""
    written = dict(fields)
    if seal is not None:
        written[SEALED] = seal.seal(written["id"], written.pop("options", {}))
    try:
        value = orjson.dumps(written, option=orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError:
        raise ValueError("options cannot be written as JSON") from None
    return Outgoing(topic, written["id"].encode(), value)


def write_removal(topic: str, id_: str) -> Outgoing:
    """Return the tombstone that removes a subscription."""
    return Outgoing(topic, id_.encode(), None)


def latest(records: Iterable[Record]) -> dict[str, Record]:
    """Return the last record of each subscription that was not removed, in the order of their ids.

    A key that is no id stands there as the place of its record.
    """
    found: dict[bytes | None, Record] = {}
    for record in records:  # those of one key are in one partition, and so in order
        if record.value is None:
            found.pop(record.key, None)
        else:
            found[record.key] = record
    named = {_name(record): record for record in found.values()}
    return dict(sorted(named.items()))


def read_fields(record: Record, seal: Seal | None) -> dict[str, Any]:
    """Return the fields in a record, the options opened. Raises ValueError, with the rest of a sentence."""
    return _unsealed(_fields(record), seal)


def _fields(record: Record) -> dict[str, Any]:
    try:
        fields = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        raise ValueError("the record is not JSON") from None
    if not isinstance(fields, dict):
        raise ValueError("the record is not a JSON object")
    if fields.get("id") != (record.key or b"").decode("utf-8", "replace"):
        raise ValueError("id is not the key of its record")
    return fields


def _unsealed(fields: dict[str, Any], seal: Seal | None) -> dict[str, Any]:
    """Return the fields with the options opened where they are sealed."""
    if SEALED in fields:
        sealed = fields[SEALED]
        fields = {name: value for name, value in fields.items() if name != SEALED}
        fields["options"] = _opened(fields, sealed, seal)
    if _is_deep(fields):
        raise ValueError(f"the record is nested deeper than {DEEPEST} levels")
    return fields


def nobody(_service: type[ServiceBase]) -> str:
    """Refuse no service."""
    return ""


def read_entries(
    records: Iterable[Record], seal: Seal | None, services: Services, refusal: Refusal = nobody
) -> Entries:
    """Return what all records of the topic amount to; `refusal` says why a service is not for use, if it is not."""
    book = Book(seal, services, refusal)
    book.take(records)
    return book.entries()


class Book:
    """What the topic holds, as far as it was read: each record is read once, and what it makes stays the same."""

    def __init__(self, seal: Seal | None, services: Services, refusal: Refusal = nobody) -> None:
        self._seal = seal
        self._services = services
        self._refusal = refusal
        self._found: dict[bytes | None, tuple[str, _Found]] = {}

    def take(self, records: Iterable[Record]) -> None:
        """Take in the next records, of which the last of each key counts."""
        last: dict[bytes | None, Record] = {}
        for record in records:  # those of one key are in one partition, and so in order
            last[record.key] = record
        for key, record in last.items():
            if record.value is None:
                self._found.pop(key, None)
            else:
                self._found[key] = _name(record), self._read(record)

    def entries(self) -> Entries:
        """Return what all that was taken in amounts to."""
        found = dict(sorted(self._found.values(), key=itemgetter(0)))
        opened = any(each.sealed and not each.locked for each in found.values())
        return Entries(
            tuple(subscription for each in found.values() for subscription in each.subscriptions),
            {name: each.reason for name, each in found.items() if each.reason},
            0 if opened else sum(each.locked for each in found.values()),
        )

    def _read(self, record: Record) -> _Found:
        found = _read(record, self._seal, self._services)
        refused = next(filter(None, (self._refusal(type(each.service)) for each in found.subscriptions)), "")
        return found._replace(subscriptions=(), reason=refused) if refused else found


class _Found(NamedTuple):
    """What a record makes, or why it makes nothing; whether its options were sealed, and no key at hand opens them."""

    subscriptions: tuple[Subscription, ...] = ()
    reason: str = ""
    sealed: bool = False
    locked: bool = False


def _read(record: Record, seal: Seal | None, services: Services) -> _Found:
    sealed = False
    try:
        fields = _fields(record)
        sealed = SEALED in fields
        entry, problems = read_entry(_unsealed(fields, seal), Nothing(), services)
    except ValueError as error:
        return _Found((), str(error), sealed, isinstance(error, SealedFast))
    except Exception as error:  # noqa: BLE001 - a validator of anybody's, met by a value of anybody's
        return _Found((), f"the record cannot be read: {type(error).__name__}", sealed)
    return _Found(entry.subscriptions, _shown("; ".join(problems)), sealed)


def _shown(reason: str) -> str:
    """Return a reason as it may be shown: one line that is not too long, and moves no cursor."""
    cut = reason if len(reason) <= LONGEST_SENTENCE else f"{reason[:LONGEST_SENTENCE]}…"
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in cut)


def _name(record: Record) -> str:
    key = (record.key or b"").decode("utf-8", "replace")
    return key if ID.fullmatch(key) else f"at {record.topic}[{record.partition}] offset {record.offset}"


def _opened(fields: dict[str, Any], sealed: object, seal: Seal | None) -> dict[str, Any]:
    if "options" in fields:
        raise ValueError("it has both options and sealed ones")
    if not isinstance(sealed, str):
        raise ValueError("sealed is not text")
    if seal is None:
        raise SealedFast("options are sealed and cannot be opened: SPRINTLY_OPTIONS_KEY is not set")
    return seal.open(fields["id"], sealed)


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return False
    return True


def _inside(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
