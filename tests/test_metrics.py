"""Metrics: what is counted is what Prometheus reads, and no label grows without a bound."""

from __future__ import annotations

from importlib.metadata import version

from prometheus_client.parser import text_string_to_metric_families

from consumer.metrics import KINDS, MAX_EVENT_KINDS, MAX_LABEL, OTHER, Metrics


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """What Prometheus would store of `metrics`, read by its own parser."""
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return f"sprintly_{name}", frozenset(labels.items())


def test_counts_are_rendered_by_label() -> None:
    metrics = Metrics()
    metrics.events.add("Item", "created")
    metrics.events.add("Item", "created", n=4)
    metrics.deliveries.add("webhook", "delivered")
    metrics.attempts.add("webhook", "transient")
    metrics.dead_letters.add("decode", "poison")
    metrics.cycles.add("durable")
    metrics.rebalances.add("revoked")
    found = samples(metrics)
    assert found[key("events_total", model="Item", action="created")] == 5
    assert found[key("deliveries_total", service="webhook", outcome="delivered")] == 1
    assert found[key("attempts_total", service="webhook", outcome="transient")] == 1
    assert found[key("dead_letters_total", stage="decode", reason="poison")] == 1
    assert found[key("cycles_total", result="durable")] == 1
    assert found[key("rebalances_total", kind="revoked")] == 1


def test_a_value_can_be_asked_for() -> None:
    metrics = Metrics()
    assert metrics.cycles.value("durable") == 0
    metrics.cycles.add("durable", n=2)
    assert metrics.cycles.value("durable") == 2


def test_kinds_of_events_are_bounded_and_none_is_lost() -> None:
    metrics = Metrics()
    for number in range(1000):
        metrics.events.add(f"Model{number}", "created")
    metrics.events.add("Model0", "created")
    counts = {labels: value for (name, labels), value in samples(metrics).items() if name == "sprintly_events_total"}
    assert len(counts) == MAX_EVENT_KINDS + 1
    assert sum(counts.values()) == 1001
    assert counts[frozenset({"model": "Model0", "action": "created"}.items())] == 2
    assert counts[frozenset({"model": OTHER, "action": OTHER}.items())] == 1000 - MAX_EVENT_KINDS


def test_an_endless_name_is_no_label() -> None:
    metrics = Metrics()
    metrics.events.add("x" * (MAX_LABEL + 1), "created")
    assert metrics.events.value(OTHER, OTHER) == 1
    assert b"xxx" not in metrics.render()


def test_labels_from_outside_cannot_break_the_text() -> None:
    metrics = Metrics()
    metrics.events.add('a"} 1\nsprintly_up{x="', "\\")
    assert samples(metrics)[key("events_total", model='a"} 1\nsprintly_up{x="', action="\\")] == 1


def test_gauges_are_read_when_asked() -> None:
    metrics = Metrics()
    in_flight: list[int] = []
    metrics.in_flight.read_from(lambda: len(in_flight))
    assert samples(metrics)[key("in_flight")] == 0
    in_flight.append(1)
    assert samples(metrics)[key("in_flight")] == 1


def test_a_gauge_without_an_owner_says_nothing() -> None:
    assert key("buffered_bytes") not in samples(Metrics())


def test_gauges_with_labels_are_what_was_said_last_and_looked_at_when_asked() -> None:
    metrics = Metrics()
    reasons = ["kafka", "cycle"]
    metrics.look_first(lambda: metrics.not_ready.replace({(reason,): 1 for reason in reasons}))
    assert {k: v for k, v in samples(metrics).items() if k[0] == "sprintly_not_ready"} == {
        key("not_ready", check="kafka"): 1,
        key("not_ready", check="cycle"): 1,
    }
    reasons.remove("kafka")
    found = samples(metrics)
    assert key("not_ready", check="kafka") not in found
    assert found[key("not_ready", check="cycle")] == 1


def test_the_version_that_runs_is_told() -> None:
    assert samples(Metrics())[key("build_info", version=version("sprintly-services"))] == 1


def test_a_histogram_may_have_no_labels() -> None:
    metrics = Metrics()
    assert key("cycle_seconds_count") not in samples(metrics)
    metrics.cycle_seconds.observe("", 0.02)
    found = samples(metrics)
    assert found[key("cycle_seconds_bucket", le="0.01")] == 0
    assert found[key("cycle_seconds_bucket", le="0.025")] == 1
    assert (found[key("cycle_seconds_count")], found[key("cycle_seconds_sum")]) == (1, 0.02)


LABELS = {
    *("model", "action", "service", "outcome", "stage", "reason", "state", "check", "version", "partition"),
    *("result", "kind"),
}


def test_no_label_is_one_that_grows_with_subscriptions_products_or_addresses() -> None:
    metrics = Metrics()
    for metric in [metric for metric in vars(metrics).values() if isinstance(metric, KINDS)]:
        assert set(metric.labels) <= LABELS, metric.name


def test_a_histogram_counts_what_took_as_long_or_less() -> None:
    metrics = Metrics()
    for seconds in (0.005, 0.0051, 15.0, 16.0):
        metrics.attempt_seconds.observe("webhook", seconds)
    found = samples(metrics)
    assert found[key("attempt_seconds_bucket", service="webhook", le="0.005")] == 1
    assert found[key("attempt_seconds_bucket", service="webhook", le="0.01")] == 2
    assert found[key("attempt_seconds_bucket", service="webhook", le="15.0")] == 3
    assert found[key("attempt_seconds_bucket", service="webhook", le="+Inf")] == 4
    assert found[key("attempt_seconds_count", service="webhook")] == 4
    assert found[key("attempt_seconds_sum", service="webhook")] == 0.005 + 0.0051 + 15.0 + 16.0


def test_services_have_histograms_of_their_own() -> None:
    metrics = Metrics()
    metrics.delivery_seconds.observe("webhook", 1.0)
    metrics.delivery_seconds.observe("slack", 1.0)
    found = samples(metrics)
    assert found[key("delivery_seconds_count", service="webhook")] == 1
    assert found[key("delivery_seconds_count", service="slack")] == 1


def test_a_clock_that_went_back_counts_as_nothing() -> None:
    metrics = Metrics()
    metrics.delivery_seconds.observe("webhook", -3.0)
    found = samples(metrics)
    assert found[key("delivery_seconds_sum", service="webhook")] == 0
    assert found[key("delivery_seconds_bucket", service="webhook", le="0.01")] == 1


def test_every_metric_has_a_help_text_and_two_objects_share_nothing() -> None:
    one, two = Metrics(), Metrics()
    one.cycles.add("durable")
    assert two.cycles.value("durable") == 0
    families = [family for family in one.registry.collect() if family.name.startswith("sprintly_")]
    assert len(families) == 33
    assert all(family.documentation.endswith(".") for family in families)


def test_the_process_itself_is_measured() -> None:
    assert b"process_cpu_seconds_total" in Metrics().render()
