"""`topics`: the topics of an installation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from consumer.cli.output import json_option, print_json, print_table
from consumer.cli.wiring import kafka, load_settings
from consumer.errors import ConfigurationError
from consumer.settings.values import KafkaTopic
from consumer.topics import DEFAULT_PARTITIONS, growing, subscriptions_spec, topic_specs

ANSWER_TIME = 5.0  # seconds


@click.group()
def topics() -> None:
    """Create the topics of an installation, and give them more partitions."""


@topics.command()
@click.option(
    "--partitions",
    type=click.IntRange(1, 10_000),
    default=DEFAULT_PARTITIONS,
    show_default=True,
    help="Partitions of the events' topic: the most replicas that can share the work.",
)
@click.option(
    "--replication",
    type=click.IntRange(1, 10),
    help="Copies of each partition.  [default: 3, or as many as there are brokers]",
)
@json_option
@click.pass_obj
def create(config: Path | None, partitions: int, replication: int | None, as_json: bool) -> None:
    """Create what is missing: events, dead letters, replays, states, control; what is there stays as it is.

    So it does with the topic of the subscriptions, where SPRINTLY_SUBSCRIPTIONS names one.
    """
    settings = load_settings(config, log_level="error")
    cluster = kafka(settings)
    copies = replication or min(3, cluster.size(ANSWER_TIME))
    specs = topic_specs(settings.topic, partitions, copies)
    if isinstance(settings.subscriptions, KafkaTopic):
        specs.append(subscriptions_spec(settings.subscriptions.name, copies))
    created = cluster.create(specs)
    rows = [{"topic": s.name, "created": created[s.name], "partitions": s.partitions, **s.config} for s in specs]
    if as_json:
        print_json(rows)
        return
    said = {True: "created", False: "was there"}
    cells = ((s.name, said[created[s.name]], s.partitions, _settings(s.config)) for s in specs)
    print_table(["topic", "", "partitions", "settings"], cells)


@topics.command()
@click.option(
    "--partitions",
    type=click.IntRange(1, 10_000),
    help="How many the events are to have.  [default: as many as they have, so that only the others may grow]",
)
@json_option
@click.pass_obj
def grow(config: Path | None, partitions: int | None, as_json: bool) -> None:
    """Give events, replays and states more partitions, while replicas run; the states first, the events last.

    It may be repeated, and mends what was begun by it or by Kafka's own tools. Kafka takes no partition away again. An
    item's later events may go to another partition than those before, and overtake what is not delivered yet: where
    that matters, let producers pause until the consumers have caught up.
    """
    settings = load_settings(config, log_level="error")
    cluster = kafka(settings)
    there = cluster.partitions(ANSWER_TIME)
    names = growing(settings.topic)
    events = there.get(settings.topic, 1)
    wanted = partitions or events
    if wanted < events:
        raise ConfigurationError(f"--partitions {wanted}: {settings.topic} has {events}, and Kafka takes none away")
    rows: list[dict[str, Any]] = []
    for name in names:
        grown = cluster.grow(name, wanted)  # says so where the topic is not there, or may not be seen
        rows.append({"topic": name, "before": there[name], "grown": grown, "now": max(there[name], wanted)})
    if as_json:
        print_json(rows)
        return
    cells = ((r["topic"], "grown" if r["grown"] else "stays", r["before"], r["now"]) for r in rows)
    print_table(["topic", "", "before", "now"], cells)


def _settings(config: object) -> str:
    assert isinstance(config, dict)
    return ", ".join(f"{name}={value}" for name, value in sorted(config.items()))
