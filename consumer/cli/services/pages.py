"""`services docs`: a page for each service, made of what it says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from consumer.cli.services.catalogue import available
from consumer.cli.services.checkout import checkout
from consumer.errors import ConfigurationError, SprintlyError
from consumer.pages import pages, written_pages

FOLDER = "docs/services"


@click.command()
@click.argument("directory", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--check", is_flag=True, help="Write nothing: say which pages are out of date, and exit with 1 if any is."
)
def docs(directory: Path | None, check: bool) -> None:
    """Write a page for each service into DIRECTORY, and an index.

    Without DIRECTORY it is docs/services of the checkout that the command runs from, and its own services only. Notes
    at the end of a page are kept, and the page of a service that is gone is removed.
    """
    own = directory is None
    place = checkout("services docs without a DIRECTORY") / FOLDER if directory is None else directory
    stale = differences(place, own=own)
    if check:
        for name, what in stale.items():
            click.echo(f"{place / name}: {_why(what)}")
        if stale:
            raise SprintlyError("out of date; `sprintly-services services docs` writes the pages anew")
        return
    for path in write(place, stale):
        click.echo(path)


def differences(place: Path, *, own: bool) -> dict[str, str | None]:
    """Return what the pages in a directory ought to be where they are not; None stands for one too many.

    With `own`, only services of this project count, and none of other packages.
    """
    services = [s for s in available().values() if not own or s.__module__.startswith("services.")]
    try:
        written = written_pages(place)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{place}: the pages there cannot be read: {error}") from None
    wanted = pages(services, written)
    return {name: wanted.get(name) for name in {**wanted, **written} if wanted.get(name) != written.get(name)}


def write(place: Path, pages: Mapping[str, str | None]) -> list[Path]:
    """Write pages, and remove those that are None; returns their paths."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        for name, text in pages.items():
            if text is None:
                (place / name).unlink()
            else:
                _not_ours(place / name)
                (place / name).write_text(text, "utf-8")
    except OSError as error:
        raise ConfigurationError(f"{place}: cannot be written: {error.strerror}") from None
    return [place / name for name in pages]


def _not_ours(path: Path) -> None:
    """Raise ConfigurationError where a file of somebody else's would be overwritten, such as a project's README."""
    if path.exists() and path.name not in written_pages(path.parent):
        raise ConfigurationError(f"{path}: this file was not made by `services docs`, so it is not overwritten")


def _why(text: str | None) -> str:
    return "there is no such service" if text is None else "out of date"
