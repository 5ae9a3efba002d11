from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import UpstreamError
from gateway.wire.anthropic_answer import completion_of, message_of
from gateway.wire.anthropic_stream import ChunksFromEvents, EventsFromChunks, framed
from tests.wire.sdk_types import EVENT, check, check_chunks

Json = dict[str, Any]


def start(**usage: int) -> Json:
    message: Json = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude"}
    message |= {"content": [], "stop_reason": None, "stop_sequence": None}
    return {
        "type": "message_start",
        "message": {**message, "usage": {"input_tokens": 3, "output_tokens": 1, **usage}},
    }


def block(index: int, content: Json, *deltas: Json) -> list[Json]:
    return [
        {"type": "content_block_start", "index": index, "content_block": content},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def end(stop: str, sequence: str | None = None, **usage: int) -> list[Json]:
    delta = {"stop_reason": stop, "stop_sequence": sequence}
    return [
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 9, **usage}},
        {"type": "message_stop"},
    ]


def text_block(index: int, *pieces: str) -> list[Json]:
    deltas = ({"type": "text_delta", "text": piece} for piece in pieces)
    return block(index, {"type": "text", "text": "", "citations": None}, *deltas)


def tool_block(index: int, identifier: str, *pieces: str) -> list[Json]:
    deltas = ({"type": "input_json_delta", "partial_json": piece} for piece in pieces)
    return block(index, {"type": "tool_use", "id": identifier, "name": "f", "input": {}}, *deltas)


def thinking_block(index: int, *pieces: str) -> list[Json]:
    deltas = ({"type": "thinking_delta", "thinking": piece} for piece in pieces)
    signed = {"type": "signature_delta", "signature": "sig"}
    return block(index, {"type": "thinking", "thinking": "", "signature": ""}, *deltas, signed)


def chunks_of(events: list[Json]) -> list[Json]:
    reader = ChunksFromEvents(created_s=7)
    chunks = [chunk for event in events for chunk in reader.push(event)]
    assert reader.done
    list(check_chunks(chunks))
    return chunks


def events_of(chunks: list[Json]) -> list[Json]:
    writer = EventsFromChunks()
    events = [event for chunk in chunks for event in writer.push(chunk)]
    events += writer.finish()
    for event in events:
        check(EVENT, event)
    return events


def message_from(events: list[Json]) -> Json:
    """What a client puts together; it fails where the order of events is not Anthropic's."""
    first, *rest = events
    assert first["type"] == "message_start"
    message: Json = orjson.loads(orjson.dumps(first["message"]))
    content: list[Json] = message["content"]
    arguments, is_open = "", False
    for event in rest[:-2]:
        match event["type"]:
            case "content_block_start":
                assert not is_open
                assert event["index"] == len(content)
                content.append(dict(event["content_block"]))
                arguments, is_open = "", True
            case "content_block_delta":
                assert is_open
                assert event["index"] == len(content) - 1
                delta = event["delta"]
                if delta["type"] == "input_json_delta":
                    arguments += delta["partial_json"]
                else:
                    key = delta["type"].removesuffix("_delta")
                    content[-1][key] += delta[key]
            case "content_block_stop":
                assert is_open
                is_open = False
                if content[-1]["type"] == "tool_use":
                    content[-1]["input"] = orjson.loads(arguments or "{}")
            case other:
                raise AssertionError(other)
    assert not is_open
    assert [event["type"] for event in rest[-2:]] == ["message_delta", "message_stop"]
    message.update(rest[-2]["delta"])
    message["usage"] |= rest[-2]["usage"]
    return message


def test_events_become_chunks() -> None:
    chunks = chunks_of(
        [
            start(cache_read_input_tokens=5, cache_creation_input_tokens=2),
            {"type": "ping"},
            *thinking_block(0, "Hm", "m"),
            *text_block(1, "Let", " me"),
            *tool_block(2, "a", '{"x"', ":1}"),
            *tool_block(3, "b"),
            {"type": "an_event_of_tomorrow"},
            *end("tool_use"),
        ]
    )
    assert {(chunk["id"], chunk["model"], chunk["created"]) for chunk in chunks} == {
        ("msg_1", "claude", 7)
    }
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks[:-1]]
    thought = {"type": "thinking", "thinking": "Hmm", "signature": "sig"}

    def opened(index: int, identifier: str) -> Json:
        function = {"name": "f", "arguments": ""}
        return {"index": index, "id": identifier, "type": "function", "function": function}

    def more(index: int, text: str) -> Json:
        return {"tool_calls": [{"index": index, "function": {"arguments": text}}]}

    assert deltas == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "Hm"},
        {"reasoning_content": "m"},
        {"thinking_blocks": [thought]},
        {"content": "Let"},
        {"content": " me"},
        {"tool_calls": [opened(0, "a")]},
        more(0, '{"x"'),
        more(0, ":1}"),
        {"tool_calls": [opened(1, "b")]},
        more(1, "{}"),
        {},
    ]
    finishes = [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]]
    assert finishes == [None] * 11 + ["tool_calls"]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == {
        "prompt_tokens": 10,
        "completion_tokens": 9,
        "total_tokens": 19,
        "prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 2},
    }


def test_an_error_event_is_raised_with_its_status() -> None:
    reader = ChunksFromEvents()
    reader.push(start())
    with pytest.raises(UpstreamError) as caught:
        reader.push({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}})
    assert (caught.value.status, caught.value.message) == (529, "busy")
    assert caught.value.retryable
    assert not reader.done


