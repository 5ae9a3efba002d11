"""What the simulator does with one request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: Text that the simulator answers with, cut into words when it streams.
ANSWER = "The simulated vendor answers: π ≈ 3.14159, naïve café, 東京 🗼."

USAGE: dict[str, Any] = {
    "prompt_tokens": 11,
    "completion_tokens": 7,
    "total_tokens": 18,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 2},
}


MESSAGES_USAGE: dict[str, Any] = {
    "input_tokens": 7,
    "cache_read_input_tokens": 4,
    "cache_creation_input_tokens": 3,
    "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 1},
    "output_tokens": 9,
    "service_tier": "standard",
}


@dataclass(slots=True, frozen=True)
class Behaviour:
    """A well-behaved answer, unless a field says otherwise. Times are seconds."""

    text: str = ANSWER
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Sent in place of the JSON answer.
    body: bytes | None = None
    content_type: str | None = None
    usage: Mapping[str, Any] | None = field(default_factory=lambda: USAGE)
    extra: Mapping[str, Any] = field(default_factory=dict)
    #: In Anthropic's words, for its wire.
    messages_usage: Mapping[str, Any] | None = field(default_factory=lambda: MESSAGES_USAGE)
    #: Names and arguments (JSON text) of the tools that the answer calls after its text.
    tool_calls: Sequence[tuple[str, str]] = ()
    #: What the model thinks before it answers.
    thinking: str | None = None
    #: More of the plain answer's message, such as `tool_calls`; replaces what stands there.
    message: Mapping[str, Any] = field(default_factory=dict)
    #: Streamed in place of the text's words.
    deltas: Sequence[Mapping[str, Any]] | None = None
    finish_reason: str = "stop"
    #: One for each word of the text, sent where the request asks for `logprobs`.
    logprobs: Sequence[float] | None = None
    delay_s: float = 0.0
    #: Close the connection without a byte.
    drop: bool = False
    # Streams
    chunks: int | None = None
    chunk_delay_s: float = 0.0
    stall_after: int | None = None
    drop_after: int | None = None
    error_after: int | None = None
    usage_in_every_chunk: bool = False
    usage_with_choices: bool = False
    done_mark: bool = True
    finish: bool = True
    line_end: str = "\n"
    comments: bool = False
    byte_by_byte: bool = False
