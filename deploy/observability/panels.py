"""What the dashboard shows: rows of panels, each with its expressions, its unit and a sentence for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from grafana_foundation_sdk.models import units

SEEN = 'job=~"$job", instance=~"$instance"'  # the replicas that were chosen on top
PER_SECOND = "$__rate_interval"  # Grafana makes it four times the scrape interval at least
QUANTILES = (0.5, 0.95, 0.99)


@dataclass(frozen=True)
class Query:
    """An expression, and what a line of its answer is called; `{{label}}` stands for a label's value."""

    expression: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """One chart, or with `figure` one number; `unit` is Grafana's name of it."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    figure: bool = False
    stacked: bool = False


Rows: TypeAlias = tuple[tuple[str, tuple[Panel, ...]], ...]


def chosen(metric: str, more: str = "") -> str:
    """Return the selector of a metric of the chosen replicas; `more` are further labels."""
    return f"{metric}{{{SEEN}{', ' * bool(more)}{more}}}"


def rate(metric: str, by: str, more: str = "") -> str:
    """Return how often a second something was counted, by these labels."""
    return f"sum by ({by}) (rate({chosen(metric, more)}[{PER_SECOND}]))"


def quantiles(metric: str) -> tuple[Query, ...]:
    """Return the quantiles of a histogram over all services."""
    per_bucket = rate(f"{metric}_bucket", "le")
    return tuple(Query(f"histogram_quantile({q}, {per_bucket})", f"p{q * 100:g}") for q in QUANTILES)


def by_replica(metric: str) -> Query:
    """Return a gauge as each replica has it."""
    return Query(chosen(metric), "{{instance}}")


DOWN = chosen("sprintly_breakers", 'state=~"open|probing"')

GLANCE = (
    Panel(
        "Replicas ready",
        "How many replicas can do their work, of those that Prometheus finds.",
        units.Short,
        (Query(f"sum({chosen('sprintly_ready')})", "ready"), Query(f"sum({chosen('up')})", "found")),
        figure=True,
    ),
    Panel(
        "Events",
        "How many events are read a second.",
        units.OpsPerSecond,
        (Query(f"sum(rate({chosen('sprintly_events_total')}[{PER_SECOND}]))", "events"),),
        figure=True,
    ),
    Panel(
        "Event to delivery, p99",
        "How long after their event's timestamp 99 of 100 deliveries arrive, those tried again included.",
        units.Seconds,
        (Query(quantiles("sprintly_delivery_seconds")[-1].expression, "p99"),),
        figure=True,
    ),
    Panel(
        "Lag",
        "How many records of all partitions have not been read and committed yet; what is owed does not count.",
        units.Short,
        (Query(f"sum(max by (partition) ({chosen('sprintly_lag_records')}))", "records"),),
        figure=True,
    ),
    Panel(
        "Destinations believed down",
        "How many subscriptions get nothing but probes, as the replica that sees most of them counts.",
        units.Short,
        (Query(f"max(sum by (instance) ({DOWN}))", "subscriptions"),),
        figure=True,
    ),
    Panel(
        "Oldest that is owed",
        "How old the oldest event is that somebody is still owed; the topic keeps events for 7 days.",
        units.Seconds,
        (Query(f"max({chosen('sprintly_oldest_owed_seconds')})", "age"),),
        figure=True,
    ),
)

IN_AND_OUT = (
    Panel(
        "Events by model",
        "How many events of each model are read a second.",
        units.OpsPerSecond,
        (Query(rate("sprintly_events_total", "model"), "{{model}}"),),
        stacked=True,
    ),
    Panel(
        "Deliveries by service and outcome",
        "How many deliveries are finished a second: delivered, dead, skipped (nothing to send), dropped by operators.",
        units.OpsPerSecond,
        (Query(rate("sprintly_deliveries_total", "service, outcome"), "{{service}} {{outcome}}"),),
        stacked=True,
    ),
    Panel(
        "From event to delivery",
        "How long it took from the event's timestamp to the delivery; what is tried again may take 27 hours.",
        units.Seconds,
        quantiles("sprintly_delivery_seconds"),
    ),
)

DESTINATIONS = (
    Panel(
        "Attempts by outcome",
        "How many attempts end a second, and how; only delivered ones are as they should be.",
        units.OpsPerSecond,
        (Query(rate("sprintly_attempts_total", "outcome"), "{{outcome}}"),),
        stacked=True,
    ),
    Panel(
        "How long an attempt takes",
        "How many seconds third parties take to answer; an attempt ends after 15 at the latest.",
        units.Seconds,
        quantiles("sprintly_attempt_seconds"),
    ),
    Panel(
        "Subscriptions by the state of their breaker",
        "How many subscriptions are well (closed), believed down (open, probing) or disabled, as the replica that sees "
        "most of them counts.",
        units.Short,
        (Query(f"max by (state) (sum by (instance, state) ({chosen('sprintly_breakers')}))", "{{state}}"),),
    ),
    Panel(
        "Owed",
        "How many deliveries are owed one by one: tried again later, or waiting behind such a one.",
        units.Short,
        (Query(f"sum by (service) ({chosen('sprintly_owed')})", "{{service}}"),),
    ),
    Panel(
        "Behind",
        "How many records, at most, subscriptions that read later than live still have to read, and how many pairs of "
        "subscription and partition that concerns.",
        units.Short,
        (
            Query(f"sum by (service) ({chosen('sprintly_behind_records')})", "{{service}}: records"),
            Query(f"sum by (service) ({chosen('sprintly_behind')})", "{{service}}: pairs"),
        ),
    ),
    Panel(
        "Oldest that is owed, by service",
        "How old the oldest event is that a subscription is still owed; the topic keeps events for 7 days.",
        units.Seconds,
        (Query(f"max by (service) ({chosen('sprintly_oldest_owed_seconds')})", "{{service}}"),),
    ),
)

KAFKA = (
    Panel(
        "Lag by partition",
        "How many records of a partition are not read and committed yet; a dead destination does not make it grow.",
        units.Short,
        (Query(f"max by (partition) ({chosen('sprintly_lag_records')})", "{{partition}}"),),
    ),
    Panel(
        "Cycles by result",
        "How many of the transactions that make outcomes durable end a second, and how; a busy replica has one.",
        units.OpsPerSecond,
        (Query(rate("sprintly_cycles_total", "result"), "{{result}}"),),
    ),
    Panel(
        "How long a cycle takes",
        "How many seconds such a transaction takes; it should be a small part of one.",
        units.Seconds,
        quantiles("sprintly_cycle_seconds"),
    ),
    Panel(
        "Since the last durable cycle",
        "How long nothing has become durable though it should have; after 3 seconds no attempt starts.",
        units.Seconds,
        (by_replica("sprintly_cycle_age_seconds"),),
    ),
    Panel(
        "Rebalances",
        "How many times in five minutes replicas got partitions, gave them up in order, or lost them.",
        units.Short,
        (Query(f"sum by (kind) (increase({chosen('sprintly_rebalances_total')}[5m]))", "{{kind}}"),),
    ),
    Panel(
        "Partitions by replica",
        "How many partitions each replica reads, of events and of replays; they should be spread evenly.",
        units.Short,
        (by_replica("sprintly_assigned_partitions"),),
        stacked=True,
    ),
    Panel(
        "Partitions that wait for a schema",
        "How many partitions stand still because the schema registry cannot be asked for a schema.",
        units.Short,
        (by_replica("sprintly_awaiting_schema_partitions"),),
    ),
    Panel(
        "Schemas asked of the registry",
        "How many schemas were asked for in five minutes: fetched, refused (there is none), unavailable (asked again).",
        units.Short,
        (Query(f"sum by (outcome) (increase({chosen('sprintly_schema_fetches_total')}[5m]))", "{{outcome}}"),),
    ),
)

REPLICAS = (
    Panel(
        "Ready",
        "Whether each replica can do its work: 1 if so.",
        units.Short,
        (by_replica("sprintly_ready"),),
    ),
    Panel(
        "Why not ready",
        "How many replicas each check makes unready; the sentence stands in their /readyz.",
        units.Short,
        (Query(f"sum by (check) ({chosen('sprintly_not_ready')})", "{{check}}"),),
    ),
    Panel(
        "Versions",
        "How many replicas run each version; two at once are an update under way.",
        units.Short,
        (Query(f"count by (version) ({chosen('sprintly_build_info')})", "{{version}}"),),
    ),
    Panel(
        "In flight",
        "How many attempts are under way; 4,096 are the most.",
        units.Short,
        (by_replica("sprintly_in_flight"),),
    ),
    Panel(
        "In hand",
        "How many deliveries were taken in and are not finished, owed ones among them.",
        units.Short,
        (by_replica("sprintly_in_hand"),),
    ),
    Panel(
        "Buffered events",
        "How many bytes of events are held in memory; at 64 MiB partitions are paused.",
        units.BytesIEC,
        (by_replica("sprintly_buffered_bytes"),),
    ),
    Panel(
        "Memory",
        "How much memory the process has resident.",
        units.BytesIEC,
        (by_replica("process_resident_memory_bytes"),),
    ),
    Panel(
        "CPU",
        "How many seconds of CPU a second the process takes; its loop has one core, so near 1 it is at its end.",
        units.Short,
        (Query(f"rate({chosen('process_cpu_seconds_total')}[{PER_SECOND}])", "{{instance}}"),),
    ),
    Panel(
        "Delay of the loop",
        "How late the loop came to what was due, at most in a minute; at 0.25 s and more it has too much to do.",
        units.Seconds,
        (by_replica("sprintly_loop_delay_seconds"),),
    ),
)

GIVEN_UP = (
    Panel(
        "Dead letters by stage and reason",
        "How many deliveries a minute failed for good; they wait in the dead-letter topic for an operator.",
        units.Short,
        (Query(f"60 * {rate('sprintly_dead_letters_total', 'stage, reason')}", "{{stage}}: {{reason}}"),),
        stacked=True,
    ),
    Panel(
        "Expired",
        "How many deliveries left the log before they were made, since each replica's start: they are lost.",
        units.Short,
        (Query(f"sum by (service) ({chosen('sprintly_expired_total')})", "{{service}}"),),
    ),
    Panel(
        "Stopped by records that nobody can read",
        "Whether a replica takes no more events in because too many records could not be read: 1 if so.",
        units.Short,
        (by_replica("sprintly_poisoned"),),
    ),
    Panel(
        "Disabled subscriptions",
        "How many subscriptions an operator or an answer of 410 has disabled: what is for them waits.",
        units.Short,
        (Query(f"max({chosen('sprintly_disabled')})", "disabled"),),
    ),
    Panel(
        "Subscriptions set aside",
        "How many records of the subscriptions topic cannot be used; there only where subscriptions stand in a topic.",
        units.Short,
        (Query(f"max({chosen('sprintly_subscriptions_set_aside')})", "set aside"),),
    ),
)

CONFIGURATION = (
    Panel(
        "Generation of the subscriptions",
        "Which subscriptions each replica has: 1 are those of its start, and each change adds one.",
        units.Short,
        (by_replica("sprintly_configuration_generation"),),
    ),
    Panel(
        "Changes of the subscriptions",
        "How many changes replicas met in five minutes: accepted, unchanged (the same content again) or refused.",
        units.Short,
        (Query(f"sum by (result) (increase({chosen('sprintly_configuration_reloads_total')}[5m]))", "{{result}}"),),
    ),
    Panel(
        "Subscriptions refused",
        "Whether the subscriptions that are there now are refused, and former ones active: 1 if so.",
        units.Short,
        (by_replica("sprintly_configuration_refused"),),
    ),
)

ROWS: Rows = (
    ("At a glance", GLANCE),
    ("What comes in and goes out", IN_AND_OUT),
    ("Destinations", DESTINATIONS),
    ("Kafka", KAFKA),
    ("Replicas", REPLICAS),
    ("What was given up, and what stands still", GIVEN_UP),
    ("Configuration", CONFIGURATION),
)
