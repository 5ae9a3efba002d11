"""The wire format of Anthropic's `POST /v1/messages`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NotRequired

import orjson
from pydantic import Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from gateway.api.anthropic_errors import ANTHROPIC_PATH, anthropic_envelope
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
from gateway.api.respond import EventStream, cost_fields, readable, whole_usd, with_cost
from gateway.core.answer import Answer, Chunk, Item
from gateway.core.entry import LedgerEntry
from gateway.core.errors import GatewayError, StreamInterrupted, UpstreamUnavailable
from gateway.core.request import ChatRequest
from gateway.core.usage import estimate_tokens
from gateway.wire.anthropic_answer import message_of, messages_usage
from gateway.wire.anthropic_request import chat_body
from gateway.wire.anthropic_stream import EventsFromChunks, framed
from gateway.wire.events import objects_in

#: Content blocks that chat has a word for; others need a backend that speaks this API itself.
_TRANSLATED_BLOCKS = frozenset(
    {
        "text",
        "image",
        "document",
        "tool_use",
        "tool_result",
        "thinking",
        "redacted_thinking",
    }
)
#: Fields that only this API has.
_OWN_FIELDS = ("container", "context_management", "mcp_servers")


@with_config(PERMISSIVE)
class _Message(TypedDict):
    role: Annotated[str, Field(min_length=1)]
    content: str | Annotated[list[dict[str, Any]], FIRST_FAULT]


@with_config(PERMISSIVE)
class _CountedFields(TypedDict):
    """The fields that are read to count tokens, with Anthropic's ranges."""

    model: ModelName
    messages: Annotated[list[_Message], Field(min_length=1, max_length=MOST_PARTS, fail_fast=True)]
    system: NotRequired[str | Annotated[list[dict[str, Any]], FIRST_FAULT] | None]
    tools: NotRequired[Annotated[list[dict[str, Any]], FIRST_FAULT] | None]
    tool_choice: NotRequired[dict[str, Any] | None]
    thinking: NotRequired[dict[str, Any] | None]


class _MessagesFields(_CountedFields):
    """The fields that the gateway reads, with the ranges that Anthropic's reference gives."""

    max_tokens: Annotated[int, Field(ge=1)]
    stream: NotRequired[bool | None]
    temperature: NotRequired[Annotated[float, Field(ge=0, le=1)] | None]
    top_p: NotRequired[Annotated[float, Field(ge=0, le=1)] | None]
    top_k: NotRequired[Annotated[int, Field(ge=0)] | None]
    stop_sequences: NotRequired[Annotated[list[str], FIRST_FAULT] | None]
    metadata: NotRequired[dict[str, Any] | None]


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
        """The message with the cost in its usage."""
        if answer.wire == "messages" and isinstance(answer.payload.get("usage"), dict):
            return with_cost(answer, entry, whole_usd(entry))
        with readable(UpstreamUnavailable):
            message = (
                {**answer.payload} if answer.wire == "messages" else message_of(answer.payload)
            )
            message["id"] = message.get("id") or f"msg_{entry.request_id}"
            message["usage"] = _usage_with_cost(message.get("usage"), entry)
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
        chunks = [_as_chunk(item.payload)] if isinstance(item, Answer) else objects_in(item.frames)
        with readable(StreamInterrupted):
            events = (event for chunk in chunks for event in self._events.push(chunk))
            return b"".join(framed(self._begun(event)) for event in events)

    def _begun(self, event: dict[str, Any]) -> dict[str, Any]:
        """A beginning that says about how long the prompt is, since nobody has counted yet."""
        if event["type"] == "message_start":
            usage = event["message"]["usage"]
            usage["input_tokens"] = estimate_tokens(self._request.messages)
        return event

    def _native(self, chunk: Chunk) -> bytes:
        payload = chunk.payload
        if payload is None or not isinstance(payload.get("usage"), dict) or "type" not in payload:
            return chunk.frames
        usage = payload["usage"] | cost_fields(self._entry, whole_usd(self._entry))
        return framed({**payload, "usage": usage})

    def finish(self) -> bytes:
        """The end of a stream that ended well; usage that nobody reported is estimated."""
        if self._is_native:
            return b""
        with readable(StreamInterrupted):
            return b"".join(framed(self._ended(event)) for event in self._events.finish())

    def _ended(self, event: dict[str, Any]) -> dict[str, Any]:
        if event["type"] != "message_delta":
            return event
        return {**event, "usage": _usage_with_cost(event["usage"], self._entry)}

    def fail(self, error: GatewayError) -> bytes:
        """The end of a stream that broke: one `error` event, and no `message_stop`."""
        envelope = anthropic_envelope(error, self._entry.request_id)
        return b"event: error\ndata: %b\n\n" % envelope


def _usage_with_cost(reported: object, entry: LedgerEntry) -> dict[str, Any]:
    """The reported usage, or ours where nothing is counted there, with the cost."""
    usage = reported if isinstance(reported, dict) else {}
    counted = entry.usage
    if counted is not None and not (usage.get("input_tokens") or usage.get("output_tokens")):
        told = {
            "prompt_tokens": counted.prompt_tokens,
            "completion_tokens": counted.completion_tokens,
        }
        usage = messages_usage(told)
    return usage | cost_fields(entry, whole_usd(entry))


def request_of(body: bytes, payload: dict[str, Any]) -> ChatRequest:
    """A checked body as a request. Raises InvalidRequest naming the field at fault."""
    check_depth(body, payload, spare=1)  # the schema of a tool stands deeper in a chat
    if len(body) > MOST_PARTS:
        check_parts(payload["messages"])
    chat = chat_body(payload)
    checked(
        CHAT_FIELDS, chat
    )  # fields that Anthropic doesn't have pass on, and are read as a chat's
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
        native_only=next(_own(payload), None),
    )


def _own(payload: Mapping[str, Any]) -> Iterator[str]:
    """The places of what chat has no word for."""
    for name in _OWN_FIELDS:
        if payload.get(name):
            yield name
    for index, tool in enumerate(payload.get("tools") or ()):
        if "input_schema" not in tool:
            yield f"tools[{index}]"
    for index, message in enumerate(payload["messages"]):
        content = message["content"]
        if isinstance(content, list):
            yield from _own_blocks(content, f"messages[{index}].content")


def _own_blocks(content: list[Any], where: str) -> Iterator[str]:
    for index, block in enumerate(content):
        source = block.get("source")
        is_stored = isinstance(source, dict) and source.get("type") == "file"
        if block.get("type") not in _TRANSLATED_BLOCKS or is_stored:
            yield f"{where}[{index}]"


def _as_chunk(completion: Mapping[str, Any]) -> dict[str, Any]:
    """A whole answer as the one chunk of its stream."""
    choices = [
        {**choice, "delta": choice.get("message") or {}}
        for choice in completion.get("choices") or ()
        if isinstance(choice, dict)
    ]
    return {**completion, "choices": choices}
