"""The FastAPI application: routes, error handlers, and the parts' lifetime."""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp

from gateway import __version__
from gateway.accounting.access.budget_reader import BudgetReader
from gateway.accounting.query import LedgerReader
from gateway.api.anthropic_errors import ANTHROPIC_PATH
from gateway.api.body import ClientLeft
from gateway.api.chat import ChatFormat
from gateway.api.completions import COMPLETIONS, CompletionsFormat
from gateway.api.costs import costs_routes
from gateway.api.count_tokens import count_tokens_routes
from gateway.api.dashboard.routes import dashboard_routes
from gateway.api.embeddings import EmbeddingsFormat
from gateway.api.endpoint import Endpoint
from gateway.api.errors import envelope, envelope_of, headers_of, status_of
from gateway.api.exchange import exchange_of
from gateway.api.feedback import feedback_routes
from gateway.api.gate import UNEXPECTED, Gate
from gateway.api.health import health_routes
from gateway.api.keys import KeyRing
from gateway.api.messages import MessagesFormat
from gateway.api.metrics import metrics_routes
from gateway.api.models import models_routes
from gateway.api.openapi import openapi_document
from gateway.api.passthrough import passthrough_routes
from gateway.api.responses.asked import RESPONSES
from gateway.api.responses.create import ResponsesEndpoint
from gateway.api.responses.stored import stored_routes
from gateway.api.route import route_routes
from gateway.app.dashboard import Dashboard
from gateway.app.logs import Logs
from gateway.app.loopback import is_loopback
from gateway.app.reload import LiveGateway
from gateway.app.sharing import Sharing
from gateway.app.telemetry import Telemetry
from gateway.core.errors import GatewayError
from gateway.core.request import CHAT_COMPLETIONS, EMBEDDINGS

_log = logging.getLogger("gateway.app")


def create_app(live: LiveGateway, telemetry: Telemetry, sharing: Sharing | None = None) -> ASGIApp:
    """Everything that answers HTTP. What a reload may replace is asked of `live` each time."""
    gateway = live.gateway

    logs = Logs(gateway.settings.logging)

    def degraded() -> dict[str, str | None]:
        return {**live.degraded(), **({} if sharing is None else sharing.degraded())}

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with logs:
            await live.start()
            telemetry.start()
            if sharing is not None:
                await sharing.start()
            for line in gateway.startup_notes():
                _log.warning(line)
            try:
                yield
            finally:
                if sharing is not None:
                    await sharing.stop()
                await live.stop()
                await telemetry.stop()

    app = FastAPI(
        title="slm-gateway",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # a redirect would name the host that the client claimed
    )
    body_limit = int(gateway.settings.server.max_body_mb * 1024 * 1024)
    direct: dict[tuple[str, str], ASGIApp] = {
        ("POST", CHAT_COMPLETIONS): Endpoint(live, ChatFormat(), body_limit),
        ("POST", COMPLETIONS): Endpoint(live, CompletionsFormat(), body_limit),
        ("POST", ANTHROPIC_PATH): Endpoint(live, MessagesFormat(), body_limit),
        ("POST", EMBEDDINGS): Endpoint(live, EmbeddingsFormat(), body_limit),
        ("POST", RESPONSES): ResponsesEndpoint(live, gateway.responses, body_limit),
    }
    for (method, path), endpoint in direct.items():
        app.router.routes.insert(0, Route(path, endpoint, methods=[method]))
    app.router.routes[len(direct) : len(direct)] = passthrough_routes(live, body_limit)
    app.include_router(count_tokens_routes(live, body_limit))
    app.include_router(stored_routes(gateway.responses))
    app.include_router(models_routes(live))
    app.include_router(route_routes(live, live.estimate_costs, body_limit))
    app.include_router(feedback_routes(gateway.feedback, body_limit))
    reader = LedgerReader(gateway.settings.ledger.url)
    app.include_router(costs_routes(reader, live.what_if))
    if gateway.settings.dashboard.enabled:
        shown = Dashboard(live, reader, BudgetReader(gateway.settings.ledger.url))
        app.router.routes += dashboard_routes(app, shown, live.ending)
    app.include_router(health_routes(live.not_ready, degraded, live.notes))
    if telemetry.has_metrics:
        app.include_router(metrics_routes(telemetry.expose))
    app.openapi = functools.cache(lambda: openapi_document(app))  # type: ignore[method-assign]
    app.add_exception_handler(GatewayError, _gateway_error)
    app.add_exception_handler(ClientLeft, _client_left)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(Exception, _unexpected_error)
    is_public = not is_loopback(gateway.settings.server.host)
    keys = KeyRing(gateway.client_keys, gateway.access.book, required=is_public)
    gate = Gate(app, keys, direct, checks_names=True)
    gate.limiter = gateway.access.rates
    gate.log_request = logs.request
    gate.watcher = telemetry
    telemetry.known_paths = frozenset(
        route.path for route in app.routes if isinstance(route, Route) and "{" not in route.path
    )
    return gate


def _gateway_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, GatewayError)  # noqa: S101 (registered for it)
    headers = {name.decode(): value.decode() for name, value in headers_of(error)}
    return _json(status_of(error), envelope(error), headers)


def _client_left(request: Request, _: Exception) -> Response:
    """Nobody reads this answer; it is for the log (nginx's status, or why we hung up)."""
    return Response(status_code=exchange_of(request.scope).status or 499)


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 (registered for it)
    known = {404: f"There is no {request.method} {request.scope['path']} here.", 405: ""}
    message = known.get(error.status_code) or HTTPStatus(error.status_code).description
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        message = f"{request.method} is not allowed on {request.scope['path']}; use {allowed}."
    code = HTTPStatus(error.status_code).name.lower()
    body = envelope_of(message, error_type="invalid_request_error", code=code)
    return _json(error.status_code, body, dict(error.headers or {}))


def _validation_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 (registered for it)
    problem = error.errors()[0]
    param = str(problem["loc"][-1])
    body = envelope_of(
        f"Invalid '{param}': {problem['msg']}.", error_type="invalid_request_error", param=param
    )
    return _json(400, body)


def _unexpected_error(_: Request, __: Exception) -> Response:
    return _json(500, UNEXPECTED)


def _json(status: int, body: bytes, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status, headers, media_type="application/json")
