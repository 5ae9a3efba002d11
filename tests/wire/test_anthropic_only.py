from typing import Any

import pytest

from gateway.wire.anthropic_only import own_place

TEXT = {"type": "text", "text": "x"}
STORED = {"type": "file", "file_id": "file_1"}
PLAIN = {"type": "text", "media_type": "text/plain", "data": "x"}


def body(*blocks: dict[str, Any], **fields: Any) -> dict[str, Any]:
    content = [TEXT, *blocks] if blocks else "x"
    return {"messages": [{"role": "user", "content": content}], **fields}


def result(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": "1", "content": list(blocks)}


def inside(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"type": "document", "source": {"type": "content", "content": list(blocks)}}


@pytest.mark.parametrize(
    "chat",
    [
        body(),
        body(system="Be brief.", tools=None, container=None, mcp_servers=[]),
        body(system=[TEXT], tools=[{"name": "f", "input_schema": {}}]),
        body({"type": "image", "source": {"type": "url", "url": "https://127.0.0.1/a.png"}}),
        body({"type": "document", "source": PLAIN}),
        body({"type": "document", "source": PLAIN, "citations": {"enabled": False}}),
        body({"type": "document", "source": PLAIN, "citations": None}),
        body({"type": "tool_use", "id": "1", "name": "f", "input": {}}, {"type": "thinking"}),
        body({**TEXT, "citations": [{"type": "char_location"}]}),
        body(result(TEXT, {"type": "search_result"}), {**result(), "content": "x"}),
        body(inside(TEXT)),
        body({"type": "document", "source": {"type": "content", "content": "x"}}),
    ],
)
def test_a_chat_has_words_for_it(chat: dict[str, Any]) -> None:
    assert own_place(chat) is None


@pytest.mark.parametrize(
    ("own", "place"),
    [
        (body(container="c"), "container"),
        (body(mcp_servers=[{"type": "url"}]), "mcp_servers"),
        (body(context_management={"edits": []}), "context_management"),
        (body(tools=[{"name": "f", "input_schema": {}}, {"type": "bash_20250124"}]), "tools[1]"),
        (body(system=[TEXT, {"type": "image", "source": {"type": "url"}}]), "system[1]"),
        (body({"type": "search_result"}), "messages[0].content[1]"),
        (body({"no": "type"}), "messages[0].content[1]"),
        (body({"type": "image", "source": STORED}), "messages[0].content[1]"),
        (body({"type": "document", "source": STORED}), "messages[0].content[1]"),
        (
            body({"type": "document", "source": PLAIN, "citations": {"enabled": True}}),
            "messages[0].content[1]",
        ),
        (
            body(result(TEXT, {"type": "image", "source": STORED})),
            "messages[0].content[1].content[1]",
        ),
        (
            body(inside({"type": "image", "source": STORED})),
            "messages[0].content[1].source.content[0]",
        ),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_it_needs_a_backend_that_speaks_messages(own: dict[str, Any], place: str) -> None:
    assert own_place(own) == place
