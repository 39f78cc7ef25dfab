"""`produce`: events from JSON files to Kafka, as Sprint.ly's backend would write them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import click

import schemas
from consumer.cli.output import json_option, print_json, print_table, progress
from consumer.cli.payloads import Source, read_payloads
from consumer.cli.wiring import kafka, load_settings, registry
from consumer.codec import Codec
from consumer.errors import ConfigurationError, InvalidPayload, SprintlyError
from consumer.event import Outgoing, record_key
from consumer.framing import confluent_frame
from consumer.registry import value_subject
from consumer.settings import Settings

SHOWN = 20  # written records that are listed one by one; of more, a summary by partition says enough


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(allow_dash=True, dir_okay=False, path_type=Path))
@json_option
@click.pass_obj
def produce(config: Path | None, files: Sequence[Path], as_json: bool) -> None:
    """Write events to Kafka from FILES: a JSON document each, or JSON lines; `-` is standard input.

    All are checked before any is sent. Each event's record key is its product and item, so that the events of one
    item stay in order. With a schema registry, each names its schema by the id that `schemas register` got for it.
    """
    settings = load_settings(config, log_level="error")
    sources = [source for file in files for source in read_payloads(file)]
    records = _encode(sources, settings.topic, _frame(settings))
    written = []
    with progress("producing") as bar:
        task = bar.add_task("", total=len(records))
        for one in kafka(settings).produce(records):
            written.append(one)
            bar.advance(task)
    rows = [
        {"source": source.place, "topic": one.topic, "partition": one.partition, "offset": one.offset}
        for source, one in zip(sources, written, strict=True)
    ]
    if as_json:
        print_json(rows)
    else:
        _print(rows)


def _print(rows: list[dict[str, Any]]) -> None:
    print_table(["source", "topic", "partition", "offset"], [tuple(row.values()) for row in rows[:SHOWN]])
    if len(rows) > SHOWN:
        click.echo(f"... and {len(rows) - SHOWN} more, {len(rows)} in all (--json lists each)")


def _frame(settings: Settings) -> bytes | None:
    """Return what names the event schema before each value: its id in the registry; None where there is no registry.

    Nothing is registered in passing: which schemas a topic holds is for those to decide who run the registry.
    """
    client = registry(settings)
    if client is None:
        return None
    subject = value_subject(settings.topic)
    with closing(client):
        found = client.lookup(subject, schemas.load())
    if found is None:
        raise SprintlyError(
            f"the event schema is not registered under {subject} at {settings.schema_registry_url}, so nothing was"
            " sent; `sprintly-services schemas register` registers it"
        )
    return confluent_frame(found.id)


def _encode(sources: list[Source], topic: str, frame: bytes | None) -> list[Outgoing]:
    """Return the records; raises ConfigurationError with a sentence for every payload that does not fit."""
    codec = Codec()
    records, problems = [], []
    for source in sources:
        try:
            value = codec.encode(source.payload, frame)
        except InvalidPayload as error:
            problems.append(f"{source.place}: {error}")
        else:
            records.append(Outgoing(topic, record_key(source.payload), value))
    if problems:
        raise ConfigurationError(*problems, "nothing was sent")
    return records
