"""Each alert of deploy/alerts.yaml is provoked, its section of docs/operating.md followed, and all is well again.

    python tests/nights/drill.py [ALERT ...] [--together N] [--bootstrap localhost:9092]

A Kafka (one of its own, in a container, unless another is named), replicas as processes, and a Prometheus for each
night, which has the rules of deploy/alerts.yaml: the same expressions, but a minute of them is a second. What else
differs, the table says. The commands that are typed are those of the section, as they stand there. If an alert does
not fire or end, a command does not do what the section says, or something is lost, owed or unready afterwards, it says
so and exits with 1.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from chaos.cluster import own_cluster  # noqa: E402
from kafka import KafkaUnavailable  # noqa: E402
from nights import brokers, configuration, destinations, replicas  # noqa: E402
from nights.night import Night, Place, Row  # noqa: E402
from observed import alerts  # noqa: E402
from prometheus import PrometheusMissing, missing  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from benchmarks.playing import INTERRUPTED, at_least, kafka_at  # noqa: E402
from consumer.errors import SprintlyError  # noqa: E402

NIGHTS: tuple[type[Night], ...] = (
    # Those that take longest first, so that none is waited for at the end.
    brokers.CutOff,
    brokers.NothingTaken,
    destinations.Expired,
    destinations.DeadLetters,
    destinations.Slow,
    brokers.LagGrowing,
    replicas.Rebalancing,
    brokers.Poison,
    destinations.OwedTooOld,
    brokers.SchemasUnavailable,
    destinations.DestinationDown,
    replicas.NotReadyWithoutTopics,
    replicas.NotReadyWithoutPlace,
    replicas.NotReadyWithoutControl,
    replicas.NoReplica,
    replicas.ReplicaDown,
    configuration.SetAside,
    configuration.ConfigurationRefused,
)
NAMES = list(dict.fromkeys(alert["alert"] for alert in alerts()))
TOGETHER = 5
# Kafka looks for what it may drop each second, and not each five minutes.
PROPERTIES = {"log.retention.check.interval.ms": "1000"}
WIDTH = 170


def play(nights: Sequence[type[Night]], place: Place, together: int = TOGETHER) -> list[Row]:
    """Play nights, so many of them side by side; returns what each came to, in their order."""
    with ThreadPoolExecutor(together) as pool:
        return list(pool.map(lambda night: _played(night, place), nights))


def _played(night: type[Night], place: Place) -> Row:
    if night.own_kafka and place.container is None:
        reason = "not provoked: it needs a Kafka of its own, without --bootstrap"
        return Row(night.alert, night.how, problems=[f"{night.alert} ({night.how}): {reason}"])
    with tempfile.TemporaryDirectory(prefix="night-") as folder:
        row = night(place, Path(folder)).play()
    say(f"{row.alert}: {'WRONG' if row.problems else 'well'} after {row.fired_after:.0f} s and {row.over_after:.0f} s")
    return row


def table(rows: Sequence[Row]) -> Table:
    """Return a line for each night."""
    made = Table("alert", "provoked by", "fired after", "done", "over after", "well", show_lines=True)
    for row in sorted(rows, key=lambda row: NAMES.index(row.alert)):
        times = (f"{row.fired_after:.0f} s", f"{row.over_after:.0f} s") if row.well else ("", "")
        made.add_row(row.alert, row.how, times[0], row.done, times[1], row.well or "NO")
    return made


def say(sentence: str) -> None:
    """Print what is not the table."""
    print(sentence, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Play and print; returns the exit code: 1 if anything does not hold, or there is no Kafka or Prometheus."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that both ways to end it clean up
    logging.getLogger("librdkafka").setLevel(logging.CRITICAL)  # it tells of what it then tries again by itself
    chosen = [night for night in NIGHTS if night.alert in options.alerts]
    try:
        if reason := missing():
            raise PrometheusMissing(reason)
        with _place(options.bootstrap) as place:
            rows = play(chosen, place, options.together)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (KafkaUnavailable, PrometheusMissing, SprintlyError) as error:
        print(error, file=sys.stderr)
        return 1
    Console(width=max(WIDTH, Console().width)).print(table(rows))
    problems = [problem for row in rows for problem in row.problems]
    problems += [f"{name} has no night" for name in options.alerts if name not in {night.alert for night in NIGHTS}]
    for problem in problems:
        print(f"WRONG: {problem}")
    return 1 if problems else 0


@contextmanager
def _place(bootstrap: str | None) -> Iterator[Place]:
    if bootstrap:
        with kafka_at(bootstrap) as kafka:
            yield Place(kafka.bootstrap)
    else:
        with own_cluster(PROPERTIES) as cluster:
            gate = cluster.gate
            yield Place(cluster.bootstrap, cluster.container, cluster.behind_gate, gate.stall, gate.open)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("alerts", metavar="ALERT", nargs="*", help=f"one of {', '.join(NAMES)}; all if none")
    parser.add_argument("--together", type=at_least(1), default=TOGETHER, help="nights side by side (%(default)s)")
    parser.add_argument("--bootstrap", metavar="HOST:PORT", help="a Kafka without authentication that may get topics")
    options = parser.parse_args(arguments)
    if unknown := set(options.alerts) - set(NAMES):
        parser.error(f"no alert {', '.join(sorted(unknown))}: there are {', '.join(NAMES)}")
    options.alerts = options.alerts or NAMES
    return options


if __name__ == "__main__":
    sys.exit(main())
