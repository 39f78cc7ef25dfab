"""`subscriptions check` and `set`: whether subscriptions are right, and writing them to the topic that holds them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from consumer.cli.known import entries, refusal, seal
from consumer.cli.wiring import kafka, load_settings
from consumer.entries import latest, read_entries, read_fields, write_entry, write_fields, write_removal
from consumer.errors import ConfigurationError, SprintlyError
from consumer.event import Record
from consumer.settings.values import KafkaTopic
from consumer.subscriptions import ID, available, parse_entries, read_file
from consumer.subscriptions_file import refused

if TYPE_CHECKING:
    from consumer.broker import Broker
    from consumer.event import Outgoing
    from consumer.sealed import Seal
    from consumer.settings import Settings
    from consumer.subscriptions import Entry

STDIN = "-"


@click.command()
@click.argument("file", required=False)
@click.pass_obj
def check(config: Path | None, file: str | None) -> None:
    """Say everything that is wrong with subscriptions, and change nothing.

    They are those of FILE (`-` is standard input), or those that SPRINTLY_SUBSCRIPTIONS names: a file or a topic.
    """
    settings = load_settings(config, log_level="error")
    place = settings.subscriptions
    if file is None and isinstance(place, KafkaTopic):
        found = entries(settings, kafka(settings), place.name)
        if found.problems:
            raise ConfigurationError(*(f"{place}: {problem}" for problem in found.problems))
        count = len(found.subscriptions)
    else:
        found_there = [each for entry in _read(file or str(place)) for each in entry.subscriptions]
        if problems := refused(found_there, refusal(settings)):
            raise ConfigurationError(*(f"{_name(file or str(place))}: {problem}" for problem in problems))
        count = len(found_there)
    click.echo(f"{place if file is None else _name(file)}: {count} subscription(s), and nothing is wrong with them")


@click.command("set")
@click.argument("file", required=False)
@click.option("--prune", is_flag=True, help="Remove those that are not in FILE.")
@click.option("--remove", "removed", metavar="ID", multiple=True, help="Remove this one; may be given again.")
@click.option("--reseal", is_flag=True, help="Seal the options of all by the first key, as after a change of keys.")
@click.option("--yes", is_flag=True, help="Do not ask before something is removed.")
@click.pass_obj
def set_(config: Path | None, file: str | None, prune: bool, removed: Sequence[str], reseal: bool, yes: bool) -> None:
    """Write subscriptions to the topic that SPRINTLY_SUBSCRIPTIONS names.

    FILE is a subscriptions file (`-` is standard input); all of it is checked first. References in options are replaced
    here: the topic gets what they stand for, sealed where SPRINTLY_OPTIONS_KEY is set. What is not in FILE stays.
    """
    if prune and file is None:
        raise click.UsageError("--prune removes what is not in FILE: give one")
    if reseal == bool(file or removed):
        raise click.UsageError("give FILE, --remove ID or both; or --reseal alone")
    settings = load_settings(config, log_level="error")
    topic, cluster = _topic(settings), kafka(settings)
    if reseal:
        _reseal(topic, cluster, seal(settings))
        return
    given = _read(file) if file is not None else ()
    records = _written(topic, given, seal(settings))
    gone = _gone(list(latest(cluster.read(topic))), given, prune, removed) if prune or removed else []
    if gone and not yes:
        click.confirm(f"Remove {', '.join(gone)} from {topic}?", abort=True, err=True)
    if seal(settings) is None and any(entry.fields.get("options") for entry in given):
        click.echo(f"SPRINTLY_OPTIONS_KEY is not set: whoever reads {topic} can read these options", err=True)
    _write(cluster, records, "set")
    _write(cluster, [write_removal(topic, id_) for id_ in gone], "removed")


def _topic(settings: Settings) -> str:
    place = settings.subscriptions
    if isinstance(place, KafkaTopic):
        return place.name
    raise ConfigurationError(
        f"SPRINTLY_SUBSCRIPTIONS names the file {place}, which is changed itself, and no kafka:TOPIC"
    )


def _read(file: str) -> Sequence[Entry]:
    try:
        text = sys.stdin.buffer.read().decode() if file == STDIN else read_file(file)
    except UnicodeDecodeError:
        raise ConfigurationError(f"{_name(file)}: it is not UTF-8 text") from None
    return parse_entries(text, os.environ, source=_name(file), folder=Path(file).parent)


def _name(file: str) -> str:
    return "standard input" if file == STDIN else file


def _written(topic: str, given: Sequence[Entry], key: Seal | None) -> list[Outgoing]:
    """Return records of which it is tried that a replica can read them. Raises ConfigurationError."""
    records, problems = [], []
    for entry in given:
        try:
            records.append(write_entry(topic, entry.fields, key))
        except ValueError as error:
            problems.append(f"subscription {entry.fields['id']}: {error}")
    read = (Record(topic, 0, n, record.key, record.value, 0) for n, record in enumerate(records))
    if problems := [*problems, *read_entries(read, key, available()).problems]:
        raise ConfigurationError(*problems)
    return records


def _gone(there: Sequence[str], given: Iterable[Entry], prune: bool, removed: Iterable[str]) -> list[str]:
    """Return the ids of the topic that are to be removed. Raises ConfigurationError for one that is not there."""
    kept = {entry.fields["id"] for entry in given}
    chosen = [_find(id_, there) for id_ in removed]
    if both := sorted(kept & set(chosen)):
        raise ConfigurationError(f"{', '.join(both)}: to be set and removed at once")
    pruned = [id_ for id_ in there if ID.fullmatch(id_) and id_ not in kept] if prune else []
    return sorted({*chosen, *pruned})


def _find(given: str, there: Sequence[str]) -> str:
    found = [given] if given in there else [id_ for id_ in there if ID.fullmatch(id_) and id_.startswith(given)]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigurationError(f"several subscriptions begin with {given}: {', '.join(found)}")
    raise ConfigurationError(f"there is no subscription {given} in the topic")


def _reseal(topic: str, cluster: Broker, key: Seal | None) -> None:
    """Seal again what can be opened. Raises SprintlyError for the others."""
    if key is None:
        raise ConfigurationError("SPRINTLY_OPTIONS_KEY is not set: there is no key to seal by")
    records, problems = [], []
    for name, record in latest(cluster.read(topic)).items():
        try:
            records.append(write_fields(topic, read_fields(record, key), key))
        except ValueError as error:
            problems.append(f"subscription {name}: {error}")
    _write(cluster, records, "sealed again")
    if problems:
        raise SprintlyError("\n".join([*problems, "these stay as they are"]))


def _write(cluster: Broker, records: Sequence[Outgoing], what: str) -> None:
    for record, _ in zip(records, cluster.produce(records), strict=True):
        click.echo(f"{(record.key or b'').decode()}: {what}")
