"""One field of a request with a value, and the ways to make such cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

HI = [{"role": "user", "content": "Hi"}]
FUNCTION = {"name": "weather", "parameters": {"type": "object", "properties": {}}}
TOOL = {"type": "function", "function": FUNCTION}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
PNG = "data:image/png;base64,iVBORw0KGgo="
PDF = "data:application/pdf;base64,JVBERi0="


@dataclass(slots=True, frozen=True)
class Case:
    """One field, by the name it has in the table; `beside` is what it needs to make sense."""

    name: str
    fields: Mapping[str, Any]
    beside: Mapping[str, Any] = field(default_factory=dict)


def each_of(**values: Any) -> list[Case]:
    return [Case(name, {name: value}) for name, value in values.items()]


def said(name: str, *messages: Mapping[str, Any]) -> Case:
    return Case(f"messages: {name}", {"messages": list(messages)})


def with_part(name: str, part: Mapping[str, Any]) -> Case:
    parts = [{"type": "text", "text": "Hi"}, part]
    return said(name, {"role": "user", "content": parts})


def inside(name: str, where: str, least: Any, asked: Any) -> Case:
    """What stands deeper in a field; `least` is the field without it."""
    return Case(name, {where: asked}, {where: least})


def in_message(name: str, least: Mapping[str, Any], **added: Any) -> Case:
    """A member of a message, between two others."""
    return inside(
        f"messages[].{name}", "messages", [*HI, least, *HI], [*HI, {**least, **added}, *HI]
    )


def in_part(name: str, least: Mapping[str, Any], **added: Any) -> Case:
    """A member of a content part."""
    said = {"role": "user"}
    return inside(
        f"messages[].content[].{name}",
        "messages",
        [{**said, "content": [least]}],
        [{**said, "content": [{**least, **added}]}],
    )


USER = {"role": "user", "content": "Hi"}
ASSISTANT = {"role": "assistant", "content": "Ho"}
TEXT = {"type": "text", "text": "Hi"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
CUSTOM_TOOL = {"type": "custom", "custom": {"name": "note"}}
NAMED = {"type": "function", "function": {"name": "weather"}}
BREAKPOINT = {"mode": "explicit"}
