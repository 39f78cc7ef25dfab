"""`services list` and `services show`: what can be connected, and how."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Console
from rich.markdown import Markdown

from consumer.cli.output import json_option, print_json, print_table
from consumer.errors import ConfigurationError
from services import ServiceBase, ServiceError, described, get_available_services


@click.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the services that are installed."""
    found = available().values()
    if as_json:
        print_json(_row(service) for service in found)
    else:
        print_table(["name", "title", "events"], ((s.name, s.title, ", ".join(s.events)) for s in found))


@click.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show how the service NAME is set up, and its options."""
    service = the_service(name)
    if as_json:
        print_json([_row(service)])
        return
    Console().print(Markdown(f"# {service.title}\n\n{service.description}"))
    click.echo()
    columns = ["option", "type", "required", "secret", "what it is"]
    print_table(columns, (_option_cells(option) for option in _options(service)))


def available() -> dict[str, type[ServiceBase]]:
    """Return every service by name; raises ConfigurationError where one is broken."""
    try:
        return get_available_services()
    except ServiceError as error:
        raise ConfigurationError(str(error)) from None


def the_service(name: str) -> type[ServiceBase]:
    """Return the service of that name; raises UsageError if there is none."""
    found = available()
    if name not in found:
        raise click.UsageError(f"there is no service {name}; there are: {', '.join(found)}")
    return found[name]


def _row(service: type[ServiceBase]) -> dict[str, Any]:
    return {
        "name": service.name,
        "title": service.title,
        "description": service.description,
        "events": list(service.events),
        "options": _options(service),
    }


def _options(service: type[ServiceBase]) -> list[dict[str, Any]]:
    return [option._asdict() for option in described(service.Options)]


def _option_cells(option: dict[str, Any]) -> tuple[str, ...]:
    yes = {True: "yes", False: "no"}
    return option["name"], option["type"], yes[option["required"]], yes[option["secret"]], option["description"]
