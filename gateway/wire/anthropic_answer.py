"""Whole answers, their usage, and errors: Anthropic's message to a chat completion, and back."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from gateway.core.usage import Usage
from gateway.wire.confidence import confidence_in
from gateway.wire.json_objects import Json, compact, name_in, tool_input, without

#: What a chat message says where Anthropic stopped for a refusal and gave no explanation.
REFUSED = "The model declined to answer."

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_STOP = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
#: Members of Anthropic's usage that chat has no word for; kept under their own names.
_OWN_USAGE = ("cache_creation", "inference_geo", "server_tool_use", "service_tier", "speed")

_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_STATUSES = {kind: status for status, kind in _ERROR_TYPES.items()}
_CHAT_ERRORS = {
    "authentication_error": ("invalid_request_error", "invalid_api_key"),
    "billing_error": ("insufficient_quota", "insufficient_quota"),
    "rate_limit_error": ("rate_limit_error", "rate_limit_exceeded"),
    "not_found_error": ("invalid_request_error", "not_found"),
    "permission_error": ("invalid_request_error", "permission_denied"),
    "request_too_large": ("invalid_request_error", "request_too_large"),
    "invalid_request_error": ("invalid_request_error", None),
    "overloaded_error": ("server_error", "overloaded"),
    "timeout_error": ("server_error", "timeout"),
}


def completion_of(message: Mapping[str, Any], *, created_s: int | None = None) -> Json:
    """An Anthropic message as a `chat.completion`; `created_s` is Unix time, now by default.

    Thinking is `reasoning_content`, and stays whole in `thinking_blocks` so that a client can
    send it back; a stop sequence that was met is the choice's `stop_reason`. Citations and the
    blocks of server tools have no counterpart and are left out.
    """
    blocks = message.get("content") or []
    kinds: dict[str, list[Json]] = {}
    for block in blocks:
        kinds.setdefault(block.get("type"), []).append(block)
    texts = [block.get("text") or "" for block in kinds.get("text", [])]
    thoughts = [block.get("thinking") or "" for block in kinds.get("thinking", [])]
    thinking = [b for b in blocks if b.get("type") in {"thinking", "redacted_thinking"}]
    calls = [_tool_call(block) for block in kinds.get("tool_use", [])]
    choice: Json = {
        "index": 0,
        "message": {
            "role": "assistant",
            "content": "".join(texts) if texts else None,
            "refusal": refusal_of(message),
            **({"reasoning_content": "".join(thoughts)} if thoughts else {}),
            **({"thinking_blocks": thinking} if thinking else {}),
            **({"tool_calls": calls} if calls else {}),
        },
        "logprobs": None,
        "finish_reason": finish_reason(message.get("stop_reason")),
    }
    if message.get("stop_sequence") is not None:
        choice["stop_reason"] = message["stop_sequence"]
    return {
        "id": name_in(message, "id"),
        "object": "chat.completion",
        "created": int(time.time()) if created_s is None else created_s,
        "model": name_in(message, "model"),
        "choices": [choice],
        **({"usage": chat_usage(message["usage"])} if message.get("usage") else {}),
    }


def _tool_call(block: Json) -> Json:
    function = {"name": block.get("name") or "", "arguments": compact(block.get("input") or {})}
    return {"id": block.get("id") or "", "type": "function", "function": function}


def finish_reason(stop_reason: object) -> str:
    """The chat word for Anthropic's `stop_reason`; `stop` for one that isn't known."""
    return _FINISH.get(str(stop_reason), "stop")


def refusal_of(stopped: Mapping[str, Any]) -> str | None:
    """What to say of a refusal, from a message or a `message_delta`'s delta; None if it's none."""
    if stopped.get("stop_reason") != "refusal":
        return None
    details = stopped.get("stop_details") or {}
    return details.get("explanation") or REFUSED


def stop_reason(finish: object, *, stopped_by: object = None, has_calls: bool = False) -> str:
    """Anthropic's word for a chat `finish_reason`; some upstreams end tool calls with `stop`."""
    if finish == "stop" and has_calls:
        return "tool_use"
    if finish == "stop" and isinstance(stopped_by, str):
        return "stop_sequence"
    return _STOP.get(str(finish), "end_turn")


