"""The items of a request as `GET /v1/responses/{id}/input_items` lists them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gateway.wire.responses_items import Json

#: By type of an item: the beginning of ids made for it.
_PREFIXES = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
    "reasoning": "rs",
}
_OUTPUTS = ("function_call_output", "custom_tool_call_output")


def listed_items(items: Iterable[Mapping[str, Any]], response_id: str) -> list[Json]:
    """Checked input items in full: each with an id, its type and status, its content as parts.

    Ids that a client gave stay; the others are made from `response_id` and the item's place.
    """
    own = response_id.removeprefix("resp_")
    return [_listed(item, f"{own}_in_{index}") for index, item in enumerate(items)]


def _listed(item: Mapping[str, Any], suffix: str) -> Json:
    kind = item.get("type") or "message"
    given = item.get("id")
    made = given if isinstance(given, str) and given else f"{_PREFIXES.get(kind, 'item')}_{suffix}"
    listed: Json = {**item, "id": made, "type": kind}
    if kind == "reasoning":
        listed.setdefault("summary", [])
        return listed
    listed["status"] = item.get("status") or "completed"
    if kind == "message":
        listed["content"] = _parts(item["content"], is_answer=item["role"] == "assistant")
    elif kind in _OUTPUTS and not isinstance(item["output"], str):
        listed["output"] = _parts(item["output"], is_answer=False)
    return listed


def _parts(content: str | Iterable[Mapping[str, Any]], *, is_answer: bool) -> list[Json]:
    parts = [{"type": "input_text", "text": content}] if isinstance(content, str) else content
    return [_part(part, is_answer=is_answer) for part in parts]


def _part(part: Mapping[str, Any], *, is_answer: bool) -> Json:
    if part["type"] in ("input_text", "output_text"):
        if is_answer:
            return {"annotations": [], "logprobs": [], **part, "type": "output_text"}
        return {**part, "type": "input_text"}
    if part["type"] == "input_image":
        return {"detail": "auto", **part}
    return dict(part)
