"""What of a request the local engine honours. The rest is refused, or told as ignored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.wire.extras import asks, message_extras, part_extras, stream_extras

#: Chat fields that the engine does what they say, the capability filter's among them.
HONOURED = frozenset(
    {
        "frequency_penalty",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "model",
        "presence_penalty",
        "seed",
        "stop",
        "stream",
        "stream_options",
        "temperature",
        "top_k",
        "top_p",
        # asked for by capability, and then answered elsewhere
        "audio",
        "functions",
        "logprobs",
        "n",
        "response_format",
        "tools",
        "top_logprobs",
    }
)
#: Those that change what an answer is, each with the value that asks for nothing.
_REFUSED: Mapping[str, Sequence[object]] = {
    "function_call": ("none", "auto"),
    "logit_bias": ({},),
    "min_p": (0,),
    "modalities": ([], ["text"]),
    "repetition_penalty": (1,),
    "tool_choice": ("none", "auto"),
    "web_search_options": (),
}
#: The types of content parts, each with the member that holds its text.
_TEXTS = {"text": "text", "refusal": "refusal"}
_PART = frozenset({"type", *_TEXTS.values()})
_SAID = frozenset({"role", "content", "refusal", "tool_calls", "function_call", "tool_call_id"})


def unsupported_in(payload: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> str | None:
    """The place of what the engine can't honour although it changes what an answer is."""
    for name, neutral in _REFUSED.items():
        value = payload.get(name)
        if value is not None and value not in neutral:
            return name
    top_k = payload.get("top_k")
    if isinstance(top_k, bool) or not isinstance(top_k, int | float | None):
        return "top_k"
    for index, message in enumerate(messages):
        content = message.get("content")
        if not isinstance(content, list):
            continue
        for place, part in enumerate(content):
            member = _unreadable_in(part)
            if member is not None:
                return f"messages[{index}].content[{place}].{member}"
    return None


def _unreadable_in(part: object) -> str | None:
    if not isinstance(part, Mapping):
        return None
    kind = part.get("type")
    member = _TEXTS.get(kind) if isinstance(kind, str) else None
    if member is None:
        return "type"
    return None if isinstance(part.get(member), str) else member


def ignored_in(
    payload: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]
) -> tuple[str, ...]:
    """The fields that ask for something and change nothing."""
    names = payload.keys() - HONOURED - _REFUSED.keys()
    told = sorted(name for name in names if asks(payload[name]))
    inner = {
        *stream_extras(payload),
        *message_extras(messages, _SAID),
        *part_extras(messages, _PART),
    }
    if any(message.get("refusal") and message.get("content") for message in messages):
        inner.add("messages[].refusal")
    return (*told, *sorted(inner))
