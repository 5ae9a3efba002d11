"""What an answer is held to, as the request states it: a JSON schema, or calls of tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def form_of(payload: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the answer to a checked chat is held to: None, a JSON `schema`, or calls of `tools`.

    With both it is either, but for a call that is wanted in any case: that goes first.
    `first` is what an answer must begin with: a call of the tool of that name, of any (""), or
    None where it may be text, or the schema's JSON. `param` is the field that asks for it.
    """
    schema = _schema_of(payload.get("response_format") or {})
    tools = tools_of(payload)
    if not tools:
        return None if schema is None else {"param": "response_format", "schema": schema}
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
        **({"schema": schema} if schema is not None and first is None else {}),
    }


def _schema_of(response_format: Mapping[str, Any]) -> Mapping[str, Any] | None:
    kind = response_format.get("type")
    if kind == "json_object":
        return {"type": "object"}
    if kind != "json_schema":
        return None
    stated = response_format["json_schema"].get("schema")
    return {} if stated is None else closed(stated)


def tools_of(payload: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The tools that the answer may call."""
    return () if payload.get("tool_choice") == "none" else payload.get("tools") or ()


def _called(function: Mapping[str, Any]) -> dict[str, Any]:
    parameters = function.get("parameters") or {"properties": {}}
    # Arguments are always an object, whether the schema says so or not.
    return {"name": function["name"], "parameters": closed({**parameters, "type": "object"})}


#: Where schemas are put together, what one of them leaves open another may need.
_COMBINING = ("allOf", "anyOf", "oneOf", "$ref", "patternProperties", "if", "not")
#: What a schema says of an object beside those.
_DESCRIBING = ("properties", "required", "minProperties")


def closed(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same for objects of the named properties only, where it doesn't say that more may come.

    All that fits it fits the schema too, and a small model invents properties where it may.
    """
    kept: Mapping[str, Any] = schema if _adds_up(schema) else _closed(schema)
    return kept


def _adds_up(schema: Any) -> bool:
    """Whether several schemas describe an object: each is open for the others' properties."""
    if isinstance(schema, list):
        return any(_adds_up(one) for one in schema)
    if not isinstance(schema, Mapping):
        return False
    is_combined = any(name in schema for name in _COMBINING)
    if "allOf" in schema or (is_combined and any(name in schema for name in _DESCRIBING)):
        return True
    return any(_adds_up(one) for one in schema.values())


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    made = {
        name: {key: _closed(one) for key, one in inner.items()}
        if name in ("properties", "$defs", "definitions") and isinstance(inner, Mapping)
        else _closed(inner)
        if name in ("items", "prefixItems", "anyOf", "oneOf", "additionalProperties")
        else inner
        for name, inner in schema.items()
    }
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and not any(name in schema for name in _COMBINING):
        required = schema.get("required")
        if all(name in properties for name in (required if isinstance(required, list) else ())):
            made.setdefault("additionalProperties", False)
    return made
