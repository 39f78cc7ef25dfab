"""Spans of attempts: they join the producer's trace and the receiver's, hold no secret, and never stand in the way."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from collectors import KINDS, Collector
from harness import DOWN, OK, TOPIC, Ping, subscription, threaded, value
from harness import Replica as CoreReplica
from receivers import Got, Receiver, Reply
from replicas import Destination, Replica, cluster, committed, eventually, running, scenario

from consumer.clock import SystemClock
from consumer.egress import EgressPolicy, parse_cidrs
from consumer.errors import ConfigurationError
from consumer.event import Outgoing
from consumer.logs import configure
from consumer.subscriptions import Subscription
from consumer.tracecontext import new_trace
from consumer.tracing import LAST_WORDS, Tracing
from consumer.transport import Transport
from services import RecordingSession
from services.webhook import Service as Webhook

ROOT = Path(__file__).parent.parent
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
SECRET = "hush" + "-hush"


@pytest.fixture(autouse=True)
def _logging_as_it_was(logging_as_it_was: None) -> None:
    pass


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with Collector() as running_:
        for name, setting in running_.environ.items():
            monkeypatch.setenv(name, setting)
        yield running_


@pytest.fixture
def tracing(collector: Collector) -> Iterator[Tracing]:
    made = Tracing(SystemClock())
    yield made
    made.close()


def hook(receiver: Receiver) -> Subscription:
    service = Webhook({"urls": f"{receiver.url}/{SECRET}"}, RecordingSession())
    return Subscription(id="hook", product=None, service=service)


def deliver(receiver: Receiver, tracing: Tracing, *headers: tuple[str, str]) -> None:
    """Bring one event, with these headers, from the broker to the receiver, by a whole replica."""

    async def play() -> None:
        broker = cluster()
        sent = tuple((name, content.encode()) for name, content in headers)
        list(broker.produce([Outgoing(TOPIC, b"k", value(7), sent, 0)]))
        transport = Transport(policy=EgressPolicy(parse_cidrs("127.0.0.0/8")))
        async with running(Replica(broker, transport, subscriptions=[hook(receiver)], spans=tracing)):
            await eventually(lambda: committed(broker) == 1, "it did not arrive")

    scenario(play)


def test_a_trace_joins_producer_and_receiver(collector: Collector, tracing: Tracing) -> None:
    with Receiver() as receiver:
        deliver(receiver, tracing, ("traceparent", PARENT), ("tracestate", "congo=t61"))
        (got,) = receiver.requests
    (span,) = collector.wait_for_spans(1)
    assert (span.trace_id, span.parent, span.state) == (TRACE, SPAN, "congo=t61")
    assert got.headers["traceparent"] == f"00-{TRACE}-{span.span_id}-01"
    assert got.headers["tracestate"] == "congo=t61"
    assert (span.name, span.kind, span.failed) == ("POST 127.0.0.1", KINDS.SPAN_KIND_CLIENT, False)
    assert span.attributes == {
        "http.request.method": "POST",
        "http.response.status_code": 204,
        "server.address": "127.0.0.1",
        "server.port": receiver.port,
        "messaging.system": "kafka",
        "messaging.destination.name": TOPIC,
        "messaging.destination.partition.id": "0",
        "messaging.kafka.offset": 0,
        "sprintly.delivery_id": got.headers["webhook-id"],
        "sprintly.subscription": "hook",
        "sprintly.service": "webhook",
        "sprintly.attempt": 1,
        "sprintly.replays": 0,
        "sprintly.outcome": "delivered",
    }
    assert span.owner["service.name"] == "sprintly-services"
    assert all(SECRET.encode() not in request.body for request in collector.requests)


def test_each_attempt_has_a_span_and_one_that_failed_says_why_without_a_secret(
    collector: Collector, tracing: Tracing
) -> None:
    def answer(_: Got) -> Reply:
        return Reply(503, f"no room for /{SECRET}".encode()) if receiver.count == 1 else Reply(200)

    with Receiver(answer) as receiver:
        deliver(receiver, tracing, ("traceparent", PARENT))
        first, second = receiver.requests
    failed, arrived = collector.wait_for_spans(2)
    assert [span.parent for span in (failed, arrived)] == [SPAN, SPAN]
    assert [got.headers["traceparent"][36:52] for got in (first, second)] == [failed.span_id, arrived.span_id]
    assert [span.attributes["sprintly.attempt"] for span in (failed, arrived)] == [1, 2]
    assert [span.attributes["http.response.status_code"] for span in (failed, arrived)] == [503, 200]
    assert (failed.failed, arrived.failed) == (True, False)
    assert failed.said.startswith("the receiver answered 503: no room for")
    assert (failed.attributes["error.type"], failed.attributes["sprintly.outcome"]) == ("503", "transient")
    assert all(SECRET.encode() not in request.body for request in collector.requests)


def test_an_event_without_a_trace_begins_one(collector: Collector, tracing: Tracing) -> None:
    with Receiver() as receiver:
        deliver(receiver, tracing)
        (got,) = receiver.requests
    (span,) = collector.wait_for_spans(1)
    assert span.parent == ""
    place, _, flags = got.headers["traceparent"].rpartition("-")
    assert place == f"00-{span.trace_id}-{span.span_id}"
    assert int(flags, 16) & 1, "it is sampled"
    assert "tracestate" not in got.headers


def test_what_its_producer_has_not_sampled_is_not_sampled(collector: Collector, tracing: Tracing) -> None:
    with Receiver() as receiver:
        deliver(receiver, tracing, ("traceparent", PARENT[:-1] + "0"))
        deliver(receiver, tracing, ("traceparent", new_trace().traceparent))
        first, _ = receiver.requests
    (span,) = collector.wait_for_spans(1)
    assert span.trace_id != TRACE
    assert first.headers["traceparent"].startswith(f"00-{TRACE}-")
    assert first.headers["traceparent"].endswith("-00")


def test_a_state_that_opentelemetry_cannot_read_goes_on_all_the_same(collector: Collector, tracing: Tracing) -> None:
    with Receiver() as receiver:
        deliver(receiver, tracing, ("traceparent", PARENT), ("tracestate", "no list at all"))
        (got,) = receiver.requests
    assert got.headers["tracestate"] == "no list at all"
    assert collector.wait_for_spans(1)[0].trace_id == TRACE


def test_the_span_of_a_blocking_service_is_the_parent_of_what_its_session_sends(
    collector: Collector, tracing: Tracing
) -> None:
    r = CoreReplica([threaded("t")], spans=tracing)
    r.assign(0)
    r.log.append(value(1), headers=(("traceparent", PARENT.encode()),))
    r.fetch()
    (attempt,) = r.turn()
    r.answer(attempt, DOWN)
    (span,) = collector.wait_for_spans(1)
    assert attempt.trace is not None
    assert attempt.trace.traceparent == f"00-{TRACE}-{span.span_id}-01"
    assert (span.name, span.parent, span.failed) == ("send threaded", SPAN, True)
    assert (span.attributes["error.type"], span.said) == ("transient", "connection refused")
    assert "server.address" not in span.attributes


def test_what_is_under_way_at_the_end_is_sent_as_abandoned(collector: Collector) -> None:
    tracing = Tracing(SystemClock())
    r = CoreReplica([subscription("a")], spans=tracing)
    r.assign(0)
    r.log.append(value(1))
    r.fetch()
    r.turn()
    tracing.close()
    (span,) = collector.wait_for_spans(1)
    assert span.attributes["sprintly.outcome"] == "abandoned"


def test_an_attempt_whose_partition_has_gone_ends_its_span(collector: Collector, tracing: Tracing) -> None:
    r = CoreReplica([subscription("a")], spans=tracing)
    r.assign(0)
    r.log.append(value(1))
    r.fetch()
    (attempt,) = r.turn()
    r.core.release([attempt.delivery.flow.partition.tp])
    r.answer(attempt, OK)
    assert collector.wait_for_spans(1)[0].attributes["sprintly.outcome"] == "delivered"


# What goes wrong


def test_a_collector_that_refuses_costs_nothing_but_one_line_without_a_secret(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    configure("json", "debug")
    with Collector([Reply(400, SECRET.encode())]) as collector, Receiver() as receiver:
        for name, setting in collector.environ.items():
            monkeypatch.setenv(name, setting)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.replace("//", f"//me:{SECRET}@"))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"api-key={SECRET}")
        tracing = Tracing(SystemClock())
        for number in (1, 2):
            deliver(receiver, tracing)
            collector.wait_for(number)
        assert (receiver.count, collector.requests[0].headers["api-key"]) == (2, SECRET)
        tracing.close()
    said = "".join(capfd.readouterr())
    assert said.count("spans cannot be sent, and are dropped") == 1
    assert SECRET not in said
    assert "opentelemetry" not in said


def test_a_collector_that_hangs_holds_up_neither_deliveries_nor_the_end(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    configure("json", "info")
    with Collector([Reply(200, hold=True)]) as collector, Receiver() as receiver:
        for name, setting in (collector.environ | {"OTEL_EXPORTER_OTLP_TIMEOUT": "300"}).items():
            monkeypatch.setenv(name, setting)
        tracing = Tracing(SystemClock())
        deliver(receiver, tracing)
        collector.wait_for(1)
        deliver(receiver, tracing)
        tracing.close()
        assert (receiver.count, collector.holding) == (2, 1), "it waited for the collector"
        assert LAST_WORDS <= 2
        collector.release()
    assert "the last spans could not be sent in time" in capfd.readouterr().err


def test_a_span_that_cannot_be_made_leaves_the_delivery_and_its_trace_as_they_are(
    collector: Collector, capfd: pytest.CaptureFixture[str]
) -> None:
    async def play() -> None:
        broker, destination = cluster(), Destination()
        list(broker.produce([Outgoing(TOPIC, b"k", value(7), (("traceparent", PARENT.encode()),), 0)]))
        defective = Subscription(id="a", product=None, service=Defective({}, RecordingSession()))
        async with running(Replica(broker, destination, subscriptions=[defective], spans=tracing)):
            await eventually(lambda: committed(broker) == 1, "it did not arrive")
        assert f"traceparent: {PARENT}" in destination.got[0].headers

    class Defective(Ping):
        """
        Defective

        Cannot mask anything.
        """

        def redact(self, text: str) -> str:
            raise ValueError(SECRET)

    configure("json", "info")
    tracing = Tracing(SystemClock())
    scenario(play)
    tracing.close()
    said = capfd.readouterr().err
    assert "a span could not be made" in said
    assert SECRET not in said


def test_wrong_variables_of_opentelemetry_are_said_without_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"api-key={SECRET}")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "1")  # fewer than go out at once
    with pytest.raises(ConfigurationError) as caught:
        Tracing(SystemClock())
    assert str(caught.value) == "SPRINTLY_TRACES: OpenTelemetry cannot use its own variables (OTEL_…): ValueError"
    assert caught.value.__cause__ is None


def test_switched_off_by_its_own_variable_the_records_trace_goes_on(
    monkeypatch: pytest.MonkeyPatch, collector: Collector
) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    tracing = Tracing(SystemClock())
    with Receiver() as receiver:
        deliver(receiver, tracing, ("traceparent", PARENT))
        (got,) = receiver.requests
    tracing.close()
    assert got.headers["traceparent"] == PARENT
    assert collector.spans == []


# The command line


def python(program: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "SPRINTLY_LOG_FORMAT": "json", **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


CONSUME = """if True:
    from consumer.cli import main
    sys.argv = ["sprintly-services", "consume"]
    main()
