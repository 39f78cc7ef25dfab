"""What commands print: tables for people, one JSON array for programs, and progress where it takes long."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

WIDE = 100_000  # columns: what is not printed on a terminal is not folded

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON array instead of a table.")


def print_json(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows as one JSON array."""
    click.echo(orjson.dumps(list(rows), option=orjson.OPT_INDENT_2).decode())


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, unbroken: int = 0) -> None:
    """Print rows as a table, the first `unbroken` columns on one line; what stands in them is text, never markup."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=index < unbroken)
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    console = Console()
    if not console.is_terminal:  # a program reads it, `grep` say: a row is one line
        console.width = WIDE
    console.print(table)


def plain(value: Any) -> str:
    """Return a value as text in which nothing can move the cursor or colour the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in str(value))


def progress(what: str) -> Progress:
    """Return a progress bar on stderr that says `what` is being done; nothing where nobody looks."""
    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def when(seconds: float) -> str:
    """Return a time (seconds since 1970) for people and programs: ISO 8601 in UTC; empty for none.

    A record may claim a time that is in no year; it is told in seconds.
    """
    if not seconds:
        return ""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.0f} s since 1970"
