"""Metrics that agree with the ledger, over two processes; traces that a collector receives."""

import asyncio
import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.parser import text_string_to_metric_families

from tests.end_to_end.conftest import CLIENT_KEY, VENDOR_KEY
from tests.gateway_process import RunningGateway, running_gateway
from tests.vendor.behaviour import Behaviour
from tests.vendor.fixture import RunningVendor

AUTHORIZED = {"authorization": f"Bearer {CLIENT_KEY}"}
ENV = {"GATEWAY_API_KEYS": CLIENT_KEY, "VENDOR_KEY": VENDOR_KEY, "COLLECTOR": "x-token=abc"}
PROMPT = "a-prompt-that-nobody-else-may-see"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

Samples = dict[str, dict[tuple[tuple[str, str], ...], float]]


def config(vendor: RunningVendor, **sections: Any) -> dict[str, Any]:
    large = {
        "name": "gpt",
        "tier": "large",
        "backend": "openai",
        "model": "gpt-4o",
        "base_url": vendor.base_url,
        "api_key_env": "VENDOR_KEY",
        "price": {"input": 2.5, "cached_input": 1.25, "output": 10},
        "context_window": 100_000,
        "retries": 1,
    }
    return {"deployments": [large], **sections}


def ask(
    gateway: RunningGateway, headers: dict[str, str] | None = None, **fields: Any
) -> httpx.Response:
    body = {"model": "auto", "messages": [{"role": "user", "content": PROMPT}], **fields}
    url = f"{gateway.base_url}/chat/completions"
    return httpx.post(url, json=body, headers={**AUTHORIZED, **(headers or {})}, timeout=30)


