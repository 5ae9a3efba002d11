"""A chat request as the client sent it: the bytes, the parsed body, and the few fields we read."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from gateway.core.access import VirtualKey

CHAT_COMPLETIONS = "/v1/chat/completions"

#: The endpoints whose requests either tier could answer.
ROUTED_ENDPOINTS = (CHAT_COMPLETIONS, "/v1/completions", "/v1/responses", "/v1/messages")
EMBEDDINGS = "/v1/embeddings"

#: The formats that a request can come in and a backend can speak: OpenAI's chat completions,
#: Anthropic's Messages, OpenAI's Responses, its older text completions and its embeddings. The last
#: one is never translated.
Wire = Literal["chat", "messages", "responses", "completions", "embeddings"]


@dataclass(slots=True, frozen=True)
class ChatRequest:
    """One request as a chat completions body; fields we don't name stay in `payload`.

    `raw` is the body, so that a backend can forward it without re-serialising; `payload` is `raw`
    parsed once. Neither may be changed in place: several attempts share them. Where the request
    came in another `wire`, both are its translation, and `native` is the body as received, for
    backends that speak that wire themselves; `native_only` then names the field that only they can
    serve, if there is one. A request for embeddings is its own body, its texts are `messages`.
    `prompt_tokens` is set where the client itself sent tokens. `received_s` is when the body had
    arrived, on the `time.perf_counter` clock.
    """

    raw: bytes
    payload: Mapping[str, Any]
    model: str
    messages: Sequence[Mapping[str, Any]]
    stream: bool = False
    include_usage: bool = False
    max_tokens: int | None = None
    endpoint: str = CHAT_COMPLETIONS
    wire: Wire = "chat"
    native: bytes | None = None
    native_only: str | None = None
    prompt_tokens: int | None = None
    received_s: float = field(default_factory=time.perf_counter)


@dataclass(slots=True, frozen=True)
class Caller:
    """Who asks and how: what the request's headers say, apart from the body.

    `key` is set where that key is a virtual one. `wants_confidence` asks for how sure the model
    was, in the answer, where the backend can tell.
    """

    request_id: str
    key_id: str | None = None
    client_request_id: str | None = None
    threshold: float | None = None
    policy: str | None = None
    session: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    traceparent: str | None = None
    wants_confidence: bool = False
    key: VirtualKey | None = None
