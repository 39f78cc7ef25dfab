"""A collector of spans on 127.0.0.1, as OpenTelemetry's exporters find one by OTLP over HTTP.

with Collector() as collector:
    ...  # with the variables in collector.environ
    (span,) = collector.wait_for(1)
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from receivers import Answers, Receiver

KINDS = Span.SpanKind
FAILED = Status.STATUS_CODE_ERROR


class Collected(NamedTuple):
    """A span as it came, ids in hexadecimal digits; `parent` is empty where it has none."""

    name: str
    trace_id: str
    span_id: str
    parent: str
    state: str
    kind: int
    attributes: Mapping[str, Any]
    failed: bool
    said: str
    owner: Mapping[str, Any]


class Collector(Receiver):
    """Takes spans, and answers as a receiver does."""

    def __init__(self, answers: Answers = (200,)) -> None:
        super().__init__(answers)

    @property
    def environ(self) -> dict[str, str]:
        """OpenTelemetry's variables that have spans sent here, and soon."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    @property
    def spans(self) -> list[Collected]:
        """What came so far, in order."""
        found = []
        for got in self.requests:
            assert (got.method, got.path) == ("POST", "/v1/traces")
            for resource in ExportTraceServiceRequest.FromString(got.body).resource_spans:
                owner = {each.key: _value(each.value) for each in resource.resource.attributes}
                found += [_collected(span, owner) for scope in resource.scope_spans for span in scope.spans]
        return found

    def wait_for_spans(self, count: int, timeout: float = 20.0) -> list[Collected]:
        """Return the spans as soon as there are `count`; fails if they do not come in `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while len(spans := self.spans) < count:
            left = deadline - time.monotonic()
            assert left > 0, f"{len(spans)} of {count} spans came within {timeout:g} s"
            self.wait_for(self.count + 1, left)
        return spans


def _collected(span: Span, owner: Mapping[str, Any]) -> Collected:
    return Collected(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.trace_state,
        span.kind,
        {each.key: _value(each.value) for each in span.attributes},
        span.status.code == FAILED,
        span.status.message,
        owner,
    )


def _value(value: AnyValue) -> Any:
    return getattr(value, value.WhichOneof("value") or "string_value")
