"""The backend `openai`: any upstream that speaks OpenAI's chat completions API."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager

import aiohttp
import httpx
import orjson
from httpx_aiohttp import AiohttpTransport

from gateway import __version__
from gateway.backends.held import Held
from gateway.backends.sse import EventSplitter, EventTooLong, event_data, frame
from gateway.backends.upstream_errors import refusal
from gateway.backends.wire import upstream_body
from gateway.core.answer import Answer, Chunk, Item
from gateway.core.cascade import Cascade
from gateway.core.deployment import Capability, Deployment
from gateway.core.errors import (
    BackendError,
    StreamInterrupted,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from gateway.core.request import Caller, ChatRequest
from gateway.core.usage import Usage

MAX_CONNECTIONS = 1000
KEEPALIVE_S = 60.0

#: A block with any of these is read event by event; every other block passes untouched: usage
#: that isn't null, an error, the end mark, or a line that isn't `data:`.
_NOTEWORTHY = re.compile(
    rb'"usage"\s*:\s*\{|"error"\s*:\s*[^\sn]|\[DONE\]|^(?!data:)[^\n]', re.MULTILINE
)
_FINISHED = re.compile(rb'"finish_reason"\s*:\s*"')
_MODEL = re.compile(rb'"model"\s*:\s*"([^"\\]+)"')


#: How an upstream refuses a field that it does not know.
_BAD_REQUEST = frozenset({400, 422})


class OpenAIBackend:
    """Calls one upstream. Its connections live from `start` to `stop`."""

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str | None,
        connect_timeout_s: float = 5,
        timeout_s: float = 60,
        idle_timeout_s: float = 30,
        extra_headers: Mapping[str, str] | None = None,
        max_response_bytes: int = 64 * 1024 * 1024,
        max_tokens_field: str | None = None,
        stream_usage: bool = True,
    ) -> None:
        """`timeout_s` runs to the first byte, `idle_timeout_s` between two pieces of a stream."""
        self._url = httpx.URL(f"{base_url.rstrip('/')}/chat/completions")
        self._api_key = api_key
        self._timeout_s = timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._max_response_bytes = max_response_bytes
        self._max_tokens_field = max_tokens_field
        self._stream_usage = stream_usage
        self._timeouts = {"timeout": {"connect": connect_timeout_s}}
        self._headers = {
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
            "accept-encoding": "identity",
            "user-agent": f"slm-gateway/{__version__}",
            **({"authorization": f"Bearer {api_key}"} if api_key is not None else {}),
            **{name.lower(): value for name, value in (extra_headers or {}).items()},
        }
        self._transport: AiohttpTransport | None = None

    async def start(self) -> None:
        """Make the connection pool; nothing is opened before the first call."""
        self._transport = AiohttpTransport(client=_session)

    async def stop(self) -> None:
        """Close the connections."""
        if self._transport is not None:
            await self._transport.aclose()
            self._transport = None

    def not_ready(self) -> str | None:
        """Always ready once started: whether the upstream is up shows in its answers."""
        return None if self._transport is not None else "not started"

    async def call(
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
        held: Held | None = None
        if cascade is not None and Capability.LOGPROBS in deployment.capabilities:
            held = Held(request, cascade)
        try:
            async with aclosing(self._items(request, deployment, caller, held)) as items:
                async for item in items:
                    yield item
        except UpstreamError as error:
            if held is None or request.payload.get("logprobs") or error.status not in _BAD_REQUEST:
                raise
            async with aclosing(self._items(request, deployment, caller, None)) as items:
                async for item in items:
                    yield item

    async def _items(
        self, request: ChatRequest, deployment: Deployment, caller: Caller, held: Held | None
    ) -> AsyncGenerator[Item, None]:
        body = upstream_body(
            request,
            deployment.model,
            ask_usage=request.stream and self._stream_usage,
            ask_logprobs=held is not None,
            max_tokens_field=self._max_tokens_field,
        )
        async with self._response(body, caller) as response:
            if response.status_code != 200:
                content = await self._read(response, limit=64 * 1024)
                raise refusal(response.status_code, response.headers, content, secret=self._api_key)
            if not request.stream:
                answer = self._answer(await self._read(response, limit=self._max_response_bytes))
                yield held.answer(answer) if held is not None else answer
                return
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                content = await self._read(response, limit=self._max_response_bytes)
                self._answer(content)  # raises what the upstream said, if it said anything
                raise UpstreamUnavailable("The upstream didn't stream its answer.")
            async with (
                aclosing(self._chunks(response)) as chunks,
                aclosing(held.chunks(chunks) if held is not None else chunks) as shown,
            ):
                async for chunk in shown:
                    yield chunk

    @asynccontextmanager
    async def _response(self, body: bytes, caller: Caller) -> AsyncIterator[httpx.Response]:
        """The response once its headers have come; closed, and so cancelled, on the way out."""
        if self._transport is None:
            raise UpstreamUnavailable("The backend is not started.")
        headers = self._headers
        if caller.traceparent is not None:
            headers = {**headers, "traceparent": caller.traceparent}
        # The transport itself: httpx's client layer (cookies, redirects, URL merging) costs half
        # of the throughput and none of it is wanted here.
        outgoing = httpx.Request(
            "POST", self._url, headers=headers, content=body, extensions=self._timeouts
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._transport.handle_async_request(outgoing)
        except TimeoutError:
            raise self._too_late() from None
        except (httpx.TransportError, aiohttp.ClientError, OSError) as error:
            raise _unreachable(error) from error
        try:
            yield response
        finally:
            await response.aclose()

    async def _read(self, response: httpx.Response, *, limit: int) -> bytes:
        content = bytearray()
        async for piece in self._pieces(response):
            content += piece
            if len(content) > limit:
                raise UpstreamUnavailable(f"The upstream's answer is larger than {limit} bytes.")
        return bytes(content)

    async def _pieces(self, response: httpx.Response) -> AsyncGenerator[bytes, None]:
        """The body as it comes. Raises UpstreamTimeout, UpstreamUnavailable."""
        pieces = aiter(response.stream)  # type: ignore[arg-type]  # aiohttp's are asynchronous
        patience_s = self._timeout_s
        while True:
            try:
                async with asyncio.timeout(patience_s):
                    piece = await anext(pieces, None)
            except TimeoutError:
                raise self._too_late() from None
            except (httpx.TransportError, aiohttp.ClientError, OSError) as error:
                raise _unreachable(error) from error
            if piece is None:
                return
            yield piece
            patience_s = self._idle_timeout_s

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
            usage=Usage.from_wire(usage) if isinstance(usage, dict) else None,
        )

    def _refusal_in_body(self, raw: bytes, error: object) -> BackendError:
        """An error that came with status 200; a numeric `code` is the status that was meant."""
        code = error.get("code") if isinstance(error, dict) else None
        status = code if isinstance(code, int) and 400 <= code < 600 else 502
        return refusal(status, {}, raw, secret=self._api_key)

    async def _chunks(self, response: httpx.Response) -> AsyncGenerator[Chunk, None]:
        """The stream's chunks. A failure after the first one is a StreamInterrupted."""
        reader = _StreamReader(self)
        try:
            async for piece in self._pieces(response):
                for chunk in reader.push(piece):
                    yield chunk
                if reader.done:
                    return
            for chunk in reader.flush():
                yield chunk
        except EventTooLong:
            raise StreamInterrupted("The upstream sent an endless event.") from None
        except BackendError as error:
            if not reader.begun or isinstance(error, StreamInterrupted):
                raise
            raise _interrupted(error) from error
        if not (reader.done or reader.finished):
            kind = StreamInterrupted if reader.begun else UpstreamUnavailable
            raise kind("The upstream closed the stream before its end.")

    def error_event(self, data: bytes, error: object) -> BackendError:
        """The error that an event in a stream carries."""
        return self._refusal_in_body(data, error)

    def _too_late(self) -> UpstreamTimeout:
        return UpstreamTimeout("The upstream didn't answer in time.")


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
        if not self.finished:
            self.finished = _FINISHED.search(block) is not None
        if _NOTEWORTHY.search(block) is None:
            self.begun = True
            yield Chunk(block, block.count(b"\n\n"), model_served=self._model)
            return
        for data in event_data(block):
            if data.strip() == b"[DONE]":
                self.done = True
                return
            chunk = self._chunk(data)
            self.begun = True
            yield chunk

    def _chunk(self, data: bytes) -> Chunk:
        if _NOTEWORTHY.search(b"data: " + data) is None:
            return Chunk(frame(data), model_served=self._model)
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
            return Chunk(frame(data), model_served=self._model)
        events = 1 if payload.get("choices") else 0
        return Chunk(frame(data), events, Usage.from_wire(usage), payload, self._model)


def _interrupted(error: BackendError) -> StreamInterrupted:
    interrupted = StreamInterrupted(error.message, code=error.code, param=error.param)
    interrupted.timed_out = error.timed_out
    return interrupted


def _unreachable(error: Exception) -> BackendError:
    if isinstance(error, httpx.TimeoutException | TimeoutError) and not isinstance(
        error, httpx.ConnectTimeout
    ):
        return UpstreamTimeout("The upstream didn't answer in time.")
    return UpstreamUnavailable("The upstream can't be reached, or it closed the connection.")


def _session() -> aiohttp.ClientSession:
    """Connections without cookies, proxies from the environment, or a limit of their own."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS, keepalive_timeout=KEEPALIVE_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        trust_env=False,
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept-Encoding"),
    )
