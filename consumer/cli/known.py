"""What is known of subscriptions, for commands that are about them: read from the file or the topics."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

import click

from consumer.control import Words
from consumer.entries import Entries, Refusal, read_entries
from consumer.errors import ConfigurationError
from consumer.guarded import unguarded
from consumer.roster import Roster
from consumer.settings.values import KafkaTopic
from consumer.state import latest_states
from consumer.subscriptions import available, load_subscriptions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from consumer.broker import Broker
    from consumer.sealed import Seal
    from consumer.settings import Settings
    from consumer.state import State


def words(settings: Settings, broker: Broker) -> Words:
    """Return what was said of subscriptions; what cannot be read is told on stderr. Raises BrokerError."""
    found = Words()
    _, problems = found.take(sorted(broker.read(settings.control_topic), key=lambda record: record.offset), 0)
    _tell(problems)
    return found


def states(settings: Settings, broker: Broker) -> list[State]:
    """Return what is owed; what cannot be read is told on stderr. Raises BrokerError."""
    found, problems = latest_states(broker.read(settings.state_topic))
    _tell(problems)
    return list(found.values())


def roster(settings: Settings, broker: Broker) -> Roster:
    """Return the subscriptions that there are, or were; where the file cannot be read here, that is told on stderr."""
    if isinstance(settings.subscriptions, KafkaTopic):
        found = entries(settings, broker, settings.subscriptions.name)
        known = states(settings, broker), words(settings, broker)
        return Roster(found.subscriptions, *known, found.aside, place="the topic")
    subscriptions = None
    try:
        subscriptions = load_subscriptions(settings.subscriptions, os.environ)
    except ConfigurationError as error:
        _tell([*error.problems, "so only those are known that are owed something, or disabled; ids may be given whole"])
    return Roster(subscriptions, states(settings, broker), words(settings, broker))


def entries(settings: Settings, broker: Broker, topic: str) -> Entries:
    """Return what the subscriptions topic holds. Raises BrokerError, ConfigurationError."""
    return read_entries(broker.read(topic), seal(settings), available(), refusal(settings))


def refusal(settings: Settings) -> Refusal:
    """Return what says of a service why it may not be used."""
    return partial(unguarded, allowed=settings.egress_unguarded)


def seal(settings: Settings) -> Seal | None:
    """Return what seals and opens options; None where there is no key for it."""
    if not settings.options_key.keys:
        return None
    from consumer.sealed import Seal  # its library takes 50 ms to import, and few need it

    return Seal(settings.options_key.keys)


def _tell(problems: Iterable[str]) -> None:
    for problem in problems:
        click.echo(problem, err=True)
