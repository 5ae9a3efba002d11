"""Reading the body that a client sends, bounded."""

from __future__ import annotations

from starlette.types import Receive, Scope

from gateway.api.errors import UnsupportedMediaType
from gateway.core.errors import InvalidRequest, RequestTooLarge


class ClientLeft(Exception):
    """The client closed the connection before the answer was complete."""


async def read_body(
    scope: Scope, receive: Receive, limit_bytes: int, *, json_only: bool = True
) -> bytes:
    """The whole body of a request, JSON if `json_only`.

    Raises UnsupportedMediaType, RequestTooLarge (before reading on, once that is known), and
    ClientLeft.
    """
    content_type, declared, encoding = b"", b"", b"identity"
    for name, value in scope["headers"]:
        if name == b"content-type":
            content_type = value
        elif name == b"content-length":
            declared = value
        elif name == b"content-encoding":
            encoding = value.strip().lower()
    media_type = content_type.partition(b";")[0].strip().lower()
    is_json = media_type == b"application/json" or media_type.endswith(b"+json")
    if json_only and not is_json:
        raise UnsupportedMediaType("The body must be JSON: send 'content-type: application/json'.")
    if encoding != b"identity":
        raise UnsupportedMediaType("Compressed bodies aren't read: send no 'content-encoding'.")
    if declared.isdigit() and int(declared) > limit_bytes:
        raise _too_large(limit_bytes)
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        whole: bytes = message.get("body", b"")
        _check_size(len(whole), limit_bytes)
        return whole
    parts = bytearray()
    while message["type"] == "http.request":
        parts += message.get("body", b"")
        _check_size(len(parts), limit_bytes)
        if not message.get("more_body", False):
            return bytes(parts)
        message = await receive()
    raise ClientLeft


def _check_size(size: int, limit_bytes: int) -> None:
    if size > limit_bytes:
        raise _too_large(limit_bytes)


def _too_large(limit_bytes: int) -> InvalidRequest:
    return RequestTooLarge(f"The body is larger than the limit of {limit_bytes} bytes.")
