"""OpenTelemetry traces: a span a request, and one for each attempt at a backend.

Names are those of the semantic conventions for generative AI (OpenTelemetry, 2025). No span holds
a prompt, an answer or a key. Spans are sent by a thread of the SDK's; a collector that is away or
slow costs spans, never requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gateway.core.deployment import Deployment
from gateway.core.entry import LedgerEntry
from gateway.core.request import Caller

_EXPORT_WITHIN_S = 5
_PROPAGATOR = TraceContextTextMapPropagator()


@dataclass(slots=True)
class _Request:
    """The spans of one request that hasn't ended."""

    span: Span
    attempts: dict[int, Span]


class Tracing:
    """Begins and ends spans. Its methods are called from the event loop alone."""

    def __init__(
        self,
        endpoint: str,
        *,
        service_name: str,
        sample: float,
        version: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """`endpoint` is the collector's base URL; `sample` the share traced where none asks."""
        resource = Resource.create({"service.name": service_name, "service.version": version})
        self._provider = TracerProvider(
            resource=resource,
            sampler=ParentBased(TraceIdRatioBased(sample)),
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(
            endpoint=f"{endpoint.rstrip('/')}/v1/traces",
            headers=dict(headers or {}),
            timeout=_EXPORT_WITHIN_S,
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("slm-gateway", version)
        self._requests: dict[str, _Request] = {}

    def begin(self, entry: LedgerEntry, deployment: Deployment, caller: Caller) -> Caller:
        """Begin the span of one attempt; what goes upstream names it as the parent."""
        request = self._requests.get(caller.request_id)
        if request is None:
            span = self._tracer.start_span(
                f"chat {entry.model_requested}",
                _parent(caller.traceparent),
                SpanKind.SERVER,
                start_time=_nanoseconds(entry.ts.timestamp()),
            )
            request = self._requests[caller.request_id] = _Request(span, {})
        span = self._tracer.start_span(
            f"chat {deployment.model}",
            set_span_in_context(request.span, Context()),
            SpanKind.CLIENT,
            attributes={
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": deployment.backend,
                "gen_ai.request.model": deployment.model,
                "gateway.deployment": deployment.name,
                "gateway.attempt": entry.attempt,
            },
        )
        request.attempts[entry.attempt] = span
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, set_span_in_context(span, Context()))
        return replace(caller, traceparent=carrier.get("traceparent"))

    def observe(self, entry: LedgerEntry) -> None:
        """End the span of an attempt."""
        request = self._requests.get(entry.request_id)
        span = None if request is None else request.attempts.pop(entry.attempt, None)
        if span is None:
            return
        span.set_attributes(_attributes_of(entry))
        if entry.outcome != "ok":
            span.set_attribute("error.type", entry.outcome)
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def answered(self, request_id: str, status: int, entry: LedgerEntry | None) -> None:
        """End the span of a request."""
        request = self._requests.pop(request_id, None)
        if request is None:
            return
        span = request.span
        span.set_attribute("http.response.status_code", status)
        span.set_attribute("gateway.request_id", request_id)
        if entry is not None:
            span.set_attributes(_attributes_of(entry))
        if status >= 500:
            span.set_attribute("error.type", str(status))
            span.set_status(Status(StatusCode.ERROR))
        for left in request.attempts.values():
            left.end()
        span.end()

    def stop(self) -> None:
        """Send what is left, for a few seconds at most. Blocks."""
        self._provider.force_flush(_EXPORT_WITHIN_S * 1000)
        self._provider.shutdown()


def _parent(traceparent: str | None) -> Context:
    carrier = {} if traceparent is None else {"traceparent": traceparent}
    return _PROPAGATOR.extract(carrier, Context())


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)


def _attributes_of(entry: LedgerEntry) -> dict[str, Any]:
    usage = entry.usage
    found: dict[str, Any] = {
        "gateway.deployment": entry.deployment,
        "gateway.tier": entry.tier,
        "gateway.reason": entry.reason,
        "gateway.outcome": entry.outcome,
        "gateway.router": entry.router_version,
        "gateway.cost_source": entry.cost.source,
        "gen_ai.response.model": entry.model_served,
        "gen_ai.usage.input_tokens": None if usage is None else usage.prompt_tokens,
        "gen_ai.usage.output_tokens": None if usage is None else usage.completion_tokens,
        "gateway.score": entry.score,
        "gateway.threshold": entry.threshold,
        "gateway.policy": entry.policy,
        # Exact: a float would round it.
        "gateway.cost_usd": None if entry.cost.usd is None else format(entry.cost.usd, "f"),
    }
    return {name: value for name, value in found.items() if value is not None}
