"""`services test`: what a service would send, or what a third party answers when it is really sent."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import click

import schemas
from consumer.cli.output import json_option, plain, print_json
from consumer.cli.payloads import read_payloads
from consumer.cli.replica import transport, workers
from consumer.cli.services.catalogue import the_service
from consumer.cli.wiring import load_settings
from consumer.clock import SystemClock
from consumer.codec import Codec
from consumer.errors import ConfigurationError, InvalidPayload, SprintlyError
from consumer.guarded import unguarded
from consumer.outcome import Outcome, Verdict
from consumer.references import Local
from consumer.render import RenderError
from consumer.subscriptions import Subscription, load_options, subscribe
from consumer.trial import Attempt, Shown, Trial, texts
from services import Payload, ServiceBase, matches

if TYPE_CHECKING:
    from consumer.settings import Settings

DEFAULT = "comment"
"""The example that is sent where none is named, if the service listens to it."""
_MEANINGS = {
    Verdict.DELIVERED: "delivered",
    Verdict.TRANSIENT: "not delivered; a replica would try again",
    Verdict.THROTTLED: "not delivered; a replica would wait, then try again",
    Verdict.PERMANENT: "not delivered; a replica would make a dead letter of it",
    Verdict.GONE: "not delivered; a replica would disable the subscription",
    Verdict.BROKEN: "not delivered; a replica would make a dead letter of it",
}


@click.command()
@click.argument("name")
@click.option(
    "--options",
    "options",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A YAML or JSON file with the service's options; ${NAME} in it reads the environment.",
)
@click.option(
    "--payload",
    "payload",
    metavar="FILE",
    help="A JSON file with one event, or the name of a bundled example: " + ", ".join(schemas.examples()) + ".",
)
@click.option("--dry-run", is_flag=True, help="Print the requests, secrets masked, and send nothing.")
@json_option
@click.pass_obj
def test(
    config: Path | None, name: str, options: Path | None, payload: str | None, dry_run: bool, as_json: bool
) -> None:
    """Send one event by the service NAME, and print the answer.

    It goes the way of a replica's events, and the exit code is 1 if it was not delivered. Without --options a dry run
    takes the service's example options.
    """
    service = the_service(name)
    subscriptions = _subscriptions(service, options, dry_run)
    place, event = _event(service, payload)
    trials = [Trial(one.service, event, str(uuid4()), SystemClock()) for one in subscriptions]
    asked = "" if options else ", with its example options"
    click.echo(f"{service.name}{asked}: {event['model']}.{event['action']} from {place}", err=True)
    if not matches(service.events, event["model"], event["action"]):
        wanted = ", ".join(service.events)
        click.echo(f"by itself the service listens to {wanted}: a subscription has to ask for this event", err=True)
    try:
        if dry_run:
            _show(service, trials, as_json)
        else:
            _send(load_settings(config, log_level="error"), service, trials, as_json)
    except RenderError as error:
        raise SprintlyError(str(error)) from None


def _subscriptions(service: type[ServiceBase], options: Path | None, dry_run: bool) -> Sequence[Subscription]:
    if options is not None:
        return load_options(options, service.name, os.environ)
    if not dry_run:
        raise click.UsageError("give --options FILE; only with --dry-run the service's example options will do")
    source = f"the example options of {service.name}, in place of --options FILE"
    return subscribe(service.name, service.Options.examples()[0], Local({}), source=source)


def _event(service: type[ServiceBase], payload: str | None) -> tuple[str, Payload]:
    """Return a payload that is an event, and what to call it."""
    examples = schemas.examples()
    if payload is None:
        payload = next((name for name in (DEFAULT, *examples) if _listens(service, examples[name])), DEFAULT)
    if payload in examples:  # a file of that name is ./deploy
        return f"the bundled example {payload}", {"action": "created", **examples[payload]}
    sources = list(read_payloads(Path(payload)))
    if len(sources) != 1:
        raise ConfigurationError(f"{payload}: holds {len(sources)} events, and one is sent")
    [source] = sources
    try:
        Codec().encode(source.payload)
    except InvalidPayload as error:
        raise ConfigurationError(f"{source.place}: {error}") from None
    return source.place, {"action": "created", **source.payload}


def _listens(service: type[ServiceBase], payload: Payload) -> bool:
    return matches(service.events, payload["model"], payload.get("action", "created"))


def _show(service: type[ServiceBase], trials: Sequence[Trial], as_json: bool) -> None:
    if service.blocking:
        if as_json:
            print_json([])
        click.echo(f"{service.name} sends by itself (it is blocking): what, shows only when it is sent", err=True)
        return
    shown = [trial.shown(request) for trial in trials for request in trial.requests()]
    if as_json:
        print_json(one._asdict() for one in shown)
        return
    for number, one in enumerate(shown):
        click.echo("\n" * bool(number) + "\n".join(plain(line) for line in texts(one)))
    if not shown:
        click.echo(f"{service.name} sends nothing for this event", err=True)


def _send(settings: Settings, service: type[ServiceBase], trials: Sequence[Trial], as_json: bool) -> None:
    if reason := unguarded(service, settings.egress_unguarded):
        raise ConfigurationError(reason)
    attempts = asyncio.run(_attempts(settings, trials))
    if as_json:
        print_json(_row(attempt) for attempt in attempts)
    else:
        for attempt in attempts:
            click.echo(plain(_sentence(service, attempt)))
    if not attempts:
        raise SprintlyError(f"{service.name} sends nothing for this event, so nothing was delivered")
    if any(attempt.outcome.verdict is not Verdict.DELIVERED for attempt in attempts):
        raise click.exceptions.Exit(1)


async def _attempts(settings: Settings, trials: Sequence[Trial]) -> list[Attempt]:
    async with AsyncExitStack() as stack:
        wire, threads = transport(settings), workers(settings)
        stack.push_async_callback(wire.aclose)
        stack.push_async_callback(threads.aclose)
        return [attempt for trial in trials for attempt in await trial.attempts(wire, threads)]


def _sentence(service: type[ServiceBase], attempt: Attempt) -> str:
    what = _where(attempt.request) or f"{service.name}, by itself"
    return f"{what}: {_meaning(attempt.outcome)}, in {attempt.seconds:.3f} s"


def _meaning(outcome: Outcome) -> str:
    said = outcome.error or (f"the receiver answered {outcome.status}" if outcome.status else "")
    return f"{_MEANINGS[outcome.verdict]} ({said})" if said else _MEANINGS[outcome.verdict]


def _where(request: Shown | None) -> str:
    return f"{request.method} {request.address}" if request else ""


def _row(attempt: Attempt) -> dict[str, Any]:
    outcome = attempt.outcome
    return {
        "request": _where(attempt.request) or None,
        "outcome": outcome.verdict.value,
        "status": outcome.status or None,
        "error": outcome.error or None,
        "wait": outcome.wait,
        "seconds": round(attempt.seconds, 3),
    }
