"""The wire format of Anthropic's `POST /v1/messages`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NotRequired

import orjson
from pydantic import Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from gateway.api.anthropic_errors import ANTHROPIC_PATH, anthropic_envelope
from gateway.api.malformed import readable
from gateway.api.parse import (
    CHAT_FIELDS,
    FIRST_FAULT,
    MOST_PARTS,
    PERMISSIVE,
    ModelName,
    check_depth,
    check_parts,
    checked,
    parse_object,
)
from gateway.api.respond import (
    EventStream,
    cost_fields,
    cost_spliced,
    usage_with_cost,
    whole_usd,
    with_cost,
)
from gateway.core.answer import Answer, Chunk, Item
from gateway.core.entry import LedgerEntry
from gateway.core.errors import GatewayError, StreamInterrupted, UpstreamUnavailable
from gateway.core.request import ChatRequest
from gateway.core.usage import estimate_tokens
from gateway.wire.anthropic_answer import message_of, messages_usage
from gateway.wire.anthropic_only import own_place
from gateway.wire.anthropic_request import chat_body
from gateway.wire.anthropic_stream import EventsFromChunks, framed
from gateway.wire.events import objects_in

#: The chat stands one level deeper than the body in the schemas of tools.
_SPARE_LEVELS = 1

_Blocks = Annotated[list[dict[str, Any]], Field(max_length=MOST_PARTS, fail_fast=True)]


@with_config(PERMISSIVE)
class _Message(TypedDict):
    role: Annotated[str, Field(min_length=1)]
    content: str | _Blocks


@with_config(PERMISSIVE)
class _Tool(TypedDict):
    name: NotRequired[str]
    description: NotRequired[str | None]
    input_schema: NotRequired[dict[str, Any]]
    strict: NotRequired[bool | None]
    cache_control: NotRequired[dict[str, Any] | None]


@with_config(PERMISSIVE)
class _ToolChoice(TypedDict):
    type: str
    name: NotRequired[str | None]
    disable_parallel_tool_use: NotRequired[bool | None]


@with_config(PERMISSIVE)
class _Thinking(TypedDict):
    type: str
    budget_tokens: NotRequired[Annotated[int, Field(ge=0)] | None]


@with_config(PERMISSIVE)
class _OutputConfig(TypedDict):
    effort: NotRequired[str | None]
    format: NotRequired[dict[str, Any] | None]


@with_config(PERMISSIVE)
class _Metadata(TypedDict):
    user_id: NotRequired[str | None]


@with_config(PERMISSIVE)
class _Fields(TypedDict):
    """The fields that the gateway reads, with the ranges that Anthropic's reference gives."""

    model: ModelName
    messages: Annotated[list[_Message], Field(min_length=1, max_length=MOST_PARTS, fail_fast=True)]
    system: NotRequired[str | _Blocks | None]
    tools: NotRequired[Annotated[list[_Tool], Field(max_length=MOST_PARTS, fail_fast=True)] | None]
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
    """To count tokens no limit is needed."""

    max_tokens: NotRequired[Annotated[int, Field(ge=1)] | None]


class _MessagesFields(_Fields):
    """An answer has one always."""

    max_tokens: Annotated[int, Field(ge=1)]


COUNTED_FIELDS: TypeAdapter[_CountedFields] = TypeAdapter(_CountedFields)
MESSAGES_FIELDS: TypeAdapter[_MessagesFields] = TypeAdapter(_MessagesFields)


