"""What of a chat body the Messages API has no counterpart for: refused, or left out and told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.wire.extras import extras, message_extras, stream_extras
from gateway.wire.json_objects import Json

_NO_CHOICE = (None, "auto", "none")
_FORMATS = (None, "text", "json_schema")
#: What is read of a message, and of the object in a part of that type.
_SAID = frozenset(
    {
        "role",
        "content",
        "refusal",
        "tool_calls",
        "tool_call_id",
        "thinking_blocks",
        "cache_control",
        "is_error",
    }
)
_READ_OF = {
    "image_url": frozenset({"url"}),
    "file": frozenset({"file_data", "file_id", "filename"}),
}


def unsupported_in(chat: Mapping[str, Any]) -> str | None:
    """The place of the first thing that changes what an answer is, such as `tools[0]`."""
    return next(_unsupported(chat), None)


def _unsupported(chat: Mapping[str, Any]) -> Iterator[str]:
    if chat.get("n") not in (None, 0, 1):
        yield "n"
    modalities = chat.get("modalities")
    if isinstance(modalities, list) and any(one != "text" for one in modalities):
        yield "modalities"
    if chat.get("functions"):
        yield "functions"
    wanted = chat.get("response_format")
    if isinstance(wanted, Mapping) and wanted.get("type") not in _FORMATS:
        yield "response_format"
    stop = chat.get("stop")
    stops = stop if isinstance(stop, list) else [stop]
    if any(isinstance(text, str) and text and not text.strip() for text in stops):
        yield "stop"  # blank ones are refused there
    for index, tool in enumerate(_objects(chat.get("tools"))):
        if tool.get("type") == "custom" and "custom" in tool:
            yield f"tools[{index}]"
    for index, message in enumerate(_objects(chat.get("messages"))):
        for name in ("function_call", "audio"):
            if message.get(name):
                yield f"messages[{index}].{name}"
        if message.get("role") == "function":
            yield f"messages[{index}].role"


def left_out(chat: Mapping[str, Any], messages: Mapping[str, Any]) -> Iterator[str]:
    """What a chat body sets and its translation doesn't hold, or not as it was."""
    for name in ("temperature", "top_k"):
        if chat.get(name) is not None and chat[name] != messages.get(name):
            yield name
    if chat.get("service_tier") and "service_tier" not in messages:
        yield "service_tier"
    output = messages.get("output_config")
    has_effort = isinstance(output, Mapping) and "effort" in output
    if chat.get("reasoning_effort") and not (has_effort or "thinking" in messages):
        yield "reasoning_effort"
    if chat.get("tool_choice") not in _NO_CHOICE and "tool_choice" not in messages:
        yield "tool_choice"
    if chat.get("user") and chat.get("safety_identifier") not in (None, "", chat["user"]):
        yield "safety_identifier"
    yield from stream_extras(chat)
    yield from _left_out_of_schema(chat.get("response_format"))
    said = _objects(chat.get("messages"))
    yield from message_extras(said, _SAID)
    if any(message.get("refusal") and message.get("content") for message in said):
        yield "messages[].refusal"
    for message in said:
        for part in _objects(message.get("content")):
            yield from _left_out_of_part(part)


def _left_out_of_schema(wanted: object) -> Iterator[str]:
    """The schema's name says nothing, and Anthropic keeps to every schema strictly."""
    named = wanted.get("json_schema") if isinstance(wanted, Mapping) else None
    for name in extras(named, frozenset({"name", "schema", "strict"})):
        yield f"response_format.json_schema.{name}"


def _left_out_of_part(part: Json) -> Iterator[str]:
    if part.get("prompt_cache_breakpoint"):
        yield "messages[].content[].prompt_cache_breakpoint"
    for kind, read in _READ_OF.items():
        for name in extras(part.get(kind), read):
            if (name, part[kind][name]) != ("detail", "auto"):
                yield f"messages[].content[].{kind}.{name}"


def _objects(value: object) -> list[Json]:
    """The objects of a list that nobody has checked."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
