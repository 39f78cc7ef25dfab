"""Every metric's name, help and unit, and the counting behind them; counts come in, Prometheus's text goes out.

Counting is on the hot path, so it is plain arithmetic in dictionaries: no lock, no look-up of label objects. Each
metric is counted by one thread; another one reads it when Prometheus asks. No label is unbounded: there is none for
a subscription, a product or an address.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"  # of what `Metrics.render` returns
PREFIX = "sprintly_"
DISTRIBUTION = "sprintly-services"
OTHER = "other"
MAX_EVENT_KINDS = 50  # pairs of model and action; they come from outside, and each makes a time series
MAX_LABEL = 100  # characters; a longer name is no model or action that anyone would look for

# An attempt ends by SPRINTLY_ATTEMPT_TIMEOUT, 15 s by default.
ATTEMPT_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0)
# A cycle takes 10 to 120 ms where all is well; the broker ends one after 10 s by default.
CYCLE_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# A delivery that is tried again may take more than a day.
DELIVERY_BUCKETS: Final = (
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
    *(300.0, 1800.0, 7200.0, 36000.0, 86400.0),
)


class Counter:
    """How often something happened, by the values of its labels; `limit` bounds how many combinations are kept."""

    def __init__(self, name: str, text: str, labels: Sequence[str], limit: int | None = None) -> None:
        self.name = PREFIX + name
        self._text = text
        self.labels = labels
        self._limit = limit
        self._counts: dict[tuple[str, ...], int] = {}

    def add(self, *labels: str, n: int = 1) -> None:
        """Count `n` more for these label values, in the order of the metric's labels."""
        try:
            self._counts[labels] += n
        except KeyError:
            self._begin(labels, n)

    def _begin(self, labels: tuple[str, ...], n: int) -> None:
        full = self._limit is not None and len(self._counts) >= self._limit
        if full or any(len(label) > MAX_LABEL for label in labels):
            labels = (OTHER,) * len(labels)
        self._counts[labels] = self._counts.get(labels, 0) + n

    def value(self, *labels: str) -> int:
        """Return the count for these label values, 0 if there is none."""
        return self._counts.get(labels, 0)

    def family(self) -> Metric:
        """Return what Prometheus is told."""
        family = CounterMetricFamily(self.name, self._text, labels=self.labels)
        for labels, count in list(self._counts.items()):  # a copy made in one step: another thread may count on
            family.add_metric(labels, count)
        return family


class Gauge:
    """How much of something there is now: read from its owner when Prometheus asks, and left out without one."""

    def __init__(self, name: str, text: str) -> None:
        self.name = PREFIX + name
        self.labels: Sequence[str] = ()
        self._text = text
        self._read: Callable[[], float] | None = None

    def read_from(self, owner: Callable[[], float]) -> None:
        """Let this function say the value; it is called from the thread that serves metrics, and must be quick."""
        self._read = owner

    def family(self) -> Metric:
        """Return what Prometheus is told."""
        return GaugeMetricFamily(self.name, self._text, value=self._read() if self._read else None)


class Gauges:
    """How much of something there is now, by the values of its labels: what its owner said last, as a whole."""

    def __init__(self, name: str, text: str, labels: Sequence[str]) -> None:
        self.name = PREFIX + name
        self._text = text
        self.labels = labels
        self._values: Mapping[tuple[str, ...], float] = {}

    def replace(self, values: Mapping[tuple[str, ...], float]) -> None:
        """Say how much there is by the values of the labels; what is not among them is there no more.

        The mapping is the gauge's from now on: nobody may change it.
        """
        self._values = values

    def family(self) -> Metric:
        """Return what Prometheus is told."""
        family = GaugeMetricFamily(self.name, self._text, labels=self.labels)
        for labels, value in self._values.items():
            family.add_metric(labels, value)
        return family


class Histogram:
    """How long something took, in seconds; by service, where it has labels."""

    def __init__(self, name: str, text: str, buckets: Sequence[float], labels: Sequence[str] = ("service",)) -> None:
        self.name = PREFIX + name
        self._text = text
        self._buckets = buckets
        self.labels = labels
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}

    def observe(self, service: str, seconds: float) -> None:
        """Count one that took so long (`service` is "" without labels); a clock that went back counts as 0."""
        seconds = max(seconds, 0.0)
        try:
            counts = self._counts[service]
        except KeyError:
            self._sums[service] = 0.0
            counts = self._counts[service] = [0] * (len(self._buckets) + 1)
        counts[bisect_left(self._buckets, seconds)] += 1
        self._sums[service] += seconds

    def family(self) -> Metric:
        """Return what Prometheus is told: in each bucket those that took as long or less."""
        family = HistogramMetricFamily(self.name, self._text, labels=self.labels)
        for service, counts in list(self._counts.items()):
            family.add_metric([service] if self.labels else [], self._cumulative(list(counts)), self._sums[service])
        return family

    def _cumulative(self, counts: list[int]) -> list[tuple[str, float]]:
        bounds = [*(str(bound) for bound in self._buckets), "+Inf"]
        return list(zip(bounds, accumulate(counts), strict=True))


KINDS: Final = (Counter, Gauge, Gauges, Histogram)


