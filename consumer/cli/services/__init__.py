"""`services`: what can be connected and how, and what those need who write one more."""

from __future__ import annotations

import click

from consumer.cli.services.catalogue import list_, show
from consumer.cli.services.new import new
from consumer.cli.services.pages import docs
from consumer.cli.services.trial import test


@click.group()
def services() -> None:
    """List the services that a product can enable, show how each is set up, try one, and begin a new one."""


for command in (list_, show, test, new, docs):
    services.add_command(command)
