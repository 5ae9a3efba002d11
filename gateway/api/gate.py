"""The outermost layer: request id, key check before the body is read, a log line a request."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.api.admission import settle
from gateway.api.anthropic_errors import in_the_clients_words
from gateway.api.dashboard.access import admissible, in_a_browsers_words, is_dashboards
from gateway.api.errors import envelope, envelope_of, headers_of, status_of
from gateway.api.exchange import SCOPE_KEY, Exchange
from gateway.api.keys import KeyRing
from gateway.api.local_names import check_name
from gateway.api.respond import send_json
from gateway.api.security import secured
from gateway.core.entry import LedgerEntry
from gateway.core.errors import Forbidden, GatewayError, reason_of
from gateway.core.interfaces import Limiter

#: Probes come without a key.
CLIENT_LEFT = 499  # as nginx logs a client that closed the request
OPEN_PATHS = frozenset({"/healthz", "/readyz"})
#: What tells of everybody's requests.
MASTER_PATHS = frozenset({"/metrics"})

_log = logging.getLogger("gateway.api")


class ExchangeWatcher(Protocol):
    """What wants to know of every HTTP exchange."""

    def begun(self) -> None:
        """A request has come."""

    def answered(
        self, request_id: str, path: str, status: int, seconds: float, entry: LedgerEntry | None
    ) -> None:
        """It has been answered; `entry` is that of the attempt that answered, if any did."""


class Gate:
    """The outermost ASGI application; it never touches a body.

    What is asked most goes straight to its endpoint, without the layers of a web framework.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: KeyRing,
        direct: Mapping[tuple[str, str], ASGIApp] | None = None,
        *,
        checks_names: bool = False,
    ) -> None:
        """`direct` are endpoints by method and path; `app` answers everything else.

        With `checks_names` callers without a key must name this machine (see `local_names`).
        """
        self._app = app
        self._keys = keys
        self._direct = dict(direct or {})
        self._checks_names = checks_names
        #: Told of every exchange.
        self.watcher: ExchangeWatcher | None = None
        #: Holds virtual keys to their rates; None where no key has any.
        self.limiter: Limiter | None = None
        #: Takes the fields of one line a request and its level; None writes none.
        self.log_request: Callable[[dict[str, Any], int], None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one HTTP exchange through, or answer with an error in the envelope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = time.perf_counter()
        exchange = scope[SCOPE_KEY] = Exchange()
        request_id = (b"x-request-id", exchange.request_id.encode())

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                headers = secured(message.get("headers", ()))
                message["headers"] = [*headers, *exchange.headers, request_id]
            await send(message)

        path = scope["path"]
        send = in_the_clients_words(path, send, exchange.request_id)
        if self.watcher is not None:
            self.watcher.begun()
        try:
            if path not in OPEN_PATHS:
                await self._let_in(scope, exchange)
            endpoint = self._direct.get((scope["method"], path), self._app)
            await endpoint(scope, receive, send_with_id)
        except GatewayError as error:
            if exchange.status:
                raise
            told = in_a_browsers_words(error) if is_dashboards(path) else error
            await send_error(send_with_id, told)
        except asyncio.CancelledError as cancelled:
            reason = reason_of(cancelled)
            if reason is None or exchange.status:
                raise
            await send_error(send_with_id, reason)
        except Exception:
            if exchange.status:
                raise
            _log.exception("the request failed unexpectedly: %s", exchange.request_id)
            await send_json(send_with_id, 500, UNEXPECTED)
        finally:
            self._tell(scope, exchange, time.perf_counter() - started_s)

    async def _let_in(self, scope: Scope, exchange: Exchange) -> None:
        """Note who calls. Raises Unauthorized, Forbidden or ForeignPage."""
        is_page = is_dashboards(scope["path"])
        identity = await self._keys.identity(admissible(scope) if is_page else scope)
        if identity.key_id is None and self._checks_names:
            check_name(scope)
        exchange.key_id, exchange.key = identity.key_id, identity.key
        if identity.key is None:
            return
        if is_page or scope["path"] in MASTER_PATHS:
            raise Forbidden("A virtual key may not see what all of them do.")
        if identity.key.rpm is not None or identity.key.tpm is not None:
            exchange.limiter = self.limiter

    def _tell(self, scope: Scope, exchange: Exchange, seconds: float) -> None:
        path: str = scope["path"]
        settle(exchange)
        if self.watcher is not None:
            status = exchange.status or CLIENT_LEFT
            self.watcher.answered(exchange.request_id, path, status, seconds, exchange.entry)
        if self.log_request is not None:
            line = _line_of(scope, exchange, seconds * 1e3)
            self.log_request(line, logging.DEBUG if path in OPEN_PATHS else logging.INFO)


#: What a client is told of a failure that nobody expected.
UNEXPECTED = envelope_of(
    "The gateway failed to answer; the log has the request's id.",
    error_type="server_error",
    code="internal_error",
)


async def send_error(send: Send, error: GatewayError) -> None:
    """Answer with the error's status and envelope."""
    await send_json(send, status_of(error), envelope(error), headers_of(error))


def _line_of(scope: Scope, exchange: Exchange, latency_ms: float) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "request_id": exchange.request_id,
        "method": scope["method"],
        "path": scope["path"],
        "status": exchange.status or CLIENT_LEFT,
        "latency_ms": round(latency_ms, 2),
    }
    if exchange.key_id is not None:
        fields["key_id"] = exchange.key_id
    entry = exchange.entry
    if entry is not None:
        fields |= {
            "deployment": entry.deployment,
            "tier": entry.tier,
            "reason": entry.reason,
            "score": entry.score,
            "attempt": entry.attempt,
            "outcome": entry.outcome,
            "cost_usd": entry.cost.usd,
        }
    return fields
