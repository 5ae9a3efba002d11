"""What of a Messages body only Anthropic's API can honour, since no chat has a word for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.wire.anthropic_content import TRANSLATED_SOURCES

_OWN_FIELDS = ("container", "context_management", "inference_geo", "mcp_servers")
_TRANSLATED_BLOCKS = frozenset(
    {
        "text",
        "image",
        "document",
        "tool_use",
        "tool_result",
        "thinking",
        "redacted_thinking",
    }
)
_TRANSLATED_CHOICES = frozenset({"auto", "any", "none", "tool"})
_TRANSLATED_THINKING = frozenset({"adaptive", "disabled", "enabled"})


def own_field(messages: Mapping[str, Any]) -> str | None:
    """The place of the first such thing, as `tools[0]`; None where a chat can say it all.

    The body has been checked.
    """
    return next(_own(messages), None)


def _own(messages: Mapping[str, Any]) -> Iterator[str]:
    yield from (name for name in _OWN_FIELDS if messages.get(name))
    known = {"tool_choice": _TRANSLATED_CHOICES, "thinking": _TRANSLATED_THINKING}
    for name, kinds in known.items():
        if (asked := messages.get(name)) and asked["type"] not in kinds:
            yield f"{name}.type"
    wanted = (messages.get("output_config") or {}).get("format")
    if wanted and wanted.get("type") != "json_schema":
        yield "output_config.format"
    for index, tool in enumerate(messages.get("tools") or ()):
        if "input_schema" not in tool:
            yield f"tools[{index}]"
    yield from _own_blocks(messages.get("system"), "system")
    for index, message in enumerate(messages["messages"]):
        yield from _own_blocks(message["content"], f"messages[{index}].content")


def _own_blocks(content: object, where: str) -> Iterator[str]:
    for index, block in enumerate(content if isinstance(content, list) else ()):
        if block.get("type") in _TRANSLATED_BLOCKS:
            yield from _own_in(block, f"{where}[{index}]")
        else:
            yield f"{where}[{index}]"


def _own_in(block: Mapping[str, Any], where: str) -> Iterator[str]:
    """Of a tool's result only what it refers to: other blocks of it can be told as JSON."""
    kind = block["type"]
    if kind == "tool_result":
        content = block.get("content")
        for index, inner in enumerate(content if isinstance(content, list) else ()):
            if inner["type"] in TRANSLATED_SOURCES:
                yield from _own_in(inner, f"{where}.content[{index}]")
    if kind not in TRANSLATED_SOURCES:
        return
    source = block["source"]
    if source["type"] not in TRANSLATED_SOURCES[kind] or source["type"] == "file":
        yield f"{where}.source"
    if (block.get("citations") or {}).get("enabled"):
        yield f"{where}.citations"
    if source["type"] == "content":
        yield from _own_blocks(source.get("content"), f"{where}.source.content")
