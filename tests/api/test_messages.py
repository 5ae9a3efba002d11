"""Bodies of `/v1/messages`: what is read, what is refused, and what clients get."""

from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest

from gateway.api.messages import COUNTED_FIELDS, MessagesFormat, request_of
from gateway.api.parse import checked, parse_object
from gateway.core.answer import Answer, Chunk, Item
from gateway.core.entry import LedgerEntry
from gateway.core.errors import InvalidRequest, StreamInterrupted, UpstreamUnavailable
from gateway.core.price import Cost
from gateway.core.request import ChatRequest
from gateway.core.usage import Usage
from tests.wire.sdk_types import EVENT, check, check_message

Json = dict[str, Any]

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
COST = b'"cost":0.00000012345678,'
FORMAT = MessagesFormat()
USER: Json = {"role": "user", "content": "What?"}
IMAGE: Json = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
}
CACHED: Json = {"cache_control": {"type": "ephemeral"}}
#: Everything that the gateway reads.
WHOLE: Json = {
    "model": "auto",
    "max_tokens": 64,
    "system": [{"type": "text", "text": "Be brief.", **CACHED}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look."},
                IMAGE,
                {"type": "image", "source": {"type": "url", "url": "https://127.0.0.1/a.png"}},
                {
                    "type": "document",
                    "title": "A",
                    "context": "c",
                    "source": {"type": "text", "media_type": "text/plain", "data": "d"},
                },
                {
                    "type": "document",
                    "source": {"type": "content", "content": [{"type": "text", "text": "e"}]},
                },
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                {"type": "redacted_thinking", "data": "r"},
                {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"type": 5}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "content": [{"type": "text", "text": "Rain."}, IMAGE],
                    "is_error": False,
                },
            ],
        },
    ],
    "tools": [{"name": "weather", "description": "d", "input_schema": {"type": "object"}}],
    "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {}}},
    "metadata": {"user_id": "u"},
    "stop_sequences": ["END"],
    "temperature": 0.5,
    "top_p": 0.5,
    "top_k": 5,
    "service_tier": "auto",
    "stream": False,
    "container": "c",
    "mcp_servers": [{"type": "url"}],
    "context_management": {"edits": []},
}

OTHERS: list[Any] = [None, True, 5, 2**63, -1.5, "x", "", [], [5], [[]], {}, {"type": []}, {"x": 1}]


def parsed(*content: Json, role: str = "user", **fields: Any) -> ChatRequest:
    messages = [{"role": role, "content": list(content)}] if content else [USER]
    body = {"model": "auto", "max_tokens": 9, "messages": messages, **fields}
    return FORMAT.parse(orjson.dumps(body))


