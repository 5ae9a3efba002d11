"""Which fields of a chat's answer each backend gives."""

from __future__ import annotations

import json
from typing import Any

from tests.compatibility.case import HI
from tests.compatibility.observed import Backend
from tests.vendor.behaviour import Behaviour

_SAID = {
    "refusal": "No.",
    "annotations": [{"type": "url_citation", "url_citation": {"url": "u", "title": "t"}}],
    "audio": {"id": "audio_1", "data": "AA==", "expires_at": 1, "transcript": "Hi"},
    "reasoning_content": "Let me see.",
}
_USAGE = {
    "prompt_tokens": 11,
    "completion_tokens": 7,
    "total_tokens": 18,
    "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2, "audio_tokens": 1},
    "completion_tokens_details": {"reasoning_tokens": 2, "audio_tokens": 1},
}
#: All that an OpenAI upstream may answer with.
_FULL: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "gpt-4o-2024-08-06",
    "system_fingerprint": "fp_1",
    "service_tier": "default",
    "x_unknown": {"a": 1},
    "choices": [
        {
            "index": 0,
            "finish_reason": "x_new",
            "logprobs": {"content": [{"token": "Hi", "logprob": -0.5, "top_logprobs": []}]},
            "message": {
                "role": "assistant",
                "content": "Hi",
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": "{}"},
                    }
                ],
                **_SAID,
            },
        }
    ],
    "usage": _USAGE,
}
ANSWER_FIELDS = (
    *("id", "created", "model", "system_fingerprint", "service_tier", "x_unknown"),
    *("choices.0.finish_reason", "choices.0.logprobs", "choices.0.message.content"),
    *("choices.0.message.tool_calls", *(f"choices.0.message.{name}" for name in _SAID)),
    *("usage.prompt_tokens", "usage.completion_tokens"),
    *("usage.prompt_tokens_details.cached_tokens", "usage.prompt_tokens_details.audio_tokens"),
    "usage.prompt_tokens_details.cache_write_tokens",
    "usage.completion_tokens_details.reasoning_tokens",
    "usage.completion_tokens_details.audio_tokens",
    *("usage.cost", "usage.cost_details"),
)


def answer_cells(backend: Backend) -> dict[str, str]:
    """By field: `passed` where the vendor said it so, `given` where the gateway says it, or `–`."""
    said: Any = {}
    behaviour = Behaviour(thinking="Hm.", tool_calls=[("weather", "{}")])
    if backend.model == "gpt-4o":
        said, behaviour = _FULL, Behaviour(body=json.dumps(_FULL).encode())
    body = {"messages": HI, "max_tokens": 4}
    answer = backend.ask("/v1/chat/completions", body, behaviour).json()
    return {name: _cell(_at(answer, name), _at(said, name)) for name in ANSWER_FIELDS}


def _at(holder: Any, path: str) -> Any:
    for name in path.split("."):
        holder = (holder or {}).get(name) if isinstance(holder, dict | None) else holder[int(name)]
    return holder


def _cell(value: Any, said: Any) -> str:
    if value is None or value == []:
        return "–"
    return "passed" if value == said else "given"
