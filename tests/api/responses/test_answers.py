"""Answers and streams as responses: exact costs, numbered events, a failure never a success."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from gateway.api.responses.answers import ResponseEvents, whole_response
from gateway.api.responses.asked import parse_responses
from gateway.core.answer import Answer, Chunk
from gateway.core.entry import LedgerEntry
from gateway.core.errors import StreamInterrupted, UpstreamUnavailable
from gateway.core.price import Cost
from gateway.core.usage import Usage

REQUEST = parse_responses(b'{"model": "auto", "input": "Hi"}', can_store=True)
ENTRY = LedgerEntry(
    request_id="req_0123",
    attempt=1,
    ts=datetime.now(UTC),
    endpoint="/v1/responses",
    model_requested="auto",
    deployment="gpt",
    tier="large",
    reason="above_threshold",
    router_version="r1",
    stream=False,
    usage=Usage(3, 4),
    cost=Cost(Decimal("0.00000012345678"), "computed", "config:gpt"),
)
UNPRICED = replace(ENTRY, cost=Cost(None, "unpriced"))
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
COMPLETION: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello."},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 30, "completion_tokens": 40, "total_tokens": 70},
}


def answer(**changes: Any) -> Answer:
    payload = {**COMPLETION, **changes}
    return Answer(orjson.dumps(payload), payload)


def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return b"data: " + orjson.dumps({"model": "gpt", "choices": [choice]}) + b"\n\n"


def events_in(frames: bytes) -> Iterator[dict[str, Any]]:
    for frame in frames.split(b"\n\n")[:-1]:
        named, data = frame.split(b"\n")
        event = orjson.loads(data.removeprefix(b"data: "))
        assert named == b"event: " + event["type"].encode()
        EVENT.validate_python(event)
        yield event


def test_a_whole_answer_has_its_exact_cost() -> None:
    sent = orjson.dumps(whole_response(REQUEST, answer(), ENTRY))
    assert b'"cost":0.00000012345678,' in sent
    checked = TypeAdapter(Response).validate_json(sent, strict=True)
    assert (checked.id, checked.output_text, checked.status) == ("resp_0123", "Hello.", "completed")
    assert checked.usage is not None
    assert (checked.usage.input_tokens, checked.usage.output_tokens) == (30, 40)


def test_usage_that_nobody_reported_is_the_ledger_s() -> None:
    sent = orjson.loads(orjson.dumps(whole_response(REQUEST, answer(usage=None), UNPRICED)))
    Response.model_validate(sent)
    assert (sent["usage"]["input_tokens"], sent["usage"]["output_tokens"]) == (3, 4)
    assert sent["usage"]["cost"] is None
    assert sent["usage"]["cost_details"]["source"] == "unpriced"


@pytest.mark.parametrize(
    "choices", ["x", [1], [{"message": {"tool_calls": [1]}}], [{"message": 1}]]
)
def test_an_answer_that_can_t_be_read_is_the_upstream_s_fault(choices: object) -> None:
    with pytest.raises(UpstreamUnavailable):
        whole_response(REQUEST, answer(choices=choices), ENTRY)


def test_a_stream_is_numbered_and_ends_with_the_response_and_its_cost() -> None:
    stream = ResponseEvents(REQUEST, ENTRY)
    frames = stream.frames(Chunk(chunk({"role": "assistant", "content": ""}), 1))
    frames += stream.frames(Chunk(chunk({"content": "Hel"}) + chunk({"content": "lo."}), 2))
    frames += stream.frames(Chunk(b": a comment\n\n" + chunk({}, "stop"), 1))
    usage = {"choices": [], "usage": COMPLETION["usage"]}
    frames += stream.frames(Chunk(b"", 1, Usage(30, 40), usage))
    response = stream.end()
    frames += stream.finish()
    events = list(events_in(frames))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    kinds = [event["type"] for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds.count("response.output_text.delta") == 2
    assert kinds[-1] == "response.completed"
    assert events[-1]["response"] == orjson.loads(orjson.dumps(response))
    assert b'"cost":0.00000012345678,' in frames
    assert response["usage"]["input_tokens"] == 30
    assert response["output"][0]["content"][0]["text"] == "Hello."


def test_a_backend_that_can_t_stream_is_streamed_in_one_piece() -> None:
    calls = [
        {"id": f"c{n}", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        for n in (1, 2)
    ]
    message = {"role": "assistant", "content": "So.", "tool_calls": calls}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    stream = ResponseEvents(REQUEST, ENTRY)
    frames = stream.frames(answer(choices=[choice]))
    response = stream.end()
    events = list(events_in(frames + stream.finish()))
    assert events[-1]["type"] == "response.completed"
    kinds = [item["type"] for item in response["output"]]
    assert kinds == ["message", "function_call", "function_call"]
    assert response["usage"]["input_tokens"] == 30


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"choices": [1]}', b'{"choices": 1}'])
def test_a_chunk_that_can_t_be_read_breaks_the_stream(data: bytes) -> None:
    stream = ResponseEvents(REQUEST, ENTRY)
    with pytest.raises(StreamInterrupted) as caught:
        stream.frames(Chunk(b"data: " + data + b"\n\n", 1))
    events = list(events_in(stream.fail(caught.value)))
    assert events[-1]["type"] == "response.failed"


@pytest.mark.parametrize("begun", [True, False])
def test_a_broken_stream_ends_failed_and_says_that_it_isn_t_kept(begun: bool) -> None:
    stream = ResponseEvents(REQUEST, ENTRY)
    frames = stream.frames(Chunk(chunk({"content": "Hel"}), 1)) if begun else b""
    events = list(events_in(frames + stream.fail(StreamInterrupted("It broke."))))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    last = events[-1]["response"]
    assert (events[-1]["type"], last["status"]) == ("response.failed", "failed")
    assert last["error"] == {"code": "server_error", "message": "It broke."}
    assert last["store"] is False
    assert "response.completed" not in [event["type"] for event in events]


@pytest.mark.parametrize(
    "end",
    [
        {"choices": [], "usage": "x"},
        {"choices": [], "usage": {"prompt_tokens_details": 1}},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": []}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": [1]}]},
    ],
)
def test_an_end_that_can_t_be_read_is_a_failure(end: dict[str, Any]) -> None:
    stream = ResponseEvents(REQUEST, ENTRY)
    frames = stream.frames(Chunk(chunk({"content": "Hel"}), 1))
    frames += stream.frames(Chunk(b"data: " + orjson.dumps(end) + b"\n\n", 1))
    try:
        stream.end()
    except StreamInterrupted as broken:
        frames += stream.fail(broken)
        assert list(events_in(frames))[-1]["type"] == "response.failed"
    else:
        assert list(events_in(frames + stream.finish()))[-1]["type"] == "response.completed"


def test_what_came_in_parts_or_parsed_is_text() -> None:
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "So."}]
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": {"a": 1}}}
    said = {"role": "assistant", "content": parts, "tool_calls": [call]}
    stream = ResponseEvents(REQUEST, ENTRY)
    frames = stream.frames(Chunk(chunk(said), 1))
    streamed = stream.end()
    assert list(events_in(frames + stream.finish()))[-1]["type"] == "response.completed"
    whole = whole_response(REQUEST, answer(choices=[{"message": said}]), ENTRY)
    for response in (streamed, whole):
        text, called = response["output"]
        assert text["content"][0]["text"] == "So."
        assert called["arguments"] == '{"a":1}'
