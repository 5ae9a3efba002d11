"""Errors as clients of Anthropic's API know them: another envelope, and `request-id`."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
from starlette.types import Message, Send

from gateway.api.errors import envelope, status_of
from gateway.api.own_names import in_messages_words
from gateway.core.errors import GatewayError
from gateway.wire.anthropic_answer import messages_error

#: Anthropic's clients ask below this path.
ANTHROPIC_PATH = "/v1/messages"


def is_anthropics(path: str) -> bool:
    """Whether clients of a path expect Anthropic's envelope."""
    return path == ANTHROPIC_PATH or path.startswith(f"{ANTHROPIC_PATH}/")


def anthropic_envelope(error: GatewayError, request_id: str) -> bytes:
    """`{"type": "error", "error": {"type", "message"}, "request_id"}` as bytes."""
    return _translated(envelope(error), status_of(error), request_id)


def in_the_clients_words(path: str, send: Send, request_id: str) -> Send:
    """A `send` that tells errors, which come in OpenAI's envelope, as the path's clients expect."""
    return _anthropic(send, request_id) if is_anthropics(path) else send


def _anthropic(send: Send, request_id: str) -> Send:
    held: Message | None = None
    told = b""

    async def translating(message: Message) -> None:
        nonlocal held, told
        if message["type"] == "http.response.start":
            headers = [*message["headers"], (b"request-id", request_id.encode())]
            message = {**message, "headers": headers}
            if message["status"] >= 400:
                held = message
                return
        elif held is not None:
            told += message.get("body", b"")
            if message.get("more_body", False):
                return
            start, held = held, None
            body = _translated(told, start["status"], request_id)
            headers = [pair for pair in start["headers"] if pair[0].lower() != b"content-length"]
            length = (b"content-length", b"%d" % len(body))
            await send({**start, "headers": [*headers, length]})
            message = {**message, "body": body}
        await send(message)

    return translating


def _translated(body: bytes, status: int, request_id: str) -> bytes:
    told: Any = {}
    with contextlib.suppress(orjson.JSONDecodeError):
        told = orjson.loads(body)
    told = told if isinstance(told, dict) else {}
    translated = messages_error(told, status, request_id)
    error, param = translated["error"], (told.get("error") or {}).get("param")
    error["message"] = in_messages_words(error["message"], param)
    return orjson.dumps(translated)
