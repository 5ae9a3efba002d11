"""Errors as HTTP: the status of each, and OpenAI's envelope."""

from __future__ import annotations

import math
from typing import Any

import orjson

from gateway.core.errors import (
    BackendError,
    BudgetExceeded,
    DeadlinePassed,
    EngineUnavailable,
    Forbidden,
    GatewayError,
    InvalidRequest,
    LedgerUnavailable,
    ModelNotAllowed,
    ModelNotFound,
    NotCalled,
    PriceUnknown,
    RateLimited,
    RequestNotFound,
    RequestTooLarge,
    ResponseNotFound,
    ShuttingDown,
    Unauthorized,
    UpstreamError,
    UpstreamTimeout,
)

Headers = list[tuple[bytes, bytes]]

#: The upstream refused the gateway's own key: not the client's fault, so not the client's 401.
_GATEWAY_KEY_REFUSED = frozenset({401, 403})

# The most specific class first.
_STATUS: tuple[tuple[type[GatewayError], int], ...] = (
    (ModelNotAllowed, 403),
    (ModelNotFound, 404),
    (RequestNotFound, 404),
    (ResponseNotFound, 404),
    (RequestTooLarge, 413),
    (InvalidRequest, 400),
    (Unauthorized, 401),
    (Forbidden, 403),
    (RateLimited, 429),
    (BudgetExceeded, 429),
    (PriceUnknown, 400),
    (UpstreamTimeout, 504),
    (DeadlinePassed, 504),
    (NotCalled, 503),
    (EngineUnavailable, 503),
    (LedgerUnavailable, 503),
    (ShuttingDown, 503),
    (BackendError, 502),
)


class UnsupportedMediaType(InvalidRequest):
    """The body isn't declared as JSON."""

    code = "unsupported_media_type"


class ForeignPage(InvalidRequest):
    """Another site's page asked for what only the gateway's own may have."""

    code = "cross_site_request"


class SignInNeeded(Unauthorized):
    """A browser is to ask its user for a key."""


def status_of(error: GatewayError) -> int:
    """The HTTP status that the client gets for this error."""
    if isinstance(error, UnsupportedMediaType):
        return 415
    if isinstance(error, ForeignPage):
        return 403
    if isinstance(error, UpstreamError) and error.status is not None:
        is_ours = not 400 <= error.status < 600 or error.status in _GATEWAY_KEY_REFUSED
        return 502 if is_ours else error.status
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def envelope(error: GatewayError) -> bytes:
    """The error as OpenAI's JSON envelope."""
    return envelope_of(
        error.message, error_type=_type_of(error), param=error.param, code=error.code
    )


def envelope_of(
    message: str, *, error_type: str, param: str | None = None, code: str | None = None
) -> bytes:
    """`{"error": {"message", "type", "param", "code"}}` as bytes."""
    body: dict[str, Any] = {"message": message, "type": error_type, "param": param, "code": code}
    return orjson.dumps({"error": body})


def headers_of(error: GatewayError) -> Headers:
    """What the client's SDK needs to know beside the body: when to retry, and whether at all."""
    headers: Headers = []
    if isinstance(error, SignInNeeded):
        headers.append((b"www-authenticate", b'Basic realm="slm-gateway", charset="UTF-8"'))
    elif isinstance(error, Unauthorized):
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, BackendError | RateLimited) and error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % max(0, math.ceil(error.retry_after_s))))
    if error.exhausted:
        headers.append((b"x-should-retry", b"false"))
    return headers


def _type_of(error: GatewayError) -> str:
    if isinstance(error, UpstreamError) and error.error_type is not None:
        return error.error_type
    if isinstance(error, RateLimited):
        return error.kind
    if isinstance(error, BudgetExceeded):
        return "insufficient_quota"
    status = status_of(error)
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"
