"""The registry's client, on the real Apicurio and on a local one with GUIDs; whatever answers, it raises our errors."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ports import free_port
from receivers import Answer, Raw, Receiver, Reply, certificate, tls
from registries import LocalRegistry

import schemas
from consumer.codec import Codec, WriterSchema, compile_schema
from consumer.errors import ConfigurationError, RegistryError, RegistryUnavailable, SchemaUnusable
from consumer.framing import confluent_frame
from consumer.registry import HIGHEST_ID, MAX_REFERENCES, Registry, value_subject
from consumer.settings.values import read_registry

EVENT = schemas.load()
SECRET = "p@ss word"
A = {"type": "record", "name": "A", "fields": [{"name": "a", "type": "string"}]}
B = {"type": "record", "name": "B", "fields": [{"name": "a", "type": "A"}]}
C = {"type": "record", "name": "C", "fields": [{"name": "a", "type": "A"}, {"name": "b", "type": "B"}]}


def client(url: str, **more: Any) -> Registry:
    address = read_registry(url)
    assert address is not None
    return Registry(address, **more)


@pytest.fixture
def local() -> Iterator[LocalRegistry]:
    with LocalRegistry() as running:
        yield running


@pytest.fixture(params=["local", pytest.param("apicurio", marks=pytest.mark.kafka)])
def any_registry(request: pytest.FixtureRequest) -> Iterator[Registry]:
    named = {
        "local": lambda: request.getfixturevalue("local").url,
        "apicurio": lambda: request.getfixturevalue("registry"),
    }
    made = client(named[request.param]())
    yield made
    made.close()


@pytest.fixture
def subject() -> str:
    return value_subject(f"t{uuid.uuid4().hex}")


def with_field(**field: Any) -> schemas.Schema:
    changed = deepcopy(EVENT)
    changed["fields"].append(field)
    return changed


def refused(question: Callable[[], Any]) -> RegistryError:
    """Return the error that a question ends with: one of ours, hanging on no other."""
    with pytest.raises(RegistryError) as caught:
        question()
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return caught.value


def test_what_was_registered_is_found_and_fetched(any_registry: Registry, subject: str) -> None:
    assert any_registry.lookup(subject, EVENT) is None
    assert any_registry.latest(subject) is None

    number = any_registry.register(subject, EVENT)

    assert any_registry.register(subject, EVENT) == number
    assert any_registry.fetch(number) == WriterSchema(EVENT)
    assert any_registry.lookup(subject, EVENT) == (number, 1, WriterSchema(EVENT))
    assert any_registry.latest(subject) == (number, 1, WriterSchema(EVENT))


def test_the_newest_is_the_latest_and_the_older_one_is_still_found(any_registry: Registry, subject: str) -> None:
    evolved = with_field(name="version", type=["null", "string"], default=None)
    first, second = any_registry.register(subject, EVENT), any_registry.register(subject, evolved)

    assert any_registry.latest(subject) == (second, 2, WriterSchema(evolved))
    assert any_registry.lookup(subject, EVENT) == (first, 1, WriterSchema(EVENT))


def test_an_event_is_read_with_the_schema_that_its_id_names(any_registry: Registry, subject: str) -> None:
    number = any_registry.register(subject, with_field(name="version", type="string"))
    codec, payload = Codec(registry=True), schemas.examples()["item"]
    value = codec.encode(payload, confluent_frame(number)) + b"\x04v2"

    codec.learn(number, compile_schema(any_registry.fetch(number)))

    assert codec.decode(value) == {**payload, "version": "v2"}


def test_an_id_that_nobody_has_is_definite(any_registry: Registry) -> None:
    for number in (987654321, HIGHEST_ID, HIGHEST_ID + 1, 2**32 - 1):
        error = refused(partial(any_registry.fetch, number))
        assert type(error) is SchemaUnusable
        assert f"id {number}" in str(error)


def test_a_schema_that_needs_others_brings_them_each_after_what_it_needs(local: LocalRegistry) -> None:
    local.add("a", A)
    local.add("b", B, [("A", "a", 1)])
    number = local.add("c", C, [("B", "b", 1), ("A", "a", 1)])

    assert client(local.url).fetch(number) == WriterSchema(C, (A, B))
    assert client(local.url).latest("c") == (number, 1, WriterSchema(C, (A, B)))
    compile_schema(client(local.url).fetch(number))


@pytest.mark.kafka
def test_the_real_registry_has_references_as_well(registry: str, subject: str) -> None:
    from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient

    made = client(registry)
    made.register(subject, A)
    needing = Schema(json.dumps(B), "AVRO", [SchemaReference("A", subject, 1)])
    number = SchemaRegistryClient({"url": registry}).register_schema(f"{subject}-b", needing)

    assert made.fetch(number) == WriterSchema(B, (A,))


def test_a_schema_is_found_by_its_guid(local: LocalRegistry) -> None:
    guid = local.guid(local.add("s", EVENT))

    assert client(local.url).fetch(guid) == WriterSchema(EVENT)
    error = refused(lambda: client(local.url).fetch(uuid.UUID(int=7)))
    assert type(error) is SchemaUnusable
    assert "GUID 00000000-0000-0000-0000-000000000007" in str(error)


def test_a_registry_that_has_no_guids_has_not_said_that_there_is_no_such_schema(registry: str) -> None:
    error = refused(lambda: client(registry).fetch(uuid.uuid4()))

    assert type(error) is RegistryUnavailable
    assert "does it know GUIDs?" in str(error)


def test_the_same_schema_is_found_however_it_is_written(registry: str, subject: str) -> None:
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

    pretty = json.dumps(EVENT, indent=4, sort_keys=True)
    number = SchemaRegistryClient({"url": registry}).register_schema(subject, Schema(pretty, "AVRO"))

    found = client(registry).lookup(subject, EVENT)
    assert found is not None
    assert (found.id, found.version) == (number, 1)
    assert client(registry).register(subject, EVENT) == number
    assert client(registry).lookup(subject, with_field(name="more", type="int")) is None


def test_what_the_registry_refuses_is_told_in_its_own_words(local: LocalRegistry, subject: str) -> None:
    made = client(local.url)
    made.register(subject, EVENT)
    worse = with_field(name="version", type="int")

    assert made.verdict(subject, worse) == ("BACKWARD", False, ["version: a new field without a default"])
    error = refused(lambda: made.register(subject, worse))
    assert type(error) is RegistryError
    assert "refuses the schema" in str(error)
    assert "version: a new field without a default" in str(error)


def test_the_real_registry_checks_by_the_level_that_it_is_set_to(registry: str, subject: str) -> None:
    from confluent_kafka.schema_registry import SchemaRegistryClient

    made, worse = client(registry), with_field(name="version", type="int")
    assert made.verdict(subject, worse).compatible
    made.register(subject, EVENT)
    assert made.verdict(subject, worse) == ("NONE", True, ())
    SchemaRegistryClient({"url": registry}).set_compatibility(subject, "BACKWARD")

    assert made.verdict(subject, worse)[:2] == ("BACKWARD", False)
    assert made.verdict(subject, with_field(name="version", type="int", default=0)).compatible
    assert "refuses the schema" in str(refused(lambda: made.register(subject, worse)))


def test_what_is_no_schema_is_refused(registry: str, subject: str) -> None:
    error = refused(lambda: client(registry).register(subject, {"type": "nothing"}))
    assert type(error) is RegistryError
    assert "refuses the schema" in str(error)


@pytest.mark.parametrize(
    ("schema", "more", "reason"),
    [
        ('syntax = "proto3";', {"schemaType": "PROTOBUF"}, "PROTOBUF, not Avro"),
        ("{}", {"schemaType": "JSON"}, "JSON, not Avro"),
        ("record Event {", {}, "not JSON"),
        ("5", {}, "not JSON, as Avro's are"),
        ("[" * 100_000, {}, "not JSON"),
    ],
)
def test_what_is_no_avro_schema_is_unusable(local: LocalRegistry, schema: str, more: Any, reason: str) -> None:
    number = local.add("s", schema, **more)

    error = refused(lambda: client(local.url).fetch(number))
    assert type(error) is SchemaUnusable
    assert reason in str(error)


def test_a_schema_that_needs_itself_is_unusable(local: LocalRegistry) -> None:
    local.add("a", A, [("B", "b", 1)])
    number = local.add("b", B, [("A", "a", 1)])

    error = refused(lambda: client(local.url).fetch(number))
    assert type(error) is SchemaUnusable
    assert "needs itself: a, version 1" in str(error)


def test_a_schema_that_needs_too_many_is_unusable(local: LocalRegistry) -> None:
    for n in range(MAX_REFERENCES + 2):
        number = local.add(f"s{n}", {**A, "name": f"A{n}"}, [("x", f"s{n - 1}", 1)] if n else [])
    assert len(client(local.url).fetch(number - 1).needs) == MAX_REFERENCES

    error = refused(lambda: client(local.url).fetch(number))
    assert type(error) is SchemaUnusable
    assert f"more than {MAX_REFERENCES} others" in str(error)


def test_a_schema_of_which_a_part_is_missing_is_unusable(local: LocalRegistry) -> None:
    number = local.add("b", B, [("A", "a", 1)])

    assert "no schema for a, version 1" in str(refused(lambda: client(local.url).fetch(number)))


HOSTILE: dict[str, Answer] = {
    "closes": Raw(),
    "resets": Raw(reset=True),
    "no HTTP": Raw([b"SSH-2.0-OpenSSH_9.2\r\n\r\n"]),
    "half an answer": Raw([b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"schema": "']),
    "no gzip": Reply(200, b"{}", {"Content-Encoding": "gzip"}),
    "nothing": Reply(200),
    "no content": Reply(204),
    "a page": Reply(200, b"<html>Sign in</html>", {"Content-Type": "text/html"}),
    "not UTF-8": Reply(200, b'{"schema": "\xff"}'),
    "truncated": Reply(200, b'{"schema": "{'),
    "null": Reply(200, b"null"),
    "a list": Reply(200, b"[1]"),
    "a text": Reply(200, b'"schema"'),
    "a number": Reply(200, b"5"),
    "nested": Reply(200, b"[" * 100_000),
    "much": Reply(200, b"x" * 10_000_000),
    "no schema": Reply(200, b"{}"),
    "a number as schema": Reply(200, b'{"schema": 5}'),
    "a number as type": Reply(200, b'{"schema": "{}", "schemaType": 5}'),
    "a number as references": Reply(200, b'{"schema": "{}", "references": 5}'),
    "numbers as references": Reply(200, b'{"schema": "{}", "references": [5]}'),
    "wrong references": Reply(200, b'{"schema": "{}", "references": [{"subject": 5, "version": "x"}]}'),
    "wrong version": Reply(200, b'{"schema": "{}", "references": [{"subject": "s", "version": "x"}]}'),
    "redirect": Reply(302, b"", {"Location": "http://127.0.0.1:1/"}),
    "another's not found": Reply(404, b"Not Found"),
    "JSON's not found": Reply(404, b'{"error_code": 404, "message": "HTTP 404 Not Found"}'),
    "a list's not found": Reply(404, b"[40403]"),
    "a text's not found": Reply(404, b'{"error_code": "40403"}'),
    "a code without its status": Reply(500, b'{"error_code": 40403}'),
    "unauthorized": Reply(401),
    "forbidden": Reply(403),
    "gone": Reply(410),
    "conflict": Reply(409, b'{"error_code": 409}'),
    "unprocessable": Reply(422, b'{"error_code": 42201}'),
    "too many": Reply(429),
    "broken": Reply(500, b'{"error_code": 50001, "message": "Error in the backend data store"}'),
    "unavailable": Reply(503, b"<html>"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("reference", [7, uuid.UUID(int=7)], ids=["id", "GUID"])
def test_any_other_answer_is_no_answer_and_is_not_remembered(name: str, reference: int | uuid.UUID) -> None:
    good = Reply(200, json.dumps({"schema": json.dumps(A), "id": 7, "guid": str(uuid.UUID(int=7))}).encode())
    with Receiver([HOSTILE[name], good]) as receiver:
        made = client(receiver.url.replace("//", "//user:p%40ss%20word@"))
        error = refused(lambda: made.fetch(reference))
        assert made.fetch(reference) == WriterSchema(A)
    assert type(error) is RegistryUnavailable
    assert f"the schema registry at http://***@127.0.0.1:{receiver.port}" in str(error)
    assert SECRET not in str(error)
    assert "user" not in str(error).replace("user:password@", "")
    assert len(str(error).splitlines()) == 1


@pytest.mark.parametrize("name", HOSTILE)
def test_no_question_is_answered_by_what_is_no_registry(name: str) -> None:
    with Receiver([HOSTILE[name]]) as receiver:
        made = client(receiver.url)
        for question in (made.lookup, made.register, made.verdict):
            assert receiver.url in str(refused(partial(question, "s", EVENT)))
        assert receiver.url in str(refused(lambda: made.latest("s")))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (f"http://127.0.0.1:{free_port()}", "connection refused"),
        ("http://registry.invalid", "its name cannot be resolved"),
        ("http://[::ffff:127.0.0.1]:1", "connection refused"),
    ],
    ids=["nobody listens", "no such name", "mapped address"],
)
def test_why_nothing_answers_is_said(url: str, reason: str) -> None:
    error = refused(lambda: client(url).fetch(1))

    assert type(error) is RegistryUnavailable
    assert f"the schema registry at {url} cannot be asked: {reason}" in str(error)


def test_a_registry_that_does_not_answer_is_not_waited_for_longer_than_said() -> None:
    with Receiver([Reply(200, hold=True)]) as receiver:
        error = refused(lambda: client(receiver.url, timeout=0.1).fetch(1))
    assert "did not answer in time" in str(error)


def test_an_answer_that_comes_drop_by_drop_ends() -> None:
    with Receiver([Raw([b"HTTP/1.1 200 OK\r\n", b"Content-Length: 2\r\n\r\n", b"{}"], pause=5.0)]) as receiver:
        error = refused(lambda: client(receiver.url, timeout=0.1).fetch(1))
    assert "did not answer in time" in str(error)


def test_credentials_are_decoded_and_sent() -> None:
    with LocalRegistry(credentials=f"us,er:{SECRET}") as registry:
        number = registry.add("s", EVENT)
        address = registry.url.replace("//", "//us%2Cer:p%40ss%20word@")
        assert client(address).fetch(number) == WriterSchema(EVENT)
        error = refused(lambda: client(registry.url).fetch(number))
        assert all("@" not in request.path for request in registry.requests)
    assert "answered 401" in str(error)
    assert "SPRINTLY_SCHEMA_REGISTRY_URL" in str(error)


def test_a_path_with_a_comma_is_one_address() -> None:
    with Receiver([Reply(503)]) as receiver:
        refused(lambda: client(f"{receiver.url}/a,b").fetch(1))
    assert [request.path for request in receiver.requests] == ["/a%2Cb/schemas/ids/1"]


def test_authorities_are_those_that_were_handed_in(tmp_path: Path) -> None:
    pem = certificate(tmp_path)
    with Receiver(tls=tls(pem)) as receiver:
        unknown = refused(lambda: client(receiver.url).fetch(1))
        known = refused(lambda: client(receiver.url, ca_bundle=pem).fetch(1))
    assert "certificate that is not trusted (self-signed certificate)" in str(unknown)
    assert "IP address mismatch" in str(known)  # it is trusted, but it was made out to a name
    assert receiver.count == 0


@pytest.mark.parametrize("content", [None, "no certificates"])
def test_authorities_that_cannot_be_read_are_named(tmp_path: Path, content: str | None) -> None:
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_text(content)
    with pytest.raises(ConfigurationError, match=r"^The CA bundle .*bundle\.pem cannot be read: "):
        client("https://127.0.0.1:1", ca_bundle=bundle)


def test_the_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver([Reply(503)]) as proxy, LocalRegistry() as direct:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        refused(lambda: client("http://registry.test:8081").fetch(1))
        number = direct.add("s", EVENT)
        assert client(direct.url).fetch(number) == WriterSchema(EVENT)
    assert [request.path for request in proxy.requests] == ["http://registry.test:8081/schemas/ids/1"]


def test_a_proxy_that_cannot_be_used_is_a_mistake_of_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", f"gopher://user:{SECRET.replace(' ', '')}@127.0.0.1:1")
    with pytest.raises(ConfigurationError, match="ALL_PROXY") as caught:
        client("http://registry.test:8081")
    assert "p@ss" not in str(caught.value)


def test_a_client_that_was_closed_cannot_be_asked(local: LocalRegistry) -> None:
    made = client(local.url)
    made.close()
    made.close()
    assert type(refused(lambda: made.fetch(1))) is RegistryUnavailable
