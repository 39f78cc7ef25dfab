"""`dlq`: what failed for good, and sending it again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click
import orjson

from consumer.broker import Broker
from consumer.cli.output import json_option, plain, print_json, print_table, progress, when
from consumer.cli.wiring import kafka, load_settings, registry
from consumer.codec import Undecodable
from consumer.deadletter import DeadLetter
from consumer.errors import SprintlyError
from consumer.fetcher import decode_now
from consumer.replay import Entry, left_alone, read_table, replay
from consumer.settings import Settings

ID_SHOWN = 8  # characters of an id in a table: enough to name one of some thousands
CONFIRM_ABOVE = 100  # entries; replaying fewer needs no second thought
DUMP = 512  # bytes of an undecodable value that `show` prints

F = TypeVar("F", bound=Callable[..., Any])


@click.group()
def dlq() -> None:
    """List, show and replay dead letters: the deliveries that failed for good, and the records nobody can read."""


class Filters(NamedTuple):
    """Which entries are meant; what is empty does not narrow."""

    ids: Sequence[str]
    subscriptions: Sequence[str]

    def choose(self, entries: Iterable[Entry]) -> list[Entry]:
        """Return the entries that fit all filters. Raises UsageError for an id that names none, or several."""
        entries = list(entries)
        if self.ids:
            chosen = {_by_prefix(entries, prefix).letter.id for prefix in self.ids}
            entries = [entry for entry in entries if entry.letter.id in chosen]
        return [e for e in entries if not self.subscriptions or e.letter.subscription in self.subscriptions]


def filters(command: F) -> F:
    """Add the options that say which entries are meant."""
    by_id = click.option(
        "--id", "ids", multiple=True, metavar="ID", help="Only this one (or its beginning); repeatable."
    )
    by_subscription = click.option(
        "--subscription", "subscriptions", multiple=True, metavar="ID", help="Only of this subscription; repeatable."
    )
    return by_id(by_subscription(command))


@dlq.command("list")
@filters
@json_option
@click.pass_obj
def list_(config: Path | None, ids: Sequence[str], subscriptions: Sequence[str], as_json: bool) -> None:
    """List what is unresolved, in the order of the events."""
    settings, cluster = _open(config)
    entries = Filters(ids, subscriptions).choose(_entries(cluster, settings))
    if as_json:
        print_json(_row(entry.letter) for entry in entries)
        return
    columns = ["id", "subscription", "event", "reason", "replays", "error"]
    print_table(columns, (_cells(entry.letter) for entry in entries), unbroken=5)
    click.echo(f"{len(entries)} dead letter(s)")


@dlq.command()
@click.argument("id_", metavar="ID")
@json_option
@click.pass_obj
def show(config: Path | None, id_: str, as_json: bool) -> None:
    """Show one dead letter whole, its event included; the beginning of its ID will do."""
    settings, cluster = _open(config)
    letter = _by_prefix(_entries(cluster, settings), id_).letter
    event = decode_now(registry(settings), letter.origin.value, letter.origin.headers)
    row = _row(letter) | _content(letter, event)
    if as_json:
        print_json([row])
        return
    for name, value in row.items():
        if name not in ("payload", "hex") and value not in ("", None, 0, {}):
            click.echo(f"{name:>17}  {plain(value)}")
    click.echo()
    if isinstance(event, Undecodable):
        click.echo(f"not readable: {plain(event.reason)}\n{row['hex']}")
    else:
        click.echo(orjson.dumps(event, option=orjson.OPT_INDENT_2).decode())


@dlq.command("replay")
@filters
@click.option("--yes", is_flag=True, help=f"Do not ask, even for more than {CONFIRM_ABOVE}.")
@click.option("--dry-run", is_flag=True, help="Only say what would be replayed.")
@json_option
@click.pass_obj
def replay_(
    config: Path | None, ids: Sequence[str], subscriptions: Sequence[str], yes: bool, dry_run: bool, as_json: bool
) -> None:
    """Send dead letters again through the running consumers, to the subscription that failed and to no other.

    An entry leaves the dead letters in the transaction in which it is queued again, under the id it always had; one
    that fails again comes back with one replay more. Stopping in the middle loses and doubles nothing.
    """
    settings, cluster = _open(config)
    chosen = Filters(ids, subscriptions)
    if dry_run:
        _say_what(_whole(chosen.choose(_entries(cluster, settings))), "would be replayed", as_json)
        return
    _need(cluster, settings.replay_topic)
    # The name is the group's, and the writer comes before the table is read: two replays at once double nothing.
    writer = cluster.writer(f"{settings.group_id}-replay")
    try:
        entries = _whole(chosen.choose(_entries(cluster, settings)))
        if len(entries) > CONFIRM_ABOVE and not yes:
            click.confirm(f"Replay {len(entries)} dead letters?", abort=True, err=True)
        with progress("replaying") as bar:
            task = bar.add_task("", total=len(entries))
            replay(
                writer,
                entries,
                dead_letters=settings.dead_letter_topic,
                replays=settings.replay_topic,
                done=lambda count: bar.advance(task, count),
            )
    finally:
        writer.close()
    _say_what(entries, "sent again; what fails again comes back", as_json)


def _open(config: Path | None) -> tuple[Settings, Broker]:
    settings = load_settings(config, log_level="error")
    return settings, kafka(settings)


def _entries(cluster: Broker, settings: Settings) -> list[Entry]:
    table = read_table(cluster, settings.dead_letter_topic)
    if table.foreign:
        topic = settings.dead_letter_topic
        click.echo(f"{table.foreign} record(s) of {topic} are not ours and are left alone", err=True)
    return table.entries


def _whole(entries: list[Entry]) -> list[Entry]:
    """Return the entries that can be replayed, and say which cannot."""
    for sentence in left_alone(entries):
        click.echo(sentence, err=True)
    return [entry for entry in entries if entry.letter.is_whole]


def _need(cluster: Broker, topic: str) -> None:
    if topic not in cluster.partitions(5.0):
        raise SprintlyError(f"the topic {topic} does not exist; `sprintly-services topics create` makes it")


def _by_prefix(entries: Iterable[Entry], prefix: str) -> Entry:
    found = [entry for entry in entries if entry.letter.id.startswith(prefix.lower())]
    if not found:
        raise SprintlyError(f"there is no dead letter whose id begins with {prefix}")
    if len(found) > 1:
        raise click.UsageError(f"{len(found)} dead letters have an id that begins with {prefix}: give more of it")
    return found[0]


def _say_what(entries: Sequence[Entry], what: str, as_json: bool) -> None:
    if as_json:
        print_json(_row(entry.letter) for entry in entries)
        return
    counts: dict[str, int] = {}
    for entry in entries:
        name = entry.letter.subscription or "all that the event concerns"
        counts[name] = counts.get(name, 0) + 1
    if counts:
        print_table(["subscription", "dead letters"], sorted(counts.items()))
    click.echo(f"{len(entries)} dead letter(s) {what}")


def _cells(letter: DeadLetter) -> tuple[Any, ...]:
    event = f"{letter.model}.{letter.action}" if letter.model else f"{letter.origin.partition}:{letter.origin.offset}"
    return letter.id[:ID_SHOWN], letter.subscription or "(all)", event, letter.reason, letter.replays, letter.error


def _row(letter: DeadLetter) -> dict[str, Any]:
    origin = letter.origin
    return {
        "id": letter.id,
        "subscription": letter.subscription,
        "service": letter.service,
        "product": letter.product or None,
        "model": letter.model,
        "action": letter.action,
        "stage": letter.stage.value,
        "reason": letter.reason,
        "error": letter.error,
        "status": letter.status or None,
        "attempts": letter.attempts,
        "first_attempt_at": when(letter.first_attempt_at),
        "last_attempt_at": when(letter.last_attempt_at),
        "replays": letter.replays,
        "topic": origin.topic,
        "partition": origin.partition,
        "offset": origin.offset,
        "timestamp": when(origin.timestamp / 1000),
        "key": None if origin.key is None else origin.key.decode("utf-8", "backslashreplace"),
        "bytes": None if origin.value is None else len(origin.value),
        "truncated_from": letter.truncated or None,
        "dropped": letter.dropped or None,
    }


def _content(letter: DeadLetter, event: dict[str, Any] | Undecodable) -> dict[str, Any]:
    headers = {name: (value or b"").decode("utf-8", "backslashreplace") for name, value in letter.origin.headers}
    if not isinstance(event, Undecodable):
        return {"headers": headers, "payload": event}
    return {"headers": headers, "hex": (letter.origin.value or b"")[:DUMP].hex(" ", 4)}
