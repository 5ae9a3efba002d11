"""What an answer is held to, as the request states it: a JSON schema, or calls of tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: Where a call begins and ends in a model's text, as in the templates of Qwen and Hermes.
CALL_BEGINS = "<tool_call>"
CALL_ENDS = "</tool_call>"


def form_of(payload: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the answer to a checked chat is held to: None, a JSON `schema`, or calls of `tools`.

    `first` is what an answer must begin with: a call of the tool of that name, of any (""), or
    None where it may be text. `param` is the field that asks for it.
    """
    response_format = payload.get("response_format") or {}
    kind = response_format.get("type") or "text"
    if kind == "json_object":
        return {"param": "response_format", "schema": {"type": "object"}}
    if kind == "json_schema":
        stated = response_format["json_schema"].get("schema")
        return {"param": "response_format", "schema": {} if stated is None else stated}
    tools = tools_of(payload)
    if not tools:
        return None
    choice = payload.get("tool_choice") or "auto"
    first: str | None = "" if choice == "required" else None
    if isinstance(choice, Mapping):
        first = choice["function"]["name"]
        tools = [tool for tool in tools if tool["function"]["name"] == first]
    return {
        "param": "tools",
        "tools": [_called(tool["function"]) for tool in tools],
        "first": first,
        "is_parallel": payload.get("parallel_tool_calls") is not False and not first,
    }


def tools_of(payload: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The tools that the answer may call."""
    return () if payload.get("tool_choice") == "none" else payload.get("tools") or ()


def _called(function: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": function["name"],
        "parameters": function.get("parameters") or {"type": "object"},
    }
