"""What is counted of attempts and answers, as Prometheus' own parser reads it."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from gateway.core.entry import LedgerEntry
from gateway.core.price import UNPRICED, Cost
from gateway.core.usage import Usage
from gateway.telemetry.board import Board
from gateway.telemetry.exposition import exposition
from gateway.telemetry.families import FAMILIES
from gateway.telemetry.metrics import LedgerFigures, Metrics, Sources

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"


def entry(**fields: Any) -> LedgerEntry:
    usual: dict[str, Any] = {
        "request_id": "req_1",
        "attempt": 1,
        "ts": datetime.now(UTC),
        "endpoint": "/v1/chat/completions",
        "model_requested": "a name that a client made up",
        "deployment": "gpt",
        "tier": "large",
        "reason": "above_threshold",
        "router_version": "r2-x",
        "stream": False,
        "score": 0.61,
        "policy": "balanced",
        "outcome": "ok",
        "usage": Usage(100, 20, cached_tokens=40, reasoning_tokens=5),
        "cost": Cost(Decimal("0.25"), "computed", "p"),
        "latency_ms": 1200.0,
        "ttft_ms": 300.0,
        "overhead_ms": 0.3,
    }
    return LedgerEntry(**{**usual, **fields})


def read(board: Board) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = exposition(board).decode()
    assert "made up" not in text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(board: Board, name: str, **labels: str) -> float:
    wanted = set(labels.items())
    return sum(v for (n, pairs), v in read(board).items() if n == name and wanted <= set(pairs))


def test_attempts_tokens_and_costs() -> None:
    board = Board()
    metrics = Metrics(board, "1.2.3")
    for _ in range(3):
        metrics.observe(entry())
    metrics.observe(entry(outcome="timeout", usage=None, cost=UNPRICED, ttft_ms=None))
    metrics.observe(
        entry(attempt=2, deployment="slm", tier="small", reason="fallback", stream=True)
    )
    metrics.observe(entry(deployment="slm", cost=UNPRICED))
    assert value(board, "gateway_attempts_total", deployment="gpt", outcome="ok") == 3
    assert value(board, "gateway_attempts_total", outcome="timeout") == 1
    assert value(board, "gateway_attempts_total", stream="true", tier="small") == 1
    assert value(board, "gateway_retries_total", deployment="slm", kind="fallback") == 1
    for kind, tokens in {"prompt": 500, "completion": 100, "cached": 200, "reasoning": 25}.items():
        assert value(board, "gateway_tokens_total", kind=kind) == tokens
    assert value(board, "gateway_cost_usd_total", deployment="gpt", cost_source="computed") == 0.75
    assert value(board, "gateway_unpriced_calls_total", deployment="slm") == 1
    assert value(board, "gateway_time_to_first_token_seconds_count", deployment="gpt") == 3
    assert value(board, "gateway_attempt_duration_seconds_sum", outcome="ok") == 6.0
    assert value(board, "gateway_overhead_seconds_count") == 5  # once a request
    assert value(board, "gateway_build_info", version="1.2.3") == 1


def test_energy_by_where_the_figure_comes_from() -> None:
    board = Board()
    metrics = Metrics(board, "1")
    metrics.observe(entry(energy_wh=0.5, co2_g=0.25, energy_source="estimated:ecologits"))
    metrics.observe(entry(energy_wh=1.5, co2_g=0.75, energy_source="estimated:ecologits"))
    metrics.observe(entry(deployment="slm", energy_wh=0.125, energy_source="measured:rapl"))
    metrics.observe(entry(deployment="other"))
    estimated = {"deployment": "gpt", "energy_source": "estimated:ecologits"}
    assert value(board, "gateway_energy_wh_total", **estimated) == 2.0
    assert value(board, "gateway_co2_grams_total", **estimated) == 1.0
    measured = {"deployment": "slm", "energy_source": "measured:rapl"}
    assert value(board, "gateway_energy_wh_total", **measured) == 0.125
    assert value(board, "gateway_energy_wh_total", deployment="other") == 0


def test_a_histogram_is_cumulative() -> None:
    board = Board()
    metrics = Metrics(board, "1")
    for score in (0.05, 0.051, 0.5, 1.0):
        metrics.observe(entry(score=score))
    buckets = {
        dict(labels)["le"]: count
        for (name, labels), count in read(board).items()
        if name == "gateway_score_bucket"
    }
    assert (buckets["0.05"], buckets["0.1"], buckets["0.5"]) == (1, 2, 3)
    assert buckets["1"] == buckets["+Inf"] == 4


def test_http_answers() -> None:
    board = Board()
    metrics = Metrics(board, "1")
    for _ in range(3):
        metrics.begun()
    metrics.answered("/v1/chat/completions", 200, 0.3, entry())
    metrics.answered("/v1/chat/completions", 401, 0.001, None)
    assert value(board, "gateway_http_responses_total", status="401") == 1
    assert value(board, "gateway_http_requests_in_flight") == 1
    assert value(board, "gateway_requests_total", deployment="gpt", stream="false") == 1
    assert value(board, "gateway_request_duration_seconds_count") == 2


def test_gauges_follow_their_sources() -> None:
    board = Board()
    metrics = Metrics(board, "1")
    version = "r2-a"
    sources = Sources(
        router_version=lambda: version,
        breaker_states=lambda: {"gpt": "open", "slm": "half_open"},
        queues=lambda: {"gpt": 4},
        ledger=lambda: LedgerFigures(
            is_up=False, waiting_rows=3, spooled_rows=2, lag_s=1.5, written=9, dropped=1
        ),
    )
    metrics.refresh(sources)
    version = "r2-b"
    metrics.refresh(sources)
    assert value(board, "gateway_breaker_state", deployment="gpt") == 2
    assert value(board, "gateway_breaker_state", deployment="slm") == 1
    assert value(board, "gateway_queue_depth", deployment="gpt") == 4
    assert value(board, "gateway_ledger_up") == 0
    assert value(board, "gateway_ledger_lag_seconds") == 1.5
    assert value(board, "gateway_ledger_written_rows_total") == 9
    assert value(board, "gateway_router_info", version="r2-b") == 1
    assert value(board, "gateway_router_info", version="r2-a") == 0


def test_the_document_lists_exactly_these() -> None:
    lines = [
        f"| `{one.name}` | {one.kind} | {', '.join(one.labels) or '–'} | {one.meaning} |"
        for one in FAMILIES
    ]
    assert [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")] == lines
