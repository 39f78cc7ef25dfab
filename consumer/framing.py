"""How a record names the schema that it was written with: its value and headers go in, the schema's name comes out.

Three ways are told apart: Avro's single-object encoding and Confluent's framing by the value's first bytes, and
Confluent's header, beside which the value is nothing but Avro.
"""

from __future__ import annotations

from typing import TypeAlias
from uuid import UUID

from consumer.event import Headers

# Avro's single-object encoding: this marker, then the schema's fingerprint as 8 bytes, little-endian.
# https://avro.apache.org/docs/1.12.0/specification/#single-object-encoding
SINGLE_OBJECT = b"\xc3\x01"
SINGLE_OBJECT_FRAME = len(SINGLE_OBJECT) + 8

# Confluent's framing: a zero byte, then the schema's id in a registry as 4 bytes, big-endian.
# https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
CONFLUENT = b"\x00"
CONFLUENT_FRAME = len(CONFLUENT) + 4

# A serializer of Confluent's may put the reference into this header instead; the value then begins with the datum. The
# header holds a zero byte and the id as above, or a one byte and the schema's GUID as 16 bytes, big-endian.
# https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#schema-id-in-headers
HEADER = "__value_schema_id"
GUID = b"\x01"
GUID_LENGTH = len(GUID) + 16

Reference: TypeAlias = int | UUID
"""What a registry knows a schema by: its id, or its GUID."""


def reference_in_headers(headers: Headers) -> Reference | None:
    """Return the reference that a record's headers hold; None if they hold none that can be read."""
    for name, content in headers:
        if name == HEADER and content is not None:
            if content.startswith(GUID) and len(content) == GUID_LENGTH:
                return UUID(bytes=content[len(GUID) :])
            if len(content) == CONFLUENT_FRAME:
                return reference_in_value(content)
    return None


def reference_in_value(value: bytes) -> int | None:
    """Return the id that stands before a datum in Confluent's framing; None if there is none."""
    if value.startswith(CONFLUENT) and len(value) >= CONFLUENT_FRAME:
        return int.from_bytes(value[len(CONFLUENT) : CONFLUENT_FRAME], "big")
    return None


def confluent_frame(schema_id: int) -> bytes:
    """Return what Confluent's framing puts before a datum."""
    return CONFLUENT + schema_id.to_bytes(4, "big")


def describe(reference: Reference) -> str:
    """Return a reference as people write it: `id 7`, or `GUID 1b4e28ba-…`."""
    return f"GUID {reference}" if isinstance(reference, UUID) else f"id {reference}"


def why_unknown(value: bytes) -> str:
    """Say why no schema is known for a value that refers to no registry's, or to none that may be asked."""
    if value.startswith(SINGLE_OBJECT) and len(value) >= SINGLE_OBJECT_FRAME:
        number = int.from_bytes(value[len(SINGLE_OBJECT) : SINGLE_OBJECT_FRAME], "little")
        return f"unknown schema: fingerprint {number:016x}"
    if value.startswith((SINGLE_OBJECT, CONFLUENT)) or value == SINGLE_OBJECT[:1]:
        return "truncated: the value is too short to name its schema"
    beginning = value[:4].hex(" ") if value else "no bytes"
    return f"not Avro: the value begins with {beginning}, which names no schema"
