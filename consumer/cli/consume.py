"""`consume`: one replica of the consumer group."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import ExitStack
from pathlib import Path

import click
import uvloop

from consumer.cli.leaving import leave
from consumer.cli.process import allow_many_connections, collect_garbage_rarely, give_memory_back
from consumer.cli.replica import pipeline, subscribed, tracing
from consumer.cli.wiring import kafka, load_settings
from consumer.clock import SystemClock
from consumer.health import Health, HealthServer
from consumer.logs import get_logger
from consumer.metrics import Metrics
from consumer.pipeline import Pipeline


@click.command()
@click.pass_obj
def consume(config: Path | None) -> None:
    """Deliver events to their services: one replica of the consumer group.

    Runs until SIGTERM or Ctrl-C: then it takes nothing more in, finishes what is in flight, commits, and leaves the
    group. A second signal ends it at once; what was not committed is delivered again by another replica.

    Subscriptions that change are taken in while it runs, by themselves; SIGHUP has them read again in any case.
    """
    settings = load_settings(config)
    cluster = kafka(settings)
    health, metrics = Health(SystemClock().monotonic), Metrics()
    source, subscriptions = subscribed(settings, cluster, health, metrics)
    spans = tracing(settings)
    get_logger("consume").info(
        "starting",
        bootstrap_servers=settings.bootstrap_servers,
        group_id=settings.group_id,
        topic=settings.topic,
        schema_registry=str(settings.schema_registry_url or "none"),
        subscriptions=source.topic if subscriptions is None else len(subscriptions),
    )
    allow_many_connections(settings.max_in_flight)
    collect_garbage_rarely()
    give_memory_back()
    replica = pipeline(settings, cluster, subscriptions, health, metrics, source, spans)
    with ExitStack() as stack:
        if spans is not None:
            stack.callback(spans.close)
        if settings.http is not None:
            server = stack.enter_context(HealthServer(settings.http, health, metrics))
            get_logger("consume").info("serving metrics and health", host=settings.http.host, port=server.port)
        uvloop.run(_run(replica))
    leave(0)  # before `replica` goes, and its clients with it


async def _run(replica: Pipeline) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, replica.reload)
    await run_until_signalled(replica)


async def run_until_signalled(replica: Pipeline) -> None:
    """Run a replica until a signal asks for its orderly end; a second one ends the process at once."""
    loop = asyncio.get_running_loop()
    signalled = False

    def on_signal(number: int) -> None:
        nonlocal signalled
        if signalled:
            os._exit(128 + number)
        signalled = True
        replica.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    await replica.run()
