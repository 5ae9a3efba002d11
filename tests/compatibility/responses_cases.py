"""Fields of `/v1/responses`: all that OpenAI's SDK knows, and unknown ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.compatibility.case import (
    BREAKPOINT,
    FUNCTION,
    PDF,
    PNG,
    SCHEMA,
    Case,
    each_of,
    inside,
)


def in_item(name: str, least: Mapping[str, Any], **added: Any) -> Case:
    """A member of an item of a response's input."""
    first = {"role": "user", "content": "Hi"}
    return inside(f"input[].{name}", "input", [first, least], [first, {**least, **added}])


def in_input_part(name: str, least: Mapping[str, Any], **added: Any) -> Case:
    return in_item(
        f"content[].{name}",
        {"role": "user", "content": [least]},
        content=[{**least, **added}],
    )


RESPONSES_TOOL = {"type": "function", **FUNCTION, "strict": True}
INPUT_TEXT = {"type": "input_text", "text": "Hi"}
REASONING = {"type": "reasoning", "id": "rs_1", "summary": []}
CALLS = [
    {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "call_1", "output": "Rain."},
]
CUSTOM_CALLS = [
    {"type": "custom_tool_call", "call_id": "call_1", "name": "note", "input": "Hi"},
    {"type": "custom_tool_call_output", "call_id": "call_1", "output": "Ho"},
]
RESPONSES = [
    *each_of(
        background=True,
        context_management=[{"type": "compaction"}],
        conversation="conv_1",
        access_programs=["x"],
        background_options={"x": 1},
        image={"x": 1},
        include=["reasoning.encrypted_content"],
        instructions="Be brief.",
        max_output_tokens=2,
        max_tool_calls=3,
        metadata={"a": "b"},
        moderation={"model": "omni-moderation-latest"},
        previous_response_id="resp_absent",
        prompt={"id": "pmpt_1"},
        prompt_cache_key="key",
        prompt_cache_options={"mode": "auto"},
        prompt_cache_retention="24h",
        reasoning={"effort": "low"},
        safety_identifier="someone",
        service_tier="default",
        store=False,
        stream=True,
        temperature=0.5,
        tools=[RESPONSES_TOOL],
        top_logprobs=2,
        top_p=0.5,
        truncation="auto",
        user="someone",
        x_unknown={"b": 1.5},
    ),
    Case("parallel_tool_calls", {"parallel_tool_calls": False}, {"tools": [RESPONSES_TOOL]}),
    Case("stream_options", {"stream_options": {"include_obfuscation": True}}, {"stream": True}),
    Case("text: verbosity", {"text": {"verbosity": "low"}}),
    Case(
        "text: json_schema",
        {"text": {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA}}},
    ),
    Case("tool_choice", {"tool_choice": "required"}, {"tools": [RESPONSES_TOOL]}),
    Case("tools: of the server", {"tools": [{"type": "web_search"}]}),
    Case(
        "input: input_image",
        {
            "input": [
                {"role": "user", "content": [{"type": "input_image", "image_url": PNG}]},
            ]
        },
    ),
    Case(
        "input: input_file",
        {
            "input": [
                {
                    "role": "user",
                    "content": [{"type": "input_file", "filename": "a.pdf", "file_data": PDF}],
                }
            ]
        },
    ),
    Case("input: item_reference", {"input": [{"type": "item_reference", "id": "msg_1"}]}),
    Case("input: of a server's tool", {"input": [{"type": "web_search_call", "id": "ws_1"}]}),
    Case("input: reasoning", {"input": [{"role": "user", "content": "Hi"}, REASONING]}),
    Case("input: calls and results", {"input": CALLS}),
    in_item("x_unknown", {"role": "user", "content": "Hi"}, x_unknown={"b": 1.5}),
    in_item("phase", {"role": "assistant", "content": "Ho"}, phase="commentary"),
    Case("input: custom calls and results", {"input": CUSTOM_CALLS}),
    *(
        inside(f"input[].{name}", "input", CALLS, [{**CALLS[0], name: value}, *CALLS[1:]])
        for name, value in {"async": True, "caller": {"type": "direct"}, "namespace": "a"}.items()
    ),
    in_input_part("x_unknown", INPUT_TEXT, x_unknown={"b": 1.5}),
    in_input_part("prompt_cache_breakpoint", INPUT_TEXT, prompt_cache_breakpoint=BREAKPOINT),
    in_input_part("image.detail", {"type": "input_image", "image_url": PNG}, detail="low"),
    in_input_part("image.file_id", INPUT_TEXT, type="input_image", file_id="file_1"),
    in_input_part(
        "file.detail", {"type": "input_file", "filename": "a.pdf", "file_data": PDF}, detail="low"
    ),
    in_input_part("file.file_url", INPUT_TEXT, type="input_file", file_url="https://127.0.0.1/"),
    *(
        Case(f"reasoning.{name}", {"reasoning": {name: value}})
        for name, value in {
            "context": "all_turns",
            "generate_summary": "auto",
            "mode": "pro",
            "summary": "auto",
            "x_unknown": 1,
        }.items()
    ),
    Case("text.x_unknown", {"text": {"x_unknown": 1}}),
]
