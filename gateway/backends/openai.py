"""The backend `openai`: any upstream that speaks OpenAI's chat completions API."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import Any

import orjson

from gateway.backends.forwarding import PER_REQUEST_HEADERS, Forwarder
from gateway.backends.held import Held
from gateway.backends.http1 import Connection, HttpFailure, Timeouts
from gateway.backends.sse import (
    EventSplitter,
    EventTooLong,
    event_data,
    first_noteworthy,
    frame,
    is_finished,
)
from gateway.backends.upstream import (
    MAX_RESPONSE_BYTES,
    Upstream,
    UpstreamBackend,
    failed,
    interrupted,
)
from gateway.backends.upstream_errors import refusal
from gateway.backends.wire import upstream_body
from gateway.core.answer import Answer, Chunk, Item
from gateway.core.cascade import Cascade
from gateway.core.deployment import Capability, Deployment
from gateway.core.errors import (
    BackendError,
    StreamInterrupted,
    UpstreamError,
    UpstreamUnavailable,
)
from gateway.core.forwarding import ForwardedRequest
from gateway.core.request import Caller, ChatRequest, Wire
from gateway.core.usage import Usage
from gateway.wire.anthropic_marks import without_marks

CHAT_PATH = "/chat/completions"
COMPLETIONS_PATH = "/completions"
_TIMEOUTS = Timeouts()

_MODEL = re.compile(rb'"model"\s*:\s*"([^"\\]+)"')
#: How an upstream refuses a field that it does not know.
_BAD_REQUEST = frozenset({400, 422})


class OpenAIBackend(UpstreamBackend):
    """Calls one upstream. Its connections live from `start` to `stop`."""

    #: Behind the base URL, and what is spoken there.
    path = CHAT_PATH
    wire: Wire = "chat"

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str | None,
        timeouts: Timeouts = _TIMEOUTS,
        extra_headers: Mapping[str, str] | None = None,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
        max_tokens_field: str | None = None,
        stream_usage: bool = True,
        cache_marks: bool = False,
        key_header: str = "authorization",
        query: Mapping[str, str] | None = None,
    ) -> None:
        """`key_header` carries the key, after `Bearer` where it is `authorization`.

        `cache_marks` says that the upstream takes Anthropic's `cache_control` in chats.
        """
        self._cache_marks = cache_marks
        self._max_tokens_field = max_tokens_field
        self._stream_usage = stream_usage
        own_headers = {**_key_header(api_key, key_header), **(extra_headers or {})}
        self._upstream = Upstream(
            base_url=base_url,
            secret=api_key,
            headers={
                "content-type": "application/json",
                "accept": "application/json, text/event-stream",
                **own_headers,
            },
            timeouts=timeouts,
            query=query,
            max_response_bytes=max_response_bytes,
        )
        self._forwarder = Forwarder(
            base_url=base_url,
            secret=api_key,
            headers={
                name: value
                for name, value in own_headers.items()
                if name.lower() not in PER_REQUEST_HEADERS
            },
            timeouts=timeouts,
            query=query or {},
            max_held_bytes=max_response_bytes,
        )

    async def start(self) -> None:
        """Make the connection pools; nothing is opened before the first call."""
        await super().start()
        await self._forwarder.start()

    async def stop(self) -> None:
        """Close the connections."""
        await super().stop()
        await self._forwarder.stop()

    def forward(
        self, request: ForwardedRequest, deployment: Deployment, caller: Caller
    ) -> AsyncGenerator[Item, None]:
        """One upstream call that nothing is translated of: the `Piece`s of its answer."""
        return self._forwarder.answer(request, deployment, caller)

    def call(
        self,
        request: ChatRequest,
        deployment: Deployment,
        caller: Caller,
        *,
        cascade: Cascade | None = None,
    ) -> AsyncGenerator[Item, None]:
        """One upstream call: an `Answer`, or the `Chunk`s of a stream.

        An upstream that refuses the logprobs of a cascade is asked again without.
        """
        is_chat = request.wire not in deployment.wires - {"chat"}
        if cascade is None or not is_chat or Capability.LOGPROBS not in deployment.capabilities:
            return self._items(request, deployment, caller, None)
        return self._watched(request, deployment, caller, Held(request, cascade))

    async def _watched(
        self, request: ChatRequest, deployment: Deployment, caller: Caller, held: Held
    ) -> AsyncGenerator[Item, None]:
        try:
            async with aclosing(self._items(request, deployment, caller, held)) as items:
                async for item in items:
                    yield item
        except UpstreamError as error:
            if request.payload.get("logprobs") or error.status not in _BAD_REQUEST:
                raise
            async with aclosing(self._items(request, deployment, caller, None)) as items:
                async for item in items:
                    yield item

    async def _items(
        self, request: ChatRequest, deployment: Deployment, caller: Caller, held: Held | None
    ) -> AsyncGenerator[Item, None]:
        path, wire = self._spoken(request, deployment)
        raw, payload, ignored = self._said(request, wire)
        body = upstream_body(
            raw,
            payload,
            deployment.model,
            ask_usage=request.stream and self._stream_usage,
            ask_logprobs=held is not None,
            max_tokens_field=self._max_tokens_field if wire == "chat" else None,
        )
        connection = await self._upstream.ask(body, caller, path=path, whole=not request.stream)
        try:
            if not 200 <= connection.status < 300:
                raise self._upstream.refused(connection)
            if request.stream:
                await self._expect_stream(connection)
                chunks = self._chunks(connection)
                async for chunk in chunks if held is None else held.chunks(chunks):
                    chunk.wire = wire
                    chunk.ignored, ignored = ignored, ()
                    yield chunk
                return
            content = connection.taken()
        finally:
            connection.release()
        answer = self._answer(content)
        answer.wire, answer.ignored = wire, ignored
        yield answer if held is None else held.answer(answer)

    def _spoken(self, request: ChatRequest, deployment: Deployment) -> tuple[str, Wire]:
        """Where the request goes, and the wire format that is spoken there."""
        if request.wire == "completions" and request.wire in deployment.wires:
            return COMPLETIONS_PATH, request.wire
        return self.path, self.wire

    def _said(
        self, request: ChatRequest, wire: Wire
    ) -> tuple[bytes, Mapping[str, Any], tuple[str, ...]]:
        """The body in that format, as bytes and parsed, and what had to be left out of it."""
        if wire == "completions" and request.native is not None:
            return request.native, orjson.loads(request.native), ()
        if request.wire == "messages" and not self._cache_marks:
            payload, ignored = without_marks(request.payload)
            if ignored:
                return orjson.dumps(payload), payload, ignored
        return request.raw, request.payload, ()

    async def _expect_stream(self, connection: Connection) -> None:
        if connection.headers.get("content-type", "").startswith("text/event-stream"):
            return
        self._answer(await self._upstream.rest(connection))  # raises what the upstream said, if so
        raise UpstreamUnavailable("The upstream didn't stream its answer.")

    def _answer(self, raw: bytes) -> Answer:
        try:
            payload = orjson.loads(raw)
        except orjson.JSONDecodeError:
            raise UpstreamUnavailable("The upstream's answer is not JSON.") from None
        if not isinstance(payload, dict):
            raise UpstreamUnavailable("The upstream's answer is not a JSON object.")
        if payload.get("error"):
            raise self._refusal_in_body(raw, payload["error"])
        usage = payload.get("usage")
        return Answer(
            raw=raw,
            payload=payload,
            model_served=payload.get("model") if isinstance(payload.get("model"), str) else None,
            usage=_usage(usage, payload) if isinstance(usage, dict) else None,
        )

    def _refusal_in_body(self, raw: bytes, error: object) -> BackendError:
        """An error that came with status 200; a numeric `code` is the status that was meant."""
        code = error.get("code") if isinstance(error, dict) else None
        status = code if isinstance(code, int) and 400 <= code < 600 else 502
        return refusal(status, {}, raw, secret=self._upstream.secret)

    async def _chunks(self, connection: Connection) -> AsyncGenerator[Chunk, None]:
        """The stream's chunks. A failure after the first one is a StreamInterrupted."""
        reader = _StreamReader(self)
        try:
            while piece := await connection.piece():
                for chunk in reader.push(piece):
                    yield chunk
                if reader.done:
                    break
            for chunk in () if reader.done else reader.flush():
                yield chunk
        except EventTooLong:
            raise StreamInterrupted("The upstream sent an endless event.") from None
        except HttpFailure as failure:
            error = failed(failure)
            raise (interrupted(error) if reader.begun else error) from failure
        except BackendError as error:
            if not reader.begun or isinstance(error, StreamInterrupted):
                raise
            raise interrupted(error) from error
        if not (reader.begun and (reader.done or reader.finished)):
            kind = StreamInterrupted if reader.begun else UpstreamUnavailable
            raise kind("The upstream closed the stream before its end.")

    def error_event(self, data: bytes, error: object) -> BackendError:
        """The error that an event in a stream carries."""
        return self._refusal_in_body(data, error)


