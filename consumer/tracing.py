"""Spans: attempts begin and end, and OpenTelemetry gets a span of each, as part of the trace that its event belongs to.

The only module that imports opentelemetry, which is an extra of this package. Where spans are sent to, and which, is
said by OpenTelemetry's own variables (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/);
a thread of its own sends them. A trace is an aid: whatever goes wrong with one, no delivery notices.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)
from opentelemetry.util.types import AttributeValue

from consumer.errors import ConfigurationError
from consumer.logs import get_logger
from consumer.outcome import Outcome, Verdict
from consumer.reminder import Reminder
from consumer.tracecontext import LONGEST_STATE, TraceContext

if TYPE_CHECKING:
    from consumer.clock import Clock
    from consumer.delivery import Delivery
    from consumer.render import Rendered
    from services import ServiceBase

NAME = "sprintly-services"
LAST_WORDS = 2.0  # seconds that the last spans may take at the end of the process
_UNNAMED = "unknown_service"  # what OpenTelemetry calls a service that nobody has named
_PORTS = {"http": 80, "https": 443}


class Tracing:
    """Makes a span of each attempt, whose parent is the span that the event's record names."""

    def __init__(self, clock: Clock) -> None:
        """Begin. Raises ConfigurationError where OpenTelemetry's variables cannot be used."""
        _hush()
        try:
            exporter = _Exporter(OTLPSpanExporter(), Reminder(clock))
            self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
            self._provider.add_span_processor(BatchSpanProcessor(exporter))
        except Exception as error:  # noqa: BLE001 - whatever it raises comes of its variables, and may quote a secret
            kind = type(error).__name__
            raise ConfigurationError(
                f"SPRINTLY_TRACES: OpenTelemetry cannot use its own variables (OTEL_…): {kind}"
            ) from None
        self._tracer = self._provider.get_tracer(NAME)
        self._log = get_logger("tracing")
        self._reminder = Reminder(clock)
        self._open: dict[Delivery, Span] = {}

    def begun(self, delivery: Delivery, rendered: Rendered | None) -> TraceContext | None:
        """Take in that an attempt begins, by a request or on a thread; returns where in the trace the receiver is."""
        assert delivery.event is not None
        trace = delivery.event.trace
        try:
            span = self._open[delivery] = self._begin(delivery, rendered, trace)
            return _context_of(span, trace)
        except Exception as error:  # noqa: BLE001 - somebody else's code, and no reason not to deliver
            self._defect(error)
            return trace

    def ended(self, delivery: Delivery, outcome: Outcome) -> None:
        """Take in how the attempt ended."""
        span = self._open.pop(delivery, None)
        if span is None:
            return
        try:
            _end(span, outcome)
        except Exception as error:  # noqa: BLE001 - as above
            self._defect(error)

    def close(self) -> None:
        """End what is still open, and send what was not sent yet, within LAST_WORDS seconds; the rest is dropped."""
        while self._open:
            _, span = self._open.popitem()
            span.set_attribute("sprintly.outcome", "abandoned")
            span.end()
        closing = threading.Thread(target=self._provider.shutdown, name="tracing-close", daemon=True)
        closing.start()
        closing.join(LAST_WORDS)
        if closing.is_alive():
            self._log.warning("the last spans could not be sent in time", seconds=LAST_WORDS)

    def _begin(self, delivery: Delivery, rendered: Rendered | None, trace: TraceContext | None) -> Span:
        service = delivery.flow.channel.subscription.service
        if rendered is None:
            span = self._tracer.start_span(f"send {service.name}", _parent(trace), SpanKind.CLIENT)
        else:
            host, port = _server(service, rendered.url)
            span = self._tracer.start_span(f"{rendered.method} {host}", _parent(trace), SpanKind.CLIENT)
        if span.is_recording():  # else it is not sampled, and nobody will ask for more
            span.set_attributes(_of_delivery(delivery))
            if rendered is not None:
                span.set_attribute("http.request.method", rendered.method)
                span.set_attributes({"server.address": host, "server.port": port})
        return span

    def _defect(self, error: Exception) -> None:
        if self._reminder.is_due():
            self._log.warning("a span could not be made", error=type(error).__name__)


