"""The schema registry: references and subjects go in, schemas and ids come out, or the reason why there are none.

It speaks Confluent's API, which Apicurio has as well (below /apis/ccompat/v7). This module alone knows its client.
https://docs.confluent.io/platform/current/schema-registry/develop/api.html
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote
from uuid import UUID

from consumer.codec import WriterSchema
from consumer.errors import ConfigurationError, RegistryError, RegistryUnavailable, SchemaUnusable
from consumer.framing import Reference, describe
from consumer.settings.values import ServerUrl

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, SchemaRegistryError

TIMEOUT = 5.0  # seconds
MAX_REFERENCES = 100  # schemas that one schema may need; more are a mistake, or malice
HIGHEST_ID = 2**31 - 1  # registries count in Java's int; asked for more, Confluent's does not say "not found"
SHOWN = 500  # characters of what the registry itself says

# The registry's own codes for: there is no such subject, version or schema. A 404 without one is somebody else's.
NOT_FOUND = range(40400, 40500)
REFUSED = (409, 422)  # the schema is incompatible, or invalid


def value_subject(topic: str) -> str:
    """Return the subject of a topic's values, by Confluent's TopicNameStrategy."""
    return f"{topic}-value"


class Registered(NamedTuple):
    """A schema under a subject."""

    id: int
    version: int
    schema: WriterSchema


class Verdict(NamedTuple):
    """What the registry itself thinks of a schema: the level by which it checks, and what it has against it."""

    level: str
    compatible: bool
    messages: Sequence[str]


class Registry:
    """A registry's client, which several threads may use at once.

    It asks once and keeps nothing: who has time asks again, who asks often remembers. Connecting may take `timeout`
    seconds, and so may each wait for more of an answer. It goes through the proxy that
    the environment names (HTTPS_PROXY, NO_PROXY). Each method raises RegistryUnavailable when the registry cannot be
    asked now, or when what answers is none; making one raises ConfigurationError for authorities or a proxy that
    cannot be used.
    """

    def __init__(self, url: ServerUrl, ca_bundle: Path | None = None, *, timeout: float = TIMEOUT) -> None:
        # Here, since it takes half a second and most processes have no registry.
        from confluent_kafka.schema_registry import SchemaRegistryClient

        self._place = f"the schema registry at {url}"
        try:
            self._client: SchemaRegistryClient = SchemaRegistryClient(_configuration(url, ca_bundle, timeout))
        except OSError as error:
            reason = error.strerror or "it holds no certificate"
            raise ConfigurationError(f"The CA bundle {ca_bundle} cannot be read: {reason}") from None
        except (ValueError, ImportError):  # its text may hold the proxy's credentials
            raise ConfigurationError("the proxy in HTTP_PROXY, HTTPS_PROXY or ALL_PROXY cannot be used") from None

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def fetch(self, reference: Reference) -> WriterSchema:
        """Return the schema of an id or a GUID, with all that it refers to.

        Raises SchemaUnusable only where the registry says that it does not have it, or where it is no Avro schema's
        text. Whether events can be read with it, `consumer.codec.compile_schema` says.
        """
        name = describe(reference)
        if isinstance(reference, int) and reference > HIGHEST_ID:
            raise SchemaUnusable(f"{self._place} can have no schema of {name}: the highest id is {HIGHEST_ID}")
        if isinstance(reference, UUID):
            answer = self._ask(name, self._client.get_schema_by_guid, str(reference))
        else:
            answer = self._ask(name, self._client.get_schema, reference)
        return self._whole(answer, name)

    def latest(self, subject: str) -> Registered | None:
        """Return a subject's newest schema; None if it has none. Raises SchemaUnusable if that one is not Avro."""
        try:
            answer = self._ask(subject, self._client.get_latest_version, subject)
        except SchemaUnusable:
            return None
        return self._registered(answer, self._whole(answer.schema, subject))

    def lookup(self, subject: str, schema: Any) -> Registered | None:
        """Return where a subject has exactly this schema (as parsed from JSON); None if it does not."""
        # Apicurio compares the text itself unless it is asked to normalize; Confluent's finds what was registered
        # without normalizing only when it is asked without.
        return self._lookup(subject, schema, normalize=False) or self._lookup(subject, schema, normalize=True)

    def register(self, subject: str, schema: Any) -> int:
        """Return the id of a schema that the subject has from now on, or had before.

        Raises RegistryError, with what the registry says, if it refuses the schema.
        """
        if known := self.lookup(subject, schema):
            return known.id
        new = self._ask(subject, self._client.register_schema, subject, _schema(schema), handing_in=True)
        return self._number(new)

    def verdict(self, subject: str, schema: Any) -> Verdict:
        """Return whether the registry would take a schema as a subject's next one, by the level it is set to."""
        level = self._level(subject) or self._level(None) or "not set"
        path = f"compatibility/subjects/{quote(subject, safe='')}/versions?verbose=true"
        post = self._client._rest_client.post  # the client's own method for this throws the messages away
        try:
            answer = self._ask(subject, post, path, _schema(schema).to_dict(), handing_in=True)
        except SchemaUnusable:  # there is no such subject
            return Verdict(level, True, ())
        match answer:
            case {"is_compatible": bool(compatible), "messages": list(messages)}:
                return Verdict(level, compatible, [_shown(message) for message in messages])
            case {"is_compatible": bool(compatible)}:
                return Verdict(level, compatible, ())
        raise self._no_registry()

    def _level(self, subject: str | None) -> str | None:
        """Return the compatibility level of a subject, or of all; None where it has none of its own."""
        try:
            return _shown(self._ask(subject or "its settings", self._client.get_compatibility, subject))
        except SchemaUnusable:
            return None

    def _lookup(self, subject: str, schema: Any, *, normalize: bool) -> Registered | None:
        try:
            question = self._client.lookup_schema
            answer = self._ask(subject, question, subject, _schema(schema), normalize, handing_in=True)
        except SchemaUnusable:
            return None
        return self._registered(answer, WriterSchema(schema))

    def _whole(self, answer: Schema, name: str) -> WriterSchema:
        """Return a schema with those that it needs, each after what it needs itself."""
        needs: dict[tuple[str, int], Any] = {}
        self._collect(answer, needs, ())
        return WriterSchema(self._parsed(answer, name), tuple(needs.values()))

    def _collect(self, answer: Schema, needs: dict[tuple[str, int], Any], above: tuple[tuple[str, int], ...]) -> None:
        for subject, version in self._references(answer):
            key = subject, version
            if key in needs:
                continue
            name = f"{subject}, version {version}"
            if key in above:
                raise SchemaUnusable(f"{self._place} has a schema that needs itself: {name}")
            if len(needs) + len(above) >= MAX_REFERENCES:
                raise SchemaUnusable(f"{self._place} has a schema that needs more than {MAX_REFERENCES} others")
            # Also one that was deleted since: what was written with it is still to be read.
            needed = self._ask(name, self._client.get_version, subject, version, True).schema
            self._collect(needed, needs, (*above, key))
            needs[key] = self._parsed(needed, name)

    def _references(self, answer: Schema) -> Iterator[tuple[str, int]]:
        for reference in answer.references or ():
            if not isinstance(reference.subject, str):
                raise self._no_registry()
            yield reference.subject, self._number(reference.version)

    def _parsed(self, answer: Schema, name: str) -> Any:
        text, kind = answer.schema_str, answer.schema_type or "AVRO"
        if not isinstance(text, str) or not isinstance(kind, str):
            raise self._no_registry()
        if kind != "AVRO":
            raise SchemaUnusable(f"{self._place} has a schema for {name} that is {_shown(kind)}, not Avro")
        try:
            schema = json.loads(text)
        except (ValueError, RecursionError):
            schema = None
        if not isinstance(schema, dict | list | str):
            raise SchemaUnusable(f"{self._place} has a schema for {name} that is not JSON, as Avro's are")
        return schema

    def _registered(self, answer: Any, schema: WriterSchema) -> Registered:
        return Registered(self._number(answer.schema_id), self._number(answer.version), schema)

    def _number(self, value: object) -> int:
        if type(value) is not int:
            raise self._no_registry()
        return value

    def _ask(self, name: str, question: Callable[..., Any], *arguments: object, handing_in: bool = False) -> Any:
        """Ask the client a question about `name`, turn whatever it raises into errors of our own, empty its caches.

        A schema that is handed in may also be refused. No error hangs on the one below, whose text may hold a proxy's
        credentials.
        """
        from confluent_kafka.schema_registry import SchemaRegistryError

        try:
            return question(*arguments)
        except SchemaRegistryError as error:
            failure = self._refusal(error, name, handing_in)
        except Exception as error:  # noqa: BLE001 - httpx's errors, or what a wrong answer does to the client's parsing
            failure = RegistryUnavailable(f"{self._place} {_reason(error)}; SPRINTLY_SCHEMA_REGISTRY_URL names it")
        finally:
            # They never forget, not even an answer without a schema in it.
            self._client.clear_caches()  # type: ignore[no-untyped-call]
        raise failure

    def _refusal(self, error: SchemaRegistryError, name: str, handing_in: bool) -> RegistryError:
        """Return our error for an answer that is not 2xx."""
        status, code = error.http_status_code, error.error_code
        if status == 404 and isinstance(code, int) and code in NOT_FOUND:
            return SchemaUnusable(f"{self._place} has no schema for {name}")
        if handing_in and status in REFUSED:
            return RegistryError(f"{self._place} refuses the schema for {name}: {_shown(error.error_message)}")
        return RegistryUnavailable(f"{self._place} answered {status} when asked for {name}{ADVICE.get(status, '')}")

    def _no_registry(self) -> RegistryUnavailable:
        return RegistryUnavailable(f"{self._place} {NO_REGISTRY}; SPRINTLY_SCHEMA_REGISTRY_URL names it")


