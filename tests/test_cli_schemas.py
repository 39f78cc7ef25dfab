"""`schemas` and `produce` with a schema registry: what they say, what they print for programs, how they exit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from installation import Installation
from payloads import documented
from receivers import Reply
from registries import LocalRegistry

import schemas

CLOSED = "127.0.0.1:1"  # a port where nothing listens
EVENT = schemas.load()
WITH_VERSION = {**EVENT, "fields": [*EVENT["fields"], {"name": "version", "type": ["null", "string"], "default": None}]}
WORSE = json.loads(
    json.dumps(EVENT).replace('"status", "type": ["null", "string"]', '"status", "type": ["null", "int"]')
)
STATUS = 'attributes.Item.status: "string" is no longer among its types, which are "null", "int"'


@pytest.fixture
def here(tmp_path: Path) -> Installation:
    """An installation without a registry, whose Kafka cannot be reached."""
    return Installation(CLOSED, tmp_path)


@pytest.fixture
def registry() -> Iterator[LocalRegistry]:
    with LocalRegistry(credentials="us:secret") as running:
        yield running


@pytest.fixture
def there(tmp_path: Path, registry: LocalRegistry) -> Installation:
    """An installation with a registry that asks for credentials."""
    return Installation(CLOSED, tmp_path, schema_registry_url=registry.url.replace("//", "//us:secret@"))


def subject(installation: Installation) -> str:
    return f"{installation.topic}-value"


def file(installation: Installation, name: str, schema: Any) -> str:
    path = installation.folder / name
    path.write_text(schema if isinstance(schema, str) else json.dumps(schema))
    return str(path)


def refused(done: CompletedProcess[str], code: int) -> str:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr
    return done.stderr.strip()


def test_the_bundled_schemas_are_shown_without_a_registry(here: Installation) -> None:
    (row,) = json.loads(here.do("schemas", "show", "--json"))
    assert row == {
        "name": "event",
        "fingerprint": row["fingerprint"],
        "records": 12,
        "fields": 70,
        "id": None,
        "version": None,
        "latest": False,
    }
    assert row["fingerprint"] in here.do("schemas", "show")
    assert "SPRINTLY_SCHEMA_REGISTRY_URL" in here.do("schemas", "show")


def test_a_bundled_schema_is_printed_to_be_piped(here: Installation) -> None:
    assert json.loads(here.do("schemas", "show", "event")) == EVENT
    assert "there is no bundled schema bogus; there are: event" in refused(here.run("schemas", "show", "bogus"), 2)


def test_what_is_registered_is_shown(there: Installation, registry: LocalRegistry) -> None:
    registry.add("others-value", {"type": "record", "name": "Other", "fields": []})

    (row,) = json.loads(there.do("schemas", "register", "--json"))
    assert row == {"subject": subject(there), "schema": "event", "id": 2, "registered": True}
    assert "was there" in there.do("schemas", "register")

    (shown,) = json.loads(there.do("schemas", "show", "--json"))
    assert (shown["id"], shown["version"], shown["latest"]) == (2, 1, True)


def test_a_newer_one_than_the_bundled_is_shown_too(there: Installation, registry: LocalRegistry) -> None:
    registry.add(subject(there), EVENT)
    registry.add(subject(there), WITH_VERSION)

    bundled, newest = json.loads(there.do("schemas", "show", "--json"))
    assert (bundled["id"], bundled["version"], bundled["latest"]) == (1, 1, False)
    assert (newest["name"], newest["id"], newest["version"], newest["latest"]) == (None, 2, 2, True)
    said = there.do("schemas", "show")
    assert f"{subject(there)} at {registry.url.replace('//', '//***@')}" in said
    assert "(another)" in said


def test_what_needs_a_registry_says_how_it_is_named(here: Installation) -> None:
    assert "SPRINTLY_SCHEMA_REGISTRY_URL" in refused(here.run("schemas", "register"), 2)
    said = refused(here.run("schemas", "check"), 2)
    assert "SPRINTLY_SCHEMA_REGISTRY_URL" in said
    assert "--against" in said


def test_a_registry_that_is_down_is_a_sentence(there: Installation, registry: LocalRegistry) -> None:
    registry.outage = Reply(503)
    for command in (["schemas", "register"], ["schemas", "show"], ["schemas", "check"], ["produce", "-"]):
        said = refused(there.run(*command, input=json.dumps(documented("item"))), 1)
        assert f"the schema registry at {registry.url.replace('//', '//***@')} answered 503" in said
        assert len(said.splitlines()) == 1


def test_a_change_that_breaks_readers_is_refused_by_field(here: Installation) -> None:
    old, new = file(here, "old.avsc", EVENT), file(here, "new.avsc", WORSE)

    done = here.run("schemas", "check", new, "--against", old)
    assert done.returncode == 1
    assert done.stdout.splitlines()[:2] == [f"{new} cannot read all that was written with {old}:", f"    {STATUS}"]
    backward, consumers = json.loads(here.run("schemas", "check", new, "--against", old, "--json").stdout)
    assert (backward["check"], backward["compatible"], backward["problems"]) == ("backward", False, [STATUS])
    assert (consumers["check"], consumers["compatible"], consumers["problems"]) == ("consumers", True, [])


def test_a_field_with_a_default_passes(here: Installation) -> None:
    done = here.run("schemas", "check", "-", "--against", file(here, "old.avsc", EVENT), input=json.dumps(WITH_VERSION))
    assert done.returncode == 0
    assert "standard input can read what was written with" in done.stdout


def test_a_schema_that_the_consumers_cannot_route_is_refused(here: Installation) -> None:
    without = {**EVENT, "fields": [f for f in EVENT["fields"] if f["name"] != "model"]}
    old = file(here, "old.avsc", EVENT)

    done = here.run("schemas", "check", file(here, "new.avsc", without), "--against", old)
    assert done.returncode == 1
    assert "    model: the consumers need a string here, in every event" in done.stdout.splitlines()


def test_a_change_is_checked_with_the_registrys_newest_and_by_its_own_rules(
    there: Installation, registry: LocalRegistry
) -> None:
    new = file(there, "new.avsc", WORSE)
    assert "nothing is registered under" in there.do("schemas", "check", new)
    registry.add(subject(there), EVENT)

    backward, verdict, consumers = json.loads(there.run("schemas", "check", new, "--json").stdout)
    assert (backward["compatible"], backward["problems"]) == (False, [STATUS])
    assert f"version 1 of {subject(there)} (id 1)" in backward["sentence"]
    assert (verdict["compatible"], verdict["problems"]) == (False, [STATUS])
    assert "level is BACKWARD" in verdict["sentence"]
    assert consumers["compatible"]

    done = there.run("schemas", "check")
    assert done.returncode == 0
    assert "the registry would take it" in done.stdout


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('"string"', "cannot be used"),
        ('{"type": "record", "name": "Event", "fields": [{"name": "a", "type": "Nothing"}]}', "Nothing"),
    ],
)
def test_what_is_no_schema_is_named(here: Installation, text: str, problem: str) -> None:
    said = refused(here.run("schemas", "check", "-", "--against", file(here, "old.avsc", EVENT), input=text), 2)
    assert said.startswith("sprintly-services: standard input: ")
    assert problem in said


def test_a_file_that_cannot_be_read_is_named(here: Installation) -> None:
    assert "nowhere.avsc: cannot be read" in refused(here.run("schemas", "check", "nowhere.avsc", "--against", "x"), 2)


def test_a_registered_schema_that_is_none_is_named(there: Installation, registry: LocalRegistry) -> None:
    registry.add(subject(there), {"type": "enum", "name": "E", "symbols": ["A"]})
    said = refused(there.run("schemas", "check"), 1)
    assert f"version 1 of {subject(there)} (id 1) at" in said


def test_produce_registers_nothing(there: Installation, registry: LocalRegistry) -> None:
    registry.add(subject(there), WITH_VERSION)

    said = refused(there.run("produce", "-", input=json.dumps(documented("item"))), 1)

    assert f"not registered under {subject(there)}" in said
    assert "`sprintly-services schemas register`" in said
    assert "nothing was sent" in said
    assert all(not request.path.split("?")[0].endswith("/versions") for request in registry.requests)


def test_produce_reaches_for_kafka_once_the_schema_is_registered(there: Installation) -> None:
    there.do("schemas", "register")
    assert CLOSED in refused(there.run("produce", "-", input=json.dumps(documented("item"))), 1)


def test_a_bad_payload_is_named_before_kafka_is_reached(there: Installation) -> None:
    there.do("schemas", "register")
    payload = deepcopy(documented("item"))
    payload["attributes"]["colour"] = "red"
    assert "attributes.colour: " in refused(there.run("produce", "-", input=json.dumps(payload)), 2)