def refused(body: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        FORMAT.parse(body)
    return caught.value


def places(value: object, *path: str | int) -> Iterator[tuple[str | int, ...]]:
    """The path of everything inside of a body."""
    if path:
        yield path
    members: Any = ()
    if isinstance(value, dict):
        members = value.items()
    elif isinstance(value, list):
        members = enumerate(value)
    for key, inner in members:
        yield from places(inner, *path, key)


def with_other(path: tuple[str | int, ...], value: object) -> Json:
    body = deepcopy(WHOLE)
    holder: Any = body
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return body


def param_of(path: tuple[str | int, ...]) -> str:
    named = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return named.lstrip(".")


def test_a_body_is_a_chat_inside() -> None:
    request = parsed(system="Be brief.", stop_sequences=["END"], stream=True, x_new={"a": 1.5})
    assert (request.wire, request.endpoint) == ("messages", "/v1/messages")
    assert (request.model, request.stream, request.max_tokens) == ("auto", True, 9)
    assert (request.native_only, request.include_usage) == (None, True)
    assert request.messages == [{"role": "system", "content": "Be brief."}, USER]
    assert orjson.loads(request.raw) == request.payload
    assert request.payload["x_new"] == {"a": 1.5}
    assert request.payload["stop"] == ["END"]


def test_the_body_as_it_came_is_kept() -> None:
    body = b' {"max_tokens": 9, "x": [1.50, "\\u00fc"], "model": "m", "messages": [%b]}\n'
    body %= orjson.dumps(USER)
    assert FORMAT.parse(body).native == body


@pytest.mark.parametrize("path", list(places(WHOLE)), ids=param_of)
def test_a_value_of_another_type_is_named_or_goes_through(path: tuple[str | int, ...]) -> None:
    field = str(path[0])
    for value in OTHERS:
        try:
            FORMAT.parse(orjson.dumps(with_other(path, value)))
        except InvalidRequest as error:
            assert error.param is not None
            # What is wrong may stand within the value, or be missing beside it.
            assert error.param.split("[")[0].split(".")[0] == field
            assert error.param in error.message or error.param.endswith(".role")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("model",), 5),
        (("model",), ""),
        (("model",), "a\nb"),
        (("max_tokens",), 0),
        (("max_tokens",), True),
        (("max_tokens",), 1e30),
        (("system",), 5),
        (("system", 0, "text"), None),
        (("messages",), []),
        (("messages", 0), "x"),
        (("messages", 0, "role"), "robot"),
        (("messages", 0, "content"), None),
        (("messages", 0, "content", 0, "type"), 5),
        (("messages", 0, "content", 0, "text"), 5),
        (("messages", 0, "content", 1, "source"), "x"),
        (("messages", 0, "content", 1, "source", "data"), 5),
        (("messages", 0, "content", 1, "source", "media_type"), None),
        (("messages", 0, "content", 2, "source", "url"), 5),
        (("messages", 0, "content", 3, "title"), 5),
        (("messages", 0, "content", 3, "context"), 5),
        (("messages", 0, "content", 3, "source", "data"), {}),
        (("messages", 0, "content", 4, "source", "content", 0, "text"), 5),
        (("messages", 1, "content", 0, "thinking"), 5),
        (("messages", 1, "content", 1, "data"), 5),
        (("messages", 1, "content", 2, "id"), None),
        (("messages", 1, "content", 2, "name"), 5),
        (("messages", 1, "content", 2, "input"), "x"),
        (("messages", 2, "content", 0, "tool_use_id"), 5),
        (("messages", 2, "content", 0, "content"), 5),
        (("messages", 2, "content", 0, "content", 0, "text"), 5),
        (("tools",), {}),
        (("tools", 0), "x"),
        (("tools", 0, "name"), 5),
        (("tools", 0, "description"), 5),
        (("tools", 0, "input_schema"), None),
        (("tool_choice",), "auto"),
        (("tool_choice", "type"), []),
        (("tool_choice", "name"), None),
        (("thinking", "type"), 5),
        (("thinking", "budget_tokens"), "many"),
        (("output_config", "effort"), 5),
        (("output_config", "format"), "json"),
        (("metadata",), "u"),
        (("metadata", "user_id"), 5),
        (("stop_sequences",), "END"),
        (("stop_sequences", 0), 5),
        (("temperature",), 1.5),
        (("temperature",), True),
        (("top_p",), -0.1),
        (("top_k",), 1.5),
        (("service_tier",), 5),
        (("stream",), "yes"),
    ],
    ids=lambda one: param_of(one) if isinstance(one, tuple) else str(one)[:9],
)
def test_a_wrong_field_is_named(path: tuple[str | int, ...], value: object) -> None:
    error = refused(orjson.dumps(with_other(path, value)))
    assert error.param == param_of(path)


def test_the_whole_body_is_fine() -> None:
    assert FORMAT.parse(orjson.dumps(WHOLE)).native_only == "container"


@pytest.mark.parametrize("name", ["model", "max_tokens", "messages"])
def test_what_is_missing_is_named(name: str) -> None:
    error = refused(orjson.dumps({key: value for key, value in WHOLE.items() if key != name}))
    assert (error.param, error.message) == (name, f"The parameter '{name}' is missing.")


def test_no_limit_is_needed_to_count() -> None:
    body = orjson.dumps({"model": "m", "messages": [USER]})
    payload = parse_object(body)
    checked(COUNTED_FIELDS, payload)
    request = request_of(body, payload)
    assert (request.max_tokens, request.messages) == (None, [USER])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'{"model": NaN}',
        b'{"model": "m", "max_tokens": 1e999}',
        b'{"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "\\ud800"}]}',
        b"[" * 100_000,
    ],
    ids=range(7),
)
def test_a_body_that_is_none(body: bytes) -> None:
    assert refused(body).code == "invalid_json"


