"""`services new`: the first version of a service, which passes every test."""

from __future__ import annotations

import importlib
from pathlib import Path

import click

from consumer.cli.services.catalogue import available
from consumer.cli.services.checkout import checkout
from consumer.cli.services.pages import FOLDER, differences, write
from consumer.errors import ConfigurationError
from consumer.scaffold import LIST, files, listed, problem


@click.command()
@click.argument("name")
def new(name: str) -> None:
    """Begin a service NAME: its file, its test, its documentation.

    This needs a checkout of the project. What is written passes every test as it is, and waits for you to put the
    third party's real instructions, options and requests in.
    """
    if said := problem(name):
        raise click.UsageError(f"{name} {said}")
    root = checkout("services new")
    if name in available():
        raise click.UsageError(f"there is a service {name} already")
    for path in _written(root, name):
        click.echo(path.relative_to(root))
    click.echo(
        f"\nNow it posts a line of text to an address. `sprintly-services services test {name} --dry-run` shows it;\n"
        "docs/writing-a-service.md says how to go on, and `make check` whether it is done.",
        err=True,
    )


def _written(root: Path, name: str) -> list[Path]:
    wanted = {root / path: text for path, text in files(name).items()}
    for path in wanted:
        if path.exists():
            raise ConfigurationError(f"{path.relative_to(root)} is there already, so {name} is taken")
    list_ = root / LIST
    wanted[list_] = listed(list_.read_text("utf-8"), name)
    for path, text in wanted.items():
        path.write_text(text, "utf-8")
    importlib.invalidate_caches()  # the module is newer than what the finders know
    place = root / FOLDER
    return [*wanted, *write(place, differences(place, own=True))]
