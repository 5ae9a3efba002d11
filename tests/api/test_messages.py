"""Bodies of `/v1/messages` and its `count_tokens`: what is read and refused, what clients get."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest
from anthropic.types import Message
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from gateway.api.anthropic_errors import anthropic_envelope
from gateway.api.messages import COUNTED_FIELDS, MESSAGES_FIELDS, MessagesFormat, request_of
from gateway.api.parse import checked, parse_object
from gateway.backends.sse import event_data
from gateway.core.answer import Answer, Chunk, Item
from gateway.core.entry import LedgerEntry
from gateway.core.errors import InvalidRequest, StreamInterrupted, UpstreamUnavailable
from gateway.core.price import Cost
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
    cost=Cost(Decimal("0.00000012345678"), "computed", "config:gpt"),
)
EXACT = b'"cost":0.00000012345678'
FORMAT = MessagesFormat()
USER = {"role": "user", "content": "Hi."}


def body(*messages: dict[str, Any], **fields: Any) -> bytes:
    sent = list(messages) or [USER]
    return orjson.dumps({"model": "m", "max_tokens": 9, "messages": sent, **fields})


def parsed(*messages: dict[str, Any], **fields: Any) -> ChatRequest:
    return FORMAT.parse(body(*messages, **fields))


def read(raw: bytes, fields: TypeAdapter[Any]) -> ChatRequest:
    payload = parse_object(raw)
    checked(fields, payload)
    return request_of(raw, payload)


def refused(raw: bytes) -> list[InvalidRequest]:
    """The error of either endpoint."""
    errors = []
    for fields in (MESSAGES_FIELDS, COUNTED_FIELDS):
        with pytest.raises(InvalidRequest) as caught:
            read(raw, fields)
        errors.append(caught.value)
    return errors


def each(name: str, *values: Any) -> list[tuple[str, Any]]:
    return [(name, value) for value in values]


def test_a_plain_request() -> None:
    raw = body(stream=True, system="Be brief.", x_new={"a": [1.5]}, top_k=3)
    request = FORMAT.parse(raw)
    assert (request.wire, request.endpoint, request.model) == ("messages", "/v1/messages", "m")
    assert (request.stream, request.include_usage, request.max_tokens) == (True, True, 9)
    assert (request.native, request.native_only) == (raw, None)
    assert orjson.loads(request.raw) == request.payload
    assert request.messages[0] == {"role": "system", "content": "Be brief."}
    assert request.payload["x_new"] == {"a": [1.5]}


def test_counting_needs_no_limit() -> None:
    raw = orjson.dumps({"model": "m", "messages": [USER]})
    assert read(raw, COUNTED_FIELDS).max_tokens is None
    with pytest.raises(InvalidRequest, match="max_tokens"):
        FORMAT.parse(raw)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *each("model", None, 3, [], "", "x" * 257, "a\x00b"),
        *each("messages", None, "x", {}, [], ["x"], [None], [{}]),
        *each("system", 3, {}, ["x"], [3], [{"type": 3}], [{}]),
        *each("tools", 3, {}, "x", ["x"], [None], [{"type": 3}]),
        *each("tool_choice", 3, "auto", [], {}, {"type": 3}),
        ("tool_choice.name", {"type": "tool"}),
        ("tool_choice.name", {"type": "tool", "name": 3}),
        (
            "tool_choice.disable_parallel_tool_use",
            {"type": "auto"} | {"disable_parallel_tool_use": 1},
        ),
        *each("thinking", 3, "enabled", [], {}, {"type": 3}),
        ("thinking.budget_tokens", {"type": "enabled", "budget_tokens": "x"}),
        *each("max_tokens", "9", 1.5, True, 0, -1, []),
        *each("stream", "yes", 1, []),
        *each("temperature", "1", True, -0.1, 1.1, []),
        *each("top_p", "1", True, -0.1, 1.1, []),
        *each("top_k", "1", True, -1, 1.5, []),
        *each("stop_sequences", "END", 3, {}, [3], [None]),
        *each("metadata", 3, "x", []),
        ("metadata.user_id", {"user_id": 3}),
        *each("service_tier", 3, [], {}),
        *each("output_config", 3, "x", [], {"format": 3}, {"effort": 3}),
        ("output_config.format.schema", {"format": {"type": "json_schema"}}),
        ("output_config.format.schema", {"format": {"type": "json_schema", "schema": 3}}),
        ("cache_control", 3),
        ("context_management", 3),
        ("mcp_servers", 3),
        ("inference_geo", 3),
    ],
)
def test_a_field_of_another_type_is_named(name: str, value: object) -> None:
    for error in refused(body(**{name.partition(".")[0]: value})):
        assert error.param is not None
        assert error.param.startswith(name)
        assert error.param in error.message


TOOL = {"name": "f", "input_schema": {"type": "object"}}


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("name", {"name": 3}),
        ("name", {"name": None}),
        ("description", {"description": 3}),
        ("strict", {"strict": "x"}),
        ("cache_control", {"cache_control": 3}),
        ("input_schema", {"input_schema": None}),
        ("input_schema", {"input_schema": "x"}),
        ("input_schema", {"input_schema": []}),
    ],
)
def test_a_tool_that_is_wrong_is_named(name: str, wrong: dict[str, Any]) -> None:
    for error in refused(body(tools=[TOOL, {**TOOL, **wrong}])):
        assert error.param == f"tools[1].{name}"


RESULT = {"type": "tool_result", "tool_use_id": "t"}
CALL = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
PICTURE = {"type": "base64", "media_type": "image/png", "data": "aGk="}
PAPER = {"type": "document", "source": {"type": "text", "data": "x"}}


def varied(block: dict[str, Any], name: str, *values: Any) -> list[tuple[str, Any, str]]:
    return [("user", {**block, name: value}, name) for value in values]


@pytest.mark.parametrize(
    ("role", "block", "name"),
    [
        *varied({}, "type", 3, [], {}, True),
        ("user", {"text": "x"}, "type"),
        *varied({"type": "text"}, "text", None, 3, [], {}),
        ("user", {"type": "text"}, "text"),
        ("user", {"type": "text", "text": "x", "cache_control": 3}, "cache_control"),
        *varied({"type": "image"}, "source", None, 3, "x", []),
        ("user", {"type": "image", "source": {}}, "source.type"),
        ("user", {"type": "image", "source": {"type": 3}}, "source.type"),
        ("user", {"type": "image", "source": {"type": "url", "url": 3}}, "source.url"),
        ("user", {"type": "image", "source": {**PICTURE, "data": 3}}, "source.data"),
        ("user", {"type": "image", "source": {**PICTURE, "media_type": 3}}, "source.media_type"),
        *varied({"type": "document"}, "source", None, 3, "x"),
        ("user", {"type": "document", "source": {"type": "text"}}, "source.data"),
        ("user", {"type": "document", "source": {"type": "file"}}, "source.file_id"),
        (
            "user",
            {"type": "document", "source": {"type": "content", "content": 3}},
            "source.content",
        ),
        ("user", {**PAPER, "title": 3}, "title"),
        ("user", {**PAPER, "context": []}, "context"),
        ("user", {**PAPER, "citations": "x"}, "citations"),
        *varied(RESULT, "tool_use_id", None, 3, {}),
        *varied(RESULT, "content", 3, {}, ["x"], [{}]),
        ("user", {**RESULT, "content": [{"type": "text", "text": 3}]}, "content[0].text"),
        ("user", {**RESULT, "is_error": "x"}, "is_error"),
        ("user", {**RESULT, "cache_control": 3}, "cache_control"),
        ("assistant", {**CALL, "id": 3}, "id"),
        ("assistant", {**CALL, "name": []}, "name"),
        ("assistant", {**CALL, "input": "{}"}, "input"),
        ("assistant", {**CALL, "input": None}, "input"),
        ("assistant", {"type": "thinking", "signature": ""}, "thinking"),
        ("assistant", {"type": "thinking", "thinking": "x", "signature": 3}, "signature"),
        ("assistant", {"type": "redacted_thinking"}, "data"),
        # Where they can't stand:
        ("user", CALL, ""),
        ("user", {"type": "thinking", "thinking": "x", "signature": ""}, ""),
        ("assistant", RESULT, ""),
        ("user", {**RESULT, "content": [CALL]}, "content[0]"),
    ],
)
def test_a_block_that_is_wrong_is_named(role: str, block: dict[str, Any], name: str) -> None:
    said = {"role": role, "content": [{"type": "text", "text": "Look:"}, block]}
    for error in refused(body(USER, said)):
        assert error.param is not None
        assert error.param.startswith(f"messages[1].content[1].{name}".removesuffix("."))
        assert b'"type":"error"' in anthropic_envelope(error, "req_1")


@pytest.mark.parametrize("role", [None, 3, "", "tool", "developer", []])
def test_a_role_that_is_unknown_is_named(role: object) -> None:
    for error in refused(body(USER, {"role": role, "content": "x"})):
        assert error.param == "messages[1].role"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"{",
        body().replace(b"Hi.", b"\\ud800"),
        body().replace(b"Hi.", b"\xc3\x28"),
        body().replace(b":9", b":NaN"),
        body().replace(b":9", b":1e999"),
        body(max_tokens=1).replace(b":1,", b":" + b"9" * 5000 + b","),
        body().replace(b":9", b":1" + b"0" * 20),
        *(
            body().replace(b'"Hi."', b'[{"type":"x","a":%b}]' % (b"[" * depth + b"]" * depth))
            for depth in (250, 1000, 100_000)
        ),
        body(tools=[TOOL]).replace(b'"object"', b"[" * 250 + b"]" * 250),
    ],
    ids=range(13),
)
def test_hostile_bodies(raw: bytes) -> None:
    for error in refused(raw):
        assert error.message


def test_what_a_tool_is_given_may_have_any_members() -> None:
    """A `type` or a `role` in there is a word of the tool's own."""
    given = {"type": 3, "role": ["x"]}
    schema = {"type": ["object", "null"]}
    output = {"format": {"type": "json_schema", "schema": schema}}
    called = {"role": "assistant", "content": [{**CALL, "input": given}]}
    request = parsed(USER, called, tools=[{**TOOL, "input_schema": schema}], output_config=output)
    function = request.messages[1]["tool_calls"][0]["function"]
    assert orjson.loads(function["arguments"]) == given
    assert request.payload["tools"][0]["function"]["parameters"] == schema
    assert request.payload["response_format"]["json_schema"]["schema"] == schema


