"""What upstreams say when they refuse, in the many shapes that are seen in the wild."""

from __future__ import annotations

import email.utils
import math
import time
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.core.errors import UpstreamError

_LONGEST_MESSAGE = 500


def refusal(
    status: int, headers: Mapping[str, str], body: bytes, *, secret: str | None
) -> UpstreamError:
    """The upstream's refusal as an error; `secret` is never a part of its message."""
    details = _details(body)
    message = details.get("message")
    if not isinstance(message, str) or not message.strip():
        message = f"The upstream answered with status {status}."
    return UpstreamError(
        scrub(message, secret)[:_LONGEST_MESSAGE],
        status=status,
        param=_word(details.get("param")),
        code=_word(details.get("code")) or "upstream_error",
        error_type=_word(details.get("type")),
        retry_after_s=retry_after_s(headers),
    )


def scrub(text: str, secret: str | None) -> str:
    """The text without our key."""
    return text.replace(secret, "[key]") if secret else text


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds from `retry-after-ms` or `Retry-After` (seconds or a date); None without either."""
    try:
        if "retry-after-ms" in headers:
            return _seconds(float(headers["retry-after-ms"]) / 1e3)
        value = headers.get("retry-after")
        if value is None:
            return None
        return _seconds(float(value))
    except ValueError:
        pass
    try:
        when = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    return max(0.0, when.timestamp() - time.time())


def _seconds(asked: float) -> float | None:
    return max(0.0, asked) if math.isfinite(asked) else None


def _details(body: bytes) -> Mapping[str, Any]:
    """The object that holds `message`, `type`, `param` and `code`."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if isinstance(parsed, list) and parsed:  # Google answers a list of one
        parsed = parsed[0]
    if not isinstance(parsed, Mapping):
        return {}
    error = parsed.get("error")
    if isinstance(error, Mapping):
        return error
    words = (error, parsed.get("message"), parsed.get("detail"))
    message = next((word for word in words if isinstance(word, str)), None)
    return {**parsed, "message": message}


def _word(value: object) -> str | None:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
