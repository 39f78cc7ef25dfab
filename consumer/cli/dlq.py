"""`dlq`: what failed for good, and sending it again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click
import orjson

from consumer.broker import Broker, missing
from consumer.cli.arguments import MOMENT, RATE, STATUS
from consumer.cli.output import json_option, plain, print_json, print_table, progress, when
from consumer.cli.wiring import kafka, load_settings, registry
from consumer.clock import SystemClock
from consumer.codec import Undecodable
from consumer.deadletter import DeadLetter, Stage
from consumer.errors import SprintlyError
from consumer.fetcher import decode_now
from consumer.replay import Entry, Pace, drop, left_alone, read_table, replay
from consumer.selection import Selection, by_prefix, failed_at
from consumer.settings import Settings
from consumer.tracecontext import trace_of

ID_SHOWN = 8  # characters of an id in a table: enough to name one of some thousands
CONFIRM_ABOVE = 100  # entries; replaying fewer needs no second thought
LEFT_ALONE = 3  # replays without success, after which an entry is left alone
ANSWER_TIME = 5.0  # seconds
DUMP = 512  # bytes of an undecodable value that `show` prints

F = TypeVar("F", bound=Callable[..., Any])


@click.group()
def dlq() -> None:
    """List, show, replay and drop dead letters: deliveries that failed for good, and records that nobody can read."""


def _several(name: str, of: str, help_: str, **more: Any) -> Callable[[F], F]:
    return click.option(f"--{name}", of, multiple=True, help=f"{help_}; repeatable.", **more)


CONDITIONS = (
    _several("id", "ids", "Only this one (or its beginning)", metavar="ID"),
    _several("subscription", "subscriptions", "Only of this subscription", metavar="ID"),
    _several("product", "products", "Only of this product", type=int, metavar="ID"),
    _several("service", "services", "Only of this service", metavar="NAME"),
    _several("model", "models", "Only of this model (globs, in quotes, will do)", metavar="NAME"),
    _several("action", "actions", "Only of this action (or glob)", metavar="NAME"),
    _several("stage", "stages", "Only what failed there", type=click.Choice([stage.value for stage in Stage])),
    _several("reason", "reasons", "Only of this reason (or glob)", metavar="NAME"),
    _several("status", "statuses", "Only with this answer, as 404 or 5xx", type=STATUS, metavar="CODE"),
    click.option(
        "--since", type=MOMENT, metavar="TIME", help="Only what failed then or later: 2026-11-25T14:30 or 2h."
    ),
    click.option("--until", type=MOMENT, metavar="TIME", help="Only what failed before that."),
    click.option("--grep", default="", metavar="TEXT", help="Only with this text in error, key or event, in any case."),
    click.option("--limit", type=click.IntRange(1), metavar="N", help="The first N of them."),
)


def conditions(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which entries are meant; the command gets them as a `Selection`."""

    @wraps(command)
    def with_selection(*arguments: Any, **options: Any) -> Any:
        chosen = {name: options.pop(name) for name in Selection.__dataclass_fields__}
        return command(*arguments, selection=Selection(**chosen), **options)

    for condition in reversed(CONDITIONS):
        with_selection = condition(with_selection)
    return with_selection


