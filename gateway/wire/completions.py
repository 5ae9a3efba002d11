"""OpenAI's older text completions and chat completions, both ways."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from gateway.core.usage import estimate_tokens
from gateway.wire.completion_logprobs import MOST_TOP_LOGPROBS, LogprobsReader
from gateway.wire.json_objects import Json, name_in, text_in

#: What OpenAI generates where nobody names a limit.
DEFAULT_MAX_TOKENS = 16

#: Fields that chat lacks, or gives another meaning.
_OWN_FIELDS = ("prompt", "suffix", "echo", "best_of", "logprobs")
#: Fields that text completions lack: no text could be their answer, or two would say the same.
_CHAT_FIELDS = (
    "messages",
    "tools",
    "functions",
    "modalities",
    "audio",
    "max_completion_tokens",
    "top_logprobs",
)
_LEFT_OUT = frozenset({*_OWN_FIELDS, *_CHAT_FIELDS})


def chat_body(body: Mapping[str, Any]) -> Json:
    """A text completion's body as a chat's: the prompt is what the user says.

    Of several prompts it is the longest one, which decides whether they fit: see `own_field`.
    """
    chat = {key: value for key, value in body.items() if key not in _LEFT_OUT}
    if chat.get("max_tokens") is None:
        chat["max_tokens"] = DEFAULT_MAX_TOKENS
    if (most := body.get("logprobs")) is not None:
        chat |= {"logprobs": True, "top_logprobs": most}
    return {**chat, "messages": [{"role": "user", "content": _text(body.get("prompt"))}]}


def own_field(body: Mapping[str, Any]) -> str | None:
    """The first field that says what no chat can say; None where the chat says it all."""
    return next(_own_fields(body), None)


def _own_fields(body: Mapping[str, Any]) -> Iterator[str]:
    prompt = body.get("prompt")
    texts = [prompt] if isinstance(prompt, str) else prompt
    if not (_is_texts(texts) and len(texts) == 1 and texts[0]):
        yield "prompt"
    yield from (name for name in ("suffix", "echo", *_CHAT_FIELDS) if body.get(name))
    if body.get("best_of") not in (None, body.get("n") or 1):
        yield "best_of"
    if (body.get("logprobs") or 0) > MOST_TOP_LOGPROBS:
        yield "logprobs"
    if body.get("max_tokens") == 0:
        yield "max_tokens"


def prompt_tokens(prompt: str | list[str] | list[int] | list[list[int]] | None) -> int | None:
    """The tokens of a prompt that came in tokens, or about how many there are in several texts.

    None of a single text, which the chat holds.
    """
    if prompt is None or isinstance(prompt, str):
        return None
    if _is_texts(prompt):
        texts = [{"content": text} for text in prompt]
        return estimate_tokens(texts) if len(texts) > 1 else None
    return sum(len(one) for one in prompt if isinstance(one, list)) or len(prompt)


def _is_texts(prompt: object) -> TypeGuard[list[str]]:
    return isinstance(prompt, list) and all(isinstance(one, str) for one in prompt)


def _text(prompt: Any) -> str:
    """What routing reads of a prompt; of one in tokens there is nothing to read."""
    if isinstance(prompt, str):
        return prompt
    return max(prompt, key=len) if _is_texts(prompt) else ""


def completion_of(chat: Mapping[str, Any], logprobs: LogprobsReader | None = None) -> Json:
    """A `chat.completion`, or a chunk of one, as a `text_completion`.

    Where an upstream doesn't say when or by which model, it says 0 and nothing. The chunks of one
    answer share a reader of their `logprobs`.
    """
    reader = logprobs or LogprobsReader()
    choices, created = chat.get("choices"), chat.get("created")
    named = str(chat.get("id") or "")
    return {
        **chat,
        "id": f"cmpl-{named.removeprefix('chatcmpl-')}",
        "object": "text_completion",
        "created": created if isinstance(created, int) else 0,
        "model": name_in(chat, "model"),
        "choices": [_choice(one, reader) for one in choices if isinstance(one, dict)]
        if isinstance(choices, list)
        else [],
    }


def _choice(choice: Mapping[str, Any], logprobs: LogprobsReader) -> Json:
    message = choice.get("message") or choice.get("delta")
    said = message if isinstance(message, dict) else {}
    reason = choice.get("finish_reason")
    return {
        "text": text_in(said.get("content")) or text_in(said.get("refusal")),
        "index": choice.get("index", 0),
        "logprobs": logprobs.read(choice),
        "finish_reason": "stop" if reason in ("tool_calls", "function_call") else reason,
    }