def test_the_deepest_body_can_be_sent_on() -> None:
    depths = range(230, 260)
    taken = 0
    for depth in depths:
        nested = b"[" * depth + b"]" * depth
        raw = body(tools=[TOOL]).replace(b'"object"', nested)
        try:
            request = FORMAT.parse(raw)
        except InvalidRequest:
            continue
        taken += 1
        assert request.payload["tools"][0]["function"]["parameters"]
    assert 0 < taken < len(depths)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
BLOCKS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            ["text", "image", "document", "tool_use", "tool_result", "thinking", "other"]
        )
    },
    optional={
        "text": ANYTHING,
        "source": ANYTHING
        | st.fixed_dictionaries(
            {"type": st.sampled_from(["url", "base64", "text", "content", "file", "other"])},
            optional=dict.fromkeys(("url", "data", "media_type", "content", "file_id"), ANYTHING),
        ),
        **dict.fromkeys(("id", "name", "input", "tool_use_id", "content", "is_error"), ANYTHING),
        **dict.fromkeys(("thinking", "signature", "title", "citations"), ANYTHING),
    },
)


@given(
    content=st.lists(BLOCKS, max_size=3),
    role=st.sampled_from(["user", "assistant", "system"]),
    system=ANYTHING | st.lists(BLOCKS, max_size=2),
)
def test_any_blocks_are_read_or_refused_by_name(content: Any, role: str, system: Any) -> None:
    raw = body({"role": role, "content": content}, system=system)
    try:
        request = FORMAT.parse(raw)
    except InvalidRequest as error:
        assert error.param
    else:
        assert orjson.loads(request.raw) == request.payload


