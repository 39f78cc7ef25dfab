"""What happens when destinations are down, slow or picky: each scenario is played on a real Kafka by real replicas.

    python benchmarks/owed.py [outage] [blocking] [rate] [hanging] [takeover] [--bootstrap localhost:9092] [--json]

Without a scenario, all are played; that takes some fifteen minutes. Without --bootstrap, the tests' Kafka is used: a
container, or the one that SPRINTLY_TEST_BOOTSTRAP names; another one should have short sessions
(group.consumer.session.timeout.ms=6000), since replicas are killed. What the destinations got is compared with what was
produced: if anything is missing, out of order, or a bound is broken, it says so and exits with 1.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from kafka import Kafka, KafkaUnavailable  # noqa: E402

from benchmarks.blocking import Blocking  # noqa: E402
from benchmarks.hanging import Hanging  # noqa: E402
from benchmarks.outage import Outage  # noqa: E402
from benchmarks.rate import Rate  # noqa: E402
from benchmarks.report import versions  # noqa: E402
from benchmarks.stage import Broken, Findings  # noqa: E402
from benchmarks.takeover import TakeOver  # noqa: E402
from benchmarks.throughput import INTERRUPTED, at_least, kafka_at  # noqa: E402
from consumer.errors import SprintlyError  # noqa: E402


class Scenario(Protocol):
    """Something that can be played on a Kafka."""

    def play(self, bootstrap: str) -> Findings:
        """Play it, and return what it came to."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Play and print; returns the exit code: 1 if something went wrong or there is no Kafka."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that both ways to end it clean up
    logging.getLogger("librdkafka").setLevel(logging.CRITICAL)  # it tells of what it then tries again by itself
    try:
        findings = _play(options)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (KafkaUnavailable, SprintlyError) as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps([asdict(found) for found in findings], indent=2))
    return 1 if any(found.problems for found in findings) else 0


def scenarios(options: argparse.Namespace) -> dict[str, list[Callable[[], Scenario]]]:
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


def show(found: Findings) -> None:
    """Print a scenario's table, its problems, and the settings in force."""
    print(found.title)
    width = max((len(name) for name, _ in found.figures), default=0)
    for name, value in found.figures:
        print(f"  {name:{width}}  {value}")
    for problem in found.problems:
        print(f"WRONG: {problem}")
    settings = " ".join(f"{name}={value}" for name, value in found.settings.items())
    print(f"settings: {settings}")
    print("machine: " + ", ".join(f"{name} {value}" for name, value in found.machine.items()) + "\n", flush=True)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ("outage", "blocking", "rate", "hanging", "takeover")
    parser.add_argument("scenarios", metavar="SCENARIO", nargs="*", help=f"one of {', '.join(names)}; all if none")
    parser.add_argument("--events", type=at_least(100), help="that are produced (each scenario has its own number)")
    parser.add_argument("--down", type=at_least(10), help="seconds that the destination is down (outage: 90)")
    parser.add_argument(
        "--answers", action="store_true", help="being down, it answers 503 and refuses nothing (outage)"
    )
    parser.add_argument("--rate", type=at_least(10), help="events a second (blocking: 250)")
    parser.add_argument("--seconds", type=at_least(10), help="that the limited service is given (rate: 75)")
    parser.add_argument("--pairs", type=at_least(1), help="of runs to compare (outage and rate: 3, hanging: 5)")
    parser.add_argument("--subscriptions", type=at_least(10), help="that are owed something (takeover: 2000)")
    parser.add_argument("--bootstrap", metavar="HOST:PORT", help="a Kafka without authentication that may get topics")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    options = parser.parse_args(arguments)
    if unknown := set(options.scenarios) - set(names):
        parser.error(f"no scenario {', '.join(sorted(unknown))}: there are {', '.join(names)}")
    options.scenarios = options.scenarios or list(names)
    return options


def _play(options: argparse.Namespace) -> list[Findings]:
    known = scenarios(options)
    chosen = [make() for name in options.scenarios for make in known[name]]
    findings = []
    with kafka_at(options.bootstrap) as kafka:
        for scenario in chosen:
            print(f"playing {scenario}", file=sys.stderr)
            findings.append(_played(scenario, kafka))
            if not options.json:
                show(findings[-1])
    return findings


def _played(scenario: Scenario, kafka: Kafka) -> Findings:
    load, began = os.getloadavg()[0], time.monotonic()
    try:
        found = scenario.play(kafka.bootstrap)
    except Broken as error:
        found = Findings(f"{scenario}", problems=[str(error)])
    found.machine = versions(kafka.title, load) | {
        "load after": f"{os.getloadavg()[0]:.2f}",
        "seconds": f"{time.monotonic() - began:.0f}",
    }
    return found


if __name__ == "__main__":
    sys.exit(main())
