from typing import Any

import pytest
from anthropic.types.shared.error_response import ErrorResponse
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.usage import Usage
from gateway.wire.anthropic_answer import (
    chat_error,
    chat_usage,
    completion_of,
    message_of,
    messages_error,
    messages_usage,
    status_of,
)
from tests.wire.sdk_types import check_completion, check_message

THINKING = {"type": "thinking", "thinking": "Hm.", "signature": "sig"}


def message(*content: dict[str, Any], stop: str = "end_turn", **more: Any) -> dict[str, Any]:
    made = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": list(content),
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 10,
            "output_tokens": 4,
            "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 20,
        },
        **more,
    }
    check_message(made)
    return made


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words, "citations": None}


def use(identifier: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": identifier, "name": "f", "input": data}


def test_a_message_as_a_completion() -> None:
    answer = completion_of(
        message(THINKING, text("Let me "), text("see."), use("a", {"x": 1}), stop="tool_use"),
        created_s=7,
    )
    parsed = check_completion(answer)
    choice = parsed.choices[0]
    assert (parsed.id, parsed.created, parsed.model) == ("msg_1", 7, "claude")
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Let me see."
    assert answer["choices"][0]["message"]["reasoning_content"] == "Hm."
    assert answer["choices"][0]["message"]["thinking_blocks"] == [THINKING]
    assert choice.message.tool_calls is not None
    assert choice.message.tool_calls[0].model_dump() == {
        "id": "a",
        "type": "function",
        "function": {"name": "f", "arguments": '{"x":1}'},
    }


def test_prompt_tokens_hold_what_the_cache_read_and_wrote() -> None:
    usage = completion_of(message(text("x")))["usage"]
    assert Usage.from_wire(usage) == Usage(130, 4, cached_tokens=100, cache_write_tokens=20)
    assert usage["prompt_tokens_details"]["cache_write_tokens"] == 20
    assert usage["total_tokens"] == 134


@pytest.mark.parametrize(
    ("stop", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
    ],
)
def test_stop_reasons(stop: str, finish: str) -> None:
    answer = completion_of(message(text("x"), stop=stop))
    assert check_completion(answer).choices[0].finish_reason == finish


def test_a_refusal_is_explained_both_ways() -> None:
    details = {"type": "refusal", "category": None, "explanation": "No."}
    refused = message(stop="refusal", stop_details=details)
    answer = completion_of(refused)
    assert check_completion(answer).choices[0].message.refusal == "No."
    again = message_of(answer)
    assert check_message(again).stop_reason == "refusal"
    assert again["stop_details"] == details
    assert completion_of(message(stop="refusal"))["choices"][0]["message"]["refusal"]


def test_a_completion_of_another_upstream_as_a_message() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}
    answer = message_of(
        {
            "id": "chatcmpl-1",
            "model": "m",
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {
                        "role": "assistant",
                        "content": [{"type": "text", "text": "Yes"}],
                        "reasoning": "why",
                        "tool_calls": [call],
                    },
                }
            ],
        }
    )
    parsed = check_message(answer)
    assert [block.type for block in parsed.content] == ["thinking", "text", "tool_use"]
    assert parsed.stop_reason == "tool_use"
    assert parsed.usage.output_tokens == 0
    assert answer["content"][2]["input"] == {}


COUNTS = st.integers(0, 10**6)
USAGES = st.fixed_dictionaries(
    {
        "input_tokens": COUNTS,
        "output_tokens": COUNTS,
        "cache_read_input_tokens": COUNTS,
        "cache_creation_input_tokens": COUNTS,
    },
    optional={
        "output_tokens_details": st.builds(lambda n: {"thinking_tokens": n}, COUNTS),
        "cache_creation": st.just({"ephemeral_1h_input_tokens": 1, "ephemeral_5m_input_tokens": 2}),
        "server_tool_use": st.just({"web_search_requests": 1, "web_fetch_requests": 0}),
        "service_tier": st.just("priority"),
    },
)


@given(usage=USAGES)
def test_usage_survives_the_way_there_and_back(usage: dict[str, Any]) -> None:
    assert messages_usage(chat_usage(usage)) == usage


@given(
    thoughts=st.lists(st.just(THINKING), max_size=2),
    words=st.text(max_size=9),
    inputs=st.lists(st.dictionaries(st.text(max_size=3), st.integers(-9, 9)), max_size=3),
    usage=USAGES,
    ended=st.sampled_from([("end_turn", None), ("max_tokens", None), ("stop_sequence", "END")]),
)
def test_a_message_survives_the_way_there_and_back(
    thoughts: list[dict[str, Any]],
    words: str,
    inputs: list[dict[str, Any]],
    usage: dict[str, Any],
    ended: tuple[str, str | None],
) -> None:
    content = [*thoughts, *([text(words)] if words else [])]
    content += [use(f"t{index}", data) for index, data in enumerate(inputs)]
    stop, sequence = ("tool_use", None) if inputs else ended
    sent = message(*content, stop=stop, stop_sequence=sequence, usage=usage)
    answer = completion_of(sent)
    check_completion(answer)
    assert message_of(answer) == sent


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (422, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
    ],
)
def test_errors_for_anthropics_clients(status: int, kind: str) -> None:
    told = messages_error({"error": {"message": "m", "type": "t"}}, status, "req_1")
    parsed = ErrorResponse.model_validate(told)
    assert (parsed.error.type, parsed.error.message, parsed.request_id) == (kind, "m", "req_1")


@pytest.mark.parametrize(
    ("kind", "message_text", "expected", "status"),
    [
        ("overloaded_error", "m", ("server_error", "overloaded"), 529),
        ("rate_limit_error", "m", ("rate_limit_error", "rate_limit_exceeded"), 429),
        ("invalid_request_error", "m", ("invalid_request_error", None), 400),
        (
            "invalid_request_error",
            "prompt is too long: 9 tokens > 8 maximum",
            ("invalid_request_error", "context_length_exceeded"),
            400,
        ),
        ("api_error", "m", ("server_error", None), 500),
        ("a_new_error", "m", ("server_error", None), 500),
    ],
)
def test_errors_of_anthropics_upstream(
    kind: str, message_text: str, expected: tuple[str, str | None], status: int
) -> None:
    envelope = {"type": "error", "error": {"type": kind, "message": message_text}}
    error = chat_error(envelope)["error"]
    assert (error["type"], error["code"]) == expected
    assert (error["message"], error["param"]) == (message_text, None)
    assert status_of(envelope) == status