COMPLETION: dict[str, Any] = {
    "id": "chatcmpl-1",
    "model": "gpt-9",
    "choices": [{"index": 0, "message": {"content": "Paris"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 6},
}


def told(payload: dict[str, Any], wire: Any = "chat") -> tuple[bytes, Message]:
    answer = Answer(orjson.dumps(payload), payload, wire=wire)
    raw = FORMAT.answer(parsed(), answer, ENTRY)
    return raw, Message.model_validate_json(raw)


def test_an_answer_of_a_chat() -> None:
    raw, message = told(COMPLETION)
    assert (message.id, message.model, message.stop_reason) == ("chatcmpl-1", "gpt-9", "end_turn")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (5, 6)
    assert EXACT in raw


@pytest.mark.parametrize("usage", [{}, {"usage": None}, {"usage": []}])
def test_what_nobody_counted_is_estimated(usage: dict[str, Any]) -> None:
    bare = {key: value for key, value in COMPLETION.items() if key not in {"usage", "id"}}
    raw, message = told({**bare, **usage})
    assert (message.usage.input_tokens, message.usage.output_tokens) == (3, 4)
    assert message.id == "msg_1"
    assert EXACT in raw
    native = {"id": "m", "type": "message", "role": "assistant", "model": "claude", "content": []}
    raw, message = told({**native, **usage}, "messages")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (3, 4)
    assert EXACT in raw


def test_an_answer_in_anthropics_own_words_stays_as_it_is() -> None:
    raw = b'{"id": "m", "x": 1.50, "usage": {"input_tokens": 7, "y": "\\u00e9"}, "content": []}'
    answer = Answer(raw, orjson.loads(raw), wire="messages")
    said = FORMAT.answer(parsed(), answer, ENTRY)
    assert EXACT in said
    assert said.startswith(b'{"id": "m", "x": 1.50, "usage": {')
    assert said.endswith(b'"input_tokens": 7, "y": "\\u00e9"}, "content": []}')


@pytest.mark.parametrize(
    "fields",
    [
        {"choices": ["x"]},
        {"choices": 3},
        {"choices": [{"message": "x"}]},
        {"choices": [{"message": {"tool_calls": [3]}}]},
        {"choices": [{"message": {"tool_calls": [{"function": 3}]}}]},
    ],
)
def test_an_answer_that_is_none_is_the_upstreams_fault(fields: dict[str, Any]) -> None:
    with pytest.raises(UpstreamUnavailable):
        told({**COMPLETION, **fields})


def framed(*chunks: object) -> Chunk:
    return Chunk(b"".join(b"data: %b\n\n" % orjson.dumps(chunk) for chunk in chunks))


def delta(**members: Any) -> dict[str, Any]:
    return {"id": "c", "model": "gpt-9", "choices": [{"index": 0, "delta": members}]}


def sent(*items: Item) -> list[dict[str, Any]]:
    events = FORMAT.stream(parsed(stream=True), ENTRY)
    raw = b"".join(events.frames(item) for item in items) + events.finish()
    return [orjson.loads(data) for data in event_data(raw)]


def test_a_stream_of_a_chat() -> None:
    events = sent(
        framed(delta(content="Pa"), delta(content="ris")), framed({**COMPLETION, "choices": []})
    )
    assert [event["type"] for event in events] == [
        "message_start",
        "content_block_start",
        *(["content_block_delta"] * 2),
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[0]["message"]["usage"]["input_tokens"] == 5  # a guess, from the text
    usage = events[-2]["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (5, 6)
    assert usage["cost"] == pytest.approx(1.2345678e-7)


def test_a_stream_that_nobody_counted_ends_with_an_estimate() -> None:
    events = sent(framed({"choices": [{"delta": {"content": [{"text": "Pa"}, {"text": "ris"}]}}]}))
    assert events[0]["message"]["id"] == "msg_1"
    assert events[2]["delta"]["text"] == "Paris"
    usage = events[-2]["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (3, 4)


def test_an_answer_in_one_piece_is_a_stream_too() -> None:
    events = sent(Answer(orjson.dumps(COMPLETION), COMPLETION))
    assert events[2]["delta"]["text"] == "Paris"
    assert events[-2]["usage"]["output_tokens"] == 6


@pytest.mark.parametrize(
    "chunk",
    [
        {"choices": ["x"]},
        {"choices": 3},
        delta(tool_calls=[3]),
        delta(tool_calls=[{"index": [1]}]),
        delta(tool_calls=[{"function": {"arguments": {"a": 1}}}]),
        delta(thinking_blocks=[3]),
    ],
)
def test_a_chunk_that_is_none_is_the_upstreams_fault(chunk: dict[str, Any]) -> None:
    with pytest.raises(StreamInterrupted):
        sent(framed(chunk))


def test_a_malformed_count_is_zero_as_in_the_ledger() -> None:
    usage = {"prompt_tokens": "x", "completion_tokens": 6, "prompt_tokens_details": 3}
    events = sent(framed({**delta(content="x"), "usage": usage}))
    assert (events[-2]["usage"]["input_tokens"], events[-2]["usage"]["output_tokens"]) == (0, 6)


def test_a_stream_in_anthropics_own_words_stays_as_it_is() -> None:
    events = FORMAT.stream(parsed(stream=True), ENTRY)
    own = b'event: ping\ndata: {"type": "ping", "x": 1.50}\n\n'
    assert events.frames(Chunk(own, wire="messages")) == own
    last = b'event: message_delta\ndata: {"type": "message_delta", "usage": {"x": 1.50}}\n\n'
    payload = {"type": "message_delta", "usage": {"x": 1.5}}
    said = events.frames(Chunk(last, 0, payload=payload, wire="messages"))
    assert EXACT in said
    assert said.startswith(
        b'event: message_delta\ndata: {"type": "message_delta", "usage": {"cost"'
    )
    assert said.endswith(b'"x": 1.50}}\n\n')
    twice = last.replace(b"1.50", b'{"usage": 2}')
    payload = {"type": "message_delta", "usage": {"x": {"usage": 2}}}
    (data,) = event_data(events.frames(Chunk(twice, 0, payload=payload, wire="messages")))
    assert orjson.loads(data)["usage"].keys() == {"x", "cost", "cost_details"}
    assert events.finish() == b""


def test_a_stream_that_breaks_ends_with_an_error() -> None:
    events = FORMAT.stream(parsed(stream=True), ENTRY)
    failed = events.fail(StreamInterrupted("It broke."))
    name, data = failed.split(b"\n", 1)
    assert name == b"event: error"
    assert orjson.loads(data.removeprefix(b"data: ")) == {
        "type": "error",
        "error": {"type": "api_error", "message": "It broke."},
        "request_id": "req_1",
    }
