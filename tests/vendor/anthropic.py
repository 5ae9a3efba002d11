"""The simulator's other wire: Anthropic's Messages API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

from tests.vendor.behaviour import Behaviour

SIGNATURE = "c2lnbmVk"
ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}


def error(status: int) -> bytes:
    """Anthropic's envelope around a simulated failure."""
    kind = ERROR_TYPES.get(status, "api_error")
    details = {"type": kind, "message": f"simulated {status}"}
    return json.dumps({"type": "error", "error": details, "request_id": "req_theirs"}).encode()


def message(body: dict[str, Any], behaviour: Behaviour) -> bytes:
    """A whole answer."""
    content = list(_blocks(behaviour))
    whole = {
        **_opening(body, behaviour),
        "content": content,
        "stop_reason": "tool_use" if behaviour.tool_calls else "end_turn",
        "usage": behaviour.messages_usage,
    }
    return json.dumps(whole, ensure_ascii=False).encode()


def _opening(body: dict[str, Any], behaviour: Behaviour) -> dict[str, Any]:
    return {
        "id": "msg_simulated",
        "type": "message",
        "role": "assistant",
        "model": f"{body['model']}-20250929",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        **behaviour.extra,
    }


def _blocks(behaviour: Behaviour) -> Iterator[dict[str, Any]]:
    if behaviour.thinking:
        yield {"type": "thinking", "thinking": behaviour.thinking, "signature": SIGNATURE}
    yield {"type": "text", "text": behaviour.text}
    for number, (name, arguments) in enumerate(behaviour.tool_calls):
        given = json.loads(arguments)
        yield {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": given}


async def events(body: dict[str, Any], behaviour: Behaviour) -> AsyncIterator[dict[str, Any]]:
    """The events of a streamed answer, without what goes wrong between them."""
    usage = behaviour.messages_usage
    first = None if usage is None else {**usage, "output_tokens": 1}
    yield {"type": "message_start", "message": {**_opening(body, behaviour), "usage": first}}
    yield {"type": "ping"}
    for index, block in enumerate(_blocks(behaviour)):
        for event in _block_events(index, block, behaviour):
            yield event
            if behaviour.chunk_delay_s:
                await asyncio.sleep(behaviour.chunk_delay_s)
    reason = "tool_use" if behaviour.tool_calls else "end_turn"
    delta = {"stop_reason": reason, "stop_sequence": None}
    last = {"type": "message_delta", "delta": delta}
    yield last if usage is None else {**last, "usage": {"output_tokens": usage["output_tokens"]}}
    if behaviour.done_mark:
        yield {"type": "message_stop"}


def _block_events(
    index: int, block: dict[str, Any], behaviour: Behaviour
) -> Iterator[dict[str, Any]]:
    empty, deltas = _pieces(block, behaviour)
    yield {"type": "content_block_start", "index": index, "content_block": empty}
    for delta in deltas:
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}


def _pieces(
    block: dict[str, Any], behaviour: Behaviour
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A block as it begins, and the deltas that fill it."""
    match block["type"]:
        case "thinking":
            empty = {**block, "thinking": "", "signature": ""}
            thought = {"type": "thinking_delta", "thinking": block["thinking"]}
            return empty, [thought, {"type": "signature_delta", "signature": block["signature"]}]
        case "tool_use":
            text = json.dumps(block["input"])
            halves = (text[: len(text) // 2], text[len(text) // 2 :])
            parts = [{"type": "input_json_delta", "partial_json": half} for half in halves]
            return {**block, "input": {}}, parts
        case _:
            words = [{"type": "text_delta", "text": word} for word in _words(behaviour)]
            return {"type": "text", "text": ""}, words


def _words(behaviour: Behaviour) -> list[str]:
    if behaviour.chunks is not None:
        return [f"word{number} " for number in range(behaviour.chunks)]
    first, *others = behaviour.text.split(" ")
    return [first, *(f" {word}" for word in others)]
