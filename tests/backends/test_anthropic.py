"""The backend for Anthropic's API against the vendor simulator, over real sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import orjson
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gateway.api.parse import parse_chat
from gateway.backends.anthropic import AnthropicBackend
from gateway.backends.http1 import Timeouts
from gateway.backends.sse import event_data
from gateway.core.answer import Answer, Chunk, Item
from gateway.core.deployment import Deployment, Tier
from gateway.core.errors import (
    BackendError,
    InvalidRequest,
    StreamInterrupted,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from gateway.core.request import Caller, ChatRequest
from gateway.core.usage import Usage
from tests.vendor.behaviour import ANSWER, Behaviour
from tests.vendor.fixture import RunningVendor

KEY = "sk-ant-ours"
CLAUDE = Deployment("claude", Tier.LARGE, "anthropic", "claude-sonnet-4-5")
USAGE = Usage(
    14,
    9,
    cached_tokens=4,
    cache_write_tokens=3,
    cache_write_1h_tokens=1,
    service_tier="standard",
)
CALLS = [("weather", '{"city": "Oslo"}'), ("time", '{"zone": "CET"}')]


@pytest.fixture
async def backend(vendor: RunningVendor) -> AsyncIterator[AnthropicBackend]:
    backend = AnthropicBackend(
        base_url=vendor.base_url,
        api_key=KEY,
        timeouts=Timeouts(first_byte_s=0.5, idle_s=0.3),
        max_response_bytes=100_000,
    )
    await backend.start()
    yield backend
    await backend.stop()


def chat(*, stream: bool = False, **fields: Any) -> ChatRequest:
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi."}]
    body = {"model": "auto", "messages": messages, "stream": stream, **fields}
    return parse_chat(orjson.dumps(body))


def native(*, stream: bool = False) -> ChatRequest:
    raw = (
        b'{"max_tokens": 64, "model": "auto", "x_new": [1.50, "\\u00fc"], "stream": %s,'
        b' "messages": [{"role": "user", "content": "Hi."}]}'
    ) % (b"true" if stream else b"false")
    translated = chat(stream=stream)
    return ChatRequest(
        raw=translated.raw,
        payload=translated.payload,
        model="auto",
        messages=translated.messages,
        stream=stream,
        wire="messages",
        native=raw,
    )


async def collect(backend: AnthropicBackend, request: ChatRequest) -> list[Item]:
    async with aclosing(backend.call(request, CLAUDE, Caller("req_1"))) as items:
        return [item async for item in items]


async def chunks_of(backend: AnthropicBackend, request: ChatRequest) -> list[Chunk]:
    return [item for item in await collect(backend, request) if isinstance(item, Chunk)]


def payloads(chunks: list[Chunk]) -> list[dict[str, Any]]:
    return [orjson.loads(data) for chunk in chunks for data in event_data(chunk.frames)]


async def test_a_chat_is_translated_and_its_answer_too(
    backend: AnthropicBackend, vendor: RunningVendor
) -> None:
    vendor.always(Behaviour(tool_calls=CALLS, thinking="Let me see."))
    (answer,) = await collect(backend, chat(max_tokens=50, store=True, metadata={}))
    assert isinstance(answer, Answer)
    completion = ChatCompletion.model_validate(answer.payload)
    message = completion.choices[0].message
    assert message.content == ANSWER
    assert message.model_extra is not None
    assert message.model_extra["reasoning_content"] == "Let me see."
    assert [call.function.arguments for call in message.tool_calls or []] == [  # type: ignore[union-attr]
        '{"city":"Oslo"}',
        '{"zone":"CET"}',
    ]
    assert completion.choices[0].finish_reason == "tool_calls"
    assert (answer.model_served, answer.wire) == ("claude-sonnet-4-5-20250929", "chat")
    assert answer.ignored == ("store",)
    (received,) = vendor.received
    assert received.path == "/v1/messages"
    assert received.body["system"] == "Be brief."
    assert (received.body["model"], received.body["max_tokens"]) == ("claude-sonnet-4-5", 50)
    assert received.headers["x-api-key"] == KEY
    assert received.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in received.headers


@pytest.mark.parametrize("request_of", [chat, native])
async def test_usage_counts_what_the_cache_read_and_wrote(
    backend: AnthropicBackend, request_of: Any
) -> None:
    (plain,) = await collect(backend, request_of())
    assert plain.usage == USAGE
    streamed = await chunks_of(backend, request_of(stream=True))
    # All of the prompt is known before the answer.
    assert streamed[0].usage == replace(USAGE, completion_tokens=1, source="estimated")
    assert [chunk.usage for chunk in streamed if chunk.usage is not None][-1] == USAGE


@pytest.mark.parametrize("request_of", [chat, native])
async def test_nothing_is_reported_where_nobody_counts(
    backend: AnthropicBackend, vendor: RunningVendor, request_of: Any
) -> None:
    vendor.always(Behaviour(messages_usage=None))
    items = [
        *await collect(backend, request_of()),
        *await collect(backend, request_of(stream=True)),
    ]
    assert len(items) > 2
    assert all(item.usage is None for item in items)


@pytest.mark.parametrize("byte_by_byte", [False, True])
async def test_a_chat_streams(
    backend: AnthropicBackend, vendor: RunningVendor, byte_by_byte: bool
) -> None:
    vendor.always(Behaviour(tool_calls=CALLS, thinking="Hm.", byte_by_byte=byte_by_byte))
    chunks = await chunks_of(backend, chat(stream=True, prompt_cache_key="k"))
    parsed = [ChatCompletionChunk.model_validate(payload) for payload in payloads(chunks)]
    deltas = [choice.delta for chunk in parsed for choice in chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == ANSWER
    arguments = ["", ""]
    for delta in deltas:
        for call in delta.tool_calls or []:
            assert call.function is not None
            arguments[call.index] += call.function.arguments or ""
    assert arguments == [text for _, text in CALLS]
    assert parsed[-1].choices == []
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (14, 9)
    assert chunks[0].ignored == ("prompt_cache_key",)
    assert not any(chunk.ignored for chunk in chunks[1:])


async def test_its_own_wire_passes_untouched(
    backend: AnthropicBackend, vendor: RunningVendor
) -> None:
    vendor.always(Behaviour(extra={"x_vendor": {"deep": [1, 2.50]}}, thinking="Hm."))
    (answer,) = await collect(backend, native())
    assert isinstance(answer, Answer)
    assert answer.wire == "messages"
    assert answer.payload["x_vendor"] == {"deep": [1, 2.5]}
    sent = native().native or b""
    assert vendor.received[0].raw == sent.replace(b'"auto"', b'"%s"' % CLAUDE.model.encode())
    chunks = await chunks_of(backend, native(stream=True))
    assert {chunk.wire for chunk in chunks} == {"messages"}
    events = payloads(chunks)
    assert [event["type"] for event in events[:3]] == [
        "message_start",
        "ping",
        "content_block_start",
    ]
    assert events[-1] == {"type": "message_stop"}
    frames = b"".join(chunk.frames for chunk in chunks)
    assert frames.count(b"event: ") == len(events)


@pytest.mark.parametrize(
    ("status", "kind", "code", "retryable"),
    [
        (400, "invalid_request_error", "upstream_error", False),
        (401, "invalid_request_error", "invalid_api_key", False),
        (404, "invalid_request_error", "not_found", False),
        (429, "rate_limit_error", "rate_limit_exceeded", True),
        (500, "server_error", "upstream_error", True),
        (529, "server_error", "overloaded", True),
    ],
)
async def test_refusals_are_told_in_openais_words(
    backend: AnthropicBackend,
    vendor: RunningVendor,
    status: int,
    kind: str,
    code: str,
    retryable: bool,
) -> None:
    vendor.always(Behaviour(status=status, headers={"retry-after": "3"}))
    with pytest.raises(UpstreamError, match=f"simulated {status}") as refused:
        await collect(backend, chat())
    error = refused.value
    assert (error.status, error.error_type, error.code) == (status, kind, code)
    assert (error.retryable, error.retry_after_s) == (retryable, 3)


@pytest.mark.parametrize("request_of", [chat, native])
@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (Behaviour(drop=True), UpstreamUnavailable),
        (Behaviour(delay_s=2), UpstreamTimeout),
        (Behaviour(drop_after=4), StreamInterrupted),
        (Behaviour(stall_after=4), StreamInterrupted),
        (Behaviour(error_after=4), StreamInterrupted),
        (Behaviour(done_mark=False), StreamInterrupted),
        (Behaviour(body=b"[]"), UpstreamUnavailable),
        (Behaviour(body=b"data: 1\n\n", content_type="text/event-stream"), UpstreamUnavailable),
        (
            Behaviour(
                body=b'data: {"type": "message_start", "message": []}\n\n',
                content_type="text/event-stream",
            ),
            BackendError,
        ),
        (
            Behaviour(body=b'data: {"type": []}\n\n', content_type="text/event-stream"),
            BackendError,
        ),
    ],
)
async def test_a_broken_stream_is_no_answer(
    backend: AnthropicBackend,
    vendor: RunningVendor,
    request_of: Any,
    behaviour: Behaviour,
    expected: type[BackendError],
) -> None:
    vendor.always(behaviour)
    with pytest.raises(expected):
        await collect(backend, request_of(stream=True))


@pytest.mark.parametrize("request_of", [chat, native])
@pytest.mark.parametrize("opening", [1, 2], ids=["message_start", "ping"])
async def test_until_the_answer_begins_another_may_be_asked(
    backend: AnthropicBackend, vendor: RunningVendor, request_of: Any, opening: int
) -> None:
    vendor.will(Behaviour(error_after=opening))
    with pytest.raises(UpstreamError, match="simulated 529") as overloaded:
        await anext(backend.call(request_of(stream=True), CLAUDE, Caller("req_1")))
    assert overloaded.value.retryable
    vendor.will(Behaviour(drop_after=opening))
    with pytest.raises(UpstreamUnavailable):
        await anext(backend.call(request_of(stream=True), CLAUDE, Caller("req_1")))
    vendor.will(Behaviour(stall_after=opening))
    with pytest.raises(UpstreamTimeout):
        await anext(backend.call(request_of(stream=True), CLAUDE, Caller("req_1")))


@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_left_out_is_told(backend: AnthropicBackend, stream: bool) -> None:
    first, *_ = await collect(backend, chat(stream=stream, temperature=2, verbosity="low"))
    assert first.ignored == ("verbosity", "temperature")
    first, *_ = await collect(backend, native(stream=stream))
    assert first.ignored == ()


def test_what_it_has_no_words_for_is_named() -> None:
    backend = AnthropicBackend(base_url="http://127.0.0.1/v1", api_key=None)
    assert backend.unsupported_in(chat(stop="\n")) == "stop"
    assert backend.unsupported_in(chat(stop="END")) is None
    assert backend.unsupported_in(native()) is None


def deep(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


async def test_a_call_of_any_depth_is_sent(
    backend: AnthropicBackend, vendor: RunningVendor
) -> None:
    function = {"name": "f", "arguments": deep(300)}
    call = {"id": "t", "type": "function", "function": function}
    called = [{"role": "assistant", "content": None, "tool_calls": [call]}]
    result = [{"role": "tool", "tool_call_id": "t", "content": "x"}]
    asked = chat(messages=[{"role": "user", "content": "x"}, *called, *result])
    await collect(backend, asked)
    block = vendor.received[0].body["messages"][1]["content"][0]
    assert block["input"] == {"arguments": deep(300)}


async def test_a_chat_too_deep_to_be_written_is_the_clients_error(
    backend: AnthropicBackend,
) -> None:
    raw = chat(x_new="HERE").raw.replace(b'"HERE"', deep(300).encode())
    with pytest.raises(InvalidRequest, match="nested"):
        await collect(backend, parse_chat(raw))
    with pytest.raises(InvalidRequest, match="nested"):
        blocks = b'[{"type": "new", "x": %b}]' % deep(300).encode()
        await backend.count_tokens(
            parse_chat(chat().raw.replace(b'"Hi."', blocks)), CLAUDE, Caller("req_1")
        )


@pytest.mark.parametrize(
    "body", [b"nonsense", b"[]", b'{"content": 3}', b'{"content": [1]}', b'{"usage": {"a": []}}']
)
async def test_a_malformed_answer_is_the_upstreams_fault(
    backend: AnthropicBackend, vendor: RunningVendor, body: bytes
) -> None:
    vendor.always(Behaviour(body=body))
    try:
        (item,) = await collect(backend, chat())
    except UpstreamUnavailable:
        return
    assert isinstance(item, Answer)
    ChatCompletion.model_validate(item.payload)


async def test_an_error_never_repeats_our_key(
    backend: AnthropicBackend, vendor: RunningVendor
) -> None:
    told = {"type": "error", "error": {"type": "api_error", "message": f"bad {KEY}"}}
    vendor.always(Behaviour(status=500, body=orjson.dumps(told)))
    with pytest.raises(UpstreamError) as refused:
        await collect(backend, chat())
    assert KEY not in refused.value.message


async def test_leaving_early_hangs_up(backend: AnthropicBackend, vendor: RunningVendor) -> None:
    vendor.always(Behaviour(chunks=100, chunk_delay_s=0.05))
    items = backend.call(chat(stream=True), CLAUDE, Caller("req_1"))
    await anext(items)
    await items.aclose()
    assert await asyncio.to_thread(vendor.wait_for_early_close) < 2


async def test_tokens_are_counted_by_the_upstream(
    backend: AnthropicBackend, vendor: RunningVendor
) -> None:
    counted = await backend.count_tokens(native(), CLAUDE, Caller("req_1"))
    assert counted == len(vendor.received[0].raw)
    assert vendor.received[0].path == "/v1/messages/count_tokens"
    assert vendor.received[0].body.keys() == {"model", "messages"}
    await backend.count_tokens(chat(max_tokens=3), CLAUDE, Caller("req_1"))
    assert vendor.received[1].body.keys() == {"model", "messages", "system"}
    vendor.will(Behaviour(status=529))
    with pytest.raises(UpstreamError, match="simulated 529"):
        await backend.count_tokens(native(), CLAUDE, Caller("req_1"))


@pytest.mark.parametrize("name", [True, 3, ["claude"], {"a": 1}])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_s_name_that_is_no_text_is_none(
    backend: AnthropicBackend, vendor: RunningVendor, name: object, stream: bool
) -> None:
    message = {"id": name, "model": name, "content": [], "stop_reason": "end_turn"}
    opening = {"type": "message_start", "message": message}
    events = b"".join(
        b"data: %b\n\n" % orjson.dumps(event)
        for event in (opening, {"type": "content_block_stop"}, {"type": "message_stop"})
    )
    body = Behaviour(body=events, content_type="text/event-stream")
    vendor.always(body if stream else Behaviour(body=orjson.dumps(message)))
    items = await collect(backend, chat(stream=stream))
    assert items
    assert [item.model_served for item in items] == [None] * len(items)
