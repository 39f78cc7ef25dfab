"""What a delivery costs: this project beside a naive loop, in one run on one Kafka, posting to one receiver.

    python benchmarks/throughput.py [--events 40000] [--rounds 3] [--bootstrap localhost:9092] [--json]

Without --bootstrap, the tests' Kafka is used: a container, or the one that SPRINTLY_TEST_BOOTSTRAP names. No figure is
printed unless the receiver got every event exactly once. What is measured, and how: docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from kafka import Kafka, KafkaUnavailable, answers, real_kafka  # noqa: E402
from rich.console import Console  # noqa: E402

from benchmarks.cluster import Cluster  # noqa: E402
from benchmarks.events import Events  # noqa: E402
from benchmarks.load import limit  # noqa: E402
from benchmarks.measure import Bench, WrongCount  # noqa: E402
from benchmarks.receiver import Receiver  # noqa: E402
from benchmarks.report import Results, Run, Workload, as_json, show  # noqa: E402
from benchmarks.systems import Naive, Project, System  # noqa: E402
from consumer.errors import SprintlyError  # noqa: E402

SYSTEMS: tuple[System, ...] = (Project(), Naive())
REACHABLE = 30.0  # seconds that a Kafka of one's own may take to answer
INTERRUPTED = 128 + signal.SIGINT


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code: 1 if a count was wrong or there is no Kafka."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that both ways to end it clean up
    logging.getLogger("librdkafka").setLevel(logging.CRITICAL)  # it tells of what it then tries again by itself
    try:
        results = _measure(options)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (WrongCount, KafkaUnavailable, SprintlyError) as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(as_json(results), indent=2))
    else:
        show(results, Console())
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--events", type=at_least(1000), default=40_000, help="how many the backlog holds (%(default)s)"
    )
    parser.add_argument("--rounds", type=at_least(1), default=3, help="how often each has its turn (%(default)s)")
    parser.add_argument("--rate", type=at_least(10), default=200, help="events produced live, a second (%(default)s)")
    parser.add_argument("--seconds", type=at_least(1), default=10, help="how long they are (%(default)s)")
    parser.add_argument("--bootstrap", metavar="HOST:PORT", help="a Kafka without authentication that may get topics")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of a table")
    return parser.parse_args(arguments)


def at_least(least: int) -> Callable[[str], int]:
    """Return what reads a number of the command line, and refuses a smaller one."""

    def number(text: str) -> int:
        if (value := int(text)) < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}")
        return value

    return number


def _measure(options: argparse.Namespace) -> Results:
    load_before = os.getloadavg()[0]
    events = Events()
    # The receiver first: its process is forked, and threads of librdkafka would not come along.
    with Receiver() as receiver, kafka_at(options.bootstrap) as kafka:
        alone = limit(receiver, events.body())
        runs = _rounds(options, Cluster(kafka.bootstrap, events), receiver)
    work = Workload(options.events, len(events.record("", 0).value or b""), options.rate, options.seconds)
    return Results(kafka.title, load_before, work, alone, runs)


def _rounds(options: argparse.Namespace, cluster: Cluster, receiver: Receiver) -> dict[str, list[Run]]:
    bench = Bench(cluster, receiver)
    runs: dict[str, list[Run]] = {system.name: [] for system in SYSTEMS}
    with cluster.topic() as topic:
        _say(f"producing {options.events} events")
        cluster.write(topic, range(options.events))
        for number in range(options.rounds):
            for system in SYSTEMS:
                _say(f"round {number + 1} of {options.rounds}: {system.name}")
                backlog = bench.backlog(system, topic, options.events)
                runs[system.name].append(Run(backlog, bench.latency(system, options.rate, options.seconds)))
    return runs


@contextmanager
def kafka_at(bootstrap: str | None) -> Iterator[Kafka]:
    """Give the Kafka at this address; without one, that of the tests. Raises KafkaUnavailable."""
    if bootstrap is None:
        with real_kafka(os.environ) as kafka:
            yield kafka
    elif answers(bootstrap, REACHABLE):
        yield Kafka(bootstrap, f"at {bootstrap}")
    else:
        raise KafkaUnavailable(f"no Kafka at {bootstrap} answered within {REACHABLE:g} s (--bootstrap)")


def _say(progress: str) -> None:
    print(progress, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
