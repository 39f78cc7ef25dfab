"""What happens when destinations are down, slow or picky: each scenario is played on a real Kafka by real replicas.

    python benchmarks/owed.py [outage] [blocking] [rate] [hanging] [takeover] [--bootstrap localhost:9092] [--json]

Without a scenario, all are played; that takes some fifteen minutes. Without --bootstrap, the tests' Kafka is used: a
container, or the one that SPRINTLY_TEST_BOOTSTRAP names; another one should have short sessions
(group.consumer.session.timeout.ms=6000), since replicas are killed. What the destinations got is compared with what was
produced: if anything is missing, out of order, or a bound is broken, it says so and exits with 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from benchmarks.blocking import Blocking  # noqa: E402
from benchmarks.hanging import Hanging  # noqa: E402
from benchmarks.outage import Outage  # noqa: E402
from benchmarks.playing import Scenarios, at_least, parsed, run, take_arguments  # noqa: E402
from benchmarks.rate import Rate  # noqa: E402
from benchmarks.takeover import TakeOver  # noqa: E402

NAMES = ("outage", "blocking", "rate", "hanging", "takeover")


def main(arguments: Sequence[str] | None = None) -> int:
    """Play and print; returns the exit code: 1 if something went wrong or there is no Kafka."""
    options = _options(arguments)
    return run(options, scenarios(options))


def scenarios(options: argparse.Namespace) -> Scenarios:
    """Return what each name plays, with the parameters that were given."""
    given = {name: value for name, value in vars(options).items() if value is not None}

    def some(*names: str) -> dict[str, Any]:
        return {name: given[name] for name in names if name in given}

    down = some("down", "pairs", "events")
    return {
        "outage": [lambda: Outage(**down, refuses=not options.answers)],
        "blocking": [
            lambda: Blocking(**some("events", "rate")),
            lambda: Blocking(**some("events", "rate"), many=True, crash=False),
        ],
        "rate": [lambda: Rate(**some("events", "seconds", "pairs"))],
        "hanging": [lambda: Hanging(**some("events", "pairs"))],
        "takeover": [lambda: TakeOver(**some("subscriptions"))],
    }


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    take_arguments(parser, NAMES)
    parser.add_argument("--events", type=at_least(100), help="that are produced (each scenario has its own number)")
    parser.add_argument("--down", type=at_least(10), help="seconds that the destination is down (outage: 90)")
    parser.add_argument(
        "--answers", action="store_true", help="being down, it answers 503 and refuses nothing (outage)"
    )
    parser.add_argument("--rate", type=at_least(10), help="events a second (blocking: 250)")
    parser.add_argument("--seconds", type=at_least(10), help="that the limited service is given (rate: 75)")
    parser.add_argument("--pairs", type=at_least(1), help="of runs to compare (outage and rate: 3, hanging: 5)")
    parser.add_argument("--subscriptions", type=at_least(10), help="that are owed something (takeover: 2000)")
    return parsed(parser, NAMES, arguments)


if __name__ == "__main__":
    sys.exit(main())
