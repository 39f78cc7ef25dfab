"""What a benchmark found, for people as a table and for programs as JSON."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import confluent_kafka
import pycurl
from rich.console import Console
from rich.table import Table

from benchmarks.cluster import PARTITIONS
from benchmarks.events import KEYS
from benchmarks.measure import Backlog, Latency
from consumer.broker.kafka import BATCH, PREFETCH
from consumer.settings import Settings


class Run(NamedTuple):
    """One system in one round."""

    backlog: Backlog
    latency: Latency


class Workload(NamedTuple):
    """What the systems had to do."""

    events: int  # in the backlog
    bytes: int  # of each record's value
    rate: float  # events a second that were produced live …
    seconds: float  # … for so long
    partitions: int = PARTITIONS
    keys: int = KEYS


@dataclass(frozen=True)
class Results:
    """All of one benchmark: `runs` has the rounds of each system, this project first."""

    kafka: str
    load_before: float  # of the machine, over the minute before
    workload: Workload
    receiver_alone: float  # requests a second
    runs: dict[str, list[Run]]


class Ratio(NamedTuple):
    """How many times better, pair by pair: runs of the same round."""

    median: float
    least: float
    most: float
    rounds: int


class Figure(NamedTuple):
    """A column of the table: what it shows of a run, and which of the rounds' values stands for all."""

    name: str
    title: str
    of: Callable[[Run], float]
    style: str = ",.0f"
    choose: Callable[[Sequence[float]], float] = statistics.median


FIGURES = (
    Figure("deliveries_per_second", "deliveries/s", lambda run: run.backlog.rate),
    Figure("cpu_microseconds_each", "CPU µs\neach", lambda run: run.backlog.cpu),
    Figure("p50_ms", "p50 ms", lambda run: run.latency.p50, ".1f"),
    Figure("p99_ms", "p99 ms", lambda run: run.latency.p99, ".1f"),
    Figure("peak_mb", "peak MB", lambda run: run.backlog.peak, choose=max),
    Figure("requests_too_many", "requests\ntoo many", lambda run: run.backlog.extra + run.latency.extra, choose=max),
    Figure("body_bytes", "body\nbytes", lambda run: run.backlog.body),
    Figure("receiver_busy", "receiver\nbusy", lambda run: run.backlog.receiver_busy, ".0%"),
)


def show(results: Results, console: Console) -> None:
    """Print the table, the ratios, and everything that the figures depend on."""
    work = results.workload
    console.print(
        f"backlog: {work.events:,} events of {work.bytes} bytes, {work.partitions} partitions, {work.keys} keys, "
        f"produced before; live: {work.rate:g} events/s for {work.seconds:g} s"
    )
    console.print(f"receiver alone: {results.receiver_alone:,.0f}/s")
    console.print(_table(results.runs))
    for name, ratio in ratios(results.runs).items():
        span = f"median of {ratio.rounds} rounds, {ratio.least:.1f} to {ratio.most:.1f}"
        console.print(f"{name}: {ratio.median:.1f} ({span})", highlight=False)
    for name, values in {**versions(results.kafka, results.load_before), **settings(results)}.items():
        console.print(f"{name}={values}", highlight=False, soft_wrap=True)


def as_json(results: Results) -> dict[str, Any]:
    """Return the same as values that JSON knows."""
    return {
        "workload": results.workload._asdict(),
        "receiver_alone": results.receiver_alone,
        "runs": {name: [_plain(run) for run in runs] for name, runs in results.runs.items()},
        "ratios": {name: ratio._asdict() for name, ratio in ratios(results.runs).items()},
        "versions": versions(results.kafka, results.load_before),
        "settings": settings(results),
    }


def ratios(runs: dict[str, list[Run]]) -> dict[str, Ratio]:
    """Return how this project, which is the first, compares with the other in throughput and in CPU."""
    (name, ours), (other, theirs) = runs.items()
    pairs = list(zip(ours, theirs, strict=True))
    return {
        f"deliveries/s, {name} : {other}": _ratio([a.backlog.rate / b.backlog.rate for a, b in pairs]),
        f"CPU each, {other} : {name}": _ratio([b.backlog.cpu / a.backlog.cpu for a, b in pairs]),
    }


def versions(kafka: str, load_before: float) -> dict[str, str]:
    """Return what ran, and on what."""
    return {
        "Python": platform.python_version(),
        "confluent-kafka": confluent_kafka.__version__,
        "librdkafka": confluent_kafka.libversion()[0],
        "libcurl": pycurl.version_info()[1],
        "Kafka": kafka,
        "cores": str(len(os.sched_getaffinity(0))),
        "load before": f"{load_before:.2f}",
    }


def settings(results: Results) -> dict[str, str]:
    """Return the settings in force, read from the environment of the process that was measured; secrets masked."""
    first = next(iter(results.runs.values()))[0]
    described = Settings.load(first.backlog.environ).describe()
    fixed = {name: str(value) for name, value in PREFETCH.items()}
    return (
        {each.variable: each.value or "(none)" for each in described} | fixed | {"messages taken at once": str(BATCH)}
    )


def _table(runs: dict[str, list[Run]]) -> Table:
    table = Table("", box=None, padding=(0, 1, 0, 0))  # 80 columns wide
    for figure in FIGURES:
        table.add_column(figure.title, justify="right")
    for name, of in runs.items():
        table.add_row(name, *(format(f.choose([f.of(run) for run in of]), f.style) for f in FIGURES))
    return table


def _ratio(values: Sequence[float]) -> Ratio:
    return Ratio(statistics.median(values), min(values), max(values), len(values))


def _plain(run: Run) -> dict[str, float]:
    return {figure.name: figure.of(run) for figure in FIGURES}
