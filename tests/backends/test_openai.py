"""The remote backend against the vendor simulator, over real sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import orjson
import pytest

from gateway.api.completions import CompletionsFormat
from gateway.api.parse import parse_chat
from gateway.backends.http1 import Timeouts
from gateway.backends.openai import OpenAIBackend
from gateway.backends.sse import event_data
from gateway.core.answer import Answer, Chunk, Item
from gateway.core.cascade import Cascade
from gateway.core.deployment import Deployment, Tier
from gateway.core.errors import (
    StreamInterrupted,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from gateway.core.request import Caller, ChatRequest
from tests.gateway_process import free_port
from tests.vendor.behaviour import ANSWER, USAGE, Behaviour
from tests.vendor.fixture import RunningVendor

KEY = "sk-ours"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
GPT = Deployment("gpt", Tier.LARGE, "openai", "gpt-4o")


@pytest.fixture
async def backend(vendor: RunningVendor) -> AsyncIterator[OpenAIBackend]:
    backend = OpenAIBackend(
        base_url=vendor.base_url,
        api_key=KEY,
        timeouts=Timeouts(first_byte_s=0.5, idle_s=0.3),
        max_response_bytes=1_000_000,
        extra_headers={"X-Team": "search"},
    )
    await backend.start()
    yield backend
    await backend.stop()


def request(*, stream: bool = False, **fields: Any) -> ChatRequest:
    messages = [{"role": "user", "content": "Prove it."}]
    return parse_chat(
        orjson.dumps({"model": "auto", "messages": messages, "stream": stream, **fields})
    )


async def collect(backend: OpenAIBackend, chat: ChatRequest) -> list[Item]:
    async with aclosing(backend.call(chat, GPT, Caller("req_1", traceparent=TRACEPARENT))) as it:
        return [item async for item in it]


async def answer_of(backend: OpenAIBackend) -> Answer:
    (item,) = await collect(backend, request())
    assert isinstance(item, Answer)
    return item


async def chunks_of(backend: OpenAIBackend) -> list[Chunk]:
    items = await collect(backend, request(stream=True))
    return [item for item in items if isinstance(item, Chunk)]


def text_of(chunks: list[Chunk]) -> str:
    payloads = [orjson.loads(d) for chunk in chunks for d in event_data(chunk.frames)]
    return "".join(
        choice["delta"].get("content", "") for p in payloads for choice in p["choices"]
    ).strip()


async def test_a_plain_answer(backend: OpenAIBackend, vendor: RunningVendor) -> None:
    answer = await answer_of(backend)
    assert answer.payload["choices"][0]["message"]["content"] == ANSWER
    assert answer.model_served == "gpt-4o-2024-08-06"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.cached_tokens) == (11, 4)
    (received,) = vendor.received
    assert received.body == {**request().payload, "model": "gpt-4o"}


async def test_only_our_own_headers_go_upstream(
    backend: OpenAIBackend, vendor: RunningVendor
) -> None:
    await answer_of(backend)
    headers = vendor.received[0].headers
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["x-team"] == "search"
    assert headers["traceparent"] == TRACEPARENT
    assert not [name for name in headers if name.startswith("x-gateway")]
    assert "cookie" not in headers


async def test_cookies_are_not_kept(backend: OpenAIBackend, vendor: RunningVendor) -> None:
    vendor.will(Behaviour(headers={"set-cookie": "a=b"}))
    await answer_of(backend)
    await answer_of(backend)
    assert "cookie" not in vendor.received[1].headers


async def test_a_stream(backend: OpenAIBackend, vendor: RunningVendor) -> None:
    chunks = await chunks_of(backend)
    assert text_of(chunks) == ANSWER
    last = chunks[-1]
    assert last.usage is not None
    assert last.usage.completion_tokens == 7
    assert last.payload is not None
    assert last.payload["choices"] == []
    assert chunks[0].model_served == "gpt-4o-2024-08-06"
    assert vendor.received[0].body["stream_options"] == {"include_usage": True}
    assert not any(b"[DONE]" in chunk.frames for chunk in chunks)


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(byte_by_byte=True),
        Behaviour(line_end="\r\n"),
        Behaviour(line_end="\r\n", byte_by_byte=True),
        Behaviour(comments=True),
        Behaviour(done_mark=False),
        Behaviour(usage_in_every_chunk=True),
        Behaviour(usage_with_choices=True),
    ],
    ids=repr,
)
async def test_an_odd_stream_is_read_right(
    backend: OpenAIBackend, vendor: RunningVendor, behaviour: Behaviour
) -> None:
    vendor.will(behaviour)
    chunks = await chunks_of(backend)
    assert text_of(chunks) == ANSWER
    usages = [chunk.usage for chunk in chunks if chunk.usage is not None]
    assert usages[-1].prompt_tokens == USAGE["prompt_tokens"]
    assert all(chunk.frames.endswith(b"\n\n") and b"\r" not in chunk.frames for chunk in chunks)


async def test_a_stream_without_usage(backend: OpenAIBackend, vendor: RunningVendor) -> None:
    vendor.will(Behaviour(usage=None))
    chunks = await chunks_of(backend)
    assert text_of(chunks) == ANSWER
    assert all(chunk.usage is None for chunk in chunks)
    assert sum(chunk.events for chunk in chunks) >= len(ANSWER.split())


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(drop_after=3),
        Behaviour(stall_after=3),
        Behaviour(error_after=3),
        Behaviour(done_mark=False, finish=False, usage=None),
    ],
    ids=repr,
)
async def test_a_stream_that_breaks_is_interrupted(
    backend: OpenAIBackend, vendor: RunningVendor, behaviour: Behaviour
) -> None:
    vendor.will(behaviour)
    got: list[Item] = []
    with pytest.raises(StreamInterrupted):
        async with aclosing(backend.call(request(stream=True), GPT, Caller("r"))) as items:
            async for item in items:
                got.append(item)  # noqa: PERF401 (kept when the iteration fails)
    assert got


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (Behaviour(drop=True), UpstreamUnavailable),
        (Behaviour(delay_s=2), UpstreamTimeout),
        (Behaviour(body=b"{broken"), UpstreamUnavailable),
        (Behaviour(body=b"[1]"), UpstreamUnavailable),
        (Behaviour(body=b"<html></html>", content_type="text/html"), UpstreamUnavailable),
        (Behaviour(body=b'{"error": {"message": "in disguise"}}'), UpstreamError),
        (Behaviour(status=302, headers={"location": "http://127.0.0.2/"}), UpstreamError),
        (Behaviour(status=429, headers={"retry-after": "7"}), UpstreamError),
        (Behaviour(status=500, body=b"oops", content_type="text/plain"), UpstreamError),
        (Behaviour(body=b'{"x": "' + b"y" * 1_500_000 + b'"}'), UpstreamUnavailable),
    ],
    ids=repr,
)
async def test_a_failure_before_the_first_item(
    backend: OpenAIBackend,
    vendor: RunningVendor,
    behaviour: Behaviour,
    kind: type[Exception],
    stream: bool,
) -> None:
    vendor.will(behaviour)
    with pytest.raises(kind):
        await collect(backend, request(stream=stream))
    assert len(vendor.received) == 1


async def test_the_vendors_refusal_is_told(backend: OpenAIBackend, vendor: RunningVendor) -> None:
    vendor.will(Behaviour(status=429, headers={"retry-after": "7"}))
    with pytest.raises(UpstreamError) as caught:
        await answer_of(backend)
    error = caught.value
    assert (error.message, error.status, error.retry_after_s) == ("simulated 429", 429, 7)
    assert (error.error_type, error.param, error.code) == ("simulated", "p", "c")


TEXTS = replace(GPT, wires=frozenset({"chat", "completions"}))


def text(**fields: Any) -> ChatRequest:
    return CompletionsFormat().parse(orjson.dumps({"model": "auto", "prompt": "Once", **fields}))


@pytest.mark.parametrize("stream", [True, False])
async def test_a_text_is_completed_by_an_upstream_that_can(
    vendor: RunningVendor, stream: bool
) -> None:
    backend = OpenAIBackend(
        base_url=vendor.base_url, api_key=KEY, max_tokens_field="max_completion_tokens"
    )
    await backend.start()
    calls = ((text(stream=stream), TEXTS), (text(stream=stream), GPT), (request(), TEXTS))
    for asked, deployment in calls:
        async with aclosing(backend.call(asked, deployment, Caller("r"))) as items:
            wires = {item.wire async for item in items}
        is_text = asked.wire == "completions" and deployment is TEXTS
        assert wires == ({"completions"} if is_text else {"chat"})
    await backend.stop()
    as_text, as_chat, chat = vendor.received
    assert [one.path for one in (as_text, as_chat, chat)] == [
        "/v1/completions",
        "/v1/chat/completions",
        "/v1/chat/completions",
    ]
    options = {"stream_options": {"include_usage": True}} if stream else {}
    expected = {"model": "gpt-4o", "stream": stream, **options}
    assert as_text.body == {**expected, "prompt": "Once", "max_tokens": 16}
    messages = [{"role": "user", "content": "Once"}]
    assert as_chat.body == {**expected, "messages": messages, "max_completion_tokens": 16}


@pytest.mark.parametrize("stream", [True, False])
async def test_no_cascade_watches_a_text(
    backend: OpenAIBackend, vendor: RunningVendor, stream: bool
) -> None:
    cascade = Cascade(4, 0.9)
    call = backend.call(text(stream=stream), TEXTS, Caller("r"), cascade=cascade)
    async with aclosing(call) as items:
        confidences = {item.confidence async for item in items}
    assert confidences == {None}
    assert "logprobs" not in vendor.received[0].body


async def test_nobody_listening() -> None:
    backend = OpenAIBackend(base_url=f"http://127.0.0.1:{free_port()}/v1", api_key=None)
    await backend.start()
    with pytest.raises(UpstreamUnavailable):
        await answer_of(backend)
    await backend.stop()


async def test_closing_early_closes_upstream(backend: OpenAIBackend, vendor: RunningVendor) -> None:
    vendor.will(Behaviour(chunks=200, chunk_delay_s=0.05))
    items = backend.call(request(stream=True), GPT, Caller("r"))
    await anext(items)
    await items.aclose()
    assert await asyncio.to_thread(vendor.wait_for_early_close) < 1


async def test_cancelling_before_the_first_byte_closes_upstream(
    backend: OpenAIBackend, vendor: RunningVendor
) -> None:
    vendor.will(Behaviour(delay_s=0.4))
    call = asyncio.create_task(answer_of(backend))
    await asyncio.sleep(0.1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await asyncio.to_thread(vendor.wait_for_early_close) < 1


@pytest.mark.parametrize("body", [b"data: [DONE]\n\n", b"data: [DONE]", b": ping\n\n"])
async def test_a_stream_that_holds_no_answer_is_none(
    backend: OpenAIBackend, vendor: RunningVendor, body: bytes
) -> None:
    vendor.always(Behaviour(body=body, content_type="text/event-stream"))
    with pytest.raises(UpstreamUnavailable):
        await chunks_of(backend)


async def test_half_an_event_at_the_end_is_not_sent_on(
    backend: OpenAIBackend, vendor: RunningVendor
) -> None:
    whole = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
    half = b'data: {"choices":[{"index":0,"del'
    vendor.always(Behaviour(body=whole + half, content_type="text/event-stream"))
    frames = b""
    with pytest.raises(StreamInterrupted):
        async for item in backend.call(request(stream=True), GPT, Caller("r")):
            assert isinstance(item, Chunk)
            frames += item.frames
    assert frames == whole
