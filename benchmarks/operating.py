"""What an operator does, played on a real Kafka by real replicas and the commands themselves.

    python benchmarks/operating.py [letters] [backfill] [story] [--bootstrap localhost:9092] [--json]

Without a scenario, all are played; that takes some five minutes. Without --bootstrap, the tests' Kafka is used: a
container, or the one that SPRINTLY_TEST_BOOTSTRAP names. What the destinations got is compared with what was to come:
if anything is missing, out of order, or came where it should not, it says so and exits with 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from benchmarks.backfilling import Backfilling  # noqa: E402
from benchmarks.letters import Letters  # noqa: E402
from benchmarks.playing import Scenarios, at_least, parsed, run, take_arguments  # noqa: E402
from benchmarks.story import Story  # noqa: E402

NAMES = ("letters", "backfill", "story")


def main(arguments: Sequence[str] | None = None) -> int:
    """Play and print; returns the exit code: 1 if something went wrong or there is no Kafka."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    take_arguments(parser, NAMES)
    parser.add_argument("--events", type=at_least(1000), default=200_000, help="in the log (backfill: %(default)s)")
    parser.add_argument("--letters", type=at_least(400), default=10_000, help="dead letters (letters: %(default)s)")
    options = parsed(parser, NAMES, arguments)
    return run(options, scenarios(options))


def scenarios(options: argparse.Namespace) -> Scenarios:
    """Return what each name plays, with the parameters that were given."""
    return {
        "letters": [lambda: Letters(options.letters)],
        "backfill": [lambda: Backfilling(options.events)],
        "story": [Story],
    }


if __name__ == "__main__":
    sys.exit(main())
