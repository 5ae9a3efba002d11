"""A Responses body as a chat body; both sides checked against OpenAI's own types."""

from collections.abc import Iterable
from typing import Any

import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from pydantic import TypeAdapter

from gateway.core.errors import InvalidRequest
from gateway.wire.responses_answer import response_of
from gateway.wire.responses_request import chat_body

CHAT: TypeAdapter[Any] = TypeAdapter(CompletionCreateParamsNonStreaming)
RESPONSES: TypeAdapter[Any] = TypeAdapter(ResponseCreateParamsNonStreaming)
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
FUNCTION = {"type": "function", "name": "weather", "parameters": PARAMETERS, "strict": True}


def translated(earlier: list[dict[str, Any]] | None = None, /, **fields: Any) -> dict[str, Any]:
    body = {"model": "auto", "input": "Hello", **fields}
    read_whole(RESPONSES.validate_python(body))
    chat = chat_body(body, earlier or [])
    read_whole(CHAT.validate_python(chat))
    return chat


def read_whole(value: Any) -> None:
    """Pydantic checks the entries of an `Iterable` only as they are read."""
    if isinstance(value, dict):
        value = value.values()
    elif isinstance(value, str) or not isinstance(value, Iterable):
        return
    for entry in value:
        read_whole(entry)


def test_a_string_is_one_user_message() -> None:
    assert translated() == {"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}


def test_instructions_come_before_the_earlier_conversation_and_the_input() -> None:
    earlier: list[dict[str, Any]] = [
        {"role": "user", "content": "Hi"},
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Hello.", "annotations": []}],
        },
    ]
    chat = translated(earlier, instructions="Be brief.", previous_response_id="resp_1")
    assert [(message["role"], message["content"]) for message in chat["messages"]] == [
        ("system", "Be brief."),
        ("user", "Hi"),
        ("assistant", "Hello."),
        ("user", "Hello"),
    ]
    assert "previous_response_id" not in chat


def test_parts_become_chat_parts() -> None:
    content = [
        {"type": "input_text", "text": "What are these?"},
        {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"},
        {"type": "input_file", "file_data": "data:application/pdf;base64,AA==", "filename": "a"},
    ]
    chat = translated(input=[{"role": "user", "content": content}])
    assert chat["messages"][0]["content"] == [
        {"type": "text", "text": "What are these?"},
        {
            "type": "image_url",
            "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"},
        },
        {
            "type": "file",
            "file": {"file_data": "data:application/pdf;base64,AA==", "filename": "a"},
        },
    ]


def test_audio_which_the_sdk_has_no_type_for_in_messages() -> None:
    audio = {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}
    chat = chat_body({"model": "auto", **user({"type": "input_text", "text": "Hm?"}, audio)})
    read_whole(CHAT.validate_python(chat))
    assert chat["messages"][0]["content"] == [{"type": "text", "text": "Hm?"}, audio]


def test_a_lone_text_part_is_a_string_unless_it_carries_more() -> None:
    text = {"type": "input_text", "text": "Hi"}
    marked = {**text, "prompt_cache_breakpoint": {"mode": "explicit"}}
    chat = translated(input=[{"role": "user", "content": [part]} for part in (text, marked)])
    assert chat["messages"][0]["content"] == "Hi"
    assert chat["messages"][1]["content"] == [
        {"type": "text", "text": "Hi", "prompt_cache_breakpoint": {"mode": "explicit"}}
    ]


def call(call_id: str, city: str) -> dict[str, Any]:
    arguments = f'{{"city":"{city}"}}'
    return {
        "type": "function_call",
        "call_id": call_id,
        "name": "weather",
        "arguments": arguments,
    }


def test_one_turn_of_the_model_is_one_assistant_message() -> None:
    items = [
        {"role": "user", "content": "Weather?"},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"role": "assistant", "content": "Let me see."},
        call("c1", "Rome"),
        {"type": "reasoning", "id": "rs_2", "summary": []},
        call("c2", "Oslo"),
        {"type": "function_call_output", "call_id": "c1", "output": "warm"},
        {
            "type": "function_call_output",
            "call_id": "c2",
            "output": [{"type": "input_text", "text": "cold"}],
        },
    ]
    _, turn, *outputs = translated(input=items, tools=[FUNCTION])["messages"]
    assert turn["content"] == "Let me see."
    assert turn["tool_calls"] == [
        {
            "id": call_id,
            "type": "function",
            "function": {"name": "weather", "arguments": f'{{"city":"{city}"}}'},
        }
        for call_id, city in (("c1", "Rome"), ("c2", "Oslo"))
    ]
    assert outputs == [
        {"role": "tool", "tool_call_id": "c1", "content": "warm"},
        {"role": "tool", "tool_call_id": "c2", "content": "cold"},
    ]


def test_a_text_after_calls_joins_their_message_so_that_outputs_follow_it() -> None:
    items = [
        call("c1", "Rome"),
        {"role": "assistant", "content": "Looking."},
        {"type": "function_call_output", "call_id": "c1", "output": "warm"},
    ]
    turn, output = translated(input=items)["messages"]
    assert turn["content"] == "Looking."
    assert turn["tool_calls"][0]["id"] == "c1"
    assert output["role"] == "tool"


