"""Metrics and traces of the running gateway: what feeds them, and what shows them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gateway import __version__
from gateway.app.reload import LiveGateway
from gateway.core.entry import LedgerEntry
from gateway.settings import ConfigError, Environment, TracingSettings
from gateway.telemetry.board import Board
from gateway.telemetry.metrics import LedgerFigures, Metrics, Sources

if TYPE_CHECKING:
    from gateway.telemetry.tracing import Tracing

REFRESH_EVERY_S = 1.0
_MODEL = "/v1/models/"
_OTHER = "other"

_log = logging.getLogger("gateway.telemetry")


class Telemetry:
    """Told of every attempt and of every HTTP answer, from start to stop."""

    def __init__(
        self,
        live: LiveGateway,
        environment: Environment,
        folder: Path | None = None,
        redis_is_connected: Callable[[], bool | None] = lambda: None,
    ) -> None:
        """`folder` is where all web processes put their numbers. Raises ConfigError.

        `redis_is_connected` gives None where there is no Redis to be connected to.
        """
        settings = live.gateway.settings
        self._live = live
        self._board = Board(folder) if settings.metrics.enabled else None
        self._metrics = None if self._board is None else Metrics(self._board, __version__)
        self._tracing = _tracing(settings.tracing, environment)
        self._sources = Sources(
            router_version=lambda: live.gateway.router.version,
            breaker_states=live.gateway.health.breaker_states,  # a reload keeps it
            queues=live.gateway.health.queues,
            ledger=self._ledger_figures,
            redis_is_connected=redis_is_connected,
        )
        self._refreshing: asyncio.Task[None] | None = None
        self.known_paths: frozenset[str] = frozenset()
        lasting = [one.observe for one in (self._metrics, self._tracing) if one is not None]
        live.gateway.sink.lasting = tuple(lasting)
        live.tracer = live.gateway.pipeline.tracer = self._tracing

    @property
    def has_metrics(self) -> bool:
        """Whether there is anything to expose."""
        return self._metrics is not None

    def start(self) -> None:
        """Begin to keep gauges fresh."""
        if self._metrics is not None:
            self._refreshing = asyncio.create_task(self._refresh_on(self._metrics), name="gauges")

    async def stop(self) -> None:
        """Stop, and send the traces that are left."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._refreshing
        if self._tracing is not None:
            await asyncio.to_thread(self._tracing.stop)

    def begun(self) -> None:
        """An HTTP request has come."""
        if self._metrics is not None:
            self._metrics.begun()

    def answered(
        self, request_id: str, path: str, status: int, seconds: float, entry: LedgerEntry | None
    ) -> None:
        """An HTTP request has been answered."""
        if self._metrics is not None:
            self._metrics.answered(self._label(path), status, seconds, entry)
        if self._tracing is not None:
            self._tracing.answered(request_id, status, entry)

    def expose(self) -> tuple[bytes, str]:
        """The metrics' text and its media type. Blocks."""
        from gateway.telemetry.exposition import CONTENT_TYPE, exposition

        assert self._board is not None  # noqa: S101 (asked for only where there are metrics)
        return exposition(self._board), CONTENT_TYPE

    def _label(self, path: str) -> str:
        """The path as a label: one that exists, whatever clients make up."""
        if path in self.known_paths:
            return path
        return f"{_MODEL}{{model}}" if path.startswith(_MODEL) else _OTHER

    async def _refresh_on(self, metrics: Metrics) -> None:
        while True:
            try:
                metrics.refresh(self._sources)
            except Exception:
                _log.exception("the gauges can't be refreshed")
            await asyncio.sleep(REFRESH_EVERY_S)

    def _ledger_figures(self) -> LedgerFigures:
        ledger = self._live.gateway.ledger
        return LedgerFigures(
            is_up=ledger.problem is None,
            waiting_rows=ledger.waiting_rows,
            spooled_rows=ledger.spooled_rows,
            lag_s=ledger.lag_s,
            written=ledger.written,
            dropped=ledger.dropped,
        )


def _tracing(settings: TracingSettings, environment: Environment) -> Tracing | None:
    if settings.otlp_endpoint is None:
        return None
    try:
        from gateway.telemetry.tracing import Tracing
    except ModuleNotFoundError:
        problem = "tracing.otlp_endpoint: install the extra first: pip install 'slm-gateway[otel]'"
        raise ConfigError("the configuration", [problem]) from None
    headers = environment.secret(settings.headers_env) if settings.headers_env else None
    pairs = (one.partition("=") for one in (headers or "").split(",") if "=" in one)
    return Tracing(
        settings.otlp_endpoint,
        service_name=settings.service_name,
        sample=settings.sample,
        version=__version__,
        headers={name.strip().lower(): value.strip() for name, _, value in pairs},
    )
