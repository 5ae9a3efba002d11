"""A `POST /v1/responses` body: checked under its own names, and as a chat request."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NotRequired

import orjson
from pydantic import ConfigDict, Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from gateway.api.parse import LONGEST_NAME, chat_request, check_depth, checked, parse_object
from gateway.core.errors import GatewayError
from gateway.core.request import ChatRequest
from gateway.wire.responses_extras import left_out
from gateway.wire.responses_items import input_items, unsupported
from gateway.wire.responses_request import chat_body

Json = dict[str, Any]

RESPONSES = "/v1/responses"

_PLAIN = r"^[^\x00-\x1f]*$"
_FIRST_FAULT = Field(fail_fast=True)
_Objects = Annotated[list[dict[str, Any]], _FIRST_FAULT]


@with_config(ConfigDict(extra="ignore", strict=True))
class _ResponsesFields(TypedDict):
    """The fields that the gateway reads or repeats, with the ranges of OpenAI's reference."""

    model: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME, pattern=_PLAIN)]
    input: NotRequired[str | list[Any] | None]  # its items are checked as they are translated
    instructions: NotRequired[str | None]
    previous_response_id: NotRequired[
        Annotated[str, Field(max_length=LONGEST_NAME, pattern=_PLAIN)] | None
    ]
    stream: NotRequired[bool | None]
    stream_options: NotRequired[dict[str, Any] | None]
    store: NotRequired[bool | None]
    background: NotRequired[bool | None]
    include: NotRequired[Annotated[list[str], _FIRST_FAULT] | None]
    max_output_tokens: NotRequired[Annotated[int, Field(ge=1)] | None]
    max_tool_calls: NotRequired[Annotated[int, Field(ge=1)] | None]
    temperature: NotRequired[Annotated[float, Field(ge=0, le=2)] | None]
    top_p: NotRequired[Annotated[float, Field(ge=0, le=1)] | None]
    top_logprobs: NotRequired[Annotated[int, Field(ge=0, le=20)] | None]
    reasoning: NotRequired[dict[str, Any] | None]
    text: NotRequired[dict[str, Any] | None]
    tools: NotRequired[_Objects | None]
    tool_choice: NotRequired[str | dict[str, Any] | None]
    parallel_tool_calls: NotRequired[bool | None]
    truncation: NotRequired[Literal["auto", "disabled"] | None]
    metadata: NotRequired[
        Annotated[
            dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
            Field(max_length=16),
        ]
        | None
    ]
    prompt_cache_key: NotRequired[str | None]
    safety_identifier: NotRequired[str | None]
    service_tier: NotRequired[str | None]
    user: NotRequired[str | None]


RESPONSES_FIELDS: TypeAdapter[_ResponsesFields] = TypeAdapter(_ResponsesFields)

#: Further parts of answers that clients may ask for: what is always there, and what could only come
#: from tools that the gateway refuses.
_INCLUDED = frozenset(
    {
        "code_interpreter_call.outputs",
        "computer_call_output.output.image_url",
        "file_search_call.results",
        "message.input_image.image_url",
        "message.output_text.logprobs",
        "web_search_call.action.sources",
        "web_search_call.results",
    }
)
#: No chat API has it. An answer is the same without, so the client is told in a header.
_ENCRYPTED = "reasoning.encrypted_content"

#: What fields of a chat are called here.
_OWN_NAMES = {
    "logprobs": "include",
    "max_completion_tokens": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "messages": "input",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
    "verbosity": "text.verbosity",
}
#: An event of a stream holds the response deeper than the request does.
_SPARE_LEVELS = 14


@dataclass(slots=True, frozen=True)
class Asked:
    """A checked body. `keeps` says whether its response is to be stored.

    `body` is what the response repeats; `received_s` as in ChatRequest, `created_at` Unix seconds.
    """

    raw: bytes
    body: Json
    keeps: bool
    ignored: tuple[str, ...]
    received_s: float
    created_at: int = field(default_factory=lambda: int(time.time()))

    @property
    def previous_response_id(self) -> str | None:
        """The response that this one goes on from."""
        previous: str | None = self.body.get("previous_response_id") or None
        return previous

    def input_items(self) -> list[Json]:
        """The items that this request itself brings."""
        given = self.body.get("input")
        return [] if given is None else input_items(given)

    def chat_request(self, earlier: Sequence[Mapping[str, Any]]) -> ChatRequest:
        """The request as a chat after `earlier` items. Raises InvalidRequest, in our names."""
        chat = chat_body(self.body, earlier)
        try:
            return chat_request(
                orjson.dumps(chat),
                chat,
                endpoint=RESPONSES,
                wire="responses",
                native=self.raw,
                received_s=self.received_s,
            )
        except GatewayError as error:
            self.rename_param(error)
            raise

    def rename_param(self, error: GatewayError) -> None:
        """Let an error about a field of the chat name the field that the client sent."""
        name = re.match(r"\w+", error.param or "")
        own = None if name is None else _OWN_NAMES.get(name[0])
        if name is None or own is None or name[0] in self.body:
            return
        if own == "include" and self.body.get("top_logprobs"):
            own = "top_logprobs"
        error.param = own


def parse_responses(raw: bytes, *, can_store: bool) -> Asked:
    """Check a body. Raises InvalidRequest naming the field at fault."""
    received_s = time.perf_counter()
    payload = parse_object(raw)
    fields = checked(RESPONSES_FIELDS, payload)
    check_depth(raw, payload, spare=_SPARE_LEVELS)
    check_included(fields.get("include") or ())
    if fields.get("previous_response_id") and not can_store:
        raise unsupported(
            "This gateway stores no responses (responses.store is false): send the whole "
            "conversation as 'input'.",
            "previous_response_id",
        )
    keeps = can_store and fields.get("store") is not False
    ignored = tuple(dict.fromkeys(_ignored(payload, keeps=keeps)))
    body = {**payload, "store": keeps}
    return Asked(raw, body, keeps, ignored, received_s)


def check_included(names: Sequence[str]) -> None:
    """Raises InvalidRequest where something is asked for that answers never have."""
    for index, name in enumerate(names):
        if name not in _INCLUDED and name != _ENCRYPTED:
            raise unsupported(
                "'include' names something that is not supported.", f"include[{index}]"
            )


def _ignored(payload: Json, *, keeps: bool) -> Iterator[str]:
    """What can't be honoured, though the answer is the same without it."""
    if payload.get("store") and not keeps:
        yield "store"
    if _ENCRYPTED in (payload.get("include") or ()):
        yield f"include.{_ENCRYPTED}"
    yield from left_out(payload)
