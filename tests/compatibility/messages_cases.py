"""Fields of `/v1/messages`: all that Anthropic's SDK knows, and unknown ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.compatibility.case import (
    HI,
    SCHEMA,
    TEXT,
    USER,
    Case,
    each_of,
    in_message,
    in_part,
    inside,
    said,
    with_part,
)

MESSAGES_TOOL = {"name": "weather", "input_schema": {"type": "object", "properties": {}}}
IMAGE = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
}
DOCUMENT = {
    "type": "document",
    "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
}
TEXT_DOCUMENT = {
    "type": "document",
    "source": {"type": "text", "media_type": "text/plain", "data": "Rain falls."},
}
#: Blocks that chat has no word for.
OWN_BLOCKS: list[Mapping[str, Any]] = [
    {"type": "search_result", "source": "s", "title": "t", "content": [TEXT]},
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
    {"type": "container_upload", "file_id": "file_1"},
    {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
]


def _used(**more: Any) -> dict[str, Any]:
    call = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}, **more}
    return {"role": "assistant", "content": [call]}


def _result(**more: Any) -> dict[str, Any]:
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "Rain.", **more}
    return {"role": "user", "content": [result]}


MESSAGES = [
    *each_of(
        cache_control={"type": "ephemeral"},
        container="container_1",
        context_management={"edits": []} | {"x": 1},
        diagnostics={"x": 1},
        inference_geo="eu",
        max_tokens=2,
        mcp_servers=[{"type": "url", "url": "https://127.0.0.1/mcp", "name": "a"}],
        metadata={"user_id": "someone"},
        output_config={"effort": "low"},
        service_tier="standard_only",
        speed="fast",
        stop_sequences=["END"],
        stream=True,
        system="Be brief.",
        temperature=0.5,
        thinking={"type": "enabled", "budget_tokens": 1024},
        tools=[MESSAGES_TOOL],
        top_k=5,
        top_p=0.5,
        user_profile_id="profile_1",
        workspace_id="workspace_1",
        x_unknown={"b": 1.5},
    ),
    Case("tool_choice", {"tool_choice": {"type": "any"}}, {"tools": [MESSAGES_TOOL]}),
    Case(
        "tools: of the server", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}
    ),
    with_part(
        "cache_control", {"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}
    ),
    with_part("image", IMAGE),
    with_part("document", DOCUMENT),
    with_part("unknown block", {"type": "x_block", "x": 1}),
    said(
        "thinking",
        *HI,
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
                {"type": "text", "text": "Hi"},
            ],
        },
        *HI,
    ),
    said("tool use and results", *HI, _used(), _result()),
    *(with_part(block["type"], block) for block in OWN_BLOCKS),
    said(
        "redacted_thinking",
        *HI,
        {"role": "assistant", "content": [{"type": "redacted_thinking", "data": "AA=="}, TEXT]},
        *HI,
    ),
    with_part("image: file", {"type": "image", "source": {"type": "file", "file_id": "file_1"}}),
    in_message("x_unknown", USER, x_unknown={"b": 1.5}),
    in_part("x_unknown", TEXT, x_unknown={"b": 1.5}),
    in_part("text.citations", TEXT, citations=[{"type": "char_location", "cited_text": "Hi"}]),
    in_part("image.transformations", IMAGE, transformations={"x": 1}),
    in_part("document.title", DOCUMENT, title="A title"),
    in_part("document.context", DOCUMENT, context="Of a book."),
    in_part("document.citations", DOCUMENT, citations={"enabled": True}),
    in_part("text document.title", TEXT_DOCUMENT, title="A title"),
    in_part("text document.context", TEXT_DOCUMENT, context="Of a book."),
    in_part("text document.citations", TEXT_DOCUMENT, citations={"enabled": True}),
    inside("metadata.x_unknown", "metadata", {"user_id": "a"}, {"user_id": "a", "x_unknown": "b"}),
    Case(
        "output_config.format",
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    ),
    Case("service_tier: unknown", {"service_tier": "x_new"}),
    Case("thinking: adaptive", {"thinking": {"type": "adaptive"}}),
    inside(
        "thinking.display",
        "thinking",
        {"type": "enabled", "budget_tokens": 1024},
        {"type": "enabled", "budget_tokens": 1024, "display": "omitted"},
    ),
    Case("tool_choice: unknown", {"tool_choice": {"type": "x_new"}}, {"tools": [MESSAGES_TOOL]}),
    Case(
        "tool_choice.disable_parallel_tool_use",
        {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        {"tool_choice": {"type": "auto"}, "tools": [MESSAGES_TOOL]},
    ),
    *(
        inside(f"tools[].{name}", "tools", [MESSAGES_TOOL], [{**MESSAGES_TOOL, name: value}])
        for name, value in {
            "allowed_callers": ["direct"],
            "cache_control": {"type": "ephemeral"},
            "defer_loading": True,
            "description": "Says what the weather is.",
            "eager_input_streaming": True,
            "input_examples": [{}],
            "strict": True,
        }.items()
    ),
    *(
        inside(
            f"messages[].content[].tool_use.{name}",
            "messages",
            [*HI, _used(), _result()],
            [*HI, _used(**{name: value}), _result()],
        )
        for name, value in {"caller": {"type": "direct"}, "toolset_name": "a"}.items()
    ),
    *(
        inside(
            f"messages[].content[].tool_result.{name}",
            "messages",
            [*HI, _used(), _result()],
            [*HI, _used(), _result(**{name: value})],
        )
        for name, value in {"is_error": True, "toolset_name": "a"}.items()
    ),
]
