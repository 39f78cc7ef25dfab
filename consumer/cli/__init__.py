"""The command `sprintly-services`: where settings are read, objects wired together, and errors become sentences."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module, metadata
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from consumer.cli.leaving import leave
from consumer.errors import SprintlyError
from consumer.traces import speak_safely

# Each command is the function of its name in the module of its name, imported when it is used: `--help` waits for no
# library that it does not need.
COMMANDS = {
    "consume": "Deliver events to their services: one replica.",
    "deliveries": "See what is owed, and since when.",
    "demo": "See it work, with nothing to install.",
    "dlq": "List, show, replay and drop what failed for good.",
    "produce": "Write events from JSON files to Kafka.",
    "schemas": "Register, show and check the events' schema.",
    "services": "List, show, try, begin and document services.",
    "subscriptions": "List, disable, enable, backfill and forget subscriptions.",
    "topics": "Create the topics of an installation.",
}


class Commands(click.Group):
    """A group that knows its commands' names and one-line help before they are imported."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in order."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import and return a command; None if there is none of that name."""
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"consumer.cli.{name}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing one."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(metadata.version("sprintly-services"), prog_name="sprintly-services")
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A TOML file with settings; SPRINTLY_ variables win over it.",
)
@click.pass_context
def cli(ctx: click.Context, config: Path | None) -> None:
    """Tell third parties what happens in a Sprint.ly product: events from Kafka, pings to services.

    `demo` shows everything at once, with nothing to install. Settings are SPRINTLY_ environment variables.
    """
    ctx.obj = config


def main() -> NoReturn:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage or configuration."""
    # Before anything slow is imported: the first process of a container has no way of its own to take SIGTERM.
    signal.signal(signal.SIGTERM, _end)
    speak_safely()
    try:
        result = cli.main(prog_name="sprintly-services", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as exit_:
        leave(exit_.exit_code)
    except click.ClickException as error:
        error.show()
        leave(error.exit_code)
    except click.Abort:
        _say("stopped")
        leave(1)
    except SprintlyError as error:
        _say(str(error))
        leave(error.exit_code)
    except BrokenPipeError:  # the reader of our output has gone, as `| head` does
        leave(1)
    except Exception as error:  # noqa: BLE001 - a defect of ours, shown as Python would
        sys.excepthook(type(error), error, error.__traceback__)
        leave(1)
    leave(result if isinstance(result, int) else 0)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    """Exit at once, as a process does that a signal ends; `consume` and `demo` have a better way once they run.

    An exception would unwind whatever is just being imported, and a library half imported may crash when it is torn
    down (seen: a segmentation fault instead of an exit code).
    """
    os._exit(128 + number)


def _say(text: str) -> None:
    for line in text.splitlines():
        click.echo(f"sprintly-services: {line}", err=True)
