"""`/v1/messages` over backends that misbehave, and bodies that only look like Anthropic's."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from anthropic.types import Message

from gateway.api.messages import MessagesFormat
from gateway.core.answer import Answer, Chunk
from gateway.core.entry import LedgerEntry
from gateway.core.errors import InvalidRequest, StreamInterrupted, UpstreamUnavailable
from gateway.core.request import ChatRequest
from gateway.core.usage import Usage

ENTRY = LedgerEntry(
    request_id="req_1",
    attempt=1,
    ts=datetime(2026, 3, 1, tzinfo=UTC),
    endpoint="/v1/messages",
    model_requested="auto",
    deployment="gpt",
    tier="large",
    reason="above_threshold",
    router_version="r",
    stream=False,
    usage=Usage(3, 4, source="estimated"),
)
DEEP_TEXT = '{"a":' * 300 + "1" + "}" * 300


def parsed(**fields: Any) -> ChatRequest:
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi."}]}
    return MessagesFormat().parse(orjson.dumps({**body, **fields}))


def call(arguments: Any) -> dict[str, Any]:
    return {"index": 0, "id": "c", "function": {"name": "f", "arguments": arguments}}


@pytest.mark.parametrize(
    "payload",
    [
        {"choices": 1},
        {"choices": ["x"]},
        {"choices": [{"message": "x"}]},
        {"choices": [{"message": {"tool_calls": [1]}}]},
        {"choices": [{"message": {"tool_calls": [call(DEEP_TEXT)]}}]},
        {"choices": [], "usage": "x"},
        {"choices": [], "usage": {"prompt_tokens": "x"}},
    ],
)
def test_an_answer_that_can_t_be_read_is_the_upstreams_fault(payload: dict[str, Any]) -> None:
    with pytest.raises(UpstreamUnavailable):
        MessagesFormat().answer(parsed(), Answer(orjson.dumps(payload), payload), ENTRY)


@pytest.mark.parametrize(
    "delta", ["x", {"tool_calls": [1]}, {"tool_calls": [call({})]}, {"refusal": 1}]
)
def test_a_chunk_that_can_t_be_read_breaks_the_stream(delta: object) -> None:
    data = orjson.dumps({"choices": [{"index": 0, "delta": delta}]})
    stream = MessagesFormat().stream(parsed(stream=True), ENTRY)
    stream.frames(Chunk(b'data: {"choices":[{"index":0,"delta":{"content":"So"}}]}\n\n'))
    if delta == {"tool_calls": [call({})]}:  # no arguments at all, which is none of them
        stream.frames(Chunk(b"data: %b\n\n" % data))
        return
    with pytest.raises(StreamInterrupted) as broken:
        stream.frames(Chunk(b"data: %b\n\n" % data))
    assert stream.fail(broken.value).startswith(b"event: error\n")


def test_a_usage_that_can_t_be_read_breaks_the_stream() -> None:
    stream = MessagesFormat().stream(parsed(stream=True), ENTRY)
    usage = {"choices": [], "usage": {"prompt_tokens_details": 1}}
    stream.frames(Chunk(b"data: %b\n\n" % orjson.dumps(usage)))
    with pytest.raises(StreamInterrupted):
        stream.finish()


def test_text_in_parts_is_text() -> None:
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "So."}]
    data = orjson.dumps({"choices": [{"index": 0, "delta": {"content": parts}}]})
    frames = (
        MessagesFormat().stream(parsed(stream=True), ENTRY).frames(Chunk(b"data: %b\n\n" % data))
    )
    assert b'"delta":{"type":"text_delta","text":"So."}' in frames


def test_a_message_that_nobody_counted_has_our_count_in_anthropics_words() -> None:
    payload = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [{"type": "text", "text": "Hi."}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
    }
    answer = Answer(orjson.dumps(payload), payload, wire="messages")
    message = Message.model_validate_json(MessagesFormat().answer(parsed(), answer, ENTRY))
    assert (message.usage.input_tokens, message.usage.output_tokens) == (3, 4)


@pytest.mark.parametrize(
    ("field", "value"),
    [("n", "x"), ("stop", 1), ("max_completion_tokens", "x"), ("logprobs", 1), ("seed", [])],
)
def test_fields_of_a_chat_are_checked_too(field: str, value: object) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parsed(**{field: value})
    assert (refused.value.param or "").startswith(field)


@pytest.mark.parametrize("levels", [240, 247, 248, 249, 250, 251, 300])
def test_what_is_nested_deeply_is_a_chat_or_refused(levels: int) -> None:
    schema = b'{"a":' * levels + b"1" + b"}" * levels
    body = (
        b'{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi."}],'
        b'"tools":[{"name":"f","input_schema":' + schema + b"}]}"
    )
    try:
        request = MessagesFormat().parse(body)
    except InvalidRequest:
        assert levels > 249
    else:
        assert orjson.loads(request.raw)["tools"][0]["function"]["parameters"]