@dlq.command("list")
@conditions
@click.option("--summary", is_flag=True, help="Only how many there are, by reason and subscription.")
@json_option
@click.pass_obj
def list_(config: Path | None, selection: Selection, summary: bool, as_json: bool) -> None:
    """List what is unresolved, in the order of the events."""
    settings, cluster = _open(config)
    entries = selection.choose(_entries(cluster, settings))
    if summary:
        _summarise(entries, as_json)
    elif as_json:
        print_json(_row(entry.letter) for entry in entries)
    else:
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
    letter = by_prefix(_entries(cluster, settings), id_).letter
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
@conditions
@click.option("--rate", type=RATE, metavar="N/s", help="So many a second at most, as 500/s, or 30/m.")
@click.option("--force", is_flag=True, help=f"Also what was replayed {LEFT_ALONE} times without success.")
@click.option("--yes", is_flag=True, help=f"Do not ask, even for more than {CONFIRM_ABOVE}.")
@click.option("--dry-run", is_flag=True, help="Only say what would be replayed.")
@json_option
@click.pass_obj
def replay_(
    config: Path | None,
    selection: Selection,
    rate: float | None,
    force: bool,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Send dead letters again through the running consumers, to the subscription that failed and to no other.

    An entry leaves the dead letters in the transaction in which it is queued again, under the id it always had; one
    that fails again comes back with one replay more. Stopping in the middle loses and doubles nothing.
    """
    settings, cluster = _open(config)

    def choose() -> list[Entry]:
        entries = _entries(cluster, settings)
        if not force:
            entries = _without_hopeless(entries, selection)
        return _whole(selection.choose(entries))

    if dry_run:
        _say_what(choose(), "would be replayed", as_json)
        return
    _need(cluster, {settings.dead_letter_topic: ("Read", "Write"), settings.replay_topic: ("Write",)})
    move = partial(replay, dead_letters=settings.dead_letter_topic, replays=settings.replay_topic)
    entries = _carry_out(settings, cluster, choose, move, Work("replay", rate, ask=not yes))
    _say_what(entries, "sent again; what fails again comes back", as_json)


@dlq.command("drop")
@conditions
@click.option("--yes", is_flag=True, help=f"Do not ask, even for more than {CONFIRM_ABOVE}, or for all.")
@click.option("--dry-run", is_flag=True, help="Only say what would be dropped.")
@json_option
@click.pass_obj
def drop_(config: Path | None, selection: Selection, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Remove dead letters for good, undelivered. Without a condition that means all of them, and is asked for."""
    settings, cluster = _open(config)

    def choose() -> list[Entry]:
        return selection.choose(_entries(cluster, settings))

    if dry_run:
        _say_what(choose(), "would be dropped", as_json)
        return
    _need(cluster, {settings.dead_letter_topic: ("Read", "Write")})
    move = partial(drop, dead_letters=settings.dead_letter_topic)
    work = Work("drop", None, ask=not yes, ask_always=not selection.narrows)
    _say_what(_carry_out(settings, cluster, choose, move, work), "dropped", as_json)


class Work(NamedTuple):
    """What is done to entries, how fast, and whether it is asked for before."""

    verb: str
    rate: float | None
    ask: bool
    ask_always: bool = False  # however few they are

    def confirm(self, count: int) -> None:
        """Ask whether it is meant, where so many are. Raises Abort if it is not."""
        if count and self.ask and (self.ask_always or count > CONFIRM_ABOVE):
            click.confirm(f"{self.verb.capitalize()} {count} dead letter(s)?", abort=True, err=True)


def _carry_out(
    settings: Settings, cluster: Broker, choose: Callable[[], list[Entry]], move: Callable[..., int], work: Work
) -> list[Entry]:
    """Have the chosen entries moved, batch by batch; returns them. Raises SprintlyError where it was stopped."""
    # The name is the group's, and the writer comes before the table is read: two at once double nothing.
    writer = cluster.writer(f"{settings.group_id}-replay")
    durable = 0
    entries: list[Entry] = []
    try:
        entries = choose()
        work.confirm(len(entries))
        with progress(f"{work.verb}:") as bar:
            task = bar.add_task("", total=len(entries))

            def done(count: int) -> None:
                nonlocal durable
                durable += count
                bar.advance(task, count)

            pace = Pace(work.rate, SystemClock(), time.sleep) if work.rate else None
            move(writer, entries, done=done, pace=pace)
    except KeyboardInterrupt:
        raise SprintlyError(
            f"{work.verb}: stopped after {durable} of {len(entries)}; the others stand where they stood"
        ) from None
    finally:
        writer.close()
    return entries


def _without_hopeless(entries: list[Entry], selection: Selection) -> list[Entry]:
    """Return the entries that were not replayed in vain too often, and say how many of those meant are."""
    left = [entry for entry in entries if entry.letter.replays < LEFT_ALONE]
    hopeless = sum(selection.fits(entry.letter) for entry in entries if entry.letter.replays >= LEFT_ALONE)
    if hopeless and not selection.ids:
        said = f"{hopeless} dead letter(s) are left alone: replayed {LEFT_ALONE} times without success (--force)"
        click.echo(said, err=True)
    return entries if selection.ids else left


def _summarise(entries: Sequence[Entry], as_json: bool) -> None:
    counts: Counter[tuple[str, str]] = Counter()
    newest: dict[tuple[str, str], float] = {}
    for entry in entries:
        group = entry.letter.reason, entry.letter.subscription
        counts[group] += 1
        newest[group] = max(newest.get(group, 0.0), failed_at(entry.letter))
    groups = counts.most_common()
    if as_json:
        print_json(
            {
                "reason": reason,
                "subscription": subscription,
                "count": count,
                "newest": when(newest[reason, subscription]),
            }
            for (reason, subscription), count in groups
        )
        return
    rows = ((reason, whose or "(all)", count, when(newest[reason, whose])) for (reason, whose), count in groups)
    print_table(["reason", "subscription", "dead letters", "newest"], rows)
    click.echo(f"{len(entries)} dead letter(s)")


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


def _need(cluster: Broker, rights: Mapping[str, Sequence[str]]) -> None:
    """See that topics are there and may be used: of a transaction that fails, only the half would be known."""
    there = cluster.partitions(ANSWER_TIME)
    problems = cluster.lacking(rights, ANSWER_TIME) or [missing(topic) for topic in rights if topic not in there]
    if problems:
        raise SprintlyError("; ".join(problems))


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
    origin, trace = letter.origin, trace_of(letter.origin.headers)
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
        "trace_id": trace.trace_id if trace else None,
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
