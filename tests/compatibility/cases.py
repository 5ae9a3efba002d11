"""Fields of requests with a value each: every one that the vendors' SDKs know, and unknown ones.

`beside` is what a field needs to make sense.
"""

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
    """One field, by the name it has in the table."""

    name: str
    fields: Mapping[str, Any]
    beside: Mapping[str, Any] = field(default_factory=dict)


def _plain(**values: Any) -> list[Case]:
    return [Case(name, {name: value}) for name, value in values.items()]


def _said(name: str, *messages: Mapping[str, Any]) -> Case:
    return Case(f"messages: {name}", {"messages": list(messages)})


def _part(name: str, part: Mapping[str, Any]) -> Case:
    parts = [{"type": "text", "text": "Hi"}, part]
    return _said(name, {"role": "user", "content": parts})


CHAT = [
    *_plain(
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
    _said("developer", {"role": "developer", "content": "Be brief."}, *HI),
    _said("name", {"role": "user", "content": "Hi", "name": "ann"}),
    _part("text", {"type": "text", "text": "Who are you?"}),
    _part("image_url", {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}}),
    _part("input_audio", {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}),
    _part("file", {"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}}),
    _part("unknown part", {"type": "x_part", "x": 1}),
    _said("refusal", *HI, {"role": "assistant", "content": None, "refusal": "No."}, *HI),
    _said(
        "tool calls and results",
        *HI,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": "{}"},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "Rain."},
    ),
]

MESSAGES_TOOL = {"name": "weather", "input_schema": {"type": "object", "properties": {}}}
MESSAGES = [
    *_plain(
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
    _part("cache_control", {"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}),
    _part(
        "image",
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
        },
    ),
    _part(
        "document",
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
        },
    ),
    _part("unknown block", {"type": "x_block", "x": 1}),
    _said(
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
    _said(
        "tool use and results",
        *HI,
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "Rain."}],
        },
    ),
]

RESPONSES_TOOL = {"type": "function", **FUNCTION, "strict": True}
RESPONSES = [
    *_plain(
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
]

COMPLETIONS = [
    *_plain(
        best_of=2,
        echo=True,
        frequency_penalty=0.5,
        logit_bias={"1": 5},
        logprobs=2,
        max_tokens=2,
        n=2,
        presence_penalty=0.5,
        seed=7,
        stop=["END"],
        stream=True,
        suffix="!",
        temperature=0.5,
        top_p=0.5,
        user="someone",
        x_unknown={"b": 1.5},
    ),
    Case("prompt: several", {"prompt": ["Hi", "Ho"]}),
    Case("prompt: tokens", {"prompt": [1, 2]}),
    Case("stream_options", {"stream_options": {"include_usage": True}}, {"stream": True}),
]


@dataclass(slots=True, frozen=True)
class Endpoint:
    """An endpoint, the least that it takes, and its cases."""

    path: str
    least: Mapping[str, Any]
    cases: list[Case]


ENDPOINTS = [
    Endpoint("/v1/chat/completions", {"messages": HI, "max_tokens": 1}, CHAT),
    Endpoint("/v1/completions", {"prompt": "Hi", "max_tokens": 1}, COMPLETIONS),
    Endpoint("/v1/responses", {"input": "Hi", "max_output_tokens": 1, "store": True}, RESPONSES),
    Endpoint("/v1/messages", {"messages": HI, "max_tokens": 1}, MESSAGES),
]
