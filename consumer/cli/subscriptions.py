"""`subscriptions`: who there is, and what an operator may say of them while replicas run."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from pydantic import BaseModel

from consumer.announcement import Progress, announce, follow
from consumer.arrears import ANSWER_TIME
from consumer.broker import FOREVER
from consumer.cli.arguments import DURATION, MOMENT
from consumer.cli.known import roster
from consumer.cli.output import json_option, print_json, print_table, progress, when
from consumer.cli.subscribing import check, set_
from consumer.cli.wiring import kafka, load_settings
from consumer.clock import SystemClock
from consumer.control import Kind, Word
from consumer.errors import ConfigurationError, SprintlyError
from consumer.event import TopicPartition

if TYPE_CHECKING:
    from consumer.broker import Broker
    from consumer.roster import Roster
    from consumer.settings import Settings

ids_argument = click.argument("ids", metavar="ID...", nargs=-1, required=True)
wait_option = click.option(
    "--wait",
    type=DURATION,
    default="60s",
    show_default=True,
    help="How long to wait until every partition has carried it out.",
)


@click.group()
def subscriptions() -> None:
    """List, check and set subscriptions; disable, enable, backfill or forget them while replicas run.

    An ID may be given by its beginning; that of a subscription with several destinations means all of them.
    """


for command in (check, set_):
    subscriptions.add_command(command)


@subscriptions.command("list")
@json_option
@click.pass_obj
def list_(config: Path | None, as_json: bool) -> None:
    """List who is subscribed, and how each stands.

    That is the subscriptions of the file or topic, and those that are gone and still owed something. With --json their
    options are shown as well, secrets masked.
    """
    settings, cluster = _open(config)
    known = roster(settings, cluster)
    rows = [_row(known, id_) for id_ in known.ids]
    if as_json:
        print_json(rows)
    else:
        columns = ["id", "product", "service", "events", "standing", "reason"]
        print_table(columns, ([_cell(row[name]) for name in columns] for row in rows), unbroken=1)


@subscriptions.command()
@ids_argument
@click.option("--reason", default="", metavar="TEXT", help="Why, for whoever looks at it later.")
@wait_option
@click.pass_obj
def disable(config: Path | None, ids: Sequence[str], reason: str, wait: float) -> None:
    """Send nothing more until it is enabled.

    What is for the subscription waits in the log, and nothing probes its destination.
    """
    settings, cluster = _open(config)
    chosen = _chosen(roster(settings, cluster), ids)
    words = [Word(id_, Kind.SWITCH, enabled=False, reason=reason, at=time.time()) for id_ in chosen]
    _say(settings, cluster, words, wait, "disabled: what is for it waits until it is enabled")


@subscriptions.command()
@ids_argument
@click.option("--skip", is_flag=True, help="Pass over what it is owed, and go on with what comes from now on.")
@wait_option
@click.pass_obj
def enable(config: Path | None, ids: Sequence[str], skip: bool, wait: float) -> None:
    """Go on from where it stopped, or from now.

    What waits for another attempt is tried at once, also where the subscription was never disabled.
    """
    settings, cluster = _open(config)
    chosen = _chosen(roster(settings, cluster), ids)
    words = [Word(id_, Kind.SWITCH, skip=skip, at=time.time()) for id_ in chosen]
    said = "enabled: it goes on from now" if skip else "enabled: it goes on from where it stopped"
    _say(settings, cluster, words, wait, said)


@subscriptions.command()
@ids_argument
@click.option("--since", type=MOMENT, required=True, metavar="TIME", help="As 2026-11-25T14:30 (UTC), or 2h ago.")
@click.option("--dry-run", is_flag=True, help="Only say how many events that are.")
@wait_option
@click.pass_obj
def backfill(config: Path | None, ids: Sequence[str], since: float, dry_run: bool, wait: float) -> None:
    """Deliver everything since TIME, again if need be.

    What is new for the subscription waits until that is through.
    """
    settings, cluster = _open(config)
    chosen = _chosen(roster(settings, cluster), ids)
    partitions = _partitions(cluster, settings.topic)
    begins = {tp: first for tp, (_, first) in cluster.begins(partitions, since, ANSWER_TIME).items()}
    ends = {tp: end for tp, (_, end) in cluster.begins(partitions, FOREVER, ANSWER_TIME).items()}
    count = sum(max(0, ends[tp] - begin) for tp, begin in begins.items())
    said = f"{count} event(s) since {when(since)} at most, those of other products among them"
    if dry_run:
        click.echo(f"{', '.join(chosen)}: would be backfilled with {said}")
        return
    offsets = tuple((tp.partition, offset) for tp, offset in sorted(begins.items()))
    words = [Word(id_, Kind.BACKFILL, offsets=offsets, at=time.time()) for id_ in chosen]
    _say(settings, cluster, words, wait, f"backfilled with {said}")


@subscriptions.command()
@ids_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@wait_option
@click.pass_obj
def forget(config: Path | None, ids: Sequence[str], yes: bool, wait: float) -> None:
    """Drop what one that is gone is owed.

    It is for subscriptions that are in the file no more: nothing of it is delivered if they come back.
    """
    settings, cluster = _open(config)
    known = roster(settings, cluster)
    chosen = _chosen(known, ids)
    there = [id_ for id_ in chosen if known.standing(id_) != "gone"]
    if there and known.subscriptions is not None:
        advice = "`subscriptions enable --skip` passes over what it is owed"
        raise ConfigurationError(*(f"{id_} is in {settings.subscriptions}: {advice}" for id_ in there))
    if not yes:
        click.confirm(f"Forget what {', '.join(chosen)} is owed?", abort=True, err=True)
    words = [Word(id_, Kind.FORGET, at=time.time()) for id_ in chosen]
    _say(settings, cluster, words, wait, "forgotten: it is owed nothing any more")


def _open(config: Path | None) -> tuple[Settings, Broker]:
    settings = load_settings(config, log_level="error")
    return settings, kafka(settings)


def _chosen(known: Roster, ids: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(id_ for given in ids for id_ in known.find(given)))


def _partitions(cluster: Broker, *topics: str) -> list[TopicPartition]:
    there = cluster.partitions(ANSWER_TIME)
    if unseen := [topic for topic in topics if topic not in there]:
        cluster.topic_ids(unseen, ANSWER_TIME)  # it raises, and says whether they are not there or may not be known of
    return [TopicPartition(topic, number) for topic in topics for number in range(there.get(topic, 0))]


def _say(settings: Settings, cluster: Broker, words: Sequence[Word], wait: float, what: str) -> None:
    """Say something of subscriptions, and wait until all partitions have carried it out. Raises SprintlyError."""
    note = announce(cluster, settings.control_topic, words)
    partitions = _partitions(cluster, settings.topic, settings.replay_topic)
    with progress("carried out:") as bar:
        task = bar.add_task("", total=len(partitions))

        def told(now: Progress) -> None:
            bar.update(task, completed=now.done)

        came = follow(cluster, partitions, note, patience=wait, clock=SystemClock(), sleep=time.sleep, told=told)
    if came.done < came.of:
        how_far = f"{came.done} of {came.of} partitions have carried it out within {wait:g} s"
        raise SprintlyError(f"it is said, and {how_far}: the others do so when a replica runs that has them")
    for word in words:
        click.echo(f"{word.subscription}: {what}")


def _row(known: Roster, id_: str) -> dict[str, Any]:
    found = (known.subscriptions or {}).get(id_)
    word = known.words.switch(id_)
    return {
        "id": id_,
        "product": None if found is None else "*" if found.product is None else found.product,
        "service": None if found is None else found.service.name,
        "options": {} if found is None else _masked(dict(found.service.options)),
        "events": [] if found is None else list(found.events or found.service.events),
        "standing": known.standing(id_),
        "reason": known.aside.get(id_) or (word.reason if word is not None and not word.enabled else ""),
        "since": when(word.at) if word is not None else "",
    }


def _masked(value: Any) -> Any:
    """Return an option's value for people; secrets print themselves as asterisks."""
    if isinstance(value, BaseModel):
        value = dict(value)
    if isinstance(value, Mapping):
        return {str(key): _masked(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _cell(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else "" if value is None else str(value)
