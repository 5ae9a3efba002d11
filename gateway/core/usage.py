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
    seconds, `searches` of the web that the upstream made. `compute_s` is this call's part of the
    time that a machine of our own worked, in seconds; `reading` is what a meter of that machine
    counted for it; `reported_cost_usd` is the amount that the provider itself put in its usage,
    `service_tier` the upstream's name of what the call was served at where it said one.
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
    searches: int = 0
    source: UsageSource = "reported"
    compute_s: float | None = None
    reading: Reading | None = None
    reported_cost_usd: Decimal | None = None
    service_tier: str | None = None

    @classmethod
    def from_wire(cls, usage: Mapping[str, Any], service_tier: object = None) -> Usage:
        """Read an OpenAI `usage` object; missing or malformed counts are taken as 0.

        `service_tier` is what stands beside it in the answer; a tier inside the usage comes first.
        Thoughts that are left out of `completion_tokens`, as the total shows, are added to them.
        """
        prompt_details = _mapping(usage.get("prompt_tokens_details"))
        completion_details = _mapping(usage.get("completion_tokens_details"))
        searches = _mapping(usage.get("server_tool_use")).get("web_search_requests")
        completion_tokens = _count(usage.get("completion_tokens"))
        reasoning_tokens = _count(completion_details.get("reasoning_tokens"))
        cached_tokens = _cached(usage, prompt_details)
        if outside := _thoughts_outside(usage, reasoning_tokens, cached_tokens):
            completion_tokens += outside
            reasoning_tokens = max(reasoning_tokens, outside)
        return cls(
            prompt_tokens=_count(usage.get("prompt_tokens")),
            completion_tokens=completion_tokens,
            cached_tokens=cached_tokens,
            reasoning_tokens=reasoning_tokens,
            cache_write_tokens=_count(prompt_details.get("cache_write_tokens")),
            audio_input_tokens=_count(prompt_details.get("audio_tokens")),
            image_input_tokens=_count(prompt_details.get("image_tokens")),
            audio_output_tokens=_count(completion_details.get("audio_tokens")),
            image_output_tokens=_count(completion_details.get("image_tokens")),
            searches=_count(searches),
            reported_cost_usd=_amount(usage),
            service_tier=_service_tier(usage, service_tier),
        )


_NUMBERS = frozenset({int, float})
#: A larger count is an upstream's mistake; up to here every number is exact wherever it is written.
MOST_TOKENS = 2**53


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int:
    # A comparison comes first: NaN and infinity are no integers.
    return int(min(value, MOST_TOKENS)) if type(value) in _NUMBERS and value > 0 else 0


def _cached(usage: Mapping[str, Any], prompt_details: Mapping[str, Any]) -> int:
    """Tokens read from a prompt cache, by OpenAI's name, DeepSeek's or Moonshot's."""
    return (
        _count(prompt_details.get("cached_tokens"))
        or _count(usage.get("prompt_cache_hit_tokens"))
        or _count(usage.get("cached_tokens"))
    )


def _thoughts_outside(usage: Mapping[str, Any], reasoning_tokens: int, cached_tokens: int) -> int:
    """Tokens of thought that only the total counts: xAI names their number, Gemini doesn't."""
    if "prompt_tokens" not in usage:
        return 0
    counted = _count(usage["prompt_tokens"]) + _count(usage.get("completion_tokens"))
    surplus = max(0, _count(usage.get("total_tokens")) - counted)
    if reasoning_tokens:
        return surplus if surplus == reasoning_tokens else 0
    # A total may also count what a cache gave beside the prompt.
    return 0 if surplus == cached_tokens else surplus


def _amount(usage: Mapping[str, Any]) -> Decimal | None:
    """USD that the provider names; Perplexity's stand in an object, xAI counts ticks of 1e-10."""
    ticks = usage.get("cost_in_usd_ticks")
    if type(ticks) is int and ticks >= 0:
        return Decimal(ticks).scaleb(-10)
    cost = usage.get("cost")
    total = cost.get("total_cost") if isinstance(cost, dict) else cost
    is_amount = isinstance(total, int | float) and not isinstance(total, bool) and total >= 0
    return Decimal(str(total)) if is_amount else None


def _service_tier(usage: Mapping[str, Any], beside: object) -> str | None:
    """The tier that was served, as Anthropic puts it into the usage or OpenAI beside it."""
    if usage.get("speed") == "fast":
        return "fast"
    inside = usage.get("service_tier")
    named = inside if isinstance(inside, str) else beside
    return named.lower() if isinstance(named, str) and named else None


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
