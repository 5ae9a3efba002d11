"""Items to HTTP: JSON or server-sent events, the decision and the cost in headers and usage."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Protocol

import orjson
from starlette.types import Send

from gateway.api.errors import Headers
from gateway.core.answer import Answer, Item
from gateway.core.entry import LedgerEntry
from gateway.core.errors import GatewayError, reason_of
from gateway.core.usage import Usage
from gateway.pipeline import Reply

_JSON_TYPE = (b"content-type", b"application/json")
UNBUFFERED = (b"x-accel-buffering", b"no")
_STREAM_HEADERS: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    UNBUFFERED,
]
_USAGE_OBJECT = re.compile(rb'"usage"\s*:\s*\{\s*')


async def send_json(send: Send, status: int, body: bytes, headers: Headers = []) -> None:  # noqa: B006 (never changed)
    """One whole JSON response."""
    length = (b"content-length", b"%d" % len(body))
    start = {"type": "http.response.start", "status": status}
    await send({**start, "headers": [_JSON_TYPE, length, *headers]})
    await send({"type": "http.response.body", "body": body})


class EventStream(Protocol):
    """Writes the events of one streamed answer in one wire format."""

    def frames(self, item: Item) -> bytes:
        """The events to send for one item; may be empty."""

    def finish(self) -> bytes:
        """The events at the end of a stream that ended well."""

    def fail(self, error: GatewayError) -> bytes:
        """The events at the end of a stream that broke, from which a client sees that it did."""


async def send_answer(send: Send, body: bytes, answer: Answer, entry: LedgerEntry) -> None:
    """A plain answer, with the decision and the cost in its headers."""
    headers = route_headers(entry, answer.ignored)
    usd = whole_usd(entry)
    if usd is not None:
        headers.append((b"x-gateway-cost-usd", usd))
    headers.append((b"x-gateway-cost-source", entry.cost.source.encode()))
    await send_json(send, 200, body, headers)


async def send_stream(send: Send, reply: Reply, events: EventStream) -> None:
    """A stream of events; a failure on the way becomes the events of a broken stream."""
    headers = [*_STREAM_HEADERS, *route_headers(reply.entry, reply.first.ignored)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    try:
        await _send_part(send, events.frames(reply.first))
        async for item in reply.rest:
            await _send_part(send, events.frames(item))
        end = events.finish()
    except GatewayError as error:
        end = events.fail(error)
    except asyncio.CancelledError as cancelled:
        reason = reason_of(cancelled)
        if reason is None:
            raise
        end = events.fail(reason)
    await send({"type": "http.response.body", "body": end})


async def _send_part(send: Send, frames: bytes) -> None:
    if frames:
        await send({"type": "http.response.body", "body": frames, "more_body": True})


def route_headers(entry: LedgerEntry, ignored: tuple[str, ...] = ()) -> Headers:
    """Which tier and deployment answers, and why."""
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
    if ignored:
        headers.append((b"x-gateway-ignored", _header_text(",".join(ignored))))
    return headers


def _header_text(text: str) -> bytes:
    """Names that a client made up, as a header can hold them."""
    return "".join(char if " " < char <= "~" else "?" for char in text[:500]).encode()


def with_cost(answer: Answer, entry: LedgerEntry, usd: bytes | None) -> bytes:
    """The answer's bytes with `usage.cost` and `usage.cost_details`, the rest untouched."""
    usage = answer.payload.get("usage")
    spliced = cost_spliced(answer.raw, usage, entry, usd)
    if spliced is not None:
        return spliced
    return orjson.dumps({**answer.payload, "usage": usage_with_cost(usage, entry)})


def cost_spliced(raw: bytes, usage: object, entry: LedgerEntry, usd: bytes | None) -> bytes | None:
    """The bytes that hold a `usage` object, the cost put in it; None where that isn't sure."""
    if not isinstance(usage, dict) or "cost" in usage or raw.count(b'"usage"') != 1:
        return None
    match = _USAGE_OBJECT.match(raw, raw.find(b'"usage"'))
    if match is None:
        return None
    added = orjson.dumps(cost_fields(entry, usd))[1:-1]
    comma = b"," if usage else b""
    return raw[: match.end()] + added + comma + raw[match.end() :]


def usage_with_cost(usage: object, entry: LedgerEntry) -> dict[str, Any]:
    """The reported usage, or ours where there is none, with `cost` and `cost_details`."""
    reported = dict(usage) if isinstance(usage, Mapping) else _wire_usage(entry.usage)
    return {**reported, **cost_fields(entry, whole_usd(entry))}


def _wire_usage(usage: Usage | None) -> dict[str, Any]:
    if usage is None:
        return {}
    total = usage.prompt_tokens + usage.completion_tokens
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": total,
    }


def whole_usd(entry: LedgerEntry) -> bytes | None:
    """What the request cost: the attempts before this one too, such as a cascade's small leg."""
    usd, earlier = entry.cost.usd, entry.earlier_usd
    if usd is None:
        return None
    return format(usd + earlier if earlier else usd, "f").encode()


def cost_fields(entry: LedgerEntry, usd: bytes | None) -> dict[str, Any]:
    """`cost` in USD, exact (null where unpriced), and `cost_details`."""
    cost = entry.cost
    details = {
        "source": cost.source,
        "price_id": cost.price_id,
        "usage_source": entry.usage.source if entry.usage is not None else None,
        "energy_wh": entry.energy_wh,
        "co2_g": entry.co2_g,
        "energy_source": entry.energy_source,
    }
    # A fragment keeps the decimal exact: a float would round it.
    amount = None if usd is None else orjson.Fragment(usd)
    return {"cost": amount, "cost_details": details}
