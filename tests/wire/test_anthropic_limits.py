from typing import Any

import pytest

from gateway.core.errors import CapabilityMissing
from gateway.wire.anthropic_limits import left_out, unsupported_in
from gateway.wire.anthropic_request import messages_body

USER = {"role": "user", "content": "Hi."}
PNG = "data:image/png;base64,iVBORw0KGgo="
CUSTOM = {"type": "custom", "custom": {"name": "c"}}
FUNCTION = {"type": "function", "function": {"name": "f"}}


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "claude", "messages": [USER], **fields}


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"n": 2}, "n"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"response_format": {"type": "grammar"}}, "response_format"),
        ({"stop": "\n"}, "stop"),
        ({"stop": ["END", " "]}, "stop"),
        ({"tools": [FUNCTION, CUSTOM]}, "tools[1]"),
        (
            {"messages": [USER, {"role": "function", "name": "f", "content": "1"}]},
            "messages[1].role",
        ),
        (
            {
                "messages": [
                    {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}
                ]
            },
            "messages[0].function_call",
        ),
        ({"messages": [USER, {"role": "assistant", "audio": {"id": "a"}}]}, "messages[1].audio"),
    ],
)
def test_what_changes_an_answer_is_refused_by_its_place(fields: dict[str, Any], place: str) -> None:
    assert unsupported_in(chat(**fields)) == place
    with pytest.raises(CapabilityMissing) as refused:
        messages_body(chat(**fields))
    assert refused.value.param == place


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"n": 1, "modalities": ["text"], "functions": [], "stop": ["END"], "tools": [FUNCTION]},
        {"n": None, "modalities": None, "functions": None, "stop": None, "tools": None},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
        {"response_format": {"type": "text"}},
    ],
)
def test_what_asks_for_nothing_else_is_supported(fields: dict[str, Any]) -> None:
    assert unsupported_in(chat(**fields)) is None
    messages_body(chat(**fields))


def parts(*several: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(several)}]}


def schema(**more: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "a", "schema": {}, **more}}


def image(**detail: str) -> dict[str, Any]:
    part = {"type": "image_url", "image_url": {"url": PNG, **detail}}
    return {"messages": [{"role": "user", "content": [part]}]}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, []),
        ({"temperature": 1, "top_k": 5, "service_tier": "auto", "tool_choice": "auto"}, []),
        ({"temperature": 1.5}, ["temperature"]),
        ({"temperature": 0.2, "top_k": 5, "reasoning_effort": "low"}, ["temperature", "top_k"]),
        ({"service_tier": "flex"}, ["service_tier"]),
        ({"tool_choice": "required"}, ["tool_choice"]),
        ({"tool_choice": "required", "tools": [FUNCTION]}, []),
        ({"reasoning_effort": "none"}, []),
        ({"messages": [{**USER, "name": "Ann"}]}, ["messages[].name"]),
        (image(detail="high"), ["messages[].content[].image_url.detail"]),
        (image(detail="auto"), []),
        (image(), []),
        ({"messages": [{**USER, "x": 1, "audio": None}, {**USER, "x": 2}]}, ["messages[].x"] * 2),
        (
            {"messages": [USER, {"role": "assistant", "content": "Ho", "refusal": "No."}]},
            ["messages[].refusal"],
        ),
        (
            parts({"type": "text", "text": "Hi", "prompt_cache_breakpoint": {"mode": "explicit"}}),
            ["messages[].content[].prompt_cache_breakpoint"],
        ),
        (
            parts({"type": "file", "file": {"file_id": "f", "x": 1}}),
            ["messages[].content[].file.x"],
        ),
        ({"user": "a", "safety_identifier": "b"}, ["safety_identifier"]),
        ({"user": "a", "safety_identifier": "a"}, []),
        ({"stream_options": {"include_usage": True}}, []),
        (
            {"stream_options": {"include_obfuscation": True}},
            ["stream_options.include_obfuscation"],
        ),
        (
            {"response_format": schema(strict=True, description="An answer.")},
            ["response_format.json_schema.description"],
        ),
    ],
)
def test_what_is_left_out_is_told(fields: dict[str, Any], told: list[str]) -> None:
    assert list(left_out(chat(**fields), messages_body(chat(**fields)))) == told


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, []),
        ({"max_tokens": 1000}, ["reasoning_effort"]),
        ({"tools": [FUNCTION], "tool_choice": "required"}, ["reasoning_effort"]),
    ],
)
def test_effort_that_finds_no_budget_is_told(fields: dict[str, Any], told: list[str]) -> None:
    asked = chat(reasoning_effort="high", **fields)
    assert list(left_out(asked, messages_body(asked, thinking="budget"))) == told
