from typing import Any

import pytest

from gateway.core.errors import InvalidRequest
from gateway.wire.anthropic_content import parts_of

CACHE = {"cache_control": {"type": "ephemeral"}}
PLAIN = {"type": "text", "media_type": "text/plain", "data": "the data"}
PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
CITED = [{"type": "char_location", "cited_text": "x"}]


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **more}


def document(source: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "document", "source": source, **more}


def content(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content", "content": list(blocks)}


@pytest.mark.parametrize(
    ("block", "parts"),
    [
        (document(PLAIN), [text("the data")]),
        (document(PLAIN, title="T", **CACHE), [text("T\n\nthe data", **CACHE)]),
        (document(PLAIN, title="", context=""), [text("the data")]),
        (document(PLAIN, title="T", context="C"), [text("T\n\nC\n\nthe data")]),
        (
            document(PDF, title="T", context="C"),
            [
                text("C"),
                {
                    "type": "file",
                    "file": {
                        "file_data": "data:application/pdf;base64,JVBERi0=",
                        "filename": "T",
                    },
                },
            ],
        ),
        (
            document(content(text("a"), text("b")), title="T", context="C", **CACHE),
            [text("T\n\nC"), text("a"), text("b", **CACHE)],
        ),
        (document({"type": "content", "content": "a"}), [text("a")]),
        (document(content()), []),
        (text("x", citations=CITED, **CACHE), [text("x", citations=CITED, **CACHE)]),
        (text("x", citations=None), [text("x")]),
    ],
)
def test_a_block_as_parts(block: dict[str, Any], parts: list[dict[str, Any]]) -> None:
    assert parts_of([block], "content") == parts


@pytest.mark.parametrize(
    ("block", "param"),
    [
        (document(PLAIN, title=5), "content[0].title"),
        (document(PLAIN, context=5), "content[0].context"),
        (document(content(text("a"), {"type": "text"})), "content[0].source.content[1].text"),
        (document({"type": "content", "content": 5}), "content[0].source.content"),
        (document({"type": "base64"}), "content[0].source.media_type"),
        (document({"type": "file"}), "content[0].source.file_id"),
        ({"type": "document"}, "content[0].source"),
    ],
)
def test_what_is_wrong_is_named(block: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parts_of([block], "content")
    assert caught.value.param == param
