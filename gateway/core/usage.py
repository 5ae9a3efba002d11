"""Token counts of one call, in the OpenAI API's words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from gateway.core.energy import Reading

UsageSource = Literal["reported", "counted", "estimated"]


@dataclass(slots=True, frozen=True)
class Usage:
    """How many tokens a call used, and who says so.

    `cached_tokens` (read from a prompt cache), `cache_write_tokens` (written to it, those of them
    that are kept for an hour also in `cache_write_1h_tokens`), `audio_input_tokens` and
    `image_input_tokens` are parts of `prompt_tokens`; `reasoning_tokens`, `audio_output_tokens`
    and `image_output_tokens` are parts of `completion_tokens`. What isn't counted in tokens stands
    beside them: `characters` of a text that was spoken, `audio_s` of sound that was heard, in
    seconds. `compute_s` is this call's part of the time that a machine of our own worked, in
    seconds; `reading` is what a meter of that machine counted for it; `reported_cost_usd` is the
    amount that the provider itself put in its usage.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    audio_input_tokens: int = 0
    image_input_tokens: int = 0
    audio_output_tokens: int = 0
    image_output_tokens: int = 0
    characters: int = 0
    audio_s: float = 0.0
    source: UsageSource = "reported"
    compute_s: float | None = None
    reading: Reading | None = None
    reported_cost_usd: Decimal | None = None

    @classmethod
    def from_wire(cls, usage: Mapping[str, Any]) -> Usage:
        """Read an OpenAI `usage` object; missing or malformed counts are taken as 0."""
        prompt_details = _mapping(usage.get("prompt_tokens_details"))
        completion_details = _mapping(usage.get("completion_tokens_details"))
        cost = usage.get("cost")
        is_amount = isinstance(cost, int | float) and not isinstance(cost, bool) and cost >= 0
        return cls(
            prompt_tokens=_count(usage.get("prompt_tokens")),
            completion_tokens=_count(usage.get("completion_tokens")),
            cached_tokens=_count(prompt_details.get("cached_tokens")),
            reasoning_tokens=_count(completion_details.get("reasoning_tokens")),
            cache_write_tokens=_count(prompt_details.get("cache_write_tokens")),
            audio_input_tokens=_count(prompt_details.get("audio_tokens")),
            audio_output_tokens=_count(completion_details.get("audio_tokens")),
            reported_cost_usd=Decimal(str(cost)) if is_amount else None,
        )


_NUMBERS = frozenset({int, float})
#: A larger count is an upstream's mistake; up to here every number is exact wherever it is written.
MOST_TOKENS = 2**53


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int:
    # A comparison comes first: NaN and infinity are no integers.
    return int(min(value, MOST_TOKENS)) if type(value) in _NUMBERS and value > 0 else 0


#: UTF-8 bytes a token of ordinary text, for the calls that nobody counted.
BYTES_PER_TOKEN = 4


def estimate_tokens(messages: Iterable[Mapping[str, Any]]) -> int:
    """Guess the tokens of messages from the bytes of their text; 4 more a message for its frame."""
    total = 0
    for message in messages:
        content = message.get("content")
        parts = content if isinstance(content, list) else [{"text": content}]
        texts = (part.get("text") for part in parts if isinstance(part, Mapping))
        size = sum(len(text.encode("utf-8", "replace")) for text in texts if isinstance(text, str))
        total += 4 + -(-size // BYTES_PER_TOKEN)
    return total
