"""A chat completion as a response that OpenAI's own model accepts."""

from typing import Any

import pytest
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from gateway.core.errors import (
    GatewayError,
    InvalidRequest,
    UpstreamError,
    UpstreamTimeout,
)
from gateway.wire.responses_answer import failed_response, response_of, usage_of

REQUEST: dict[str, Any] = {"model": "auto", "input": "Hi"}
USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "total_tokens": 15,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 2},
}


def completion(finish_reason: str = "stop", **choice: Any) -> dict[str, Any]:
    logprobs = choice.pop("logprobs", None)
    message = {"role": "assistant", "content": None, **choice}
    made = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "large",
        "choices": [
            {
                "index": 0,
                "message": message,
                "finish_reason": finish_reason,
                "logprobs": logprobs,
            }
        ],
        "usage": USAGE,
    }
    ChatCompletion.model_validate(made)
    return made


def answered(
    payload: dict[str, Any], request: dict[str, Any] = REQUEST
) -> tuple[dict[str, Any], Response]:
    made = response_of(payload, request, response_id="resp_a", created_at=100, completed_at=101)
    return made, Response.model_validate(made)


def test_a_text() -> None:
    made, response = answered(completion(content="Hello."))
    assert response.output_text == "Hello."
    assert (response.status, response.model) == ("completed", "large")
    assert (response.created_at, response.completed_at) == (100, 101)
    assert made["output"][0]["id"] == "msg_a_0"
    assert made["usage"] == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 15,
    }


def test_reasoning_text_and_calls_in_this_order() -> None:
    calls = [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        {"id": "c2", "type": "custom", "custom": {"name": "g", "input": "x"}},
    ]
    made, response = answered(
        completion("tool_calls", reasoning_content="Hm.", content="So.", tool_calls=calls)
    )
    kinds = [item.type for item in response.output]
    assert kinds == ["reasoning", "message", "function_call", "custom_tool_call"]
    assert made["output"][0]["content"] == [{"type": "reasoning_text", "text": "Hm."}]
    assert made["output"][2] == {
        "id": "fc_a_2",
        "type": "function_call",
        "status": "completed",
        "name": "f",
        "call_id": "c1",
        "arguments": "{}",
    }
    assert made["output"][3]["input"] == "x"


def test_a_refusal() -> None:
    made, _ = answered(completion(refusal="No."))
    assert made["output"][0]["content"] == [{"type": "refusal", "refusal": "No."}]


def test_an_empty_answer_is_an_empty_message() -> None:
    _, response = answered(completion(content=""))
    assert len(response.output) == 1
    assert response.output_text == ""


@pytest.mark.parametrize(
    ("finish_reason", "reason"),
    [("length", "max_output_tokens"), ("content_filter", "content_filter")],
)
def test_an_answer_that_was_cut(finish_reason: str, reason: str) -> None:
    made, response = answered(completion(finish_reason, content="Hel"))
    assert response.status == "incomplete"
    assert made["incomplete_details"] == {"reason": reason}
    assert made["output"][0]["status"] == "incomplete"
    assert made["completed_at"] is None


def test_citations_and_log_probabilities() -> None:
    citation = {"start_index": 0, "end_index": 2, "title": "T", "url": "https://x.test"}
    token = {"token": "Hi", "bytes": None, "logprob": -0.5}
    made, _ = answered(
        completion(
            content="Hi",
            annotations=[{"type": "url_citation", "url_citation": citation}],
            logprobs={"content": [{**token, "top_logprobs": [token]}]},
        )
    )
    part = made["output"][0]["content"][0]
    assert part["annotations"] == [{"type": "url_citation", **citation}]
    expected = {"token": "Hi", "bytes": [], "logprob": -0.5}
    assert part["logprobs"] == [{**expected, "top_logprobs": [expected]}]


def test_the_request_is_repeated() -> None:
    request = {
        **REQUEST,
        "instructions": "Be brief.",
        "tools": [{"type": "function", "name": "f", "parameters": {}, "strict": True}],
        "tool_choice": {"type": "function", "name": "f"},
        "text": {"verbosity": "low"},
        "reasoning": {"effort": "low"},
        "metadata": {"a": "b"},
        "store": False,
        "temperature": 0,
        "previous_response_id": "resp_0",
        "max_output_tokens": 9,
    }
    made, _ = answered(completion(content="x"), request)
    repeated = request.keys() - {"input", "model", "text", "reasoning"}
    assert {name: made[name] for name in repeated} == {name: request[name] for name in repeated}
    assert made["text"] == {"format": {"type": "text"}, "verbosity": "low"}
    assert made["reasoning"] == {"effort": "low", "summary": None}


def test_usage_that_nobody_reported_is_unknown() -> None:
    assert usage_of(None) is None


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UpstreamError("Slow down.", status=429), "rate_limit_exceeded"),
        (InvalidRequest("Too long."), "invalid_prompt"),
        (UpstreamTimeout("Nothing came."), "server_error"),
    ],
)
def test_a_failure(error: GatewayError, code: str) -> None:
    made = failed_response(error, REQUEST, response_id="resp_a", created_at=100)
    response = Response.model_validate(made)
    assert response.status == "failed"
    assert response.model == "auto"
    assert made["error"] == {"code": code, "message": error.message}
