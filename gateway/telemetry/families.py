"""Every metric: its name, kind, labels and meaning. `docs/metrics.md` is this table for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(slots=True, frozen=True)
class Family:
    """One metric. A gauge of several processes is their sum, or the largest, or the smallest."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    meaning: str
    buckets: tuple[float, ...] = ()
    merged: Literal["sum", "max", "min"] = "sum"

    @property
    def width(self) -> int:
        """How many numbers a series has: a histogram's sum, its buckets, and the one beyond."""
        return len(self.buckets) + 2 if self.kind == "histogram" else 1


_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_OVERHEAD_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1.0)
_SCORES = tuple(step / 20 for step in range(1, 21))
_CALL = ("deployment", "tier", "reason", "outcome", "stream")

BUILD = Family("gateway_build_info", "gauge", ("version",), "1, with the gateway's version.")
ROUTER = Family(
    "gateway_router_info",
    "gauge",
    ("version",),
    "1, with the version of the classifier that scores.",
    merged="max",
)
WORKERS = Family("gateway_workers", "gauge", (), "Web processes that run.")
HTTP_RESPONSES = Family(
    "gateway_http_responses_total",
    "counter",
    ("path", "status"),
    "HTTP answers, errors that reached no backend among them; 499 where the client left first. "
    "The path is `other` where there is nothing to be found.",
)
HTTP_IN_FLIGHT = Family(
    "gateway_http_requests_in_flight", "gauge", (), "HTTP requests whose answer hasn't ended."
)
REQUEST_DURATION = Family(
    "gateway_request_duration_seconds",
    "histogram",
    ("path",),
    "From an HTTP request's arrival to the end of its answer.",
    buckets=_SECONDS,
)
REQUESTS = Family(
    "gateway_requests_total",
    "counter",
    _CALL,
    "Requests that a deployment has begun to answer, each once; others are HTTP responses alone.",
)
ATTEMPTS = Family(
    "gateway_attempts_total",
    "counter",
    _CALL,
    "Attempts at a backend: the ledger's rows.",
)
RETRIES = Family(
    "gateway_retries_total",
    "counter",
    ("deployment", "kind"),
    "Attempts after the first: `retry`, `fallback`, `escalated` or `hedged`.",
)
TOKENS = Family(
    "gateway_tokens_total",
    "counter",
    ("deployment", "kind"),
    "Tokens: `prompt`, `completion`, and of these `cached` (prompt) and `reasoning` (completion).",
)
COST = Family(
    "gateway_cost_usd_total",
    "counter",
    ("deployment", "cost_source"),
    "What calls cost, in US dollars, rounded as any metric is; the ledger has the exact amounts.",
)
UNPRICED = Family(
    "gateway_unpriced_calls_total",
    "counter",
    ("deployment",),
    "Attempts that used tokens whose price is unknown: their cost is in no sum.",
)
ENERGY = Family(
    "gateway_energy_wh_total",
    "counter",
    ("deployment", "energy_source"),
    "Electricity that calls took, in watt-hours: measured, or estimated and how (docs/energy.md).",
)
CO2 = Family(
    "gateway_co2_grams_total",
    "counter",
    ("deployment", "energy_source"),
    "Greenhouse gas of that electricity, in grams of CO2 equivalent.",
)
OVERHEAD = Family(
    "gateway_overhead_seconds",
    "histogram",
    (),
    "The gateway's own time, from a parsed request to its first call.",
    buckets=_OVERHEAD_S,
)
SCORE = Family(
    "gateway_score",
    "histogram",
    ("policy",),
    "Difficulty scores of routed requests.",
    buckets=_SCORES,
)
ATTEMPT_DURATION = Family(
    "gateway_attempt_duration_seconds",
    "histogram",
    ("deployment", "outcome"),
    "From a call to its end.",
    buckets=_SECONDS,
)
TTFT = Family(
    "gateway_time_to_first_token_seconds",
    "histogram",
    ("deployment",),
    "From a call to the first piece of its stream.",
    buckets=_SECONDS,
)
BREAKER = Family(
    "gateway_breaker_state",
    "gauge",
    ("deployment",),
    "The circuit breaker: 0 closed, 1 half-open, 2 open; the worst of the web processes.",
    merged="max",
)
QUEUE = Family(
    "gateway_queue_depth", "gauge", ("deployment",), "Requests that wait for a free place."
)
LEDGER_UP = Family(
    "gateway_ledger_up",
    "gauge",
    (),
    "1 while rows reach the database, 0 where a web process can't write them.",
    merged="min",
)
LEDGER_WAITING = Family(
    "gateway_ledger_waiting_rows", "gauge", (), "Rows in memory that aren't written yet."
)
LEDGER_SPOOLED = Family(
    "gateway_ledger_spooled_rows", "gauge", (), "Rows on disk that aren't in the database yet."
)
LEDGER_LAG = Family(
    "gateway_ledger_lag_seconds",
    "gauge",
    (),
    "At most how long the oldest row has waited that isn't in the database.",
    merged="max",
)
LEDGER_WRITTEN = Family(
    "gateway_ledger_written_rows_total", "counter", (), "Rows written to the database."
)
LEDGER_DROPPED = Family("gateway_ledger_dropped_rows_total", "counter", (), "Rows that were lost.")
REDIS_CONNECTED = Family(
    "gateway_redis_connected",
    "gauge",
    (),
    "1 while every web process is connected to the Redis that gateways share; absent without one.",
    merged="min",
)
FAMILIES = (
    *(BUILD, ROUTER, WORKERS, HTTP_RESPONSES, HTTP_IN_FLIGHT, REQUEST_DURATION),
    *(REQUESTS, ATTEMPTS, RETRIES, TOKENS, COST, UNPRICED, ENERGY, CO2, OVERHEAD, SCORE),
    *(ATTEMPT_DURATION, TTFT, BREAKER, QUEUE, LEDGER_UP, LEDGER_WAITING, LEDGER_SPOOLED),
    *(LEDGER_LAG, LEDGER_WRITTEN, LEDGER_DROPPED, REDIS_CONNECTED),
)
BY_NAME = {family.name: family for family in FAMILIES}
