"""Events on the wire: a payload becomes the bytes of a Kafka record, and such bytes a payload again.

What cannot be decoded is a value with a reason, whatever the bytes are. This module alone knows fastavro.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from typing import Any, NamedTuple

from fastavro import parse_schema, schemaless_writer
from fastavro.schema import SchemaParseException, UnknownType, to_parsing_canonical_form
from fastavro.schema import fingerprint as _fingerprint

import schemas
from consumer.avro import Reader, Rest, Unreadable
from consumer.errors import ConfigurationError
from consumer.event import Headers, Payload
from consumer.framing import (
    CONFLUENT_FRAME,
    SINGLE_OBJECT,
    SINGLE_OBJECT_FRAME,
    Reference,
    describe,
    reference_in_headers,
    reference_in_value,
    why_unknown,
)
from consumer.payload import Shape
from consumer.unrolled import recursive, unroll

MAX_FETCHED = 1000  # schemas kept of those that a registry gave; the oldest goes, and is asked for again


@dataclass(frozen=True, slots=True)
class Undecodable:
    """A record's value that is no event; `reason` is a sentence that goes into its dead letter."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unfetched:
    """A record's value cannot be read yet: its schema has to be fetched from the registry first."""

    reference: Reference


class WriterSchema(NamedTuple):
    """A schema as it was parsed from JSON, and those that it refers to by name, each after what it needs itself."""

    schema: Any
    needs: tuple[Any, ...] = ()


EMPTY = Undecodable("empty: the record has no value")


@dataclass(slots=True)
class Head:
    """What routing has to know of an event, and what `decode` needs to go on from there."""

    model: str
    action: str
    product: int
    begun: Payload | None = field(default=None, compare=False, repr=False)  # the payload, as far as it was read
    end: int = field(default=0, compare=False, repr=False)  # up to where in the value


class Codec:
    """Encodes with the bundled event schema, decodes with the schema that the writer used.

    It knows the bundled schemas and those given as `known`; raises ConfigurationError if one cannot be used. With a
    `registry`, a reference to one of its schemas is answered by Unfetched until that schema is handed to `learn`.
    """

    def __init__(self, known: Iterable[schemas.Schema] = (), *, registry: bool = False) -> None:
        self._writers = dict(_bundled())
        for schema in known:
            writer = compile_schema(WriterSchema(schema))
            self._writers[_single_object_prefix(schema)] = writer
        self._prefix, self._event = next(iter(self._writers.items()))
        self._registry = registry
        self._fetched: dict[Reference, Writer] = {}

    def encode(self, payload: Mapping[str, Any], frame: bytes | None = None) -> bytes:
        """Return a payload in Avro's single-object encoding, or behind another `frame` that names the event schema.

        Raises InvalidPayload if it does not fit.
        """
        return self._event.encode(_event_shape().fit(payload), self._prefix if frame is None else frame)

    def learn(self, reference: Reference, writer: Writer) -> None:
        """Know from now on what a reference to the registry stands for."""
        while len(self._fetched) >= MAX_FETCHED:
            del self._fetched[next(iter(self._fetched))]
        self._fetched[reference] = writer

    def head(self, value: bytes | None, headers: Headers = ()) -> Head | Undecodable | Unfetched:
        """Return model, action (`created` where absent) and product of an encoded event, reading no further.

        What follows may still turn out to be undecodable.
        """
        if value is None:
            return EMPTY
        writer, begin = self._writer(value, headers)
        return writer.head(value, begin) if isinstance(writer, Writer) else writer

    def decode(
        self, value: bytes | None, headers: Headers = (), head: Head | None = None
    ) -> Payload | Undecodable | Unfetched:
        """Return the payload that was encoded: key for key, absent keys absent, null where null was given.

        With its `head`, which `head` has returned for the same value and headers, it is read on from there.
        """
        if value is None:
            return EMPTY
        writer, begin = self._writer(value, headers)
        return writer.decode(value, begin, head) if isinstance(writer, Writer) else writer

    def _writer(self, value: bytes, headers: Headers) -> tuple[Writer | Undecodable | Unfetched, int]:
        """Return what can read a value, or why nothing can, and where in the value the datum begins."""
        reference = reference_in_headers(headers) if headers else None
        if reference is not None and self._registry:  # a datum may by chance begin like a frame: the header goes first
            return self._fetched.get(reference) or Unfetched(reference), 0
        writer = self._writers.get(value[:SINGLE_OBJECT_FRAME])
        if writer is not None:
            return writer, SINGLE_OBJECT_FRAME
        if reference is None:
            reference = reference_in_value(value)
        if reference is None:
            return Undecodable(why_unknown(value)), 0
        if self._registry:
            return self._fetched.get(reference) or Unfetched(reference), CONFLUENT_FRAME
        return Undecodable(f"unknown schema: {describe(reference)} of a schema registry, and none is configured"), 0


