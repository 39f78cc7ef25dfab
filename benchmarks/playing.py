"""Scenarios played one after the other on a real Kafka, and what they came to, as tables or JSON."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import NamedTuple, Protocol, TypeAlias

from kafka import Kafka, KafkaUnavailable, answers, real_kafka

from benchmarks.report import versions
from benchmarks.stage import Broken, Findings
from consumer.errors import SprintlyError

REACHABLE = 30.0  # seconds that a Kafka of one's own may take to answer
INTERRUPTED = 128 + signal.SIGINT


class Scenario(Protocol):
    """Something that can be played on a Kafka."""

    def play(self, bootstrap: str) -> Findings:
        """Play it, and return what it came to."""


Scenarios: TypeAlias = Mapping[str, Sequence[Callable[[], Scenario]]]
"""What each name plays."""


def take_arguments(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    """Let a parser take the names of scenarios, a Kafka's address, and whether JSON is wanted."""
    parser.add_argument("scenarios", metavar="SCENARIO", nargs="*", help=f"one of {', '.join(names)}; all if none")
    parser.add_argument("--bootstrap", metavar="HOST:PORT", help="a Kafka without authentication that may get topics")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of tables")


def parsed(
    parser: argparse.ArgumentParser, names: Sequence[str], arguments: Sequence[str] | None
) -> argparse.Namespace:
    """Return what was asked for; all scenarios where none was named."""
    options = parser.parse_args(arguments)
    if unknown := set(options.scenarios) - set(names):
        parser.error(f"no scenario {', '.join(sorted(unknown))}: there are {', '.join(names)}")
    options.scenarios = options.scenarios or list(names)
    return options


def lettered(letters: Mapping[str, str], known: Scenarios) -> Scenarios:
    """Have the titles of scenarios begin with a letter each, by which they are known."""

    def lettering(letter: str, make: Callable[[], Scenario]) -> Callable[[], Scenario]:
        return lambda: _Lettered(letter, make())

    return {name: [lettering(letters[name], make) for make in makes] for name, makes in known.items()}


class _Lettered(NamedTuple):
    letter: str
    scenario: Scenario

    def play(self, bootstrap: str) -> Findings:
        found = self.scenario.play(bootstrap)
        found.title = f"{self.letter}: {found.title}"
        return found

    def __str__(self) -> str:
        return f"{self.letter}: {self.scenario}"


def at_least(least: int) -> Callable[[str], int]:
    """Return what reads a number of the command line, and refuses a smaller one."""

    def number(text: str) -> int:
        if (value := int(text)) < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}")
        return value

    return number


@contextmanager
def kafka_at(bootstrap: str | None) -> Iterator[Kafka]:
    """Give the Kafka at this address; without one, that of the tests. Raises KafkaUnavailable."""
    if bootstrap is None:
        with real_kafka(os.environ, jvm="") as kafka:
            yield kafka
    elif answers(bootstrap, REACHABLE):
        yield Kafka(bootstrap, f"at {bootstrap}")
    else:
        raise KafkaUnavailable(f"no Kafka at {bootstrap} answered within {REACHABLE:g} s (--bootstrap)")


def run(options: argparse.Namespace, known: Scenarios) -> int:
    """Play and print; returns the exit code: 1 if something went wrong or there is no Kafka."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that both ways to end it clean up
    logging.getLogger("librdkafka").setLevel(logging.CRITICAL)  # it tells of what it then tries again by itself
    try:
        findings = _play(options, known)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (KafkaUnavailable, SprintlyError) as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps([asdict(found) for found in findings], indent=2))
    return 1 if any(found.problems for found in findings) else 0


def show(found: Findings) -> None:
    """Print a scenario's tables, its problems, and the settings in force."""
    print(found.title)
    _table(found.rows)
    width = max((len(name) for name, _ in found.figures), default=0)
    for name, value in found.figures:
        print(f"  {name:{width}}  {value}")
    for problem in found.problems:
        print(f"WRONG: {problem}")
    settings = " ".join(f"{name}={value}" for name, value in found.settings.items())
    print(f"settings: {settings}")
    print("machine: " + ", ".join(f"{name} {value}" for name, value in found.machine.items()) + "\n", flush=True)


def _table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their headings, names to the left and figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *figures in rows:
        cells = [f"{value:>{width}}" for value, width in zip(figures, widths[1:], strict=True)]
        print("  ".join([f"  {name:{widths[0]}}", *cells]))


def _play(options: argparse.Namespace, known: Scenarios) -> list[Findings]:
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
