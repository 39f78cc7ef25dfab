"""Events on the wire: a payload becomes the bytes of a Kafka record, and such bytes a payload again.

What cannot be decoded is a value with a reason, whatever the bytes are. This module alone knows fastavro.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, NamedTuple

from fastavro import parse_schema, schemaless_writer
from fastavro.schema import SchemaParseException, UnknownType, fingerprint, to_parsing_canonical_form

import schemas
from consumer.avro import Reader, Unreadable
from consumer.errors import ConfigurationError
from consumer.event import Payload
from consumer.payload import Shape
from consumer.unrolled import unroll

# Avro's single-object encoding: this marker, then the schema's fingerprint as 8 bytes, little-endian.
# https://avro.apache.org/docs/1.12.0/specification/#single-object-encoding
SINGLE_OBJECT = b"\xc3\x01"
FRAME = len(SINGLE_OBJECT) + 8

# Confluent's framing: a zero byte, then the schema's id in a registry as 4 bytes, big-endian.
# https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
CONFLUENT = b"\x00"
CONFLUENT_FRAME = len(CONFLUENT) + 4


@dataclass(frozen=True, slots=True)
class Undecodable:
    """A record's value that is no event; `reason` is a sentence that goes into its dead letter."""

    reason: str


EMPTY = Undecodable("empty: the record has no value")


class Head(NamedTuple):
    """What routing has to know of an event."""

    model: str
    action: str
    product: int


class Codec:
    """Encodes with the bundled event schema, decodes with the schema that the writer used.

    It knows the bundled schemas and those given as `known`; raises ConfigurationError if one cannot be used.
    """

    def __init__(self, known: Iterable[schemas.Schema] = ()) -> None:
        bundled = [schemas.load(name) for name in schemas.names()]
        writers = [_Writer(schema) for schema in (*bundled, *known)]
        self._event = writers[0]
        self._shape = Shape(unroll(self._event.schema, self._event.named))
        self._writers = {writer.prefix: writer for writer in writers}

    def encode(self, payload: Mapping[str, Any]) -> bytes:
        """Return a payload in Avro's single-object encoding; raises InvalidPayload if it does not fit."""
        return self._event.encode(self._shape.fit(payload))

    def head(self, value: bytes | None) -> Head | Undecodable:
        """Return model, action (`created` where absent) and product of an encoded event, reading no further.

        What follows may still turn out to be undecodable.
        """
        if value is None:
            return EMPTY
        writer = self._writers.get(value[:FRAME])
        return writer.head(value) if writer else _unknown(value)

    def decode(self, value: bytes | None) -> Payload | Undecodable:
        """Return the payload that was encoded: key for key, absent keys absent, null where null was given."""
        if value is None:
            return EMPTY
        writer = self._writers.get(value[:FRAME])
        return writer.decode(value) if writer else _unknown(value)


class _Writer:
    """One writer's schema, ready to read what was written with it."""

    def __init__(self, schema: schemas.Schema) -> None:
        self.named: dict[str, Any] = {}
        try:
            self.schema: Any = parse_schema(schema, self.named)
            if not isinstance(self.schema, dict) or self.schema["type"] != "record":
                raise SchemaParseException("an event has to be a record")
            self.prefix = SINGLE_OBJECT + bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))
            self._whole = Reader(self.schema, self.named)
            self._beginning = Reader(_up_to_product(self.schema, self.named), self.named)
        except (SchemaParseException, UnknownType, LookupError, TypeError, ValueError, RecursionError) as error:
            raise ConfigurationError(f"an Avro schema cannot be used: {type(error).__name__}: {error}") from error

    def encode(self, datum: Mapping[str, Any]) -> bytes:
        out = BytesIO(self.prefix)
        out.seek(len(self.prefix))
        schemaless_writer(out, self.schema, datum)
        return out.getvalue()

    def head(self, value: bytes) -> Head | Undecodable:
        try:
            event, _ = self._beginning.read(value, FRAME)
        except Unreadable as error:
            return Undecodable(str(error))
        return _head(event)

    def decode(self, value: bytes) -> Payload | Undecodable:
        try:
            event, end = self._whole.read(value, FRAME)
        except Unreadable as error:
            return Undecodable(str(error))
        if rest := len(value) - end:
            return Undecodable(f"trailing bytes: {rest} after the event's end")
        head = _head(event)
        if isinstance(head, Undecodable):
            return head
        if type(event.get("attributes")) is not dict:
            return Undecodable("not an event: attributes is not an object")
        return event


def _up_to_product(schema: Mapping[str, Any], named: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of an event's beginning: as far as the last field that routing needs, the product to its id.

    So any writer's order will do, and the one of the bundled schema is quick.
    """
    fields = _up_to(("action", "model", "product"), schema["fields"])
    if fields and fields[-1]["name"] == "product":
        product = fields[-1]["type"]
        product = named.get(product, product) if isinstance(product, str) else product
        if "fields" in product:
            fields[-1] = {**fields[-1], "type": {**product, "fields": _up_to(("id",), product["fields"])}}
    return {**schema, "fields": fields}


def _up_to(names: Iterable[str], fields: list[Any]) -> list[Any]:
    """Return the fields as far as the last one that bears one of the names."""
    return fields[: max((at for at, field in enumerate(fields, 1) if field["name"] in names), default=0)]


def _head(event: Payload) -> Head | Undecodable:
    model, action, product = event.get("model"), event.get("action", "created"), event.get("product")
    number = product.get("id") if type(product) is dict else None
    if type(model) is not str:
        return Undecodable("not an event: model is not a string")
    if type(action) is not str:
        return Undecodable("not an event: action is not a string")
    if type(number) is not int:
        return Undecodable("not an event: product.id is not an integer")
    return Head(model, action, number)


def _unknown(value: bytes) -> Undecodable:
    """Say why no schema is known for a value that begins like this."""
    if value.startswith(SINGLE_OBJECT) and len(value) >= FRAME:
        number = int.from_bytes(value[len(SINGLE_OBJECT) : FRAME], "little")
        return Undecodable(f"unknown schema: fingerprint {number:016x}")
    if value.startswith(CONFLUENT) and len(value) >= CONFLUENT_FRAME:
        number = int.from_bytes(value[len(CONFLUENT) : CONFLUENT_FRAME], "big")
        return Undecodable(f"unknown schema: id {number} of a schema registry, and none is configured")
    if value.startswith((SINGLE_OBJECT, CONFLUENT)) or value == SINGLE_OBJECT[:1]:
        return Undecodable("truncated: the value is too short to name its schema")
    beginning = value[:4].hex(" ") if value else "no bytes"
    return Undecodable(f"not Avro: the value begins with {beginning}, which names no schema")