def test_a_refusal_ends_a_stream_both_ways() -> None:
    chunks = chunks_of([start(), *text_block(0, "I"), *end("refusal")])
    last = chunks[-2]["choices"][0]
    assert last["finish_reason"] == "content_filter"
    assert last["delta"]["refusal"]
    assert message_from(events_of(chunks))["stop_reason"] == "refusal"


def chunk(*calls: Json, finish: str | None = None, **delta: Any) -> Json:
    told = {**delta, **({"tool_calls": list(calls)} if calls else {})}
    choice = {"index": 0, "delta": told, "finish_reason": finish}
    frame = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return {**frame, "choices": [choice]}


def call(index: int, arguments: str, identifier: str | None = None) -> Json:
    named = {} if identifier is None else {"id": identifier, "type": "function"}
    name = {} if identifier is None else {"name": "f"}
    return {"index": index, **named, "function": {**name, "arguments": arguments}}


def test_mixed_arguments_of_parallel_calls_come_one_block_after_another() -> None:
    chunks = [
        chunk(role="assistant", content=""),
        chunk(call(0, '{"x"', "a")),
        chunk(call(1, '{"y"', "b")),
        chunk(call(0, ":1}"), call(1, ":2}")),
        chunk(finish="tool_calls"),
    ]
    writer = EventsFromChunks()
    streamed = [event["type"] for event in [*writer.push(chunks[0]), *writer.push(chunks[1])]]
    assert streamed == ["message_start", "content_block_start", "content_block_delta"]
    message = message_from(events_of(chunks))
    assert [(b["id"], b["input"]) for b in message["content"]] == [("a", {"x": 1}), ("b", {"y": 2})]
    assert message["stop_reason"] == "tool_use"


def test_calls_that_share_an_index_are_told_apart_by_their_ids() -> None:
    chunks = [chunk(call(0, "{}", "a")), chunk(call(0, '{"y":2}', "b")), chunk(finish="stop")]
    message = message_from(events_of(chunks))
    assert [block["id"] for block in message["content"]] == ["a", "b"]
    assert message["stop_reason"] == "tool_use"


def test_a_call_that_is_whole_ends_as_soon_as_the_next_begins() -> None:
    writer = EventsFromChunks()
    writer.push(chunk(call(0, "{}", "a")))
    kinds = [event["type"] for event in writer.push(chunk(call(1, "{", "b")))]
    assert kinds == ["content_block_stop", "content_block_start", "content_block_delta"]


def test_a_stream_without_usage_or_content() -> None:
    assert EventsFromChunks().finish() == []
    message = message_from(events_of([chunk(role="assistant"), chunk(finish="length")]))
    assert (message["content"], message["stop_reason"]) == ([], "max_tokens")
    assert message["usage"]["output_tokens"] == 0


def test_frames() -> None:
    assert framed({"type": "message_stop"}) == (
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    )


PIECES = st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=3)


@st.composite
def streams(draw: st.DrawFn) -> list[Json]:
    """Streams whose neighbouring blocks differ in kind: chat has one text where two would meet."""
    events = [start(cache_read_input_tokens=draw(st.integers(0, 9)))]
    index = 0
    if draw(st.booleans()):
        events += thinking_block(index, *draw(PIECES))
        index += 1
    if draw(st.booleans()):
        redacted = {"type": "redacted_thinking", "data": "x"}
        events += block(index, redacted)
        index += 1
    if draw(st.booleans()):
        events += text_block(index, *draw(PIECES))
        index += 1
    inputs = draw(st.lists(st.dictionaries(st.text(max_size=3), st.integers(0, 9)), max_size=3))
    for number, data in enumerate(inputs):
        text = orjson.dumps(data).decode()
        cut = draw(st.integers(0, len(text)))
        pieces = [piece for piece in (text[:cut], text[cut:]) if piece]
        events += tool_block(index, f"t{number}", *pieces)
        index += 1
    stops = [("tool_use", None)] if inputs else [("end_turn", None), ("stop_sequence", "END")]
    stop, sequence = draw(st.sampled_from(stops))
    return [*events, *end(stop, sequence, input_tokens=draw(st.integers(0, 9)))]


@given(events=streams())
def test_a_stream_survives_the_way_there_and_back(events: list[Json]) -> None:
    sent = message_from(events)
    got = message_from(events_of(chunks_of(events)))
    sent["usage"].setdefault("cache_creation_input_tokens", 0)
    assert got == sent


@given(events=streams())
def test_a_stream_and_a_whole_answer_tell_the_same(events: list[Json]) -> None:
    sent = message_from(events)
    sent["usage"].setdefault("cache_creation_input_tokens", 0)
    assert message_of(completion_of(sent)) == sent


@given(
    data=st.data(),
    inputs=st.lists(
        st.dictionaries(st.text(max_size=3), st.integers(0, 9)), min_size=1, max_size=3
    ),
)
def test_any_mixture_of_argument_deltas_gives_the_same_calls(
    data: st.DataObject, inputs: list[Json]
) -> None:
    rests = [orjson.dumps(item).decode() for item in inputs]
    chunks = [chunk(*(call(index, "", f"t{index}") for index in range(len(rests))))]
    while any(rests):
        index = data.draw(st.sampled_from([i for i, rest in enumerate(rests) if rest]))
        size = data.draw(st.integers(1, len(rests[index])))
        chunks.append(chunk(call(index, rests[index][:size])))
        rests[index] = rests[index][size:]
    message = message_from(events_of([*chunks, chunk(finish="tool_calls")]))
    assert [block["input"] for block in message["content"]] == inputs
