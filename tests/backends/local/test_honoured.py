from typing import Any

import orjson
import pytest

from gateway.api.parse import chat_request
from gateway.backends.local.conversation import turns_of
from gateway.backends.local.forms import form_of, tools_of
from gateway.backends.local.honoured import HONOURED, ignored_in, unsupported_in
from gateway.backends.local.params import asked_of

USER = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def parts(*several: Any) -> list[dict[str, Any]]:
    return [USER, {"role": "user", "content": [{"type": "text", "text": "Hi"}, *several]}]


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"logit_bias": {"x": 5}}, "logit_bias"),
        ({"logit_bias": {"1": 101}}, "logit_bias"),
        ({"logit_bias": {"1": True}}, "logit_bias"),
        ({"logit_bias": [1]}, "logit_bias"),
        ({"min_p": 1.1}, "min_p"),
        ({"n": 9}, "n"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"stop": "x" * 513}, "stop"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0]"),
        ({"tools": [TOOL, {"type": "function"}]}, "tools[1]"),
        (
            {"tools": [{**TOOL, "function": {"name": "f", "parameters": {"type": "string"}}}]},
            "tools[0]",
        ),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": "always"}, "tool_choice"),
        ({"response_format": {"type": "grammar"}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": 5}}},
            "response_format",
        ),
        ({"parallel_tool_calls": "yes"}, "parallel_tool_calls"),
        ({"messages": [USER, {"role": "assistant", "tool_calls": [{}]}]}, "messages[1].tool_calls"),
        (
            {"messages": [USER, {"role": "assistant", "function_call": {"name": "f"}}]},
            "messages[1].function_call",
        ),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"repetition_penalty": 1e-300}, "repetition_penalty"),
        ({"repetition_penalty": 1e300}, "repetition_penalty"),
        ({"logit_bias": {"9" * 5000: 1}}, "logit_bias"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        ({"function_call": {"name": "f"}}, "function_call"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"top_k": "5"}, "top_k"),
        ({"top_k": True}, "top_k"),
        ({"messages": parts({"type": "x_part", "x": 1})}, "messages[1].content[1].type"),
        ({"messages": parts({"text": "Ho"})}, "messages[1].content[1].type"),
        ({"messages": parts({"type": ["text"]})}, "messages[1].content[1].type"),
        ({"messages": parts({"type": "text", "text": 5})}, "messages[1].content[1].text"),
        ({"messages": parts({"type": "refusal"})}, "messages[1].content[1].refusal"),
    ],
)
def test_what_changes_an_answer_is_refused_by_its_place(fields: dict[str, Any], place: str) -> None:
    assert unsupported_in(fields, fields.get("messages", [USER])) == place


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"logit_bias": {}, "min_p": 0, "modalities": ["text"], "repetition_penalty": 1.0},
        {"tool_choice": "auto", "function_call": "none"},
        {"logit_bias": {"1": -100}, "min_p": 0.1, "n": 8, "repetition_penalty": 1.1},
        {"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False},
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"response_format": {"type": "json_object"}, "logprobs": True, "top_logprobs": 20},
        dict.fromkeys(("logit_bias", "min_p", "tool_choice", "web_search_options", "top_k")),
        {"top_k": -1},
        {"stop": ["x" * 512] * 16},
        {"messages": parts("Ho", {"type": "refusal", "refusal": "No."})},
    ],
)
def test_what_asks_for_nothing_else_is_supported(fields: dict[str, Any]) -> None:
    assert unsupported_in(fields, fields.get("messages", [USER])) is None
    assert ignored_in(fields, fields.get("messages", [USER])) == ()


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"user": "a", "store": True, "temperature": 0.5}, ("store", "user")),
        ({"user": None, "store": False, "metadata": {}, "verbosity": ""}, ()),
        ({"x_unknown": 0}, ("x_unknown",)),
        ({"stream_options": {"include_usage": True}}, ()),
        (
            {"stream_options": {"include_obfuscation": True}},
            ("stream_options.include_obfuscation",),
        ),
        ({"messages": [{**USER, "name": "Ann"}, {**USER, "name": "Bo"}]}, ("messages[].name",)),
        ({"messages": [{**USER, "name": None, "annotations": []}]}, ()),
        (
            {"messages": [{"role": "assistant", "content": "Ho", "refusal": "No."}]},
            ("messages[].refusal",),
        ),
        ({"messages": [{"role": "assistant", "content": "", "refusal": "No."}]}, ()),
        (
            {"messages": parts({"type": "text", "text": "Ho", "cache_control": {"type": "x"}})},
            ("messages[].content[].cache_control",),
        ),
    ],
)
def test_what_changes_nothing_is_told(fields: dict[str, Any], told: tuple[str, ...]) -> None:
    assert ignored_in(fields, fields.get("messages", [USER])) == told


