"""OpenAI's older text completions and chat completions, both ways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from gateway.wire.json_objects import Json

#: What OpenAI generates where nobody names a limit.
DEFAULT_MAX_TOKENS = 16

#: Fields that chat lacks, or gives another meaning.
_OWN_FIELDS = ("prompt", "suffix", "echo", "best_of", "logprobs")


def chat_body(body: Mapping[str, Any]) -> Json:
    """A text completion's body as a chat's: the prompt is what the user says.

    Of several prompts the first is taken: see `own_field`.
    """
    chat = {key: value for key, value in body.items() if key not in _OWN_FIELDS}
    if chat.get("max_tokens") is None:
        chat["max_tokens"] = DEFAULT_MAX_TOKENS
    return {**chat, "messages": [{"role": "user", "content": _text(body.get("prompt"))}]}


def own_field(body: Mapping[str, Any]) -> str | None:
    """The first field that says what no chat can say; None where the chat says it all."""
    prompt = body.get("prompt")
    if not isinstance(prompt, str) and not (_is_texts(prompt) and len(prompt) == 1):
        return "prompt"
    if body.get("suffix"):
        return "suffix"
    if body.get("echo"):
        return "echo"
    if (body.get("best_of") or 1) > (body.get("n") or 1):
        return "best_of"
    return None if body.get("logprobs") is None else "logprobs"


def _is_texts(prompt: object) -> TypeGuard[list[str]]:
    return isinstance(prompt, list) and all(isinstance(one, str) for one in prompt)


def _text(prompt: Any) -> str:
    """What routing reads of a prompt; of one in tokens there is nothing to read."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(prompt) if _is_texts(prompt) else ""


def completion_of(chat: Mapping[str, Any]) -> Json:
    """A `chat.completion`, or a chunk of one, as a `text_completion`."""
    choices = [_choice(one) for one in chat.get("choices") or () if isinstance(one, dict)]
    named = str(chat.get("id") or "")
    return {
        **chat,
        "id": f"cmpl-{named.removeprefix('chatcmpl-')}",
        "object": "text_completion",
        "choices": choices,
    }


def _choice(choice: Mapping[str, Any]) -> Json:
    said = choice.get("message") or choice.get("delta") or {}
    return {
        "text": said.get("content") or said.get("refusal") or "",
        "index": choice.get("index", 0),
        "logprobs": None,
        "finish_reason": choice.get("finish_reason"),
    }
