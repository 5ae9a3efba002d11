"""Fields of `/v1/chat/completions`: all that OpenAI's SDK knows, and unknown ones."""

from __future__ import annotations

from typing import Any

from tests.compatibility.case import (
    ASSISTANT,
    BREAKPOINT,
    CALL,
    CUSTOM_TOOL,
    FUNCTION,
    HI,
    NAMED,
    PDF,
    PNG,
    SCHEMA,
    TEXT,
    TOOL,
    USER,
    Case,
    each_of,
    in_message,
    in_part,
    inside,
    said,
    with_part,
)


def _schema(**more: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA, **more}}


CHAT = [
    *each_of(
        audio={"voice": "alloy", "format": "wav"},
        frequency_penalty=0.5,
        function_call={"name": "weather"},
        functions=[FUNCTION],
        logit_bias={"1": 5},
        logprobs=True,
        max_completion_tokens=2,
        max_tokens=2,
        metadata={"a": "b"},
        min_p=0.1,
        modalities=["text", "audio"],
        moderation={"model": "omni-moderation-latest"},
        n=2,
        prediction={"type": "content", "content": "Hello"},
        presence_penalty=0.5,
        prompt_cache_key="key",
        prompt_cache_options={"mode": "auto"},
        prompt_cache_retention="24h",
        reasoning_effort="low",
        safety_identifier="someone",
        seed=7,
        service_tier="default",
        stop=["END"],
        store=True,
        stream=True,
        temperature=0.5,
        tools=[TOOL],
        top_k=5,
        top_p=0.5,
        user="someone",
        verbosity="low",
        web_search_options={},
        x_unknown={"b": 1.5, "a": [None]},
    ),
    Case("parallel_tool_calls", {"parallel_tool_calls": False}, {"tools": [TOOL]}),
    Case("response_format: json_object", {"response_format": {"type": "json_object"}}),
    Case(
        "response_format: json_schema",
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "a", "schema": SCHEMA, "strict": True},
            }
        },
    ),
    Case("stream_options", {"stream_options": {"include_usage": True}}, {"stream": True}),
    Case("tool_choice", {"tool_choice": "required"}, {"tools": [TOOL]}),
    Case("top_logprobs", {"top_logprobs": 2}, {"logprobs": True}),
    said("developer", {"role": "developer", "content": "Be brief."}, *HI),
    said("name", {"role": "user", "content": "Hi", "name": "ann"}),
    with_part("text", {"type": "text", "text": "Who are you?"}),
    with_part("image_url", {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}}),
    with_part(
        "input_audio", {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}
    ),
    with_part("file", {"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}}),
    with_part("unknown part", {"type": "x_part", "x": 1}),
    said("refusal", *HI, {"role": "assistant", "content": None, "refusal": "No."}, *HI),
    said(
        "tool calls and results",
        *HI,
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Rain."},
    ),
    said(
        "function call and result",
        *HI,
        {
            "role": "assistant",
            "content": None,
            "function_call": {"name": "weather", "arguments": "{}"},
        },
        {"role": "function", "name": "weather", "content": "Rain."},
    ),
    in_message("x_unknown", USER, x_unknown={"b": 1.5}),
    in_message("reasoning_content", ASSISTANT, reasoning_content="Hm."),
    in_message("annotations", ASSISTANT, annotations=[{"type": "url_citation"}]),
    in_message("audio", ASSISTANT, audio={"id": "audio_1"}),
    in_message("refusal: beside content", ASSISTANT, refusal="No."),
    in_part("x_unknown", TEXT, x_unknown={"b": 1.5}),
    in_part("prompt_cache_breakpoint", TEXT, prompt_cache_breakpoint=BREAKPOINT),
    in_part(
        "image_url.detail",
        {"type": "image_url", "image_url": {"url": PNG}},
        image_url={"url": PNG, "detail": "low"},
    ),
    in_part(
        "file.filename",
        {"type": "file", "file": {"file_data": PDF}},
        file={"file_data": PDF, "filename": "a.pdf"},
    ),
    Case(
        "stream_options.include_obfuscation",
        {"stream_options": {"include_usage": True, "include_obfuscation": True}},
        {"stream": True, "stream_options": {"include_usage": True}},
    ),
    inside(
        "response_format.json_schema.description",
        "response_format",
        _schema(),
        _schema(description="An answer."),
    ),
    inside(
        "tools[].function.strict",
        "tools",
        [TOOL],
        [{"type": "function", "function": {**FUNCTION, "strict": True}}],
    ),
    Case("tools: custom", {"tools": [CUSTOM_TOOL]}),
    Case("tool_choice: function", {"tool_choice": NAMED}, {"tools": [TOOL]}),
    Case("tool_choice: custom", {"tool_choice": CUSTOM_TOOL}, {"tools": [TOOL, CUSTOM_TOOL]}),
    Case(
        "tool_choice: allowed_tools",
        {
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [NAMED]},
            }
        },
        {"tools": [TOOL]},
    ),
]