def message_of(completion: Mapping[str, Any]) -> Json:
    """A `chat.completion` as an Anthropic message; of several choices the first.

    Reasoning that came without Anthropic's signed blocks becomes a block with an empty signature.
    """
    choice: Json = next(iter(completion.get("choices") or []), {})
    message = choice.get("message") or {}
    calls: list[Json] = message.get("tool_calls") or []
    stopped_by = choice.get("stop_reason")
    stop = stop_reason(choice.get("finish_reason"), stopped_by=stopped_by, has_calls=bool(calls))
    texts = texts_of(message.get("content")) or texts_of(message.get("refusal"))
    content = [
        *_thinking_blocks(message),
        *({"type": "text", "text": text, "citations": None} for text in texts),
        *(_tool_use(call) for call in calls),
    ]
    return {
        "id": name_in(completion, "id"),
        "type": "message",
        "role": "assistant",
        "model": name_in(completion, "model"),
        "content": content,
        "stop_reason": stop,
        "stop_sequence": stopped_by if stop == "stop_sequence" else None,
        **stop_details(message.get("refusal"), stop),
        "usage": messages_usage(completion.get("usage") or {}),
        **confidence_in(completion),
    }


def stop_details(refusal: object, stop: str) -> Json:
    """The `stop_details` member where a refusal is explained, else nothing."""
    if stop != "refusal" or not isinstance(refusal, str):
        return {}
    return {"stop_details": {"type": "refusal", "category": None, "explanation": refusal}}


def texts_of(content: object) -> list[str]:
    """The texts of a content: some upstreams answer with parts."""
    if isinstance(content, str):
        return [content] if content else []
    parts: Iterable[Any] = content if isinstance(content, list) else ()
    texts = (part.get("text") for part in parts if isinstance(part, dict))
    return [text for text in texts if text and isinstance(text, str)]


def _thinking_blocks(message: Mapping[str, Any]) -> list[Json]:
    if blocks := message.get("thinking_blocks"):
        return list(blocks)
    reasoning = reasoning_in(message)
    return [{"type": "thinking", "thinking": reasoning, "signature": ""}] if reasoning else []


def reasoning_in(message: Mapping[str, Any]) -> str:
    """The reasoning text of a message or a delta: upstreams have two names for it."""
    text = message.get("reasoning_content") or message.get("reasoning")
    return text if isinstance(text, str) else ""


def _tool_use(call: Mapping[str, Any]) -> Json:
    function = call.get("function") or {}
    name, arguments = function.get("name") or "", tool_input(function.get("arguments"))
    return {"type": "tool_use", "id": call.get("id") or "", "name": name, "input": arguments}


def chat_usage(usage: Mapping[str, Any]) -> Json:
    """Anthropic's usage in chat's words.

    Anthropic's `input_tokens` leave out what the cache read and wrote; `prompt_tokens` hold both.
    """
    read = usage.get("cache_read_input_tokens") or 0
    written = usage.get("cache_creation_input_tokens") or 0
    prompt = (usage.get("input_tokens") or 0) + read + written
    output = usage.get("output_tokens") or 0
    thought = (usage.get("output_tokens_details") or {}).get("thinking_tokens")
    details = (
        {} if thought is None else {"completion_tokens_details": {"reasoning_tokens": thought}}
    )
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
        **details,
        **{key: usage[key] for key in _OWN_USAGE if usage.get(key) is not None},
    }


def messages_usage(usage: Mapping[str, Any]) -> Json:
    """Chat's usage in Anthropic's words; `input_tokens` leave out what the cache read and wrote.

    As in the ledger, a malformed count is 0.
    """
    counts = Usage.from_wire(usage)
    read, written = counts.cached_tokens, counts.cache_write_tokens
    details = usage.get("completion_tokens_details")
    has_thought = isinstance(details, dict) and details.get("reasoning_tokens") is not None
    thought = {"output_tokens_details": {"thinking_tokens": counts.reasoning_tokens}}
    return {
        "input_tokens": max(0, counts.prompt_tokens - read - written),
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "output_tokens": counts.completion_tokens,
        **(thought if has_thought else {}),
        **{key: usage[key] for key in _OWN_USAGE if usage.get(key) is not None},
    }


def chat_error(envelope: Mapping[str, Any]) -> Json:
    """Anthropic's error envelope as OpenAI's `{"error": {message, type, param, code}}`."""
    error = envelope.get("error") or {}
    message = str(error.get("message") or "The upstream gave no reason.")
    kind, code = _CHAT_ERRORS.get(str(error.get("type")), ("server_error", None))
    if error.get("type") == "invalid_request_error" and "prompt is too long" in message:
        code = "context_length_exceeded"
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def status_of(envelope: Mapping[str, Any]) -> int:
    """The HTTP status that an Anthropic error stands for: in a stream it comes without one."""
    return _STATUSES.get(str((envelope.get("error") or {}).get("type")), 500)


def messages_error(envelope: Mapping[str, Any], status: int, request_id: str | None = None) -> Json:
    """OpenAI's error envelope as Anthropic's; its type follows the HTTP status."""
    error = envelope.get("error") or {}
    fallback = "invalid_request_error" if 400 <= status < 500 else "api_error"
    told = {
        "type": _ERROR_TYPES.get(status, fallback),
        "message": str(error.get("message") or "The request failed."),
    }
    return {"type": "error", "error": told, **without({"request_id": request_id})}