"""


@pytest.mark.parametrize(
    ("before", "environ", "sentence"),
    [
        (
            "sys.modules['opentelemetry'] = None",
            {},
            "SPRINTLY_TRACES=otlp needs OpenTelemetry, which is not there: install sprintly-services[otel]",
        ),
        (
            "",
            {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": SECRET},
            "SPRINTLY_TRACES: OpenTelemetry cannot use its own variables (OTEL_…)",
        ),
    ],
)
def test_without_the_library_or_its_variables_consume_says_so_in_one_sentence_and_ends(
    before: str, environ: dict[str, str], sentence: str, tmp_path: Path
) -> None:
    subscriptions = tmp_path / "subscriptions.yaml"
    subscriptions.write_text("subscriptions: []")
    settings = {"SPRINTLY_TRACES": "otlp", "SPRINTLY_SUBSCRIPTIONS": str(subscriptions)}
    done = python(f"import sys\n{before}\n{CONSUME}", **settings, **environ)
    assert (done.returncode, done.stderr) == (2, f"sprintly-services: {sentence}\n")


def test_off_nothing_of_opentelemetry_is_even_imported() -> None:
    done = python(
        "import sys, consumer.cli.consume, consumer.cli.replica as w\n"
        "from consumer.settings import Settings\n"
        "assert w.tracing(Settings.load({})) is None\n"
        "print(sorted(name for name in sys.modules if name.startswith('opentelemetry')))"
    )
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