class Metrics(Collector):
    """All metrics of one process, handed to whoever counts; `render` gives them to Prometheus.

    A counter's name ends in `_total` where Prometheus shows it. Beside them stand the process's own (`process_…`).
    """

    def __init__(self) -> None:
        # What came in, and what became of it.
        self.events = Counter("events", "Events decoded.", ["model", "action"], limit=MAX_EVENT_KINDS)
        self.deliveries = Counter(
            "deliveries", "Deliveries finished: delivered, dead, skipped or dropped.", ["service", "outcome"]
        )
        self.attempts = Counter(
            "attempts", "Attempts: delivered, transient, permanent, throttled, gone or broken.", ["service", "outcome"]
        )
        self.dead_letters = Counter("dead_letters", "Dead letters made durable.", ["stage", "reason"])
        self.expired = Counter("expired", "Deliveries that left the log before they were made.", ["service"])
        # What is going on right now.
        self.in_flight = Gauge("in_flight", "Attempts in flight.")
        self.in_hand = Gauge("in_hand", "Deliveries taken in hand and not finished.")
        self.owed = Gauges(
            "owed", "Deliveries in hand that are owed: tried again later, or waiting behind such a one.", ["service"]
        )
        self.behind = Gauges(
            "behind", "Pairs of subscription and partition that are read later than live.", ["service"]
        )
        self.behind_records = Gauges(
            "behind_records",
            "Records that those who are behind have to read until they are live: at most so many are for them.",
            ["service"],
        )
        self.oldest_owed = Gauges(
            "oldest_owed_seconds",
            "Seconds since the oldest event that is owed was written, about; 0 where nothing is owed.",
            ["service"],
        )
        self.breakers = Gauges(
            "breakers",
            "Subscriptions by what this replica believes of their destinations: closed (up), open (down), probing"
            " (down, and just being tried) or disabled.",
            ["service", "state"],
        )
        self.disabled = Gauge("disabled", "Subscriptions that are disabled: what is for them waits.")
        self.set_aside = Gauge("subscriptions_set_aside", "Records of the subscriptions topic that cannot be used.")
        self.buffered_bytes = Gauge("buffered_bytes", "Bytes of the events held in memory.")
        self.assigned_partitions = Gauge("assigned_partitions", "Partitions that this replica reads.")
        self.poisoned = Gauge("poisoned", "1 while no event is taken in, since too many records could not be read.")
        self.loop_delay = Gauge(
            "loop_delay_seconds", "Seconds that the event loop was late, at most, in the last minute."
        )
        self.ready = Gauge("ready", "1 while the replica is ready, 0 while it is not, as /readyz says.")
        self.not_ready = Gauges("not_ready", "1 for each check that makes the replica unready.", ["check"])
        self.build_info = Gauges("build_info", "1, with the version that runs.", ["version"])
        self.build_info.replace({(version(DISTRIBUTION),): 1})
        # Subscriptions that change while it runs.
        self.configuration_generation = Gauge(
            "configuration_generation", "Which subscriptions are active: 1 for those of the start, 1 more each change."
        )
        self.configuration_reloads = Counter(
            "configuration_reloads", "Changed subscriptions: accepted, unchanged or refused.", ["result"]
        )
        self.configuration_refused = Gauge(
            "configuration_refused", "1 while the subscriptions that are there are refused, and former ones active."
        )
        # Kafka: how outcomes become durable, and how partitions move.
        self.lag = Gauges(
            "lag_records",
            "Records of the events' partition from the committed watermark to the log's end: a difference of offsets,"
            " so an upper bound where the log has holes.",
            ["partition"],
        )
        self.cycles = Counter(
            "cycles",
            "Cycles: durable, aborted (said again by the next) or refused (a record was too large).",
            ["result"],
        )
        self.cycle_seconds = Histogram(
            "cycle_seconds", "Seconds that a cycle's transaction took, whatever its result.", CYCLE_BUCKETS, labels=()
        )
        self.cycle_age = Gauge(
            "cycle_age_seconds", "Seconds since a cycle was durable, or there was nothing to make durable."
        )
        self.rebalances = Counter("rebalances", "Rebalances: partitions assigned, revoked or lost.", ["kind"])
        # Schemas of a registry.
        self.schema_fetches = Counter(
            "schema_fetches", "Schemas asked for: fetched, refused, unavailable.", ["outcome"]
        )
        self.awaiting_schema = Gauge("awaiting_schema_partitions", "Partitions that wait for a schema.")
        # How long it takes.
        self.attempt_seconds = Histogram(
            "attempt_seconds", "Seconds that an attempt took, whatever its outcome.", ATTEMPT_BUCKETS
        )
        self.delivery_seconds = Histogram(
            "delivery_seconds", "Seconds from the event's timestamp until it was delivered.", DELIVERY_BUCKETS
        )
        self._observers: list[Callable[[], None]] = []
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def look_first(self, observer: Callable[[], None]) -> None:
        """Have gauges replaced by this function whenever Prometheus asks, on the thread that serves metrics."""
        self._observers.append(observer)

    def collect(self) -> Iterable[Metric]:
        """Yield every metric with its present values; called by the registry."""
        for observer in self._observers:
            observer()
        for metric in vars(self).values():
            if isinstance(metric, KINDS):
                yield metric.family()

    def render(self) -> bytes:
        """Return all metrics in Prometheus's text format, version 0.0.4."""
        return generate_latest(self.registry)