class _StreamReader:
    """Blocks of events to chunks; most blocks pass untouched."""

    def __init__(self, backend: OpenAIBackend) -> None:
        self._backend = backend
        self._splitter = EventSplitter()
        self._model: str | None = None
        self.begun = False
        self.finished = False
        self.done = False

    def push(self, data: bytes) -> Iterator[Chunk]:
        """The chunks that these bytes complete."""
        return self._read(self._splitter.push(data))

    def flush(self) -> Iterator[Chunk]:
        """The chunks of an end without a blank line."""
        return self._read(self._splitter.flush())

    def _read(self, block: bytes) -> Iterator[Chunk]:
        """Lazily: what came before an error in the same block still goes out."""
        if not block:
            return
        if self._model is None:
            named = _MODEL.search(block)
            self._model = named.group(1).decode("utf-8", "replace") if named else None
        self.finished = self.finished or is_finished(block)
        start = first_noteworthy(block)
        if start:
            self.begun = True
            plain = block[:start]
            yield Chunk(plain, plain.count(b"\n\n"), model_served=self._model)
        if start == len(block):
            return
        for data in event_data(block[start:]):
            if data.strip() == b"[DONE]":
                self.done = True
                return
            chunk = self._chunk(data)
            self.begun = True
            yield chunk

    def _chunk(self, data: bytes) -> Chunk:
        framed = frame(data)
        if first_noteworthy(framed) == len(framed):
            return Chunk(framed, model_served=self._model)
        try:
            payload = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise UpstreamUnavailable("The upstream sent an event that is not JSON.") from None
        if not isinstance(payload, dict):
            raise UpstreamUnavailable("The upstream sent an event that is not an object.")
        if payload.get("error"):
            raise self._backend.error_event(data, payload["error"])
        usage = payload.get("usage")
        if not isinstance(usage, dict):
            return Chunk(framed, model_served=self._model)
        events = 1 if payload.get("choices") else 0
        return Chunk(framed, events, _usage(usage, payload), payload, self._model)


def _usage(usage: Mapping[str, Any], payload: Mapping[str, Any]) -> Usage:
    return Usage.from_wire(usage, payload.get("service_tier"))


def _key_header(api_key: str | None, name: str) -> dict[str, str]:
    if api_key is None:
        return {}
    return {name: f"Bearer {api_key}" if name.lower() == "authorization" else api_key}
