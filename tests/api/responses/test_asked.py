"""Bodies of `POST /v1/responses`: what is refused, by which name, what is told as ignored."""

import time
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.api.responses.asked import (
    RESPONSES_FIELDS,
    Asked,
    check_included,
    parse_responses,
)
from gateway.core.errors import CapabilityMissing, InvalidRequest
from gateway.wire.responses_answer import new_response

SCHEMA = {"type": "json_schema", "name": "city", "schema": {"type": "object"}, "strict": True}


def body(**fields: Any) -> bytes:
    return orjson.dumps({"model": "auto", "input": "Hi", **fields})


def asked(can_store: bool = True, **fields: Any) -> Asked:
    return parse_responses(body(**fields), can_store=can_store)


def refusal(raw: bytes, *, can_store: bool = True) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        parse_responses(raw, can_store=can_store).chat_request([])
    return caught.value


def test_a_request_becomes_a_chat_and_keeps_its_own_bytes() -> None:
    before_s = time.perf_counter()
    request = asked(max_output_tokens=9, stream=True, x={"y": 1.5}).chat_request([])
    assert request.payload == orjson.loads(request.raw)
    assert request.payload == {
        "model": "auto",
        "stream": True,
        "x": {"y": 1.5},
        "messages": [{"role": "user", "content": "Hi"}],
        "max_completion_tokens": 9,
        "stream_options": {"include_usage": True},
    }
    assert (request.model, request.max_tokens) == ("auto", 9)
    assert request.stream
    assert request.include_usage
    assert (request.wire, request.endpoint) == ("responses", "/v1/responses")
    assert request.native == body(max_output_tokens=9, stream=True, x={"y": 1.5})
    assert before_s <= request.received_s <= time.perf_counter()


def test_earlier_items_come_first_and_instructions_before_them() -> None:
    earlier = [
        {"role": "user", "content": "2+2?"},
        {"type": "message", "role": "assistant", "content": "4"},
    ]
    request = asked(instructions="Be brief.").chat_request(earlier)
    assert request.messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": "Hi"},
    ]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": 1}, "model"),
        ({"model": ""}, "model"),
        ({"input": 5}, "input"),
        ({"input": ["Hi"]}, "input[0]"),
        ({"input": []}, "input"),
        ({"input": None}, "input"),
        ({"input": [{"role": "user", "content": 5}]}, "input[0].content"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
        ({"instructions": ["x"]}, "instructions"),
        ({"previous_response_id": 1}, "previous_response_id"),
        ({"previous_response_id": "a\0"}, "previous_response_id"),
        ({"stream": "yes"}, "stream"),
        ({"store": 1}, "store"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_tool_calls": 0}, "max_tool_calls"),
        ({"temperature": 2.5}, "temperature"),
        ({"top_p": -1}, "top_p"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"reasoning": "high"}, "reasoning"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tool_choice": 1}, "tool_choice"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": {"a": "x" * 513}}, "metadata.a"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
        ({"truncation": "auto"}, "truncation"),
        ({"truncation": "some"}, "truncation"),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"include": ["message.output_text.logprobs", "secrets"]}, "include[1]"),
        ({"user": 5}, "user"),
        # A chat's own fields, should a client send them here.
        ({"stop": 5}, "stop"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"n": 2}, "n"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str) -> None:
    error = refusal(body(**fields))
    assert error.param == param
    assert len(error.message) < 300


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b'{"model": "auto", "input": "\xff"}'])
def test_what_is_no_object_is_refused(raw: bytes) -> None:
    assert refusal(raw).code == "invalid_json"


@pytest.mark.parametrize("field", ["reasoning", "text", "x", "tools"])
def test_what_is_nested_too_deeply_is_refused_before_anything_is_paid(field: str) -> None:
    deep = b'{"a":' * 245 + b"1" + b"}" * 245
    value = b"[" + deep + b"]" if field == "tools" else deep
    error = refusal(b'{"model":"auto","input":"Hi","%b":%b}' % (field.encode(), value))
    assert "nested" in error.message


def test_many_parts_are_refused_as_in_a_chat() -> None:
    part = {"type": "input_text", "text": ""}
    for items in ([{"role": "user", "content": [part] * 50_001}], [{"role": "user"}] * 50_001):
        content = [{"content": "", **item} for item in items]
        assert refusal(body(input=content)).param == "input"


@pytest.mark.parametrize(
    ("param", "own"),
    [
        ("messages", "input"),
        ("messages[3].content", "input"),
        ("response_format", "text.format"),
        ("response_format.json_schema", "text.format"),
        ("max_completion_tokens", "max_output_tokens"),
        ("reasoning_effort", "reasoning.effort"),
        ("logprobs", "include"),
        ("tools[0]", "tools[0]"),
        ("temperature", "temperature"),
        ("", ""),
        (None, None),
    ],
)
def test_errors_of_a_chat_name_the_client_s_field(param: str | None, own: str | None) -> None:
    error = CapabilityMissing("no", param=param)
    asked().rename_param(error)
    assert error.param == own


def test_a_chat_s_field_that_the_client_sent_keeps_its_name() -> None:
    error = CapabilityMissing("no", param="verbosity")
    asked(verbosity="low").rename_param(error)
    assert error.param == "verbosity"
    logprobs = CapabilityMissing("no", param="logprobs")
    asked(top_logprobs=2).rename_param(logprobs)
    assert logprobs.param == "top_logprobs"


def test_what_is_ignored_is_told() -> None:
    assert asked().ignored == ()
    told = asked(
        include=["reasoning.encrypted_content", "message.output_text.logprobs"],
        reasoning={"effort": "low", "summary": "auto", "generate_summary": None},
        stream_options={"include_obfuscation": True},
        input=[
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"role": "user", "content": "a"},
        ],
    )
    assert told.ignored == (
        "include.reasoning.encrypted_content",
        "reasoning.summary",
        "stream_options.include_obfuscation",
        "input.reasoning",
    )


def test_what_is_to_be_stored() -> None:
    assert [asked(store=store).keeps for store in (True, None, False)] == [True, True, False]
    assert asked().body["store"] is True
    nowhere = asked(can_store=False, store=True)
    assert (nowhere.keeps, nowhere.body["store"], nowhere.ignored) == (False, False, ("store",))
    assert asked(can_store=False).ignored == ()
    error = refusal(body(previous_response_id="resp_1"), can_store=False)
    assert error.param == "previous_response_id"
    assert "responses.store" in error.message


def test_included_parts_that_answers_never_have_are_refused() -> None:
    check_included(["file_search_call.results", "reasoning.encrypted_content"])
    with pytest.raises(InvalidRequest):
        check_included([""])


_NAMES = sorted({*RESPONSES_FIELDS.json_schema()["properties"], "n", "stop", "seed", "x"})
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 99) | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "role", "content", "text", "format", "effort", "name"]),
            inner | st.sampled_from(["message", "user", "input_text", "function", "json_schema"]),
            max_size=4,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(fields=st.dictionaries(st.sampled_from(_NAMES), _VALUES, max_size=5))
def test_whatever_comes_is_a_chat_with_a_response_or_refused(fields: dict[str, Any]) -> None:
    try:
        request = asked(**fields)
        request.chat_request([])
    except InvalidRequest as error:
        assert error.message
        return
    made = new_response(request.body, response_id="resp_1", created_at=1)
    assert orjson.loads(orjson.dumps(made))["id"] == "resp_1"
    orjson.dumps(request.input_items())