DEEP_AT = {
    "field": b'"messages": [{"role": "user", "content": "x"}], "x": %b',
    "tool": b'"messages": [{"role": "user", "content": "x"}],'
    b' "tools": [{"name": "t", "input_schema": %b}]',
    "input": b'"messages": [{"role": "assistant", "content":'
    b' [{"type": "tool_use", "id": "1", "name": "t", "input": %b}]}]',
}


def deep_body(place: str, depth: int) -> bytes:
    deep = b'{"a":' * depth + b"1" + b"}" * depth
    return b'{"model": "m", "max_tokens": 1, %b}' % (DEEP_AT[place] % deep)


@pytest.mark.parametrize("place", DEEP_AT)
def test_a_body_is_as_deep_as_can_be_written_again_or_refused(place: str) -> None:
    assert FORMAT.parse(deep_body(place, 246)).raw
    # The schema of a tool stands deeper in a chat.
    for depth in (*range(247, 256), 1000):
        try:
            request = FORMAT.parse(deep_body(place, depth))
        except InvalidRequest as error:
            assert (error.param, error.code) == (None, "invalid_value")
        else:
            assert depth < 254
            assert orjson.loads(request.raw) == request.payload


def test_blocks_in_blocks_are_not_read_without_end() -> None:
    block = b'{"type": "text", "text": "x"}'
    for _ in range(330):
        block = b'{"type": "document", "source": {"type": "content", "content": [%b]}}' % block
    content = b'{"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": [%b]}]}'
    assert refused(content % block).code == "invalid_value"


@pytest.mark.parametrize("inside", ["system", "tools", "message", "result", "document"])
def test_too_many_blocks_are_refused(inside: str) -> None:
    many: list[Json] = [{"type": "text", "text": "x"}] * 50_001
    fields: Json = {
        "system": {"system": many},
        "tools": {"tools": [{"name": "t", "input_schema": {}}] * 50_001},
        "message": {"messages": [{"role": "user", "content": many}]},
        "result": {"messages": [_with_block("tool_result", tool_use_id="1", content=many)]},
        "document": {
            "messages": [_with_block("document", source={"type": "content", "content": many})]
        },
    }[inside]
    error = refused(orjson.dumps({"model": "m", "max_tokens": 1, "messages": [USER], **fields}))
    assert (error.param or "").partition("[")[0] == next(iter(fields))


def _with_block(kind: str, **members: Any) -> Json:
    return {"role": "user", "content": [{"type": kind, **members}]}


