"""Items to HTTP: JSON or server-sent events, the decision and the cost in headers and usage."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.types import Send

from gateway.api.errors import Headers, envelope
from gateway.core.answer import Answer, Chunk, Item
from gateway.core.entry import LedgerEntry
from gateway.core.errors import GatewayError, reason_of
from gateway.core.request import ChatRequest
from gateway.core.usage import Usage
from gateway.pipeline import Reply

DONE = b"data: [DONE]\n\n"

_JSON_TYPE = (b"content-type", b"application/json")
_STREAM_HEADERS: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
_USAGE_OBJECT = re.compile(rb'"usage"\s*:\s*\{\s*')


async def send_json(send: Send, status: int, body: bytes, headers: Headers = []) -> None:  # noqa: B006 (never changed)
    """One whole JSON response."""
    length = (b"content-length", b"%d" % len(body))
    start = {"type": "http.response.start", "status": status}
    await send({**start, "headers": [_JSON_TYPE, length, *headers]})
    await send({"type": "http.response.body", "body": body})


async def send_answer(send: Send, answer: Answer, entry: LedgerEntry) -> None:
    """A plain answer: the backend's own bytes, with the cost added to its usage."""
    headers = _route_headers(entry)
    usd = _whole_usd(entry)
    if usd is not None:
        headers.append((b"x-gateway-cost-usd", usd))
    headers.append((b"x-gateway-cost-source", entry.cost.source.encode()))
    await send_json(send, 200, _with_cost(answer, entry, usd), headers)


async def send_stream(send: Send, request: ChatRequest, reply: Reply) -> None:
    """A stream of events; a failure on the way becomes one error event, and then no `[DONE]`."""
    entry = reply.entry
    headers = [*_STREAM_HEADERS, *_route_headers(entry)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    usage_sent = False
    try:
        await _send_part(send, _frames(reply.first, request, entry))
        async for item in reply.rest:
            usage_sent = usage_sent or (isinstance(item, Chunk) and item.usage is not None)
            await _send_part(send, _frames(item, request, entry))
        if request.include_usage and not usage_sent:
            await _send_part(send, _usage_event(entry))
        end = DONE
    except GatewayError as error:
        end = _error_event(error)
    except asyncio.CancelledError as cancelled:
        reason = reason_of(cancelled)
        if reason is None:
            raise
        end = _error_event(reason)
    await send({"type": "http.response.body", "body": end})


def _error_event(error: GatewayError) -> bytes:
    return b"data: " + envelope(error) + b"\n\n"


async def _send_part(send: Send, frames: bytes) -> None:
    if frames:
        await send({"type": "http.response.body", "body": frames, "more_body": True})


def _route_headers(entry: LedgerEntry) -> Headers:
    headers: Headers = [
        (b"x-gateway-tier", entry.tier.encode()),
        (b"x-gateway-model", entry.deployment.encode()),
        (b"x-gateway-reason", entry.reason.encode()),
        (b"x-gateway-router", entry.router_version.encode()),
        (b"x-gateway-overhead-ms", b"%.3f" % entry.overhead_ms),
    ]
    if entry.score is not None:
        headers.append((b"x-gateway-score", b"%.4f" % entry.score))
    if entry.threshold is not None:
        headers.append((b"x-gateway-threshold", b"%.4g" % entry.threshold))
    return headers


def _frames(item: Item, request: ChatRequest, entry: LedgerEntry) -> bytes:
    """The events to send for one item; the usage goes only to clients that asked for it."""
    if isinstance(item, Answer):  # a backend that can't stream answers in one piece
        return b"data: " + _with_cost(item, entry, _whole_usd(entry)) + b"\n\n"
    if item.usage is None or item.payload is None:
        return item.frames
    payload = dict(item.payload)
    usage = payload.pop("usage", None)
    if request.include_usage:
        payload["usage"] = _usage_with_cost(usage, entry)
    elif not payload.get("choices"):
        return b""
    return b"data: " + orjson.dumps(payload) + b"\n\n"


def _usage_event(entry: LedgerEntry) -> bytes:
    """The usage chunk that the upstream didn't send, from our own estimate."""
    payload = {
        "id": f"chatcmpl-{entry.request_id}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": entry.model_served or entry.deployment,
        "choices": [],
        "usage": _usage_with_cost(None, entry),
    }
    return b"data: " + orjson.dumps(payload) + b"\n\n"


def _with_cost(answer: Answer, entry: LedgerEntry, usd: bytes | None) -> bytes:
    """The answer's bytes with `usage.cost` and `usage.cost_details`, the rest untouched."""
    usage = answer.payload.get("usage")
    if isinstance(usage, dict) and "cost" not in usage and answer.raw.count(b'"usage"') == 1:
        match = _USAGE_OBJECT.search(answer.raw)
        if match is not None:
            added = orjson.dumps(_cost_fields(entry, usd))[1:-1]
            comma = b"," if usage else b""
            return answer.raw[: match.end()] + added + comma + answer.raw[match.end() :]
    return orjson.dumps({**answer.payload, "usage": _usage_with_cost(usage, entry)})


def _usage_with_cost(usage: object, entry: LedgerEntry) -> dict[str, Any]:
    reported = dict(usage) if isinstance(usage, Mapping) else _wire_usage(entry.usage)
    return {**reported, **_cost_fields(entry, _whole_usd(entry))}


def _wire_usage(usage: Usage | None) -> dict[str, Any]:
    if usage is None:
        return {}
    total = usage.prompt_tokens + usage.completion_tokens
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": total,
    }


def _whole_usd(entry: LedgerEntry) -> bytes | None:
    """What the request cost: the attempts before this one too, such as a cascade's small leg."""
    usd, earlier = entry.cost.usd, entry.earlier_usd
    if usd is None:
        return None
    return format(usd + earlier if earlier else usd, "f").encode()


def _cost_fields(entry: LedgerEntry, usd: bytes | None) -> dict[str, Any]:
    cost = entry.cost
    details = {
        "source": cost.source,
        "price_id": cost.price_id,
        "usage_source": entry.usage.source if entry.usage is not None else None,
    }
    # A fragment keeps the decimal exact: a float would round it.
    amount = None if usd is None else orjson.Fragment(usd)
    return {"cost": amount, "cost_details": details}