#: A value of each field that the engine is asked for, with what makes it matter.
ASKED: dict[str, Any] = {
    "frequency_penalty": 0.5,
    "logit_bias": {"5": 1},
    "logprobs": True,
    "max_completion_tokens": 7,
    "max_tokens": 7,
    "messages": [{"role": "user", "content": "Ho"}],
    "min_p": 0.5,
    "parallel_tool_calls": False,
    "presence_penalty": 0.5,
    "repetition_penalty": 1.5,
    "response_format": {"type": "json_object"},
    "seed": 3,
    "stop": ["END"],
    "temperature": 0.5,
    "tool_choice": "required",
    "tools": [{"type": "function", "function": {"name": "g"}}],
    "top_k": 5,
    "top_logprobs": 2,
    "top_p": 0.5,
}
BESIDE: dict[str, Any] = {
    "parallel_tool_calls": {"tools": [TOOL]},
    "tool_choice": {"tools": [TOOL]},
    "top_logprobs": {"logprobs": True},
}
#: The gateway sees to these itself, or the capability filter keeps them away.
NOT_ASKED = {"model", "stream", "stream_options", "audio", "n"}


def engine_input(**fields: Any) -> tuple[Any, ...]:
    body = {"model": "smollm2", "messages": [USER], **fields}
    request = chat_request(orjson.dumps(body), body)
    form, tools = form_of(request.payload), tools_of(request.payload)
    return turns_of(request.messages), asked_of(request), form, tools


def test_every_field_that_counts_as_honoured_reaches_the_engine() -> None:
    assert ASKED.keys() | NOT_ASKED == HONOURED
    for name, value in ASKED.items():
        beside = BESIDE.get(name, {})
        assert engine_input(**beside, **{name: value}) != engine_input(**beside), name


def test_a_refusal_is_what_was_said_where_nothing_else_was() -> None:
    empties: list[dict[str, Any]] = [{}, {"content": None}, {"content": ""}, {"content": []}]
    for empty in empties:
        said = {"role": "assistant", "refusal": "No.", **empty}
        assert turns_of([said]) == [{"role": "assistant", "content": "No."}]


def test_the_older_words_for_a_call_and_its_result_say_the_same() -> None:
    called = {"name": "f", "arguments": '{"a": 1}'}
    older: list[dict[str, Any]] = [
        {"role": "assistant", "content": None, "function_call": called},
        {"role": "function", "name": "f", "content": "2"},
    ]
    newer: list[dict[str, Any]] = [
        {"role": "assistant", "content": None, "tool_calls": [{"function": called}]},
        {"role": "tool", "name": "f", "content": "2"},
    ]
    assert turns_of(older) == turns_of(newer)
    assert turns_of(older)[0]["tool_calls"][0]["function"] == {"name": "f", "arguments": {"a": 1}}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (
            {"response_format": {"type": "json_schema", "json_schema": {"description": "D."}}},
            "response_format.json_schema.description",
        ),
        ({"tools": [{"type": "function", "cache_control": {"x": 1}}]}, "tools[].cache_control"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "1", "caller": "me"}]}]},
            "messages[].tool_calls[].caller",
        ),
    ],
)
def test_what_changes_nothing_inside_a_form_is_told(fields: dict[str, Any], told: str) -> None:
    assert ignored_in(fields, fields.get("messages", [USER])) == (told,)


@pytest.mark.parametrize("levels", [10, 400])
def test_a_schema_that_could_not_be_sent_on_is_refused(levels: int) -> None:
    deep: dict[str, Any] = {}
    for _ in range(levels):
        deep = {"items": deep}
    asked: dict[str, Any] = {"type": "json_schema", "json_schema": {"name": "a", "schema": deep}}
    fields = {"response_format": asked}
    assert unsupported_in(fields, [USER]) == (None if levels < 200 else "response_format")
    tool = {"type": "function", "function": {"name": "f", "parameters": deep}}
    assert unsupported_in({"tools": [tool]}, [USER]) == (None if levels < 200 else "tools[0]")
