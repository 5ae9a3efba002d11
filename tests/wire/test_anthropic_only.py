"""What no chat has a word for is named; everything else may go to any backend."""

from typing import Any

import pytest

from gateway.wire.anthropic_only import own_place
from gateway.wire.anthropic_request import chat_body

TOOL = {"name": "f", "input_schema": {"type": "object"}}
TEXT = {"type": "text", "text": "x"}
FILE = {"type": "file", "file_id": "file_1"}
PICTURE = {"type": "base64", "media_type": "image/png", "data": "aGk="}
PAPER = {"type": "text", "media_type": "text/plain", "data": "x"}
SCHEMA = {"type": "json_schema", "schema": {}}
CITED = {"citations": {"enabled": True}}


def document(source: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"type": "document", "source": source, **members}


def result(*content: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": "t", "content": list(content)}


def found(content: Any = "Hi.", **fields: Any) -> str | None:
    body = {"model": "m", "messages": [{"role": "user", "content": content}], **fields}
    chat_body(body)  # nothing of it is refused where another backend may serve it
    return own_place(body)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"container": "c"}, "container"),
        ({"context_management": {"edits": []}}, "context_management"),
        ({"mcp_servers": [{"url": "x"}]}, "mcp_servers"),
        ({"tools": [TOOL, {"type": "web_search_20250305", "name": "w"}]}, "tools[1]"),
        ({"output_config": {"format": {"type": "new", "schema": 3}}}, "output_config.format"),
        ({"system": [TEXT, {"type": "search_result", "content": []}]}, "system[1]"),
    ],
)
def test_fields(fields: dict[str, Any], place: str) -> None:
    assert found(**fields) == place


@pytest.mark.parametrize(
    ("block", "place"),
    [
        ({"type": "search_result", "content": []}, ""),
        ({"type": "image", "source": FILE}, ""),
        ({"type": "image", "source": {"type": "new"}}, ""),
        (document(FILE), ""),
        (document({"type": "new"}), ""),
        (document(PAPER, **CITED), ".citations"),
        (
            document({"type": "content", "content": [TEXT, {"type": "image", "source": FILE}]}),
            ".source.content[1]",
        ),
        (result(TEXT, {"type": "image", "source": FILE}), ".content[1]"),
        (result(TEXT, document(PAPER, **CITED)), ".content[1].citations"),
    ],
)
def test_blocks(block: dict[str, Any], place: str) -> None:
    assert found([TEXT, block]) == f"messages[0].content[1]{place}"


@pytest.mark.parametrize(
    "fields",
    [
        {"container": None, "context_management": {}, "mcp_servers": [], "system": ""},
        {"tools": [TOOL, {"type": "custom", **TOOL}], "tool_choice": {"type": "any"}},
        {"tool_choice": None, "thinking": None, "output_config": None, "tools": None},
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        {"output_config": {"format": SCHEMA, "effort": "low"}},
        {"output_config": {"format": None}, "system": [TEXT]},
        {"content": [{"type": "image", "source": PICTURE}, document(PAPER)]},
        {"content": [document(PICTURE, citations={"enabled": False}), document(PAPER, **{})]},
        {"content": [document({"type": "content", "content": "x"}, citations=None)]},
        {"content": [result(TEXT, {"type": "search_result", "content": []})]},
        {"content": [{"type": "tool_result", "tool_use_id": "t"}]},
    ],
)
def test_what_a_chat_can_say(fields: dict[str, Any]) -> None:
    assert found(**fields) is None


def test_fields_that_ask_for_nothing_stay_here() -> None:
    body = {"messages": [], "container": "", "context_management": {}, "mcp_servers": []}
    assert chat_body(body) == {"model": None, "messages": []}


def test_a_documents_context_stands_before_it() -> None:
    content = [document(PAPER, title="T", context="Of 1905.")]
    chat = chat_body({"messages": [{"role": "user", "content": content}]})
    assert chat["messages"][0]["content"] == "T\n\nOf 1905.\n\nx"


def test_a_service_tier_that_is_unknown_passes() -> None:
    tiers = {
        tier: chat_body({"messages": [], "service_tier": tier})["service_tier"]
        for tier in ("auto", "standard_only", "new")
    }
    assert tiers == {"auto": "auto", "standard_only": "default", "new": "new"}
