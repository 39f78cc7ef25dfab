"""Several systems side by side: a table of their figures, and how this project compares with each of the others."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import confluent_kafka
import pycurl

from benchmarks.measure import Backlog, Latency
from benchmarks.stage import Findings
from consumer.broker.kafka import BATCH, PREFETCH
from consumer.settings import Settings


class Run(NamedTuple):
    """One system in one round."""

    backlog: Backlog
    latency: Latency | None


class Figure(NamedTuple):
    """A column of the table: what it shows of a run, and which of the rounds' values stands for all."""

    name: str
    title: str
    of: Callable[[Run], float | None]
    style: str = ",.0f"
    choose: Callable[[Sequence[float]], float] = statistics.median

    def text(self, runs: Sequence[Run]) -> str:
        """Return what stands in the table."""
        values = [value for run in runs if (value := self.of(run)) is not None]
        return format(self.choose(values), self.style) if values else "-"


FIGURES = (
    Figure("deliveries_per_second", "deliveries/s", lambda run: run.backlog.rate),
    Figure("cpu_microseconds_each", "CPU µs each", lambda run: run.backlog.cpu),
    Figure("cores", "cores", lambda run: run.backlog.cores, ".2f"),
    Figure("p50_ms", "p50 ms", lambda run: run.latency and run.latency.p50, ".1f"),
    Figure("p99_ms", "p99 ms", lambda run: run.latency and run.latency.p99, ".1f"),
    Figure("peak_mb", "peak MB", lambda run: run.backlog.peak, choose=max),
    Figure("out_of_order", "out of order", lambda run: run.backlog.late, choose=max),
    Figure("twice", "twice", lambda run: run.backlog.twice, choose=max),
    Figure("body_bytes", "body bytes", lambda run: run.backlog.body),
    Figure("receiver_busy", "receiver busy", lambda run: run.backlog.receiver_busy, ".0%"),
)


@dataclass
class Comparison(Findings):
    """Findings about several systems: `runs` has the rounds of each, this project first, in numbers for programs."""

    runs: dict[str, list[dict[str, float | None]]] = field(default_factory=dict)

    def compare(self, runs: Mapping[str, Sequence[Run]]) -> None:
        """Note the figures of each system in each round."""
        self.rows = [["", *(figure.title for figure in FIGURES)]]
        for name, of in runs.items():
            self.rows.append([name, *(figure.text(of) for figure in FIGURES)])
            self.runs[name] = [{figure.name: figure.of(run) for figure in FIGURES} for run in of]

    def ratio(self, name: str, values: Sequence[float], least: float | None = None) -> None:
        """Note how many times better the project is, pair by pair: runs of the same round; with `least` as target."""
        median = statistics.median(values)
        text = f"{median:.2f} (median of {len(values)}, {min(values):.2f} to {max(values):.2f})"
        if least is None:
            self.figure(name, text)
        else:
            self.target(f"{name} (at least {least:g})", text, reached=median >= least)


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


def settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the settings in force in a replica with this environment; secrets masked."""
    described = Settings.load(environ).describe()
    fixed = {name: str(value) for name, value in PREFETCH.items()}
    return (
        {each.variable: each.value or "(none)" for each in described} | fixed | {"messages taken at once": str(BATCH)}
    )
