"""`GET /metrics`: what Prometheus reads."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse


def metrics_routes(expose: Callable[[], tuple[bytes, str]]) -> APIRouter:
    """`expose` gives the text and its media type; it may block."""
    router = APIRouter(tags=["metrics"])

    # Not a coroutine: the other processes' numbers are read from files, in a thread of the pool.
    @router.get("/metrics", response_class=PlainTextResponse)
    def metrics() -> Response:
        """Every metric of all web processes, in Prometheus' text format."""
        text, media_type = expose()
        return Response(text, media_type=media_type)

    return router
