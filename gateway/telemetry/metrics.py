"""Counts what happens, cheaply; `exposition` shows it to Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.core.entry import LedgerEntry
from gateway.telemetry import families
from gateway.telemetry.board import Board
from gateway.telemetry.families import Family

_BREAKER_STATES = {"closed": 0.0, "half_open": 1.0, "open": 2.0}
_STREAM = {False: "false", True: "true"}


@dataclass(slots=True, frozen=True)
class LedgerFigures:
    """How the ledger stands: rows, and seconds."""

    is_up: bool
    waiting_rows: int
    spooled_rows: int
    lag_s: float
    written: int
    dropped: int


@dataclass(slots=True, frozen=True)
class Sources:
    """Where gauges come from; each is asked about once a second. Mappings are by deployment."""

    router_version: Callable[[], str]
    breaker_states: Callable[[], Mapping[str, str]]
    queues: Callable[[], Mapping[str, int]]
    ledger: Callable[[], LedgerFigures]
    redis_is_connected: Callable[[], bool | None] = lambda: None


class Metrics:
    """This process's part of all metrics. Its methods are called from the event loop alone.

    No label has a value that a client chooses. What a series is called is looked up once.
    """

    def __init__(self, board: Board, version: str) -> None:
        self._board = board
        self._series: dict[tuple[object, ...], tuple[memoryview[float], ...]] = {}
        self._row(families.WORKERS)[0] = 1
        self._row(families.BUILD, version)[0] = 1
        self._in_flight = self._row(families.HTTP_IN_FLIGHT)
        self._in_flight[0] = 0
        self._overhead = self._row(families.OVERHEAD)

    def observe(self, entry: LedgerEntry) -> None:
        """Count one attempt at a backend."""
        labels = (entry.deployment, entry.tier, entry.reason, entry.outcome, entry.stream)
        attempts, retries, duration, ttft = self._series.get(labels) or self._attempt_series(entry)
        attempts[0] += 1
        _put(duration, entry.latency_ms / 1e3, families.ATTEMPT_DURATION.buckets)
        if entry.ttft_ms is not None:
            _put(ttft, entry.ttft_ms / 1e3, families.TTFT.buckets)
        if entry.attempt > 1:
            retries[0] += 1
        else:
            self._first(entry)
        self._charge(entry)

    def begun(self) -> None:
        """An HTTP request has come."""
        self._in_flight[0] += 1

    def answered(self, path: str, status: int, seconds: float, entry: LedgerEntry | None) -> None:
        """Count one HTTP answer; `entry` is that of the attempt that answered, if any did."""
        self._in_flight[0] -= 1
        key = (path, status)
        found = self._series.get(key)
        if found is None:
            found = self._series[key] = (
                self._row(families.HTTP_RESPONSES, path, str(status)),
                self._row(families.REQUEST_DURATION, path),
            )
        found[0][0] += 1
        _put(found[1], seconds, families.REQUEST_DURATION.buckets)
        if entry is not None:
            labels = (entry.deployment, entry.tier, entry.reason, entry.outcome)
            answers = self._series.get(labels)
            if answers is None:
                answers = self._series[labels] = (
                    self._row(families.REQUESTS, *labels, "false"),
                    self._row(families.REQUESTS, *labels, "true"),
                )
            answers[entry.stream][0] += 1

    def refresh(self, sources: Sources) -> None:
        """Read every gauge."""
        for (name, labels), row in self._board.own_rows():
            if name == families.ROUTER.name:
                row[0] = float(labels == (sources.router_version(),))
        self._row(families.ROUTER, sources.router_version())[0] = 1
        for deployment, state in sources.breaker_states().items():
            self._row(families.BREAKER, deployment)[0] = _BREAKER_STATES[state]
        for deployment, waiting in sources.queues().items():
            self._row(families.QUEUE, deployment)[0] = waiting
        ledger = sources.ledger()
        self._row(families.LEDGER_UP)[0] = ledger.is_up
        self._row(families.LEDGER_WAITING)[0] = ledger.waiting_rows
        self._row(families.LEDGER_SPOOLED)[0] = ledger.spooled_rows
        self._row(families.LEDGER_LAG)[0] = ledger.lag_s
        self._row(families.LEDGER_WRITTEN)[0] = ledger.written
        self._row(families.LEDGER_DROPPED)[0] = ledger.dropped
        is_connected = sources.redis_is_connected()
        if is_connected is not None:
            self._row(families.REDIS_CONNECTED)[0] = is_connected

    def _attempt_series(self, entry: LedgerEntry) -> tuple[memoryview[float], ...]:
        labels = (entry.deployment, entry.tier, entry.reason, entry.outcome)
        known_retries = ("fallback", "escalated", "hedged")
        kind = entry.reason if entry.reason in known_retries else "retry"
        found = self._series[*labels, entry.stream] = (
            self._row(families.ATTEMPTS, *labels, _STREAM[entry.stream]),
            self._row(families.RETRIES, entry.deployment, kind),
            self._row(families.ATTEMPT_DURATION, entry.deployment, entry.outcome),
            self._row(families.TTFT, entry.deployment),
        )
        return found

    def _first(self, entry: LedgerEntry) -> None:
        """What is a request's, not an attempt's."""
        _put(self._overhead, entry.overhead_ms / 1e3, families.OVERHEAD.buckets)
        if entry.score is not None and entry.policy is not None:
            key = ("score", entry.policy)
            found = self._series.get(key)
            if found is None:
                found = self._series[key] = (self._row(families.SCORE, entry.policy),)
            _put(found[0], entry.score, families.SCORE.buckets)

    def _charge(self, entry: LedgerEntry) -> None:
        usage, cost = entry.usage, entry.cost
        if usage is None:
            return
        key = ("used", entry.deployment, cost.source)
        found = self._series.get(key)
        if found is None:
            kinds = ("prompt", "completion", "cached", "reasoning")
            found = self._series[key] = (
                *(self._row(families.TOKENS, entry.deployment, kind) for kind in kinds),
                self._row(families.COST, entry.deployment, cost.source),
                self._row(families.UNPRICED, entry.deployment),
            )
        found[0][0] += usage.prompt_tokens
        found[1][0] += usage.completion_tokens
        found[2][0] += usage.cached_tokens
        found[3][0] += usage.reasoning_tokens
        if cost.usd is None:
            found[5][0] += 1
        else:
            found[4][0] += float(cost.usd)
        if entry.energy_wh is not None and entry.energy_source is not None:
            self._consume(entry.deployment, entry.energy_source, entry.energy_wh, entry.co2_g)

    def _consume(self, deployment: str, source: str, wh: float, co2_g: float | None) -> None:
        key = ("energy", deployment, source)
        found = self._series.get(key)
        if found is None:
            found = self._series[key] = (
                self._row(families.ENERGY, deployment, source),
                self._row(families.CO2, deployment, source),
            )
        found[0][0] += wh
        found[1][0] += co2_g or 0

    def _row(self, family: Family, *labels: str) -> memoryview[float]:
        return self._board.row(family.name, labels, family.width)


def _put(row: memoryview[float], value: float, buckets: tuple[float, ...]) -> None:
    """Count a value of a histogram: `row` is its sum, then a count for each bucket."""
    row[0] += value
    row[1 + bisect_left(buckets, value)] += 1
