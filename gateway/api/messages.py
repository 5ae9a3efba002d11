"""The wire format of Anthropic's `POST /v1/messages`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NotRequired

import orjson
from pydantic import Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from gateway.api.anthropic_errors import ANTHROPIC_PATH, anthropic_envelope
from gateway.api.parse import (
    FIRST_FAULT,
    MOST_PARTS,
    PERMISSIVE,
    ModelName,
    check_depth,
    check_parts,
    checked,
    parse_object,
)
from gateway.api.respond import EventStream, cost_fields, cost_spliced, whole_usd, with_cost
from gateway.core.answer import Answer, Chunk, Item
from gateway.core.entry import LedgerEntry
from gateway.core.errors import GatewayError, UpstreamUnavailable
from gateway.core.request import ChatRequest
from gateway.core.usage import Usage, estimate_tokens
from gateway.wire.anthropic_answer import message_of, messages_usage
from gateway.wire.anthropic_own import own_field
from gateway.wire.anthropic_request import chat_body
from gateway.wire.anthropic_stream import EventsFromChunks, framed
from gateway.wire.events import objects_in

#: Levels that a translation puts around what stands deepest in a body.
_SPARE_LEVELS = 1
#: What comes of reading an upstream's object that isn't shaped as a chat's.
_UNREADABLE = (AttributeError, KeyError, TypeError, ValueError)


@with_config(PERMISSIVE)
class _Message(TypedDict):
    role: Annotated[str, Field(min_length=1)]
    content: str | Annotated[list[dict[str, Any]], FIRST_FAULT]


@with_config(PERMISSIVE)
class _ToolChoice(TypedDict):
    type: str
    name: NotRequired[str | None]
    disable_parallel_tool_use: NotRequired[bool | None]


@with_config(PERMISSIVE)
class _Thinking(TypedDict):
    type: str
    budget_tokens: NotRequired[int | None]


@with_config(PERMISSIVE)
class _Metadata(TypedDict):
    user_id: NotRequired[str | None]


@with_config(PERMISSIVE)
class _OutputConfig(TypedDict):
    effort: NotRequired[str | None]
    format: NotRequired[dict[str, Any] | None]


@with_config(PERMISSIVE)
class _Fields(TypedDict):
    """The fields that the gateway reads, with the ranges that Anthropic's reference gives."""

    model: ModelName
    messages: Annotated[list[_Message], Field(min_length=1, max_length=MOST_PARTS, fail_fast=True)]
    system: NotRequired[str | Annotated[list[dict[str, Any]], FIRST_FAULT] | None]
    tools: NotRequired[Annotated[list[dict[str, Any]], FIRST_FAULT] | None]
    tool_choice: NotRequired[_ToolChoice | None]
    thinking: NotRequired[_Thinking | None]
    output_config: NotRequired[_OutputConfig | None]
    stream: NotRequired[bool | None]
    temperature: NotRequired[Annotated[float, Field(ge=0, le=1)] | None]
    top_p: NotRequired[Annotated[float, Field(ge=0, le=1)] | None]
    top_k: NotRequired[Annotated[int, Field(ge=0)] | None]
    stop_sequences: NotRequired[Annotated[list[str], FIRST_FAULT] | None]
    metadata: NotRequired[_Metadata | None]
    service_tier: NotRequired[str | None]
    cache_control: NotRequired[dict[str, Any] | None]
    context_management: NotRequired[dict[str, Any] | None]
    inference_geo: NotRequired[str | None]
    mcp_servers: NotRequired[Annotated[list[dict[str, Any]], FIRST_FAULT] | None]


class _CountedFields(_Fields):
    """To count tokens nothing more is needed."""

    max_tokens: NotRequired[Annotated[int, Field(ge=1)] | None]


class _MessagesFields(_Fields):
    max_tokens: Annotated[int, Field(ge=1)]


COUNTED_FIELDS: TypeAdapter[_CountedFields] = TypeAdapter(_CountedFields)
MESSAGES_FIELDS: TypeAdapter[_MessagesFields] = TypeAdapter(_MessagesFields)