def chat_answer(**fields: Any) -> Answer:
    message = {"role": "assistant", "content": "Paris", "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "length"}
    chat = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt"}
    payload = {**chat, "choices": [choice], **fields}
    return Answer(orjson.dumps(payload), payload)


def body_of(answer: Answer) -> bytes:
    return FORMAT.answer(parsed(), answer, ENTRY)


USAGE: Json = {
    "prompt_tokens": 30,
    "completion_tokens": 4,
    "total_tokens": 34,
    "prompt_tokens_details": {"cached_tokens": 20},
}


def test_an_answer_is_a_message_with_its_cost() -> None:
    body = body_of(chat_answer(usage=USAGE))
    message = check_message(orjson.loads(body))
    assert (message.id, message.model, message.stop_reason) == ("chatcmpl-1", "gpt", "max_tokens")
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (10, 20)
    assert message.usage.output_tokens == 4
    assert COST in body


@pytest.mark.parametrize("usage", [{}, {"usage": None}, {"usage": {}}], ids=str)
def test_usage_that_nobody_reported_is_ours(usage: Json) -> None:
    told = orjson.loads(body_of(chat_answer(**usage)))["usage"]
    assert (told["input_tokens"], told["output_tokens"]) == (3, 4)
    assert told["cost_details"]["usage_source"] == "estimated"


def test_an_answer_without_an_id_gets_the_requests() -> None:
    assert orjson.loads(body_of(chat_answer(id=None)))["id"] == "msg_1"


def test_what_a_backend_that_speaks_messages_says_is_kept_around_the_cost() -> None:
    raw = b'{"id":"msg_9", "content":[ {"text":"\\u00e9", "p": 1.50}], "usage": {"x": 1e2}}'
    body = body_of(Answer(raw, orjson.loads(raw), wire="messages"))
    before, after = raw[: raw.index(b'"x"')], raw[raw.index(b'"x"') :]
    assert body.startswith(before + COST)
    assert body.endswith(after)


@pytest.mark.parametrize("usage", [{}, {"usage": None}, {"usage": []}], ids=str)
def test_a_message_that_nobody_counted_has_usage_in_its_own_words(usage: Json) -> None:
    payload = {"id": "msg_9", "type": "message", "content": [], **usage}
    told = orjson.loads(body_of(Answer(orjson.dumps(payload), payload, wire="messages")))["usage"]
    assert (told["input_tokens"], told["output_tokens"]) == (3, 4)
    assert "prompt_tokens" not in told


DEEP_ARGUMENTS = '{"a":' * 400 + "1" + "}" * 400


@pytest.mark.parametrize(
    "choices",
    [
        *(5, "x", {}, [5], [{"message": 5}], [{"message": {"tool_calls": [5]}}]),
        [{"message": {"tool_calls": [{"function": 5}]}}],
        [{"message": {"content": 5, "thinking_blocks": 7}}],
        [{"message": {"tool_calls": [{"id": "1", "function": {"arguments": DEEP_ARGUMENTS}}]}}],
    ],
    ids=lambda choices: str(choices)[:40],
)
@pytest.mark.parametrize("usage", [USAGE, {"prompt_tokens": "x", "prompt_tokens_details": 5}])
def test_a_malformed_answer_is_a_message_or_the_upstreams_fault(choices: Any, usage: Json) -> None:
    try:
        body = body_of(chat_answer(choices=choices, usage=usage))
    except UpstreamUnavailable:
        return
    check_message(orjson.loads(body))


def chunk(delta: object, reason: str | None = None, **fields: Any) -> Json:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    chat = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt"}
    return {**chat, "choices": [choice], **fields}


def framed(*payloads: Json) -> bytes:
    return b"".join(b"data: " + orjson.dumps(payload) + b"\n\n" for payload in payloads)


def sent(*items: Item) -> list[Json]:
    """The events of a stream that ended well, parsed; the vendor knows each."""
    events = FORMAT.stream(parsed(stream=True), ENTRY)
    frames = b"".join([*(events.frames(item) for item in items), events.finish()])
    told: list[Json] = []
    for event in frames.split(b"\n\n")[:-1]:
        kind, data = event.split(b"\n")
        told.append(orjson.loads(data.removeprefix(b"data: ")))
        assert kind.removeprefix(b"event: ").decode() == told[-1]["type"]
        check(EVENT, told[-1])
    return told


TEXT = Chunk(framed(chunk({"role": "assistant", "content": ""}), chunk({"content": "Paris"})), 2)
STOP = Chunk(framed(chunk({}, "stop")))


def test_a_stream_is_anthropics_events() -> None:
    usage = {**chunk({}), "choices": [], "usage": USAGE}
    events = sent(TEXT, STOP, Chunk(framed(usage), 0, Usage(30, 4, 20), usage))
    assert [event["type"] for event in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[0]["message"]["id"] == "chatcmpl-1"
    assert events[0]["message"]["usage"]["input_tokens"] > 0
    last = events[4]["usage"]
    assert (last["input_tokens"], last["cache_read_input_tokens"]) == (10, 20)
    assert (last["output_tokens"], last["cost"]) == (4, pytest.approx(0.00000012345678))


def test_a_stream_that_nobody_counted_ends_with_an_estimate() -> None:
    events = sent(TEXT, STOP)
    assert (events[-2]["usage"]["input_tokens"], events[-2]["usage"]["output_tokens"]) == (3, 4)


def test_reported_usage_of_nothing_is_no_estimate() -> None:
    nothing = {"prompt_tokens": 0, "completion_tokens": 0}
    usage = {**chunk({}, "stop"), "usage": nothing}
    told = sent(TEXT, Chunk(framed(usage), 1, Usage(0, 0), usage))[-2]["usage"]
    assert (told["input_tokens"], told["output_tokens"]) == (0, 0)


def test_a_stream_without_ids_gets_the_requests() -> None:
    events = sent(Chunk(framed({"choices": [{"delta": {"content": "x"}}]})))
    assert events[0]["message"]["id"] == "msg_1"


def test_content_in_parts_is_text() -> None:
    events = sent(Chunk(framed(chunk({"content": [{"type": "text", "text": "Paris"}, 5]}))), STOP)
    assert [event["delta"] for event in events if event["type"] == "content_block_delta"] == [
        {"type": "text_delta", "text": "Paris"}
    ]


def test_an_answer_in_one_piece_is_a_whole_stream() -> None:
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    choice = {"message": {"content": "Paris", "tool_calls": calls}, "finish_reason": "tool_calls"}
    events = sent(chat_answer(choices=[choice], usage=USAGE))
    kinds = [event["content_block"]["type"] for event in events if "content_block" in event]
    assert kinds == ["text", "tool_use"]
    assert events[-2]["delta"]["stop_reason"] == "tool_use"
    assert events[-2]["usage"]["output_tokens"] == 4


def test_a_stream_in_its_own_wire_is_kept_around_the_cost() -> None:
    events = FORMAT.stream(parsed(stream=True), ENTRY)
    own = b'event: ping\ndata: {"type": "ping",  "x": 1.50}\n\n'
    assert events.frames(Chunk(own, wire="messages")) == own
    data = b'{"type": "message_delta", "usage": {"x": 1.50}, "y": "\\u00e9"}'
    raw, payload = b"event: message_delta\ndata: %b\n\n" % data, orjson.loads(data)
    told = events.frames(Chunk(raw, 0, Usage(3, 4), payload, wire="messages"))
    before, after = raw[: raw.index(b'"x"')], raw[raw.index(b'"x"') :]
    assert told.startswith(before + COST)
    assert told.endswith(after)
    assert events.finish() == b""


def test_usage_with_a_cost_of_its_own_is_written_anew() -> None:
    payload = {"type": "message_delta", "usage": {"output_tokens": 4, "cost": 9}}
    raw = b"event: message_delta\n" + framed(payload)
    events = FORMAT.stream(parsed(stream=True), ENTRY)
    told = events.frames(Chunk(raw, 0, Usage(3, 4), payload, wire="messages"))
    assert told.startswith(b'event: message_delta\ndata: {"type":"message_delta",')
    assert b'"cost":0.00000012345678' in told
    assert b'"cost":9' not in told


@pytest.mark.parametrize(
    "event",
    [
        *({"choices": 5}, {"choices": [5]}, chunk(5), chunk({"tool_calls": 5})),
        *(chunk({"tool_calls": [5]}), chunk({"tool_calls": [{"function": 5}]})),
        *(chunk({"tool_calls": [{"index": {"x": 1}}]}), chunk({"thinking_blocks": [5]})),
    ],
    ids=range(8),
)
def test_an_event_that_is_no_chunk_breaks_the_stream(event: Json) -> None:
    events = FORMAT.stream(parsed(stream=True), ENTRY)
    with pytest.raises(StreamInterrupted):
        events.frames(Chunk(framed(event)))


def test_an_event_with_usage_and_no_type_breaks_the_stream() -> None:
    payload: Json = {"usage": {"cost": 1}}
    events = FORMAT.stream(parsed(stream=True), ENTRY)
    with pytest.raises(StreamInterrupted):
        events.frames(Chunk(framed(payload), 0, Usage(3, 4), payload, wire="messages"))


def test_a_stream_that_breaks_ends_with_an_error() -> None:
    events = FORMAT.stream(parsed(stream=True), ENTRY)
    kind, data = events.fail(StreamInterrupted("It broke.")).removesuffix(b"\n\n").split(b"\n")
    assert kind == b"event: error"
    assert orjson.loads(data.removeprefix(b"data: ")) == {
        "type": "error",
        "error": {"type": "api_error", "message": "It broke."},
        "request_id": "req_1",
    }
