"""`schemas`: the events' schema, at home and in a schema registry."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import click
import orjson

import schemas as bundled
from consumer.cli.output import json_option, plain, print_json, print_table
from consumer.cli.wiring import load_settings, registry
from consumer.codec import WriterSchema, compile_schema, fingerprint
from consumer.compatibility import problems, shortcomings
from consumer.errors import ConfigurationError, SchemaUnusable
from consumer.registry import Registry, Verdict, value_subject
from consumer.settings import Settings

NO_REGISTRY = "no schema registry is configured; SPRINTLY_SCHEMA_REGISTRY_URL names one"


class Named(NamedTuple):
    """A schema and what to call it."""

    name: str
    schema: WriterSchema


class Finding(NamedTuple):
    """One thing that was checked: which, how it went in a sentence, and what is wrong if it went badly."""

    check: str
    compatible: bool
    sentence: str
    problems: Sequence[str]


@click.group()
def schemas() -> None:
    """Register the events' schema with a schema registry, show it, and check changes to it."""


@schemas.command()
@click.argument("name", required=False)
@json_option
@click.pass_obj
def show(config: Path | None, name: str | None, as_json: bool) -> None:
    """List the bundled schemas and what the registry has of them, or print the one of NAME as JSON."""
    if name:
        click.echo(orjson.dumps(_bundled(name), option=orjson.OPT_INDENT_2).decode())
        return
    settings = load_settings(config, log_level="error")
    client = registry(settings)
    rows = [_row(each) for each in bundled.names()]
    if client is not None:
        with closing(client):
            _add_registered(rows, client, value_subject(settings.topic))
    if as_json:
        print_json(rows)
        return
    print_table(["schema", "fingerprint", "records", "fields", "id", "version", ""], map(_cells, rows))
    place = f"ids and versions are those of {value_subject(settings.topic)} at {settings.schema_registry_url}"
    click.echo(place if client else NO_REGISTRY)


@schemas.command()
@json_option
@click.pass_obj
def register(config: Path | None, as_json: bool) -> None:
    """Register the event schema for the events' topic; if the registry has it, nothing changes."""
    settings = load_settings(config, log_level="error")
    subject, schema = value_subject(settings.topic), bundled.load()
    with closing(_needed(registry(settings))) as client:
        known = client.lookup(subject, schema)
        number = known.id if known else client.register(subject, schema)
    if as_json:
        print_json([{"subject": subject, "schema": bundled.EVENT, "id": number, "registered": not known}])
    else:
        said = "was there" if known else "registered"
        print_table(["subject", "schema", "id", ""], [(subject, bundled.EVENT, number, said)])


@schemas.command()
@click.argument("file", required=False, type=click.Path(allow_dash=True, dir_okay=False, path_type=Path))
@click.option(
    "--against",
    type=click.Path(allow_dash=True, dir_okay=False, path_type=Path),
    help="The older schema; without it, the newest that the registry has.",
)
@json_option
@click.pass_context
def check(ctx: click.Context, file: Path | None, against: Path | None, as_json: bool) -> None:
    """Check that the schema in FILE can replace an older one; without FILE, the bundled event schema.

    It must read what the older one wrote, as Avro's rules have it, and write what the consumers can read. Exit code 1
    if it does not.
    """
    settings = load_settings(ctx.obj, log_level="error")
    new = _read(file) if file else Named("the event schema", WriterSchema(bundled.load()))
    if against:
        findings = [_backward(new, _read(against)), _routable(new)]
    else:
        with closing(_needed(registry(settings), " (or give --against FILE)")) as client:
            findings = [*_with_registry(new, client, settings), _routable(new)]
    if as_json:
        print_json(finding._asdict() for finding in findings)
    else:
        _print(findings)
    if not all(finding.compatible for finding in findings):
        ctx.exit(1)


def _bundled(name: str) -> bundled.Schema:
    if name not in bundled.names():
        raise click.UsageError(f"there is no bundled schema {name}; there are: {', '.join(bundled.names())}")
    return bundled.load(name)


def _needed(client: Registry | None, otherwise: str = "") -> Registry:
    if client is None:
        raise ConfigurationError(NO_REGISTRY + otherwise)
    return client


def _row(name: str) -> dict[str, Any]:
    schema = bundled.load(name)
    records = [node for node in compile_schema(WriterSchema(schema)).named.values() if node["type"] == "record"]
    return {
        "name": name,
        "fingerprint": fingerprint(schema),
        "records": len(records),
        "fields": sum(len(record["fields"]) for record in records),
        "id": None,
        "version": None,
        "latest": False,
    }


def _add_registered(rows: list[dict[str, Any]], client: Registry, subject: str) -> None:
    """Add to the rows what the registry has of them, and a row for its newest schema if that is none of these."""
    for row in rows:
        if found := client.lookup(subject, bundled.load(row["name"])):
            row |= {"id": found.id, "version": found.version}
    if latest := client.latest(subject):
        place = {"id": latest.id, "version": latest.version}
        if not any(row | place == row for row in rows):
            rows.append(dict.fromkeys(rows[0]) | place)
        for row in rows:
            row["latest"] = row | place == row


def _cells(row: dict[str, Any]) -> tuple[Any, ...]:
    *values, latest = row.values()
    name, *rest = ("-" if value is None else value for value in values)
    return ("(another)" if row["name"] is None else name, *rest, "latest" if latest else "")


def _with_registry(new: Named, client: Registry, settings: Settings) -> Iterator[Finding]:
    subject = value_subject(settings.topic)
    latest = client.latest(subject)
    if latest is None:
        yield Finding("backward", True, f"nothing is registered under {subject} that {new.name} would have to read", [])
        return
    name = f"version {latest.version} of {subject} (id {latest.id})"
    yield _backward(new, Named(name, _usable(latest.schema, f"{name} at {settings.schema_registry_url}")))
    yield _accepted(client.verdict(subject, new.schema.schema))


def _backward(new: Named, old: Named) -> Finding:
    found = problems(new.schema, old.schema)
    reads = "cannot read all that was written" if found else "can read what was written"
    return Finding("backward", not found, f"{new.name} {reads} with {old.name}", found)


def _routable(new: Named) -> Finding:
    found = shortcomings(new.schema)
    able = "cannot" if found else "can"
    return Finding("consumers", not found, f"the consumers {able} route what is written with {new.name}", found)


def _accepted(verdict: Verdict) -> Finding:
    would = "would take" if verdict.compatible else "would refuse"
    sentence = f"the registry {would} it; its compatibility level is {verdict.level}"
    return Finding("registry", verdict.compatible, sentence, verdict.messages)


def _print(findings: Sequence[Finding]) -> None:
    for finding in findings:
        click.echo(plain(finding.sentence) + ":" * bool(finding.problems))
        for problem in finding.problems:
            click.echo(f"    {plain(problem)}")


def _read(file: Path) -> Named:
    """Return the schema in a file; raises ConfigurationError if there is none that events could have."""
    name = "standard input" if str(file) == "-" else str(file)
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        schema = WriterSchema(json.loads(data.decode("utf-8-sig")))
    except OSError as error:
        raise ConfigurationError(f"{name}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{name}: not JSON: {error}") from None
    try:
        compile_schema(schema)
    except ConfigurationError as error:
        raise ConfigurationError(f"{name}: {error}") from None
    return Named(name, schema)


def _usable(schema: WriterSchema, place: str) -> WriterSchema:
    """Return a registered schema; raises SchemaUnusable if it is none that events can be written with."""
    try:
        compile_schema(schema)
    except ConfigurationError as error:
        raise SchemaUnusable(f"{place}: {error}") from None
    return schema
