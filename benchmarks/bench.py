"""What a delivery costs and how much one replica carries, beside other ways to do the same job, on a real Kafka.

    python benchmarks/bench.py [SCENARIO …] [--bootstrap localhost:9092] [--json]

A instant     receivers answer at once: this project, the naive loop, a thread pool, FastStream
B slow        receivers take 50 ms and 500 ms
C neighbours  one of ten destinations hangs
D fanout      one event for ten subscriptions
E backlog     a million events, one destination dead
F replicas    one replica and two, with half a core each
G startup     from a process's start to its first delivery
H unrouted    events of products that have no subscription

Without a scenario, all are played. Without --bootstrap, the tests' Kafka is used: a container, or the one that
SPRINTLY_TEST_BOOTSTRAP names. What the receivers got is compared with what was produced: if anything is missing, or
out of order or doubled where it must not be, it says so and exits with 1. Targets that are missed are said, and are no
failure: machines differ. What is measured, and how: docs/performance.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from benchmarks.backlog import BigBacklog  # noqa: E402
from benchmarks.fanout import Fanout  # noqa: E402
from benchmarks.instant import Instant  # noqa: E402
from benchmarks.neighbours import Neighbours  # noqa: E402
from benchmarks.playing import Scenarios, at_least, lettered, parsed, run, take_arguments  # noqa: E402
from benchmarks.replicas import Replicas  # noqa: E402
from benchmarks.slow import Slow  # noqa: E402
from benchmarks.startup import Startup  # noqa: E402
from benchmarks.unrouted import Unrouted  # noqa: E402

NAMES = ("instant", "slow", "neighbours", "fanout", "backlog", "replicas", "startup", "unrouted")
LETTERS = dict(zip(NAMES, "ABCDEFGH", strict=True))


def main(arguments: Sequence[str] | None = None) -> int:
    """Play and print; returns the exit code: 1 if something went wrong or there is no Kafka."""
    options = _options(arguments)
    return run(options, lettered(LETTERS, scenarios(options)))


def scenarios(options: argparse.Namespace) -> Scenarios:
    """Return what each name plays, with the parameters that were given."""
    given = {name: value for name, value in vars(options).items() if value is not None}

    def some(*names: str) -> dict[str, Any]:
        return {name: given[name] for name in names if name in given}

    return {
        "instant": [lambda: Instant(**some("events", "rounds", "rate", "seconds"))],
        "slow": [lambda: Slow(**some("rounds", "seconds"))],
        "neighbours": [lambda: Neighbours(**some("events", "rate", "seconds", "pairs"))],
        "fanout": [lambda: Fanout(**some("events", "rounds"))],
        "backlog": [lambda: BigBacklog(**some("events", "pairs"))],
        "replicas": [lambda: Replicas(**some("events", "rounds"))],
        "startup": [lambda: Startup(**some("starts"))],
        "unrouted": [lambda: Unrouted(**some("events", "rounds"))],
    }


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    take_arguments(parser, NAMES)
    parser.add_argument("--events", type=at_least(100), help="that lie in the log (each scenario has its own number)")
    parser.add_argument("--rounds", type=at_least(1), help="how often each has its turn (3)")
    parser.add_argument("--pairs", type=at_least(1), help="of runs to compare (neighbours: 5, backlog: 1)")
    parser.add_argument("--rate", type=at_least(10), help="live events a second (instant: 200, neighbours: 100)")
    parser.add_argument("--seconds", type=at_least(1), help="of these (10); of each backlog (slow: 8)")
    parser.add_argument("--starts", type=at_least(1), help="of a replica (startup: 5)")
    return parsed(parser, NAMES, arguments)


if __name__ == "__main__":
    sys.exit(main())