def scrape(gateway: RunningGateway) -> Samples:
    response = httpx.get(f"{gateway.url}/metrics", headers=AUTHORIZED)
    assert response.headers["content-type"].startswith("text/plain")
    assert PROMPT not in response.text
    assert CLIENT_KEY not in response.text
    found: Samples = {}
    for family in text_string_to_metric_families(response.text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def scraped_once_written(gateway: RunningGateway, rows: int) -> Samples:
    """Another process's gauges are up to a second old."""
    deadline = time.monotonic() + 15
    while True:
        found = scrape(gateway)
        if sum(found["gateway_ledger_written_rows_total"].values()) == rows:
            return found
        assert time.monotonic() < deadline
        time.sleep(0.2)


async def _cancelled(gateway: RunningGateway) -> None:
    body = {"model": "gpt", "messages": [{"role": "user", "content": PROMPT}]}
    async with httpx.AsyncClient(headers=AUTHORIZED, timeout=0.5) as http:
        with pytest.raises(httpx.TimeoutException):
            await http.post(f"{gateway.base_url}/chat/completions", json=body)


@pytest.mark.parametrize("workers", [1, 2])
def test_metrics_agree_with_the_ledger(vendor: RunningVendor, tmp_path: Path, workers: int) -> None:
    with running_gateway(tmp_path, config(vendor, server={"workers": workers}), env=ENV) as gateway:
        for number in range(20):
            assert ask(gateway, stream=number % 2 == 0).status_code == 200
        vendor.will(Behaviour(status=500))
        assert ask(gateway).status_code == 200  # by a retry
        vendor.will(Behaviour(status=400))
        assert ask(gateway).status_code == 400
        assert ask(gateway, model="nothing").status_code == 404
        assert httpx.get(f"{gateway.base_url}/made-up-{PROMPT}", headers=AUTHORIZED).is_error
        vendor.will(Behaviour(delay_s=3))
        asyncio.run(_cancelled(gateway))
        rows = gateway.ledger_rows(24)
        assert len(rows) == 24
        found = scraped_once_written(gateway, len(rows))
        assert sum(found["gateway_workers"].values()) == workers
        assert sum(found["gateway_attempts_total"].values()) == len(rows)
        for outcome in ("ok", "upstream_error", "cancelled"):
            counted = sum(
                value
                for labels, value in found["gateway_attempts_total"].items()
                if ("outcome", outcome) in labels
            )
            assert counted == sum(row["outcome"] == outcome for row in rows) > 0
        prompt = (("deployment", "gpt"), ("kind", "prompt"))
        assert found["gateway_tokens_total"][prompt] == sum(r["prompt_tokens"] or 0 for r in rows)
        cost = sum(float(row["cost_usd"] or 0) for row in rows)
        assert sum(found["gateway_cost_usd_total"].values()) == pytest.approx(cost, abs=1e-9)
        assert sum(found["gateway_retries_total"].values()) == 1
        chat = {
            dict(labels)["status"]: value
            for labels, value in found["gateway_http_responses_total"].items()
            if ("path", "/v1/chat/completions") in labels
        }
        assert chat == {"200": 21, "400": 1, "404": 1, "499": 1}
        assert found["gateway_breaker_state"] == {(("deployment", "gpt"),): 0.0}
        assert httpx.get(f"{gateway.url}/metrics").status_code == 401


class Collector:
    """What a collector was sent."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.headers: list[dict[str, str]] = []
        self.raw: list[bytes] = []
        self.stalls = threading.Event()


@contextmanager
def collecting() -> Iterator[tuple[Collector, str]]:
    """An endpoint that receives OTLP over HTTP."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            if collector.stalls.is_set():
                time.sleep(2)
            request = ExportTraceServiceRequest.FromString(body)
            collector.raw.append(body)
            collector.headers.append({k.lower(): v for k, v in self.headers.items()})
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    collector.spans.extend(scope.spans)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        yield collector, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        serving.join(10)


def attributes(span: Span) -> dict[str, Any]:
    return {
        one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in span.attributes
    }


def test_a_collector_receives_a_span_a_request_and_one_an_attempt(
    vendor: RunningVendor, tmp_path: Path
) -> None:
    with collecting() as (collector, endpoint):
        tracing = {"tracing": {"otlp_endpoint": endpoint, "headers_env": "COLLECTOR"}}
        with running_gateway(tmp_path, config(vendor, **tracing), env=ENV) as gateway:
            vendor.will(Behaviour(status=500))
            answer = ask(gateway, headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
            assert answer.status_code == 200
            seen = [one.headers["traceparent"] for one in vendor.received]
            assert ask(gateway, stream=True).status_code == 200
            assert gateway.stop() == 0
        requests = [span for span in collector.spans if span.kind == Span.SPAN_KIND_SERVER]
        attempts = [span for span in collector.spans if span.kind == Span.SPAN_KIND_CLIENT]
        assert (len(requests), len(attempts)) == (2, 3)
        first = next(span for span in requests if span.trace_id.hex() == TRACE)
        assert first.parent_span_id.hex() == PARENT
        assert attributes(first)["gateway.request_id"] == answer.headers["x-request-id"]
        assert attributes(first)["http.response.status_code"] == 200
        mine = sorted(
            (span for span in attempts if span.trace_id.hex() == TRACE),
            key=lambda span: int(attributes(span)["gateway.attempt"]),
        )
        assert {span.parent_span_id for span in mine} == {first.span_id}
        assert seen == [f"00-{TRACE}-{span.span_id.hex()}-01" for span in mine]
        failed, well = map(attributes, mine)
        assert failed["error.type"] == "upstream_error"
        assert well["gen_ai.operation.name"] == "chat"
        assert well["gen_ai.request.model"] == "gpt-4o"
        assert well["gen_ai.response.model"] == "gpt-4o-2024-08-06"
        assert well["gen_ai.usage.input_tokens"] == 11
        assert well["gateway.cost_usd"] == answer.headers["x-gateway-cost-usd"]
        assert collector.headers[0]["x-token"] == "abc"
        sent = b"".join(collector.raw)
        assert not any(text.encode() in sent for text in (PROMPT, CLIENT_KEY, VENDOR_KEY))


@pytest.mark.parametrize("is_there", [False, True])
def test_a_collector_that_is_away_or_stalls_disturbs_nobody(
    vendor: RunningVendor, tmp_path: Path, is_there: bool
) -> None:
    with collecting() as (collector, endpoint):
        collector.stalls.set()
        tracing = {"tracing": {"otlp_endpoint": endpoint if is_there else "http://127.0.0.1:9"}}
        with running_gateway(tmp_path, config(vendor, **tracing), env=ENV) as gateway:
            slowest = 0.0
            for _ in range(60):
                began = time.monotonic()
                assert ask(gateway).status_code == 200
                slowest = max(slowest, time.monotonic() - began)
            assert slowest < 1.5
            assert gateway.stop() == 0
