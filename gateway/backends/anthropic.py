"""The backend `anthropic`: Anthropic's Messages API, for requests of its own wire and of chat."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Literal

import orjson

from gateway.backends.anthropic_stream import NativeReader, Reader, TranslatingReader, model_of
from gateway.backends.http1 import Connection, HttpFailure, Timeouts
from gateway.backends.sse import EventTooLong
from gateway.backends.upstream import (
    MAX_RESPONSE_BYTES,
    Upstream,
    UpstreamBackend,
    failed,
    interrupted,
)
from gateway.backends.upstream_errors import refusal
from gateway.backends.wire import with_model, written
from gateway.core.answer import Answer, Chunk, Item
from gateway.core.cascade import Cascade
from gateway.core.deployment import Deployment
from gateway.core.errors import (
    BackendError,
    StreamInterrupted,
    UpstreamError,
    UpstreamUnavailable,
)
from gateway.core.request import Caller, ChatRequest
from gateway.core.usage import UsageSource
from gateway.wire.anthropic_answer import chat_error, completion_of, status_of
from gateway.wire.anthropic_limits import left_out, unsupported_in
from gateway.wire.anthropic_request import DEFAULT_MAX_TOKENS, messages_body
from gateway.wire.anthropic_usage import translated_usage_of, usage_of

MESSAGES_PATH = "/messages"
COUNT_PATH = "/messages/count_tokens"
API_VERSION = "2023-06-01"
_TIMEOUTS = Timeouts()

#: Chat fields that change what an answer is, and that the Messages API has no word for.
REFUSED_FIELDS = frozenset(
    {
        "audio",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "modalities",
        "prediction",
        "presence_penalty",
        "seed",
        "web_search_options",
    }
)
#: Those that only keep books, or hint at how a vendor should serve the request.
IGNORED_FIELDS = frozenset(
    {
        "metadata",
        "moderation",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "store",
        "verbosity",
    }
)
#: What `count_tokens` takes of a Messages body.
_COUNTED = frozenset(
    {
        "cache_control",
        "context_management",
        "mcp_servers",
        "messages",
        "model",
        "output_config",
        "output_format",
        "system",
        "thinking",
        "tool_choice",
        "tools",
    }
)


class AnthropicBackend(UpstreamBackend):
    """Calls one upstream. Its connections live from `start` to `stop`."""

    counts_as: UsageSource = "reported"

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str | None,
        timeouts: Timeouts = _TIMEOUTS,
        extra_headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        key_header: str = "x-api-key",
        thinking: Literal["adaptive", "budget"] = "adaptive",
        default_max_tokens: int = DEFAULT_MAX_TOKENS,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
    ) -> None:
        """`thinking` says what `reasoning_effort` becomes: see `messages_body`."""
        bearer = "Bearer " if key_header.lower() == "authorization" else ""
        self._thinking = thinking
        self._default_max_tokens = default_max_tokens
        self._upstream = Upstream(
            base_url=base_url,
            secret=api_key,
            headers={
                "content-type": "application/json",
                "accept": "application/json, text/event-stream",
                "anthropic-version": API_VERSION,
                **({} if api_key is None else {key_header: bearer + api_key}),
                **(extra_headers or {}),
            },
            timeouts=timeouts,
            query=query,
            max_response_bytes=max_response_bytes,
        )

    async def call(
        self,
        request: ChatRequest,
        deployment: Deployment,
        caller: Caller,
        *,
        cascade: Cascade | None = None,
    ) -> AsyncGenerator[Item, None]:
        """One upstream call; a Messages request is sent on, and answered, as it is.

        The API has no logprobs, so a cascade can't watch: answers have no confidence.
        """
        is_native = _is_native(request)
        body, ignored = self._body(request, deployment.model)
        connection = await self._upstream.ask(
            body, caller, path=MESSAGES_PATH, whole=not request.stream
        )
        try:
            if not 200 <= connection.status < 300:
                raise self._refused(connection)
            if request.stream:
                await self._expect_stream(connection)
                reader: Reader = (NativeReader if is_native else TranslatingReader)(self.refusal_in)
                async with aclosing(_chunks(connection, reader)) as chunks:
                    async for chunk in chunks:
                        chunk.ignored, ignored = ignored, ()
                        yield chunk
                return
            content = connection.taken()
        finally:
            connection.release()
        answer = self._native_answer(content) if is_native else self._answer(content)
        answer.ignored = ignored
        yield answer

    async def count_tokens(
        self, request: ChatRequest, deployment: Deployment, caller: Caller
    ) -> int:
        """How many input tokens the request has, as the upstream counts. Raises BackendError."""
        native = request.native if request.wire == "messages" else None
        messages = self._messages(request, deployment.model) if native is None else parsed(native)
        counted = {key: value for key, value in messages.items() if key in _COUNTED}
        body = written({**counted, "model": deployment.model})
        connection = await self._upstream.ask(body, caller, path=COUNT_PATH, whole=True)
        try:
            if not 200 <= connection.status < 300:
                raise self._refused(connection)
            count = parsed(connection.taken()).get("input_tokens")
        finally:
            connection.release()
        if type(count) is not int or count < 0:
            raise UpstreamUnavailable("The upstream counted no tokens.")
        return count

    def unsupported_in(self, request: ChatRequest) -> str | None:
        """The place in a request that the Messages API has no words for, such as `tools[0]`."""
        return None if _is_native(request) else unsupported_in(request.payload)

    def _body(self, request: ChatRequest, model: str) -> tuple[bytes, tuple[str, ...]]:
        """What to send, and what the request has that it leaves out."""
        if request.wire == "messages" and request.native is not None:
            return with_model(request.native, model), ()
        messages = self._messages(request, model)
        return written(messages), _ignored(request.payload, messages)

    def _messages(self, request: ChatRequest, model: str) -> dict[str, Any]:
        body = messages_body(
            request.payload,
            default_max_tokens=self._default_max_tokens,
            thinking=self._thinking,
        )
        return {**body, "model": model}

    async def _expect_stream(self, connection: Connection) -> None:
        if connection.headers.get("content-type", "").startswith("text/event-stream"):
            return
        self._message(await self._upstream.rest(connection))  # raises what the upstream said
        raise UpstreamUnavailable("The upstream didn't stream its answer.")

    def _answer(self, raw: bytes) -> Answer:
        try:
            payload = completion_of(self._message(raw))
            usage = translated_usage_of(payload["usage"]) if "usage" in payload else None
            return Answer(orjson.dumps(payload), payload, model_of(payload), usage)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise UpstreamUnavailable("The upstream's answer is no message.") from None

    def _native_answer(self, raw: bytes) -> Answer:
        message = self._message(raw)
        return Answer(
            raw=raw,
            payload=message,
            model_served=model_of(message),
            usage=usage_of(message.get("usage")),
            wire="messages",
        )

    def _message(self, raw: bytes) -> dict[str, Any]:
        message = parsed(raw)
        if message.get("type") == "error" or message.get("error"):
            raise self.refusal_in(raw)
        return message

    def refusal_in(self, raw: bytes) -> BackendError:
        """The error that came with status 200, or as an event of a stream."""
        return self._translated(refusal(_status_in(raw), {}, raw, secret=self._upstream.secret))

    def _refused(self, connection: Connection) -> BackendError:
        error = self._upstream.refused(connection)
        return self._translated(error) if isinstance(error, UpstreamError) else error

    def _translated(self, error: UpstreamError) -> UpstreamError:
        """Anthropic's words for what is wrong in OpenAI's."""
        told = {"error": {"type": error.error_type, "message": error.message}}
        words = chat_error(told)["error"]
        error.error_type, error.code = words["type"], words["code"] or error.code
        return error


def _status_in(raw: bytes) -> int:
    try:
        envelope = orjson.loads(raw)
        return status_of(envelope)
    except (orjson.JSONDecodeError, AttributeError):
        return 502


def _is_native(request: ChatRequest) -> bool:
    return request.wire == "messages" and request.native is not None


def _ignored(chat: Mapping[str, Any], messages: Mapping[str, Any]) -> tuple[str, ...]:
    names = sorted(name for name in IGNORED_FIELDS & chat.keys() if chat[name])
    return tuple(dict.fromkeys((*names, *left_out(chat, messages))))


def parsed(raw: bytes) -> dict[str, Any]:
    """A JSON object that an upstream sent. Raises UpstreamUnavailable."""
    try:
        payload = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise UpstreamUnavailable("The upstream's answer is not JSON.") from None
    if not isinstance(payload, dict):
        raise UpstreamUnavailable("The upstream's answer is not a JSON object.")
    return payload


async def _chunks(connection: Connection, reader: Reader) -> AsyncGenerator[Chunk, None]:
    """The stream's chunks. A failure after the answer has begun is a StreamInterrupted.

    Until then its opening is held back: an upstream that is overloaded says so behind it.
    """
    opening: list[Chunk] = []
    try:
        while piece := await connection.piece():
            for chunk in reader.push(piece):
                opening.append(chunk)
                while reader.begun and opening:
                    yield opening.pop(0)
            while reader.begun and opening:  # where what began it makes no chunk itself
                yield opening.pop(0)
            if reader.done:
                return
        opening += reader.flush()
        while reader.begun and opening:
            yield opening.pop(0)
    except EventTooLong:
        raise StreamInterrupted("The upstream sent an endless event.") from None
    except HttpFailure as failure:
        error = failed(failure)
        raise (interrupted(error) if reader.begun else error) from failure
    except BackendError as error:
        if not reader.begun or isinstance(error, StreamInterrupted):
            raise
        raise interrupted(error) from error
    if not reader.done:
        kind = StreamInterrupted if reader.begun else UpstreamUnavailable
        raise kind("The upstream closed the stream before its end.")
