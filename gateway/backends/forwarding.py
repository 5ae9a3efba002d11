"""Requests that are passed on to an upstream as they came, and their answers as they come."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import orjson

from gateway.backends.http1 import Connection, HttpFailure, Timeouts
from gateway.backends.upstream import Upstream, failed, interrupted
from gateway.backends.wire import with_model
from gateway.core.deployment import Deployment
from gateway.core.forwarding import ForwardedRequest, Piece
from gateway.core.request import Caller
from gateway.core.usage import MOST_TOKENS, Usage

#: These are the client's, in each request.
PER_REQUEST_HEADERS = frozenset({"accept", "content-type"})
#: The end of a stream is looked at for usage that far back.
_TAIL_BYTES = 16 * 1024
_USAGE = re.compile(r'"usage"\s*:\s*(?=\{)')
#: What of an answer's head is the client's business. Lengths only hold of what isn't encoded.
_PASSED_HEADERS = ("content-type", "content-disposition")


class Forwarder:
    """Passes requests on to one upstream. Its connections live from `start` to `stop`."""

    def __init__(
        self,
        *,
        base_url: str,
        secret: str | None,
        headers: Mapping[str, str],
        timeouts: Timeouts,
        query: Mapping[str, str],
        max_held_bytes: int,
    ) -> None:
        """`headers` and `query` go with every request; `secret` is the key among them.

        An image may take as long to begin as other answers may take in all, and as long between
        two events as others may take to begin. JSON up to `max_held_bytes` is sent on whole.
        """
        self._own_query = frozenset(map(str.lower, query))
        self._max_held_bytes = max_held_bytes
        self._upstream = Upstream(
            base_url=base_url,
            secret=secret,
            headers=headers,
            timeouts=Timeouts(
                connect_s=timeouts.connect_s,
                first_byte_s=timeouts.total_s,
                idle_s=max(timeouts.first_byte_s, timeouts.idle_s),
                total_s=timeouts.total_s,
            ),
            query=query,
        )

    async def start(self) -> None:
        """Make the connection pool; nothing is opened before the first call."""
        await self._upstream.start()

    async def stop(self) -> None:
        """Close the connections."""
        await self._upstream.stop()

    async def answer(
        self, request: ForwardedRequest, deployment: Deployment, caller: Caller
    ) -> AsyncGenerator[Piece, None]:
        """The answer's pieces, the first with its head, the last perhaps with usage alone.

        Raises a BackendError; one after the first piece is a StreamInterrupted.
        """
        query = [pair for pair in request.query if pair[0].lower() not in self._own_query]
        connection = await self._upstream.ask(
            _body(request, deployment),
            caller,
            path=f"{request.path}?{urlencode(query)}" if query else request.path,
            method=request.method,
            headers=_header_lines(request),
            whole=False,
        )
        try:
            if not 200 <= connection.status < 300:
                raise self._upstream.refused(connection)
            try:
                first = await self._first(connection, request)
            except HttpFailure as failure:
                raise failed(failure) from failure
            yield first
            if first.is_whole:
                return
            tail = b""
            try:
                while data := await connection.piece():
                    if request.is_metered:
                        tail = (tail + data[-_TAIL_BYTES:])[-_TAIL_BYTES:]
                    yield Piece(data, 0)
            except HttpFailure as failure:
                raise interrupted(failed(failure)) from failure
            if (usage := _usage_at_end(tail)) is not None:
                yield Piece(b"", 0, usage)
        finally:
            connection.release()

    async def _first(self, connection: Connection, request: ForwardedRequest) -> Piece:
        content_type = connection.headers.get("content-type", "").partition(";")[0].strip().lower()
        is_json = content_type == "application/json"
        data = await connection.piece()
        if is_json and not connection.complete:
            held = bytearray(data)
            while len(held) <= self._max_held_bytes and (data := await connection.piece()):
                held += data
            data = bytes(held)
        payload = _object(data) if is_json and connection.complete else {}
        model = payload.get("model")
        usage = payload.get("usage") if request.is_metered else None
        if request.is_metered and connection.complete and content_type == "text/event-stream":
            counted = _usage_at_end(data[-_TAIL_BYTES:])
        else:
            counted = usage_of(usage) if isinstance(usage, dict) else None
        return Piece(
            data,
            0,
            counted,
            model_served=model if isinstance(model, str) else None,
            status=connection.status,
            headers=_headers(connection),
            is_whole=connection.complete,
        )


def usage_of(reported: Mapping[str, Any]) -> Usage | None:
    """Usage as the endpoints for images and audio report it; None where nothing is counted."""
    usage = Usage.from_wire(reported)
    if "prompt_tokens" not in reported:
        heard = _mapping(reported.get("input_token_details"))
        seen = _mapping(reported.get("input_tokens_details"))
        drawn = _mapping(reported.get("output_tokens_details"))
        written = _count(reported.get("output_tokens"))
        usage = replace(
            usage,
            prompt_tokens=_count(reported.get("input_tokens")),
            completion_tokens=written,
            cached_tokens=_count(seen.get("cached_tokens")),
            audio_input_tokens=_count(heard.get("audio_tokens")),
            image_input_tokens=_count(seen.get("image_tokens")),
            # Streams of images give no details: all of their output is the image.
            image_output_tokens=_count(drawn.get("image_tokens", written if seen else 0)),
            audio_s=_seconds(reported.get("seconds")),
        )
    is_counted = usage.prompt_tokens or usage.completion_tokens or usage.audio_s
    return usage if is_counted or usage.reported_cost_usd is not None else None


def _usage_at_end(tail: bytes) -> Usage | None:
    """The last usage of a stream's end; inside a text the quotes of such a key are escaped."""
    text = tail.decode("utf-8", "replace")
    starts = [match.end() for match in _USAGE.finditer(text)]
    if not starts:
        return None
    try:
        reported, _ = json.JSONDecoder().raw_decode(text, starts[-1])
    except (ValueError, RecursionError):
        return None
    return usage_of(reported)


def _body(request: ForwardedRequest, deployment: Deployment) -> bytes:
    """The body as it came; a deployment's name becomes that of its model."""
    body = request.body
    if request.model not in (deployment.name, *deployment.aliases):
        return body
    if request.payload is not None:
        return with_model(body, deployment.model)
    if request.model_span is None:
        return body
    start, end = request.model_span
    return body[:start] + deployment.model.encode() + body[end:]


def _header_lines(request: ForwardedRequest) -> bytes:
    lines = [f"accept: {request.accept or '*/*'}"]
    if request.content_type is not None:
        lines.append(f"content-type: {request.content_type}")
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1")


def _headers(connection: Connection) -> tuple[tuple[bytes, bytes], ...]:
    given = connection.headers
    names = [name for name in _PASSED_HEADERS if name in given]
    if "content-encoding" not in given and given.get("content-length", "").isdecimal():
        names.append("content-length")
    return tuple((name.encode(), given[name].encode("latin-1")) for name in names)


def _object(data: bytes) -> Mapping[str, Any]:
    try:
        payload = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return _mapping(payload)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: object) -> int:
    return min(max(0, value), MOST_TOKENS) if type(value) is int else 0


def _seconds(value: object) -> float:
    return float(value) if type(value) in (int, float) and 0 < value < 1e9 else 0.0  # type: ignore[operator,arg-type]
