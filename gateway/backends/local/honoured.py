"""What of a request the local engine honours. The rest is refused, or told as ignored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

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
_TEXT = frozenset({"text", "refusal"})
_PART = frozenset({"type", "text", "refusal"})
_SAID = frozenset({"role", "content", "refusal", "tool_calls", "function_call", "tool_call_id"})


def unsupported_in(payload: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> str | None:
    """The place of what the engine can't honour although it changes what an answer is."""
    for name, neutral in _REFUSED.items():
        value = payload.get(name)
        if value is not None and value not in neutral:
            return name
    for index, message in enumerate(messages):
        content = message.get("content")
        if not isinstance(content, list):
            continue
        for place, part in enumerate(content):
            if isinstance(part, Mapping) and part.get("type") not in _TEXT:
                return f"messages[{index}].content[{place}]"
    return None


def ignored_in(
    payload: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]
) -> tuple[str, ...]:
    """The fields that are set and change nothing."""
    names = payload.keys() - HONOURED - _REFUSED.keys()
    told = sorted(name for name in names if _asks(payload[name]))
    inner: dict[str, None] = {}
    for message in messages:
        if not message.keys() <= _SAID:
            inner.update(dict.fromkeys(f"messages.{name}" for name in message.keys() - _SAID))
        if isinstance(message.get("content"), list):
            inner.update(dict.fromkeys(_ignored_in_parts(message["content"])))
    return (*told, *sorted(inner))


def _ignored_in_parts(parts: Sequence[object]) -> Iterator[str]:
    for part in parts:
        if isinstance(part, Mapping):
            yield from (f"messages.content.{name}" for name in part.keys() - _PART)


def _asks(value: object) -> bool:
    return value is not None and value is not False and value not in ("", [], {})