NO_REGISTRY = "answered what no schema registry answers"

_WRONG_CREDENTIALS = ": give the right user:password@ in SPRINTLY_SCHEMA_REGISTRY_URL"
_MOVED = ": it has moved, and redirects are not followed; give its new address in SPRINTLY_SCHEMA_REGISTRY_URL"

# What to do, where an answer's status alone tells.
ADVICE = {
    401: _WRONG_CREDENTIALS,
    403: _WRONG_CREDENTIALS,
    404: ": is SPRINTLY_SCHEMA_REGISTRY_URL right (Apicurio's ends in /apis/ccompat/v7), and does it know GUIDs?",
    **dict.fromkeys((301, 302, 303, 307, 308), _MOVED),
}


def _configuration(url: ServerUrl, ca_bundle: Path | None, timeout: float) -> dict[str, Any]:
    """Return the client's settings; credentials are taken out of the address, which stands in its logs and errors."""
    address = url.place.replace(",", "%2C")  # a comma would separate two registries
    configuration = {"url": address, "timeout": timeout, "max.retries": 0}
    if url.login:
        configuration["basic.auth.user.info"] = ":".join(url.login)
    if ca_bundle:
        configuration["ssl.ca.location"] = str(ca_bundle)
    return configuration


def _schema(schema: Any) -> Schema:
    from confluent_kafka.schema_registry import Schema

    return Schema(json.dumps(schema), "AVRO")


def _reason(error: Exception) -> str:
    """Say what happened, in words that hold nothing of the request."""
    cause: BaseException | None = error
    while cause is not None:  # httpx's own errors say little; beneath them is the system's
        if reason := _system_reason(cause):
            return reason
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, ValueError | TypeError | AttributeError | LookupError | RecursionError):
        return NO_REGISTRY
    return f"cannot be asked: the connection broke off ({type(error).__name__})"


def _system_reason(error: BaseException) -> str | None:
    match error:
        case ssl.SSLCertVerificationError():
            return f"has a certificate that is not trusted ({error.verify_message}); SPRINTLY_CA_BUNDLE names who is"
        case ssl.SSLError():
            return f"cannot be asked: TLS failed ({error.reason})"
        case socket.gaierror():
            return "cannot be asked: its name cannot be resolved"
        case TimeoutError():
            return "did not answer in time"
        case OSError():
            return f"cannot be asked: {(error.strerror or 'the connection broke off').lower()}"
    return None


def _shown(text: object) -> str:
    """Return the beginning of what the registry says, on one line."""
    return " ".join(str(text).split())[:SHOWN]
