"""The wire format of `POST /v1/completions`, OpenAI's older text completions."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

import orjson
from pydantic import Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from gateway.api.chat import ChatEvents
from gateway.api.parse import (
    FIRST_FAULT,
    MOST_PARTS,
    PERMISSIVE,
    ModelName,
    StreamOptions,
    check_depth,
    checked,
    parse_object,
)
from gateway.api.respond import EventStream, usage_with_cost, whole_usd, with_cost
from gateway.core.answer import Answer, Chunk, Item
from gateway.core.entry import LedgerEntry
from gateway.core.request import ChatRequest
from gateway.wire.completion_logprobs import LogprobsReader
from gateway.wire.completions import (
    DEFAULT_MAX_TOKENS,
    chat_body,
    completion_of,
    own_field,
    prompt_tokens,
)
from gateway.wire.events import objects_in

COMPLETIONS = "/v1/completions"

#: Tokens of one prompt: more than any model reads.
MOST_TOKENS = 2_000_000

_Tokens = Annotated[
    list[Annotated[int, Field(ge=0)]],
    Field(min_length=1, max_length=MOST_TOKENS, fail_fast=True),
]


@with_config(PERMISSIVE)
class _CompletionFields(TypedDict):
    """The fields that the gateway reads, with the ranges that OpenAI's reference gives."""

    model: ModelName
    prompt: (
        str
        | Annotated[list[str], Field(min_length=1, max_length=MOST_PARTS, fail_fast=True)]
        | _Tokens
        | Annotated[list[_Tokens], Field(min_length=1, max_length=MOST_PARTS, fail_fast=True)]
        | None  # where a text begins
    )
    suffix: NotRequired[str | None]
    max_tokens: NotRequired[Annotated[int, Field(ge=0)] | None]
    stream: NotRequired[bool | None]
    stream_options: NotRequired[StreamOptions | None]
    temperature: NotRequired[Annotated[float, Field(ge=0, le=2)] | None]
    top_p: NotRequired[Annotated[float, Field(ge=0, le=1)] | None]
    presence_penalty: NotRequired[Annotated[float, Field(ge=-2, le=2)] | None]
    frequency_penalty: NotRequired[Annotated[float, Field(ge=-2, le=2)] | None]
    n: NotRequired[Annotated[int, Field(ge=1)] | None]
    best_of: NotRequired[Annotated[int, Field(ge=1)] | None]
    logprobs: NotRequired[Annotated[int, Field(ge=0)] | None]
    echo: NotRequired[bool | None]
    seed: NotRequired[int | None]
    stop: NotRequired[str | Annotated[list[str], FIRST_FAULT] | None]
    response_format: NotRequired[dict[str, Any] | None]


COMPLETION_FIELDS: TypeAdapter[_CompletionFields] = TypeAdapter(_CompletionFields)


class CompletionsFormat:
    """Prompts in, texts out; inside they are chats, save for a backend that completes texts."""

    def parse(self, body: bytes) -> ChatRequest:
        """Check a body and translate it. Raises InvalidRequest naming the field at fault."""
        payload = parse_object(body)
        check_depth(body, payload)
        fields = checked(COMPLETION_FIELDS, payload)
        chat = chat_body(payload)
        options = fields.get("stream_options")
        return ChatRequest(
            raw=orjson.dumps(chat),
            payload=chat,
            model=fields["model"],
            messages=chat["messages"],
            stream=bool(fields.get("stream")),
            include_usage=bool(options and options.get("include_usage")),
            max_tokens=chat["max_tokens"],
            endpoint=COMPLETIONS,
            wire="completions",
            native=_with_limit(body, payload),
            native_only=own_field(payload),
            prompt_tokens=prompt_tokens(fields["prompt"]),
        )

    def answer(self, request: ChatRequest, answer: Answer, entry: LedgerEntry) -> bytes:
        """The text completion with the cost in its usage."""
        if answer.wire == "completions":
            return with_cost(answer, entry, whole_usd(entry))
        completion = completion_of(answer.payload)
        usage = usage_with_cost(answer.payload.get("usage"), entry)
        return orjson.dumps({**completion, "usage": usage})

    def stream(self, request: ChatRequest, entry: LedgerEntry) -> EventStream:
        """The events of one streamed answer."""
        return CompletionEvents(entry, include_usage=request.include_usage)


class CompletionEvents(ChatEvents):
    """Chunks of text; what a backend completed itself passes as it is."""

    def __init__(self, entry: LedgerEntry, *, include_usage: bool) -> None:
        super().__init__(entry, include_usage=include_usage)
        self._logprobs = LogprobsReader()

    def frames(self, item: Item) -> bytes:
        """The events to send for one item."""
        return super().frames(item if item.wire == "completions" else self._translated(item))

    def _translated(self, item: Item) -> Item:
        if isinstance(item, Answer):
            completion = completion_of(item.payload)
            return Answer(orjson.dumps(completion), completion)
        if item.usage is not None and item.payload is not None:
            return Chunk(b"", usage=item.usage, payload=completion_of(item.payload))
        chats = objects_in(item.frames)
        translated = (completion_of(one, self._logprobs) for one in chats)
        return Chunk(b"".join(map(self.framed, translated)))

    def usage_object(self) -> dict[str, Any]:
        """The usage chunk that the upstream didn't send."""
        return completion_of(super().usage_object())


def _with_limit(body: bytes, payload: dict[str, Any]) -> bytes:
    """The body with the limit that is OpenAI's where the client names none: others have others."""
    if payload.get("max_tokens") is not None:
        return body
    if "max_tokens" in payload:
        return orjson.dumps({**payload, "max_tokens": DEFAULT_MAX_TOKENS})
    return body.rstrip()[:-1] + b',"max_tokens":%d}' % DEFAULT_MAX_TOKENS
