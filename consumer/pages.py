"""Pages about services: services come in, one Markdown page for each and an index go out, by file name.

All of a page is made of the service's docstring, options and other declarations, but for its notes: what stands below
the last heading, `Notes`, is written by hand and kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import indent
from typing import Any

import yaml

from services import Option, ServiceBase, described

INDEX = "README.md"
MADE = "<!-- Made by `sprintly-services services docs`"
_NOTES = "## Notes\n"
_YES = {True: "yes", False: "no"}


def pages(services: Iterable[type[ServiceBase]], written: Mapping[str, str]) -> dict[str, str]:
    """Return the pages as they ought to be; `written` are those that there are, whose notes stay."""
    found = sorted(services, key=lambda service: service.name)
    made = {f"{service.name}.md": _page(service, written.get(f"{service.name}.md", "")) for service in found}
    return {INDEX: _index(found), **made}


def written_pages(directory: Path) -> dict[str, str]:
    """Return the pages in a directory that were made here, by file name, and no other files of it."""
    found = {path.name: path.read_text("utf-8") for path in sorted(directory.glob("*.md"))}
    return {name: text for name, text in found.items() if text.startswith(MADE)}


def _index(services: Sequence[type[ServiceBase]]) -> str:
    rows = (f"| [`{s.name}`]({s.name}.md) | {s.title} | {_globs(s.events)} |" for s in services)
    return "\n".join(
        [
            f"{MADE}. -->",
            "",
            "# All services",
            "",
            "| service | third party | events, unless the subscription names its own |",
            "| --- | --- | --- |",
            *rows,
            "",
        ]
    )


def _page(service: type[ServiceBase], before: str) -> str:
    notes = before.partition(f"\n{_NOTES}")[2].strip()
    parts = [
        f"{MADE}, from the service's own words: only the notes at the end are written here. -->",
        f"# `{service.name}`: {service.title}",
        service.description,
        "## Options",
        _options(described(service.Options)),
        "## What is sent",
        "\n".join(_facts(service)),
        "## A subscription",
        f"```yaml\n{subscription(service)}```",
        *([_NOTES.strip(), notes] if notes else []),
    ]
    return "\n\n".join(parts) + "\n"


def _options(options: Sequence[Option]) -> str:
    if not options:
        return "It has none."
    rows = [
        f"| `{name}` | {type_} | {_YES[required]} | {_YES[secret]} | {description} |"
        for name, type_, required, secret, description in options
    ]
    return "\n".join(["| option | type | required | secret | what it is |", "| --- | --- | --- | --- | --- |", *rows])


def _facts(service: type[ServiceBase]) -> Iterator[str]:
    yield f"- Events: {_globs(service.events)}, unless the subscription names its own."
    if service.rate is not None:
        burst = f", {service.rate.burst} at once" if service.rate.burst > 1 else ""
        yield f"- Rate: {service.rate.per_second:g} a second{burst}; what is more waits."
    for place, most in service.limits.items():
        what = "The whole body" if place == "*" else f"`{place}`"
        unit = "bytes" if place == "*" else "entries" if place.endswith("[]") else "characters"
        yield f"- {what} has at most {most:,} {unit}."
    if service.blocking:
        yield "- It needs answers in between, or speaks something else than HTTP, so each attempt has a thread."


def _globs(events: Iterable[str]) -> str:
    return ", ".join(f"`{glob}`" for glob in events)


def subscription(service: type[ServiceBase]) -> str:
    """Return a subscriptions file with the options that the service needs, secrets read from the environment."""
    secrets = {option.name for option in described(service.Options) if option.secret}
    options = {
        name: f"${{{variable(service, name)}}}" if name in secrets else value
        for name, value in service.Options.examples()[0].items()
    }
    entry: dict[str, Any] = {"id": f"acme-{service.name}", "product": 1111, "service": service.name}
    entry |= {"options": options} if options else {}
    text = yaml.safe_dump([entry], sort_keys=False, allow_unicode=True, width=110)
    return "subscriptions:\n" + indent(text, "  ")


def variable(service: type[ServiceBase], option: str) -> str:
    """Return the environment variable that holds an option in the example subscription."""
    return f"ACME_{service.name}_{option}".upper()