class _Exporter(SpanExporter):
    """Sends spans by another exporter, and says now and then that it cannot: in words without addresses or headers."""

    def __init__(self, exporter: SpanExporter, reminder: Reminder) -> None:
        self._exporter = exporter
        self._reminder = reminder
        self._log = get_logger("tracing")
        self._dropped = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans; returns whether it went well."""
        try:
            result = self._exporter.export(spans)
        except Exception:  # noqa: BLE001 - somebody else's code; its texts may quote addresses and headers
            result = SpanExportResult.FAILURE
        if result is not SpanExportResult.SUCCESS:
            self._dropped += len(spans)
            if self._reminder.is_due():
                self._log.warning("spans cannot be sent, and are dropped", spans=self._dropped)
                self._dropped = 0
        return result

    def shutdown(self) -> None:
        """End."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Pass: nothing is kept here."""
        return True


def _hush() -> None:
    """Have OpenTelemetry log nothing: it quotes the addresses that it sends to, and what they answer."""
    logger = logging.getLogger("opentelemetry")
    logger.propagate = False
    if not logger.handlers:  # else Python itself would print its warnings
        logger.addHandler(logging.NullHandler())


def _resource() -> Resource:
    """Return what says whose spans they are: the names of OpenTelemetry's variables, else our own."""
    named = Resource.create()
    unnamed = str(named.attributes.get(SERVICE_NAME, _UNNAMED)).startswith(_UNNAMED)
    return named.merge(Resource({SERVICE_NAME: NAME})) if unnamed else named


@lru_cache(maxsize=1024)
def _server(service: ServiceBase, url: str) -> tuple[str, int]:
    """Return the host of an address, without the service's secrets, and its port: a span tells no more of it."""
    parts = urlsplit(url)
    return service.redact(parts.hostname or ""), parts.port or _PORTS.get(parts.scheme, 0)


def _of_delivery(delivery: Delivery) -> dict[str, AttributeValue]:
    assert delivery.event is not None
    origin, subscription = delivery.event.origin, delivery.flow.channel.subscription
    return {
        "messaging.system": "kafka",
        "messaging.destination.name": origin.topic,
        "messaging.destination.partition.id": str(origin.partition),
        "messaging.kafka.offset": origin.offset,
        "sprintly.delivery_id": delivery.id,
        "sprintly.subscription": subscription.id,
        "sprintly.service": subscription.service.name,
        "sprintly.attempt": delivery.attempts + 1,
        "sprintly.replays": delivery.replays,
    }


def _parent(trace: TraceContext | None) -> Context:
    """Return the context whose span is the parent; an empty one for what begins a trace of its own."""
    if trace is None:
        return Context()
    _, trace_id, span_id, flags = trace.traceparent.split("-")
    state = TraceState.from_header([trace.tracestate]) if trace.tracestate else None
    parent = SpanContext(int(trace_id, 16), int(span_id, 16), True, TraceFlags(int(flags, 16)), state)
    return set_span_in_context(NonRecordingSpan(parent), Context())


def _context_of(span: Span, trace: TraceContext | None) -> TraceContext | None:
    """Return what names a span to the receiver; the trace of before where there is none (OTEL_SDK_DISABLED)."""
    context = span.get_span_context()
    if not context.is_valid:
        return trace
    state = context.trace_state.to_header() or (trace.tracestate if trace is not None else "")
    parent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    return TraceContext(parent, state if len(state) <= LONGEST_STATE else "")


def _end(span: Span, outcome: Outcome) -> None:
    span.set_attribute("sprintly.outcome", outcome.verdict.value)
    if outcome.status:
        span.set_attribute("http.response.status_code", outcome.status)
    if outcome.verdict is not Verdict.DELIVERED:
        span.set_attribute("error.type", str(outcome.status or outcome.verdict.value))
        span.set_status(Status(StatusCode.ERROR, outcome.error))
    span.end()
