"""`deliveries`: what is on its way and has not arrived."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from consumer.arrears import Arrears, arrears
from consumer.cli.known import roster
from consumer.cli.output import json_option, print_json, print_table, when
from consumer.cli.wiring import kafka, load_settings

if TYPE_CHECKING:
    from consumer.roster import Roster


@click.group()
def deliveries() -> None:
    """See what is owed: what could not be delivered yet, and waits for another attempt."""


@deliveries.command()
@click.option("--subscription", "only", multiple=True, metavar="ID", help="Only of this subscription; repeatable.")
@json_option
@click.pass_obj
def owed(config: Path | None, only: tuple[str, ...], as_json: bool) -> None:
    """List by subscription what is owed, the longest waiting first.

    Owed one by one, or, of one that is behind, everything from some place in the log on. What a running replica took in
    hand during the last second is not among it yet.
    """
    settings = load_settings(config, log_level="error")
    cluster = kafka(settings)
    known = roster(settings, cluster)
    chosen = {id_ for given in only for id_ in known.find(given)}
    found = arrears(cluster, (state for state in known.states if not chosen or state.subscription in chosen))
    rows = [_row(known, each) for each in found]
    if as_json:
        print_json(rows)
        return
    columns = ["subscription", "standing", "owed", "behind", "oldest", "next due", "destination"]
    print_table(columns, map(_cells, rows), unbroken=1)
    click.echo(f"{len(rows)} subscription(s) are owed something")


def _row(known: Roster, each: Arrears) -> dict[str, Any]:
    return {
        "subscription": each.subscription,
        "standing": known.standing(each.subscription),
        "owed_one_by_one": each.owed,
        "partitions_behind": each.behind,
        "events_behind_at_most": each.events,
        "oldest": when(each.oldest),
        "oldest_age_seconds": round(time.time() - each.oldest) if each.oldest else None,
        "breaker": "open" if each.failing_since else "closed",
        "failing_since": when(each.failing_since),
        "next_due": when(each.next_due),
        "last_error": each.last_error,
    }


def _cells(row: dict[str, Any]) -> tuple[Any, ...]:
    behind = f"{row['events_behind_at_most']} at most, in {row['partitions_behind']} partition(s)"
    destination = f"down since {row['failing_since']}" if row["failing_since"] else "up"
    return (
        row["subscription"],
        row["standing"],
        row["owed_one_by_one"],
        behind if row["partitions_behind"] else "",
        age(row["oldest_age_seconds"]),
        row["next_due"] or "now",
        f"{destination}: {row['last_error']}" if row["last_error"] else destination,
    )


def age(seconds: int | None) -> str:
    """Return an age for people: its two largest units."""
    if seconds is None:
        return ""
    parts: list[str] = []
    for name, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count or (parts and len(parts) < 2):
            parts.append(f"{count} {name}")
    return " ".join(parts[:2]) or "0 s"
