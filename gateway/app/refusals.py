"""What a connection is told that is refused before the application hears of it."""

from __future__ import annotations

import http
from dataclasses import dataclass

from gateway.api.errors import envelope_of
from gateway.api.security import SECURITY_HEADERS

_PHRASES = {status.value: status.phrase for status in http.HTTPStatus}
#: Upstreams also answer with statuses that no standard names, such as 529.
STATUS_LINES = {
    status: f"HTTP/1.1 {status} {_PHRASES.get(status, '')}\r\n".encode()
    for status in range(100, 1000)
}


@dataclass(slots=True, frozen=True)
class Refusal:
    """A status, the envelope's `code`, and its message."""

    status: int
    code: str
    message: str


MALFORMED = Refusal(400, "invalid_http", "This is not a valid HTTP/1.1 request.")
TARGET_TOO_LONG = Refusal(414, "uri_too_long", "The request's path and query are too long.")
HEADERS_TOO_LARGE = Refusal(431, "headers_too_large", "The request's headers are too large.")
HEADERS_TOO_SLOW = Refusal(408, "request_timeout", "The request's headers took too long to come.")
BODY_TOO_SLOW = Refusal(408, "request_timeout", "The request's body took too long to come.")
FULL = Refusal(503, "too_many_connections", "The gateway has as many connections as it may.")


def response_to(refusal: Refusal, request_id: str) -> bytes:
    """The whole response, with the error in the envelope; the connection ends after it."""
    kind = "server_error" if refusal.status >= 500 else "invalid_request_error"
    body = envelope_of(refusal.message, error_type=kind, code=refusal.code)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
        (b"x-request-id", request_id.encode()),
        *SECURITY_HEADERS,
    ]
    lines = [b"%b: %b\r\n" % header for header in headers]
    return b"".join((STATUS_LINES[refusal.status], *lines, b"\r\n", body))
