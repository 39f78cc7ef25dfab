"""`topics`: the topics of an installation."""

from __future__ import annotations

from pathlib import Path

import click

from consumer.cli.output import json_option, print_json, print_table
from consumer.cli.wiring import kafka, load_settings
from consumer.settings.values import KafkaTopic
from consumer.topics import DEFAULT_PARTITIONS, subscriptions_spec, topic_specs

ANSWER_TIME = 5.0  # seconds


@click.group()
def topics() -> None:
    """Create the topics of an installation."""


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


def _settings(config: object) -> str:
    assert isinstance(config, dict)
    return ", ".join(f"{name}={value}" for name, value in sorted(config.items()))
