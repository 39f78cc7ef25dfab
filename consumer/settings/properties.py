"""librdkafka properties as an operator gives them: JSON or a TOML table in, a checked mapping out.

Their values are secret (passwords are among them): no message and no description holds one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

Scalar: TypeAlias = str | int | float | bool

MASK = "***"

_CODE = "it takes code, not a value"
_CYCLE = "offsets are committed by the cycle alone, or events get lost"
_DURABLE = "dead letters and offsets count as durable, so every replica must have them"
_IDENTITY = "each process is a member and a writer under an identity of its own"
_BUDGET = "it follows from SPRINTLY_TRANSACTION_TIMEOUT"
_KEY_ORDER = "records go where Java clients would put them, or the order of a key is lost"

# Those that would break a guarantee, aliases included, and why each is refused; the names are librdkafka's:
# https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md
REFUSED: Mapping[str, str] = MappingProxyType(
    {
        "acks": _DURABLE,
        "auto.commit.enable": _CYCLE,
        "auto.offset.reset": "a new group begins with the earliest event, or those that wait are skipped",
        "bootstrap.servers": "set SPRINTLY_BOOTSTRAP_SERVERS instead",
        "default.topic.config": "give the properties in it by themselves",
        "delivery.timeout.ms": _BUDGET,
        "enable.auto.commit": _CYCLE,
        "enable.auto.offset.store": _CYCLE,
        "enable.idempotence": _DURABLE,
        "enable.partition.eof": "its end marks would be read as failures",
        "group.id": "set SPRINTLY_GROUP_ID instead",
        "group.instance.id": _IDENTITY,
        "group.protocol": "set SPRINTLY_GROUP_PROTOCOL instead",
        "isolation.level": "only committed records may be read, or an aborted cycle is believed",
        "logger": _CODE,
        "message.timeout.ms": _BUDGET,
        "metadata.broker.list": "set SPRINTLY_BOOTSTRAP_SERVERS instead",
        "on_delivery": _CODE,
        "partition.assignment.strategy": "partitions move one by one, which needs cooperative-sticky",
        "partitioner": _KEY_ORDER,
        "request.required.acks": _DURABLE,
        "transaction.timeout.ms": "set SPRINTLY_TRANSACTION_TIMEOUT instead",
        "transactional.id": _IDENTITY,
    }
)

# The broker sets these under the group protocol of Kafka 4, and librdkafka does not start when they are given.
CLASSIC_ONLY = frozenset({"group.protocol.type", "heartbeat.interval.ms", "session.timeout.ms"})


def read_properties(value: object) -> Mapping[str, Scalar]:
    """Return the properties of a JSON object or a table; ValueError has one line for each that is refused, with why.

    Tables inside tables are joined by dots, since TOML reads `ssl.ca.location = "…"` as three of them.
    """
    properties = dict(_flat(_table(value)))
    problems = [line for name, given in properties.items() if (line := _problem(name, given))]
    if problems:
        raise ValueError("\n".join(problems))
    return MappingProxyType(properties)


def write_properties(properties: Mapping[str, Scalar]) -> str:
    """Return the names of the properties as a JSON object, every value masked."""
    return json.dumps(dict.fromkeys(properties, MASK))


def _table(value: object) -> Mapping[str, Any]:
    table = _parsed(value) if isinstance(value, str) else value
    if isinstance(table, Mapping):
        return table
    raise ValueError('not a JSON object: give one as in {"security.protocol": "SSL"}')


def _parsed(text: str) -> object:
    try:
        return json.loads(text.strip() or "{}")
    except (json.JSONDecodeError, RecursionError) as error:
        where = f" at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else ""
        raise ValueError(f"not JSON{where}") from None  # the decoder's own error holds the text


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _problem(name: str, value: object) -> str | None:
    reason = _refusal(name)
    if reason:
        return f"{name} is refused: {reason}"
    if not isinstance(value, str | int | float):
        return f"{name} must be a text, a number, true or false"
    return None


def _refusal(name: str) -> str | None:
    if name.startswith("test."):
        return "it puts a broker that keeps nothing in the place of Kafka"
    if name.endswith("_cb"):
        return _CODE
    return REFUSED.get(name)
