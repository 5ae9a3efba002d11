"""Response headers that tell browsers to make nothing of an answer but data."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.api.errors import Headers

#: No CORS header is ever sent: pages of other origins may not read answers.
SECURITY_HEADERS: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]


def secured(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers of an answer and the security headers that it doesn't set itself."""
    given = list(headers)
    names = {name for name, _ in given}
    return given + [header for header in SECURITY_HEADERS if header[0] not in names]
