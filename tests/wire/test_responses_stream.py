"""Chunks as events: each is one of OpenAI's, and together they make the whole answer's response."""

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from gateway.core.errors import StreamInterrupted
from gateway.wire.responses_answer import response_of
from gateway.wire.responses_stream import ResponseStream, frame

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
REQUEST: dict[str, Any] = {"model": "auto", "input": "Hi", "stream": True}
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
Events = list[dict[str, Any]]


def chunk(finish_reason: str | None = None, **delta: Any) -> dict[str, Any]:
    logprobs = delta.pop("logprobs", None)
    choice = {
        "index": 0,
        "delta": delta,
        "finish_reason": finish_reason,
        "logprobs": logprobs,
    }
    made = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "large",
        "choices": [choice],
    }
    ChatCompletionChunk.model_validate(made)
    return made


def call(index: int, arguments: str, call_id: str | None = None) -> dict[str, Any]:
    function = {"arguments": arguments}
    if call_id is None:
        return {"index": index, "function": function}
    named = {"name": "f", **function}
    return {"index": index, "id": call_id, "type": "function", "function": named}


def stream() -> ResponseStream:
    return ResponseStream(REQUEST, response_id="resp_a", created_at=100)


def run(*chunks: dict[str, Any], error: StreamInterrupted | None = None) -> Events:
    made = stream()
    events = made.start()
    for one in chunks:
        events += made.feed(one)
    # As sent: later changes of an event's objects must not be seen.
    sent: Events = [json.loads(json.dumps(event)) for event in events]
    sent += made.finish(101) if error is None else made.fail(error)
    check(sent)
    assert sent[-1]["response"] == made.response
    return sent


def check(events: Events) -> None:
    """What holds for every stream, whatever was in it."""
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    texts: dict[tuple[int, int | None], str] = {}
    done: dict[int, Any] = {}
    for event in events:
        parsed = EVENT.validate_python(event)
        assert parsed.type == event["type"]
        place = (event.get("output_index", -1), event.get("content_index"))
        if event["type"].endswith(".delta"):
            texts[place] = texts.get(place, "") + event["delta"]
        elif event["type"].endswith(
            ("_arguments.done", "_input.done", "_text.done", "refusal.done")
        ):
            names = {"text", "refusal", "arguments", "input"} & event.keys()
            assert [event[name] for name in names] == [texts.get(place, "")]
        elif event["type"] == "response.output_item.done":
            assert event["output_index"] not in done
            done[event["output_index"]] = event["item"]
    assert [done[index] for index in range(len(done))] == events[-1]["response"]["output"]


def kinds(events: Events) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def usage_chunk() -> dict[str, Any]:
    return {**chunk(), "choices": [], "usage": USAGE}


