"""`produce`: events from JSON files to Kafka, as Sprint.ly's backend would write them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
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
from consumer.tracecontext import TraceContext, new_trace, read_trace

SHOWN = 20  # written records that are listed one by one; of more, a summary by partition says enough


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(allow_dash=True, dir_okay=False, path_type=Path))
@json_option
@click.pass_obj
def produce(config: Path | None, files: Sequence[Path], as_json: bool) -> None:
    """Write events to Kafka from FILES: a JSON document each, or JSON lines; `-` is standard input.

    All are checked before any is sent. Each event's record key is its product and item, so that the events of one
    item stay in order. With a schema registry, each names its schema by the id that `schemas register` got for it.

    Each record begins a trace of its own, which goes on to the receivers; with TRACEPARENT in the environment (and
    TRACESTATE, if there is one), all belong to that one.
    """
    settings = load_settings(config, log_level="error")
    sources = [source for file in files for source in read_payloads(file)]
    given = _given_trace(os.environ)
    traces = [given or new_trace() for _ in sources]
    records = _encode(sources, traces, settings.topic, _frame(settings))
    written = []
    with progress("producing") as bar:
        task = bar.add_task("", total=len(records))
        for one in kafka(settings).produce(records):
            written.append(one)
            bar.advance(task)
    rows = [
        {
            "source": source.place,
            "topic": one.topic,
            "partition": one.partition,
            "offset": one.offset,
            "trace_id": trace.trace_id,
        }
        for source, one, trace in zip(sources, written, traces, strict=True)
    ]
    if as_json:
        print_json(rows)
    else:
        _print(rows)


def _print(rows: list[dict[str, Any]]) -> None:
    columns = ["source", "topic", "partition", "offset", "trace"]
    print_table(columns, [tuple(row.values()) for row in rows[:SHOWN]])
    if len(rows) > SHOWN:
        click.echo(f"... and {len(rows) - SHOWN} more, {len(rows)} in all (--json lists each)")


def _given_trace(environ: Mapping[str, str]) -> TraceContext | None:
    """Return the trace that the process was started in; what is not one is told on stderr and not used."""
    parent = environ.get("TRACEPARENT", "")
    found = read_trace(parent, environ.get("TRACESTATE", ""))
    if parent and found is None:
        click.echo("TRACEPARENT is not a valid traceparent (W3C Trace Context), and is not used", err=True)
    return found


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


def _encode(sources: list[Source], traces: Sequence[TraceContext], topic: str, frame: bytes | None) -> list[Outgoing]:
    """Return the records; raises ConfigurationError with a sentence for every payload that does not fit."""
    codec = Codec()
    records, problems = [], []
    for source, trace in zip(sources, traces, strict=True):
        try:
            value = codec.encode(source.payload, frame)
        except InvalidPayload as error:
            problems.append(f"{source.place}: {error}")
        else:
            records.append(Outgoing(topic, record_key(source.payload), value, trace.of_record))
    if problems:
        raise ConfigurationError(*problems, "nothing was sent")
    return records