class MessagesFormat:
    """Messages in and out; inside they are chats, save for a backend that speaks Messages too."""

    def parse(self, body: bytes) -> ChatRequest:
        """Check a body and translate it. Raises InvalidRequest naming the field at fault."""
        payload = parse_object(body)
        checked(MESSAGES_FIELDS, payload)
        return request_of(body, payload)

    def answer(self, request: ChatRequest, answer: Answer, entry: LedgerEntry) -> bytes:
        """The message with the cost in its usage. Raises UpstreamUnavailable."""
        with readable(UpstreamUnavailable):
            if answer.wire != "messages":
                message = message_of(answer.payload)
                message["id"] = message["id"] or message_id(entry)
                usage = answer.payload.get("usage")
            elif isinstance(answer.payload.get("usage"), dict):
                return with_cost(answer, entry, whole_usd(entry))
            else:
                message, usage = dict(answer.payload), None
            return orjson.dumps({**message, "usage": _costed(usage, entry)})

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
        """The events to send for one item. Raises StreamInterrupted where it can't be read."""
        with readable(StreamInterrupted):
            if item.wire == "messages" and isinstance(item, Chunk):
                self._is_native = True
                return self._native(item)
            chunks = (
                [_as_chunk(item.payload)] if isinstance(item, Answer) else objects_in(item.frames)
            )
            events = (event for chunk in chunks for event in self._events.push(chunk))
            return b"".join(framed(self._begun(event)) for event in events)

    def _begun(self, event: dict[str, Any]) -> dict[str, Any]:
        """A beginning that says about how long the prompt is, since nobody has counted yet."""
        if event["type"] == "message_start":
            message = event["message"]
            message["id"] = message["id"] or message_id(self._entry)
            message["usage"]["input_tokens"] = estimate_tokens(self._request.messages)
        return event

    def _native(self, chunk: Chunk) -> bytes:
        usage = None if chunk.payload is None else chunk.payload.get("usage")
        if not isinstance(usage, dict):
            return chunk.frames
        entry, usd = self._entry, whole_usd(self._entry)
        spliced = cost_spliced(chunk.frames, usage, entry, usd)
        if spliced is not None:
            return spliced
        return framed({**(chunk.payload or {}), "usage": usage | cost_fields(entry, usd)})

    def finish(self) -> bytes:
        """The end of a stream that ended well; usage that nobody reported is estimated."""
        if self._is_native:
            return b""
        with readable(StreamInterrupted):
            return b"".join(framed(self._ended(event)) for event in self._events.finish())

    def _ended(self, event: dict[str, Any]) -> dict[str, Any]:
        if event["type"] != "message_delta":
            return event
        return {**event, "usage": _costed(self._events.usage, self._entry)}

    def fail(self, error: GatewayError) -> bytes:
        """The end of a stream that broke: one `error` event, and no `message_stop`."""
        envelope = anthropic_envelope(error, self._entry.request_id)
        return b"event: error\ndata: %b\n\n" % envelope


def request_of(body: bytes, payload: dict[str, Any]) -> ChatRequest:
    """A checked body as a request. Raises InvalidRequest naming the field at fault."""
    check_depth(body, payload, spare=_SPARE_LEVELS)
    if len(body) > MOST_PARTS:
        _check_blocks(payload["messages"])
    chat = chat_body(payload)
    checked(CHAT_FIELDS, chat)  # what Anthropic doesn't have passes on, and is read as a chat's
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
        native_only=own_place(payload),
    )


def message_id(entry: LedgerEntry) -> str:
    """For a message that the upstream gave none."""
    return f"msg_{entry.request_id.removeprefix('req_')}"


def _costed(reported: object, entry: LedgerEntry) -> dict[str, Any]:
    """A chat's usage, or ours where nobody reported any, in Anthropic's words with the cost."""
    told = usage_with_cost(reported or None, entry)
    return messages_usage(told) | {name: told[name] for name in ("cost", "cost_details")}


def _check_blocks(messages: list[dict[str, Any]]) -> None:
    """Refuse too many blocks, those inside of blocks among them. Raises InvalidRequest."""
    check_parts(messages)
    blocks = [block for message in messages for block in _listed(message.get("content"))]
    for block in blocks:
        blocks += [*_listed(block.get("content")), *_listed(_in_source(block))]
        check_parts([{"content": blocks}])


def _listed(content: object) -> list[dict[str, Any]]:
    return [one for one in content if isinstance(one, dict)] if isinstance(content, list) else []


def _in_source(block: Mapping[str, Any]) -> object:
    source = block.get("source")
    return source.get("content") if isinstance(source, dict) else None


def _as_chunk(completion: Mapping[str, Any]) -> dict[str, Any]:
    """A whole answer as the one chunk of its stream."""
    choices = [
        {**choice, "delta": choice.get("message") or {}}
        for choice in completion.get("choices") or ()
        if isinstance(choice, dict)
    ]
    return {**completion, "choices": choices}
