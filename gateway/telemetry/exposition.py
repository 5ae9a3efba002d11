"""The metrics of all web processes together, as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from gateway.telemetry.board import Board
from gateway.telemetry.families import BY_NAME, FAMILIES, Family

CONTENT_TYPE = CONTENT_TYPE_LATEST

Series = dict[tuple[str, ...], list[list[float]]]


def exposition(board: Board) -> bytes:
    """Every metric in Prometheus' text format. Reads the other processes' files: blocks."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Boards(board))
    return generate_latest(registry)


class _Boards(Collector):
    """Adds up what the processes have counted; a gauge of one that is gone counts no more."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def collect(self) -> Iterator[Metric]:
        """One metric a family, with all of its series."""
        found: dict[str, Series] = {family.name: {} for family in FAMILIES}
        for row in self._board.rows():
            name, labels = row.key
            family = BY_NAME.get(name)
            if family is not None and (row.is_live or family.kind != "gauge"):
                found[name].setdefault(labels, []).append(list(row.numbers))
        for family in FAMILIES:
            yield _metric(family, found[family.name])


def _metric(family: Family, series: Series) -> Metric:
    if family.kind == "histogram":
        return _histogram(family, series)
    metric: CounterMetricFamily | GaugeMetricFamily
    if family.kind == "counter":
        metric = CounterMetricFamily(family.name, family.meaning, labels=family.labels)
    else:
        metric = GaugeMetricFamily(family.name, family.meaning, labels=family.labels)
    for labels, rows in sorted(series.items()):
        metric.add_metric(labels, _merged(family, [row[0] for row in rows]))
    return metric


def _merged(family: Family, values: Sequence[float]) -> float:
    if family.merged == "sum":
        return sum(values)
    return max(values) if family.merged == "max" else min(values)


def _histogram(family: Family, series: Series) -> Metric:
    metric = HistogramMetricFamily(family.name, family.meaning, labels=family.labels)
    bounds = [*(f"{bound:g}" for bound in family.buckets), "+Inf"]
    for labels, rows in sorted(series.items()):
        total, *counts = (sum(column) for column in zip(*rows, strict=True))
        cumulated = 0.0
        buckets = []
        for bound, count in zip(bounds, counts, strict=True):
            cumulated += count
            buckets.append((bound, cumulated))
        metric.add_metric(labels, buckets, total)
    return metric