def test_a_text() -> None:
    chunks = [chunk(role="assistant", content=""), chunk(content="Hel"), chunk(content="lo")]
    events = run(*chunks, chunk("stop"), usage_chunk())
    assert kinds(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert events[0]["response"]["output"] == []
    assert events[0]["response"]["status"] == "in_progress"
    assert events[2]["item"]["content"] == []
    assert events[2]["item"]["status"] == "in_progress"
    response = Response.model_validate(events[-1]["response"])
    assert response.output_text == "Hello"
    assert response.model == "large"
    assert response.usage is not None
    assert response.usage.total_tokens == 5


def test_nothing_waits_for_the_end() -> None:
    made = stream()
    made.start()
    made.feed(chunk(content="Hel"))
    events = made.feed(chunk(content="lo"))
    assert [(event["type"], event["delta"]) for event in events] == [
        ("response.output_text.delta", "lo")
    ]


def test_reasoning_is_done_before_the_text_begins() -> None:
    events = run(chunk(reasoning_content="Hm"), chunk(content="So"), chunk("stop"))
    names = kinds(events)
    assert names.index("reasoning_text.done") < names.index("output_text.delta")
    assert [item["type"] for item in events[-1]["response"]["output"]] == [
        "reasoning",
        "message",
    ]


def test_calls_whose_deltas_alternate() -> None:
    events = run(
        chunk(content="Let me see."),
        chunk(tool_calls=[call(0, "", "c1"), call(1, "{", "c2")]),
        chunk(tool_calls=[call(0, '{"a":')]),
        chunk(tool_calls=[call(1, "}")]),
        chunk(tool_calls=[call(0, "1}")]),
        chunk("tool_calls"),
    )
    message, first, second = events[-1]["response"]["output"]
    assert message["status"] == "completed"
    assert (first["call_id"], first["arguments"]) == ("c1", '{"a":1}')
    assert (second["call_id"], second["arguments"]) == ("c2", "{}")
    added = [event for event in events if event["type"] == "response.output_item.added"]
    assert added[1]["item"] == {**first, "arguments": "", "status": "in_progress"}
    names = kinds(events)
    assert names.count("function_call_arguments.done") == 2
    assert names.index("output_text.done") < names.index("function_call_arguments.delta")


def test_calls_that_share_an_index_are_told_apart_by_their_ids() -> None:
    events = run(chunk("tool_calls", tool_calls=[call(0, "{}", "c1"), call(0, "[]", "c2")]))
    output = events[-1]["response"]["output"]
    assert [(item["call_id"], item["arguments"]) for item in output] == [
        ("c1", "{}"),
        ("c2", "[]"),
    ]


def test_a_custom_call() -> None:
    events = run(
        {
            **usage_chunk(),
            "choices": [
                {
                    "index": 0,
                    "delta": {
                        "tool_calls": [
                            {
                                "index": 0,
                                "id": "c1",
                                "type": "custom",
                                "custom": {"name": "patch", "input": "+a"},
                            }
                        ]
                    },
                }
            ],
        }
    )
    assert "custom_tool_call_input.delta" in kinds(events)
    assert events[-1]["response"]["output"][0]["input"] == "+a"


def test_a_text_after_a_call_is_a_message_of_its_own() -> None:
    events = run(chunk(tool_calls=[call(0, "{}", "c1")]), chunk(content="Done"), chunk("stop"))
    output = events[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["function_call", "message"]


def test_a_refusal_after_a_text_is_the_second_part() -> None:
    events = run(chunk(content="Well"), chunk(refusal="N"), chunk(refusal="o."), chunk("stop"))
    content = events[-1]["response"]["output"][0]["content"]
    assert [part["type"] for part in content] == ["output_text", "refusal"]
    assert content[1]["refusal"] == "No."
    deltas = [event for event in events if event["type"] == "response.refusal.delta"]
    assert {event["content_index"] for event in deltas} == {1}


def test_citations_and_log_probabilities() -> None:
    citation = {"start_index": 0, "end_index": 2, "title": "T", "url": "https://x.test"}
    token: dict[str, Any] = {"token": "Hi", "bytes": None, "logprob": -0.5, "top_logprobs": []}
    events = run(
        chunk(content="Hi", logprobs={"content": [token]}),
        chunk("stop", annotations=[{"type": "url_citation", "url_citation": citation}]),
    )
    assert "output_text.annotation.added" in kinds(events)
    part = events[-1]["response"]["output"][0]["content"][0]
    assert part["annotations"] == [{"type": "url_citation", **citation}]
    assert part["logprobs"] == [{**token, "bytes": []}]


def test_an_empty_answer_is_an_empty_message() -> None:
    events = run(chunk("stop"))
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == ""


def test_an_answer_that_was_cut() -> None:
    events = run(chunk(reasoning="Hm"), chunk(content="Hel"), chunk("length"))
    assert events[-1]["type"] == "response.incomplete"
    response = events[-1]["response"]
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert [item["status"] for item in response["output"]] == ["completed", "incomplete"]


@pytest.mark.parametrize("chunks", [[], [chunk(content="Hel")]], ids=["nothing", "a text"])
def test_a_stream_that_broke(chunks: Events) -> None:
    events = run(*chunks, error=StreamInterrupted("The stream ended before its end."))
    assert events[-1]["type"] == "response.failed"
    response = Response.model_validate(events[-1]["response"])
    assert response.error is not None
    assert response.error.code == "server_error"
    assert response.error.message == "The stream ended before its end."
    assert [item["status"] for item in events[-1]["response"]["output"]] == [
        "incomplete" for _ in chunks
    ]


@pytest.mark.parametrize("finish_reason", ["stop", "length", "content_filter"])
def test_the_response_is_the_one_of_the_whole_answer(finish_reason: str) -> None:
    events = run(
        chunk(reasoning_content="H"),
        chunk(reasoning_content="m"),
        chunk(content="S"),
        chunk(content="o"),
        chunk(tool_calls=[call(0, "{", "c1")]),
        chunk(tool_calls=[call(0, "}")]),
        chunk(finish_reason),
        usage_chunk(),
    )
    function = {"name": "f", "arguments": "{}"}
    message = {
        "role": "assistant",
        "reasoning_content": "Hm",
        "content": "So",
        "tool_calls": [{"id": "c1", "type": "function", "function": function}],
    }
    completion = {
        "model": "large",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        "usage": USAGE,
    }
    assert events[-1]["response"] == response_of(
        completion, REQUEST, response_id="resp_a", created_at=100, completed_at=101
    )


def test_other_choices_are_left_out() -> None:
    other = chunk(content="Other")
    other["choices"][0]["index"] = 1
    events = run(chunk(content="Mine"), other, chunk("stop"))
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == "Mine"


def test_an_event_as_sent() -> None:
    event = stream().start()[1]
    name, data, *rest = frame(event).split(b"\n")
    assert name == b"event: response.in_progress"
    assert json.loads(data.removeprefix(b"data: ")) == event
    assert rest == [b"", b""]
