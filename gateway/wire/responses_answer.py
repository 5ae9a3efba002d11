"""A `chat.completion` object as a Responses API `response` object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.core.errors import BackendError, GatewayError, InvalidRequest
from gateway.wire.confidence import confidence_in
from gateway.wire.json_objects import compact, text_in
from gateway.wire.responses_items import Json

#: What a response repeats of its request, and what stands there where the request has nothing.
_ECHOED: dict[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "service_tier": None,
    "store": True,
    "temperature": None,
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": None,
    "top_p": None,
    "user": None,
}
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
_PREFIXES = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "custom_tool_call": "ctc",
}


def response_of(
    completion: Mapping[str, Any],
    request: Mapping[str, Any],
    *,
    response_id: str,
    created_at: int,
    completed_at: int,
) -> Json:
    """The response to `request` (a `/v1/responses` body); times are Unix seconds.

    Ids of items are made from `response_id`, so that the same answer has the same ids.
    """
    response = new_response(
        request, response_id=response_id, created_at=created_at, model=completion.get("model")
    )
    if completion.get("service_tier") is not None:
        response["service_tier"] = completion["service_tier"]
    choices = completion.get("choices") or [{}]
    response["output"] = _output(choices[0], response_id)
    end(response, choices[0].get("finish_reason"), completion.get("usage"), completed_at)
    return response | confidence_in(completion)


def failed_response(
    error: GatewayError, request: Mapping[str, Any], *, response_id: str, created_at: int
) -> Json:
    """The response to a request that failed before it had any output."""
    response = new_response(request, response_id=response_id, created_at=created_at)
    return {**response, "status": "failed", "error": error_of(error)}


def new_response(
    request: Mapping[str, Any], *, response_id: str, created_at: int, model: str | None = None
) -> Json:
    """A response in progress without output. `model` is the one that answers, if known."""
    echoed = {
        name: default if request.get(name) is None else request[name]
        for name, default in _ECHOED.items()
    }
    reasoning, text = request.get("reasoning") or {}, request.get("text") or {}
    return {
        "id": response_id,
        "object": "response",
        "created_at": created_at,
        "completed_at": None,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": model or request["model"],
        "output": [],
        **echoed,
        "reasoning": {"effort": None, "summary": None, **reasoning},
        "text": {**text, "format": text.get("format") or {"type": "text"}},
        "truncation": "disabled",
        "usage": None,
    }


def end(
    response: Json,
    finish_reason: str | None,
    usage: Mapping[str, Any] | None,
    completed_at: int,
) -> None:
    """Set what is known at the end: status, usage, and the last item's status."""
    reason = _INCOMPLETE.get(finish_reason or "")
    if reason is None:
        response["status"] = "completed"
        response["completed_at"] = completed_at
    else:
        response["status"] = "incomplete"
        response["incomplete_details"] = {"reason": reason}
        if response["output"]:
            response["output"][-1]["status"] = "incomplete"
    response["usage"] = usage_of(usage)


def is_cut(finish_reason: str | None) -> bool:
    """Whether the answer ended before the model was done."""
    return finish_reason in _INCOMPLETE


def usage_of(usage: Mapping[str, Any] | None) -> Json | None:
    """A chat's `usage` in the Responses API's words; None where it isn't known."""
    if not usage:
        return None
    read = usage.get("prompt_tokens_details") or {}
    written = usage.get("completion_tokens_details") or {}
    prompt, completion = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
    return {
        "input_tokens": prompt,
        "input_tokens_details": {
            "cached_tokens": read.get("cached_tokens") or 0,
            "cache_write_tokens": read.get("cache_write_tokens") or 0,
        },
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": written.get("reasoning_tokens") or 0},
        "total_tokens": usage.get("total_tokens") or prompt + completion,
    }


def error_of(error: GatewayError) -> Json:
    """The `error` of a failed response; its codes are a closed list."""
    if isinstance(error, BackendError) and error.status == 429:
        code = "rate_limit_exceeded"
    elif isinstance(error, InvalidRequest):
        code = "invalid_prompt"
    else:
        code = "server_error"
    return {"code": code, "message": error.message}


def item_of(kind: str, response_id: str, index: int, **fields: Any) -> Json:
    """An output item; `index` is its place in `output`."""
    made = f"{_PREFIXES[kind]}_{response_id.removeprefix('resp_')}_{index}"
    return {"id": made, "type": kind, "status": "completed", **fields}


def call_of(call: Mapping[str, Any], response_id: str, index: int) -> Json:
    """A chat's tool call, or the first delta of one, as an output item."""
    is_custom = call.get("type") == "custom" or "custom" in call
    kind, text = ("custom_tool_call", "input") if is_custom else ("function_call", "arguments")
    inner = call.get("custom" if is_custom else "function") or {}
    item = item_of(kind, response_id, index, name=inner.get("name") or "")
    item["call_id"] = call.get("id") or f"call_{item['id']}"
    item[text] = written_in(inner, text)
    return item


def written_in(inner: Mapping[str, Any], name: str) -> str:
    """What a model has written for a tool: some upstreams have parsed it already."""
    written = inner.get(name) or ""
    return written if isinstance(written, str) else compact(written)


def reasoning_in(message: Mapping[str, Any]) -> str:
    """The reasoning that a message or a delta shows, under either name that upstreams use."""
    text = message.get("reasoning_content") or message.get("reasoning")
    return text if isinstance(text, str) else ""


def annotations_of(message: Mapping[str, Any]) -> list[Json]:
    """Citations of web pages, flattened."""
    return [
        {"type": "url_citation", **annotation["url_citation"]}
        for annotation in message.get("annotations") or []
        if annotation.get("type") == "url_citation"
    ]


def logprobs_of(choice: Mapping[str, Any]) -> list[Json]:
    """The log probabilities of a choice's text; `bytes` are never null in a response."""
    logprobs = choice.get("logprobs") or {}
    return [
        {
            **_token(token),
            "top_logprobs": [_token(other) for other in token.get("top_logprobs") or []],
        }
        for token in logprobs.get("content") or []
    ]


def _token(token: Mapping[str, Any]) -> Json:
    return {
        "token": token["token"],
        "bytes": token.get("bytes") or [],
        "logprob": token["logprob"],
    }


def _output(choice: Mapping[str, Any], response_id: str) -> list[Json]:
    message = choice.get("message") or {}
    output: list[Json] = []
    reasoning = reasoning_in(message)
    if reasoning:
        content: list[Json] = [{"type": "reasoning_text", "text": reasoning}]
        output.append(item_of("reasoning", response_id, 0, summary=[], content=content))
    content = _content(message, choice)
    calls = message.get("tool_calls") or []
    if not content and not calls and not output:
        content = [text_part("")]
    if content:
        made = item_of("message", response_id, len(output), role="assistant", content=content)
        output.append(made)
    for call in calls:
        output.append(call_of(call, response_id, len(output)))
    return output


def text_part(
    text: str, logprobs: list[Json] | None = None, annotations: list[Json] | None = None
) -> Json:
    """An `output_text` part."""
    return {
        "type": "output_text",
        "text": text,
        "annotations": annotations or [],
        "logprobs": logprobs or [],
    }


def _content(message: Mapping[str, Any], choice: Mapping[str, Any]) -> list[Json]:
    content: list[Json] = []
    if text := text_in(message.get("content")):
        annotations = annotations_of(message)
        content.append(text_part(text, logprobs_of(choice), annotations))
    if refusal := text_in(message.get("refusal")):
        content.append({"type": "refusal", "refusal": refusal})
    return content
