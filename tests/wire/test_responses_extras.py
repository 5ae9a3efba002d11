from typing import Any

import pytest

from gateway.wire.responses_extras import left_out

TEXT = {"type": "input_text", "text": "Hi"}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "id": "fc_1"}


def said(*parts: Any, **members: Any) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": list(parts), **members}]}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"input": "Hi"}, []),
        ({"input": None, "reasoning": None, "text": None, "stream_options": None}, []),
        ({"reasoning": {"effort": "low", "mode": "standard", "summary": None}}, []),
        ({"reasoning": {"summary": "auto"}}, ["reasoning.summary"]),
        ({"text": {"format": {"type": "text"}, "x": 1}}, ["text.x"]),
        ({"stream_options": {"include_obfuscation": True}}, ["stream_options.include_obfuscation"]),
        ({"stream_options": {"include_obfuscation": False}}, []),
        (said(TEXT, id="msg_1", status="completed", type="message"), []),
        (said(TEXT, phase="commentary"), ["input[].phase"]),
        (said({**TEXT, "x": 1}), ["input[].content[].x"]),
        (said({"type": "input_file", "detail": "low"}), ["input[].content[].detail"]),
        ({"input": [CALL]}, []),
        ({"input": [{**CALL, "namespace": "n"}]}, ["input[].namespace"]),
        (
            {"input": [{"type": "function_call_output", "output": [{**TEXT, "x": 1}]}]},
            ["input[].output[].x"],
        ),
        ({"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}, ["input.reasoning"]),
        ({"input": [1, {"type": 1}, {"type": "x"}, {"content": [1, {"type": []}]}]}, []),
    ],
)
def test_what_no_chat_says_is_named(body: dict[str, Any], told: list[str]) -> None:
    assert list(left_out(body)) == told
