"""What of a Messages body chat has no word for: a backend that speaks Messages has to serve it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.wire.anthropic_content import TRANSLATED_SOURCES, cites

_OWN_FIELDS = ("container", "context_management", "mcp_servers")
#: Content blocks that chat has a word for.
_TRANSLATED = frozenset(
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
_TEXT = frozenset({"text"})


def own_place(body: Mapping[str, Any]) -> str | None:
    """The first such place in a body that could be translated, such as `tools[0]`."""
    return next(_own(body), None)


def _own(body: Mapping[str, Any]) -> Iterator[str]:
    for name in _OWN_FIELDS:
        if body.get(name):
            yield name
    wanted = (body.get("output_config") or {}).get("format")
    if wanted and wanted.get("type") != "json_schema":
        yield "output_config.format"
    for index, tool in enumerate(body.get("tools") or ()):
        if "input_schema" not in tool:
            yield f"tools[{index}]"
    yield from _own_blocks(body.get("system"), "system", _TEXT)
    for index, message in enumerate(body["messages"]):
        yield from _own_blocks(message["content"], f"messages[{index}].content", _TRANSLATED)


def _own_blocks(content: object, where: str, known: frozenset[str] | None) -> Iterator[str]:
    """`known` are the types of blocks that can stand there; in a tool's result any can."""
    if not isinstance(content, list):
        return
    for index, block in enumerate(content):
        place = f"{where}[{index}]"
        kind = block["type"]
        if (known is not None and kind not in known) or _is_own(block):
            yield place
        if block.get("transformations"):
            yield f"{place}.transformations"
        if kind == "document" and cites(block):
            yield f"{place}.citations"
        if kind == "tool_result":
            yield from _own_blocks(block.get("content"), f"{place}.content", None)
        elif kind == "document":
            inside = (block.get("source") or {}).get("content")
            yield from _own_blocks(inside, f"{place}.source.content", None)


def _is_own(block: Mapping[str, Any]) -> bool:
    """Whether it lies in Anthropic's store, or where no chat can say."""
    known = TRANSLATED_SOURCES.get(block["type"])
    return known is not None and block["source"]["type"] not in known
