"""The dashboard's endpoints: its figures, the latest requests, and why each went where it did."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal, Protocol

from fastapi import APIRouter, Query, Response
from fastapi import Path as PathParameter
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.api.dashboard.access import DASHBOARD
from gateway.api.dashboard.feed import Feed, FeedEndpoint
from gateway.api.dashboard.pages import pages_routes
from gateway.api.dashboard.shared import Shared
from gateway.core.request import CHAT_COMPLETIONS

Span = Literal["24h", "7d", "30d", "90d"]


class Figures(Protocol):
    """What reads what the page shows, as JSON; every method blocks."""

    def figures(self, span: Span) -> bytes:
        """Spend, savings, scores, latency and budgets of a span that ends now."""

    def latest(self) -> bytes:
        """The latest requests, the newest first."""

    def attempts(self, request_id: str) -> bytes:
        """The ledger's rows of one request."""


class SameAs:
    """Another path's endpoint, for the page: its browser shows its key here alone."""

    def __init__(self, app: ASGIApp, path: str) -> None:
        self._app = app
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as that endpoint does."""
        there = {**scope, "path": self._path, "raw_path": self._path.encode()}
        await self._app(there, receive, send)


def dashboard_routes(app: ASGIApp, figures: Figures, ending: asyncio.Event) -> list[BaseRoute]:
    """The page, its data, and a playground on `app`; streams end when `ending` is set."""
    of_span: Shared[Span] = Shared(figures.figures)
    latest: Shared[None] = Shared(lambda _: figures.latest())
    router = APIRouter(prefix=DASHBOARD, include_in_schema=False)

    @router.get("/figures")
    async def figures_of(span: Annotated[Span, Query()] = "24h") -> Response:
        return _json(await of_span.get(span))

    @router.get("/requests")
    async def requests() -> Response:
        return _json(await latest.get(None))

    # Not a coroutine: reading blocks, so it runs in a thread of the pool.
    @router.get("/requests/{request_id}")
    def attempts(
        request_id: Annotated[str, PathParameter(max_length=64, pattern=r"^[^\x00]*$")],
    ) -> Response:
        return _json(figures.attempts(request_id))

    direct: dict[tuple[str, str], ASGIApp] = {
        ("GET", "events"): FeedEndpoint(Feed(latest, ending)),
        ("POST", "route"): SameAs(app, "/v1/route"),
        ("POST", "chat"): SameAs(app, CHAT_COMPLETIONS),
    }
    return [
        *pages_routes().routes,
        *router.routes,
        *(
            Route(f"{DASHBOARD}/{name}", endpoint, methods=[method])
            for (method, name), endpoint in direct.items()
        ),
    ]


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")