class MessagesFormat:
    """Messages in and out; inside they are chats, save for a backend that speaks Messages too."""

    def parse(self, body: bytes) -> ChatRequest:
        """Check a body and translate it. Raises InvalidRequest naming the field at fault."""
        return request_of(body, MESSAGES_FIELDS)

    def answer(self, request: ChatRequest, answer: Answer, entry: LedgerEntry) -> bytes:
        """The message with the cost in its usage."""
        is_counted = isinstance(answer.payload.get("usage"), dict)
        if answer.wire == "messages":
            if is_counted:
                return with_cost(answer, entry, whole_usd(entry))
            message = {**answer.payload, "usage": _counted(entry.usage)}
        else:
            try:
                message = message_of(answer.payload)
            except _UNREADABLE:
                raise UpstreamUnavailable("The upstream's answer is no chat completion.") from None
            message["id"] = message["id"] or f"msg_{entry.request_id}"
            if not is_counted:
                message["usage"] = _counted(entry.usage)
        message["usage"] |= cost_fields(entry, whole_usd(entry))
        return orjson.dumps(message)

    def stream(self, request: ChatRequest, entry: LedgerEntry) -> EventStream:
        """The events of one streamed answer."""
        return MessagesEvents(request, entry)


class MessagesEvents:
    """Chunks as Anthropic's events, the cost in `message_delta`'s usage."""

    def __init__(self, request: ChatRequest, entry: LedgerEntry) -> None:
        self._request = request
        self._entry = entry
        self._events = EventsFromChunks()
        self._is_native = False

    def frames(self, item: Item) -> bytes:
        """The events to send for one item."""
        if item.wire == "messages" and isinstance(item, Chunk):
            self._is_native = True
            return self._native(item)
        try:
            chunks = (
                [_as_chunk(item.payload)] if isinstance(item, Answer) else objects_in(item.frames)
            )
            events = [event for chunk in chunks for event in self._events.push(chunk)]
        except _UNREADABLE:
            raise UpstreamUnavailable("The upstream sent an event that is no chunk.") from None
        return b"".join(framed(self._begun(event)) for event in events)

    def _begun(self, event: dict[str, Any]) -> dict[str, Any]:
        """A beginning that says about how long the prompt is, since nobody has counted yet."""
        if event["type"] == "message_start":
            message = event["message"]
            message["id"] = message["id"] or f"msg_{self._entry.request_id}"
            message["usage"]["input_tokens"] = estimate_tokens(self._request.messages)
        return event

    def _native(self, chunk: Chunk) -> bytes:
        payload = chunk.payload
        if payload is None or not isinstance(payload.get("usage"), dict):
            return chunk.frames
        usd = whole_usd(self._entry)
        spliced = cost_spliced(chunk.frames, payload["usage"], self._entry, usd)
        if spliced is not None:
            return spliced
        return framed({**payload, "usage": payload["usage"] | cost_fields(self._entry, usd)})

    def finish(self) -> bytes:
        """The end of a stream that ended well; usage that nobody reported is estimated."""
        if self._is_native:
            return b""
        try:
            events = self._events.finish()
        except _UNREADABLE:
            raise UpstreamUnavailable("The upstream's usage can't be read.") from None
        return b"".join(framed(self._ended(event)) for event in events)

    def _ended(self, event: dict[str, Any]) -> dict[str, Any]:
        if event["type"] != "message_delta":
            return event
        entry, usage = self._entry, event["usage"]
        if entry.usage is not None and not (usage["input_tokens"] or usage["output_tokens"]):
            usage = _counted(entry.usage)
        return {**event, "usage": usage | cost_fields(entry, whole_usd(entry))}

    def fail(self, error: GatewayError) -> bytes:
        """The end of a stream that broke: one `error` event, and no `message_stop`."""
        envelope = anthropic_envelope(error, self._entry.request_id)
        return b"event: error\ndata: %b\n\n" % envelope


def _counted(usage: Usage | None) -> dict[str, Any]:
    """Usage that the gateway itself has counted or estimated, in Anthropic's words."""
    if usage is None:
        return messages_usage({})
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    return messages_usage({"prompt_tokens": prompt, "completion_tokens": completion})


def request_of(body: bytes, fields: TypeAdapter[Any]) -> ChatRequest:
    """Check a body and translate it. Raises InvalidRequest naming the field at fault."""
    payload = parse_object(body)
    check_depth(body, payload, spare=_SPARE_LEVELS)
    checked(fields, payload)
    if len(body) > MOST_PARTS:
        check_parts(payload["messages"])
    chat = chat_body(payload)
    return ChatRequest(
        raw=orjson.dumps(chat),
        payload=chat,
        model=payload["model"],
        messages=chat["messages"],
        stream=bool(payload.get("stream")),
        include_usage=True,
        max_tokens=payload.get("max_tokens"),
        endpoint=ANTHROPIC_PATH,
        wire="messages",
        native=body,
        native_only=own_field(payload),
    )


def _as_chunk(completion: Mapping[str, Any]) -> dict[str, Any]:
    """A whole answer as the one chunk of its stream."""
    choices = [
        {**choice, "delta": choice.get("message") or {}}
        for choice in completion.get("choices") or ()
        if isinstance(choice, dict)
    ]
    return {**completion, "choices": choices}