def test_an_answer_comes_back_as_the_message_that_it_was() -> None:
    function = {"name": "weather", "arguments": "{}"}
    said = {
        "role": "assistant",
        "content": "Let me see.",
        "tool_calls": [{"id": "c1", "type": "function", "function": function}],
    }
    completion = {"choices": [{"message": {**said, "reasoning_content": "Hm."}}]}
    response = response_of(
        completion, {"model": "auto"}, response_id="resp_1", created_at=1, completed_at=2
    )
    output = {"type": "function_call_output", "call_id": "c1", "output": "warm"}
    earlier = [{"role": "user", "content": "Weather?"}, *response["output"]]
    assert translated(earlier, input=[output])["messages"] == [
        {"role": "user", "content": "Weather?"},
        said,
        {"role": "tool", "tool_call_id": "c1", "content": "warm"},
    ]


def test_custom_tools_and_their_calls() -> None:
    items = [
        {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": "+a"},
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "done"},
    ]
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: x"}
    tool = {"type": "custom", "name": "patch", "format": grammar}
    chat = translated(input=items, tools=[tool], tool_choice={"type": "custom", "name": "patch"})
    assert chat["messages"][0]["tool_calls"] == [
        {"id": "c1", "type": "custom", "custom": {"name": "patch", "input": "+a"}}
    ]
    assert chat["tools"][0]["custom"]["format"] == {
        "type": "grammar",
        "grammar": {"syntax": "lark", "definition": "start: x"},
    }
    assert chat["tool_choice"] == {"type": "custom", "custom": {"name": "patch"}}


def test_a_refusal_stays_one() -> None:
    refusal = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "refusal", "refusal": "No."}],
    }
    message = translated(input=[refusal])["messages"][0]
    assert message == {"role": "assistant", "content": None, "refusal": "No."}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("required", "required"),
        (
            {"type": "function", "name": "weather"},
            {"type": "function", "function": {"name": "weather"}},
        ),
        (
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "weather"}],
            },
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": "weather"}}],
                },
            },
        ),
    ],
)
def test_tools_and_their_choice_are_nested(choice: Any, expected: Any) -> None:
    chat = translated(tools=[FUNCTION], tool_choice=choice, parallel_tool_calls=False)
    function = {"name": "weather", "parameters": PARAMETERS, "strict": True}
    assert chat["tools"] == [{"type": "function", "function": function}]
    assert chat["tool_choice"] == expected
    assert chat["parallel_tool_calls"] is False


def test_without_tools_nothing_is_said_about_them() -> None:
    chat = translated(tools=[], tool_choice="auto", parallel_tool_calls=True)
    assert chat.keys() == {"model", "messages"}


def test_formats() -> None:
    schema = {"type": "json_schema", "name": "city", "schema": PARAMETERS, "strict": True}
    chat = translated(text={"format": schema, "verbosity": "low"})
    assert chat["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "city", "schema": PARAMETERS, "strict": True},
    }
    assert chat["verbosity"] == "low"
    assert translated(text={"format": {"type": "json_object"}})["response_format"] == {
        "type": "json_object"
    }
    assert "response_format" not in translated(text={"format": {"type": "text"}})


def test_other_fields() -> None:
    kept = {"temperature": 0.5, "user": "u", "store": False, "top_logprobs": 2}
    chat = translated(
        **kept,
        metadata={"a": "b"},
        max_output_tokens=50,
        reasoning={"effort": "low", "summary": "auto"},
        truncation="disabled",
        service_tier=None,
        vendor_field={"x": 1},
    )
    assert chat == {
        "model": "auto",
        "messages": [{"role": "user", "content": "Hello"}],
        **kept,
        "logprobs": True,
        "max_completion_tokens": 50,
        "reasoning_effort": "low",
        "vendor_field": {"x": 1},
    }


def test_an_upstream_is_told_only_what_it_may_not_keep() -> None:
    assert not {"store", "metadata"} & translated(metadata={"a": "b"}, store=True).keys()
    assert translated(store=False)["store"] is False


def test_a_stream_asks_for_its_usage() -> None:
    chat = chat_body({"model": "auto", "input": "Hi", "stream": True})
    assert chat["stream_options"] == {"include_usage": True}


def user(*parts: Any) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": list(parts)}]}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [FUNCTION, {"type": "web_search"}]}, "tools[1].type"),
        ({"tools": [{"type": ["function"]}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": "weather"}, "tools"),
        ({"truncation": "auto"}, "truncation"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.name"),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"n": 2}, "n"),
        ({"n": [1]}, "n"),
        ({"instructions": 3}, "instructions"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": "json"}, "text"),
        ({"reasoning": "low"}, "reasoning"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": 3}, "input"),
        ({"input": ["Hi"]}, "input[0]"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
        ({"input": [{"type": "computer_call_output"}]}, "input[0].type"),
        ({"input": [{"type": {}}]}, "input[0].type"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
        (
            {"input": [{"role": "assistant", "content": [{"type": "x"}]}]},
            "input[0].content[0].type",
        ),
        (user("Hi"), "input[0].content[0]"),
        (user({"type": ["input_text"], "text": "x"}), "input[0].content[0].type"),
        (user({"type": "text", "text": "x"}), "input[0].content[0].type"),
        (user({"type": "input_text"}), "input[0].content[0].text"),
        (user({"type": "input_image", "file_id": "f"}), "input[0].content[0].file_id"),
        (user({"type": "input_image"}), "input[0].content[0].image_url"),
        (user({"type": "input_file", "file_url": "u"}), "input[0].content[0].file_url"),
        (user({"type": "input_file"}), "input[0].content[0].file_data"),
        (user({"type": "input_audio"}), "input[0].content[0].input_audio"),
    ],
)
def test_what_is_refused_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        chat_body({"model": "auto", "input": "Hi", **fields})
    assert raised.value.param == param