class Writer:
    """One writer's schema, ready to read what was written with it; `compile_schema` makes it."""

    def __init__(self, schema: WriterSchema) -> None:
        """Raise whatever fastavro and the reader find wrong with the schema."""
        self.named: dict[str, Any] = {}
        for needed in schema.needs:
            parse_schema(needed, self.named)
        self.schema: Any = parse_schema(schema.schema, self.named)
        if not isinstance(self.schema, dict) or self.schema["type"] != "record":
            raise SchemaParseException("an event has to be a record")
        self._whole = Reader(self.schema, self.named)
        beginning = _up_to_product(self.schema, self.named)
        self._beginning = Reader(beginning, self.named)
        self._rest = _after(beginning, self.schema, self.named)

    def encode(self, datum: Mapping[str, Any], frame: bytes) -> bytes:
        """Return the frame and behind it the datum, which has to fit the schema."""
        out = BytesIO(frame)
        out.seek(len(frame))
        schemaless_writer(out, self.schema, datum)
        return out.getvalue()

    def head(self, value: bytes, begin: int) -> Head | Undecodable:
        """Return what routing has to know of the event that begins there."""
        try:
            event, end = self._beginning.read(value, begin)
        except Unreadable as error:
            return Undecodable(str(error))
        return _head(event, end)

    def decode(self, value: bytes, begin: int, head: Head | None = None) -> Payload | Undecodable:
        """Return the event that begins there and ends with the value; what its `head` holds is not read again."""
        try:
            event, end = self._decode(value, begin, head)
        except Unreadable as error:
            return Undecodable(str(error))
        if rest := len(value) - end:
            return Undecodable(f"trailing bytes: {rest} after the event's end")
        if head is None and isinstance(found := _head(event, end), Undecodable):
            return found
        if type(event.get("attributes")) is not dict:
            return Undecodable("not an event: attributes is not an object")
        return event

    def _decode(self, value: bytes, begin: int, head: Head | None) -> tuple[Payload, int]:
        if self._rest is None or head is None or head.begun is None:
            return self._whole.read(value, begin)
        return head.begun, self._rest.read(value, head.end, head.begun)


def compile_schema(schema: WriterSchema) -> Writer:
    """Return what reads the values that were written with a schema; raises ConfigurationError if it cannot be used.

    It takes some 20 ms for the event schema, so it is done where nothing waits for it.
    """
    try:
        return Writer(schema)
    except UnknownType as error:
        raise ConfigurationError(f"an Avro schema cannot be used: it defines no type {error.name}") from error
    except SchemaParseException as error:
        raise ConfigurationError(f"an Avro schema cannot be used: {error}") from error
    except (LookupError, TypeError, ValueError, RecursionError) as error:  # their texts alone say little
        raise ConfigurationError(f"an Avro schema cannot be used: {type(error).__name__}: {error}") from error


# Compiled once in a process, however many codecs it has.


@cache
def _bundled() -> dict[bytes, Writer]:
    """Return what reads the bundled schemas, by how values begin that were written with them; the one in use first."""
    given = [schemas.load(name) for name in schemas.names()]
    return {_single_object_prefix(schema): compile_schema(WriterSchema(schema)) for schema in given}


@cache
def _event_shape() -> Shape:
    event = next(iter(_bundled().values()))
    return Shape(unroll(event.schema, event.named))


def fingerprint(schema: schemas.Schema) -> str:
    """Return a schema's CRC-64-AVRO fingerprint as people write it: 16 hex digits, the highest first."""
    wire: str = _fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO")  # the lowest byte first, as in a frame
    return bytes.fromhex(wire)[::-1].hex()


def _single_object_prefix(schema: schemas.Schema) -> bytes:
    return SINGLE_OBJECT + bytes.fromhex(fingerprint(schema))[::-1]


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


def _after(beginning: Mapping[str, Any], schema: Mapping[str, Any], named: Mapping[str, Any]) -> Rest | None:
    """Return what reads on where a beginning ends that ends within the product; None where it does not."""
    read, fields = beginning["fields"], schema["fields"]
    product = fields[len(read) - 1]["type"] if read and read[-1]["name"] == "product" else None
    product = named.get(product, product) if isinstance(product, str) else product
    if not isinstance(product, dict) or "fields" not in product:
        return None
    if recursive(named) & {schema["name"], product["name"]}:
        return None
    return Rest(fields[len(read) :], "product", product["fields"][len(read[-1]["type"]["fields"]) :], named)


def _up_to(names: Iterable[str], fields: list[Any]) -> list[Any]:
    """Return the fields as far as the last one that bears one of the names."""
    return fields[: max((at for at, field in enumerate(fields, 1) if field["name"] in names), default=0)]


def _head(event: Payload, end: int) -> Head | Undecodable:
    model, action, product = event.get("model"), event.get("action", "created"), event.get("product")
    number = product.get("id") if type(product) is dict else None
    if type(model) is not str:
        return Undecodable("not an event: model is not a string")
    if type(action) is not str:
        return Undecodable("not an event: action is not a string")
    if type(number) is not int:
        return Undecodable("not an event: product.id is not an integer")
    return Head(model, action, number, event, end)
