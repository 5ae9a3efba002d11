"""A cascade over a remote upstream: the backend against the vendor simulator, over real sockets."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import orjson
import pytest

from gateway.api.parse import parse_chat
from gateway.backends.http1 import Timeouts
from gateway.backends.openai import OpenAIBackend
from gateway.backends.sse import event_data
from gateway.core.answer import Answer, Chunk, Item
from gateway.core.cascade import Cascade
from gateway.core.deployment import Deployment, Tier
from gateway.core.errors import (
    LowConfidence,
    StreamInterrupted,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from gateway.core.request import Caller, ChatRequest
from tests.vendor.behaviour import Behaviour
from tests.vendor.fixture import RunningVendor

VLLM = Deployment("vllm", Tier.SMALL, "openai", "qwen")
MUTE = Deployment("mute", Tier.SMALL, "openai", "qwen", capabilities=frozenset())
TEXT = "one two three four five"
#: The first two tokens have the confidence 0.5, all five a higher one.
LOGPROBS = [math.log(p) for p in (0.25, 1, 1, 1, 1)]
ANSWERING = Behaviour(text=TEXT, logprobs=LOGPROBS)
COMMITS, GIVES_UP = Cascade(2, 0.4), Cascade(2, 0.6)


@pytest.fixture
async def backend(vendor: RunningVendor) -> AsyncIterator[OpenAIBackend]:
    backend = OpenAIBackend(
        base_url=vendor.base_url,
        api_key=None,
        timeouts=Timeouts(first_byte_s=0.5, idle_s=0.3),
    )
    vendor.always(ANSWERING)
    await backend.start()
    yield backend
    await backend.stop()


def request(*, stream: bool = False, **fields: Any) -> ChatRequest:
    messages = [{"role": "user", "content": "Count."}]
    body = {"model": "auto", "messages": messages, "stream": stream, **fields}
    return parse_chat(orjson.dumps(body))


async def collect(
    backend: OpenAIBackend,
    chat: ChatRequest,
    cascade: Cascade | None,
    deployment: Deployment = VLLM,
) -> list[Item]:
    calling = backend.call(chat, deployment, Caller("req_1"), cascade=cascade)
    async with aclosing(calling) as items:
        return [item async for item in items]


def choices_of(items: list[Item]) -> list[dict[str, Any]]:
    """What the client sees of all items."""
    payloads: list[dict[str, Any]] = []
    for item in items:
        if isinstance(item, Answer):
            payloads.append(orjson.loads(item.raw))
        else:
            payloads += [orjson.loads(data) for data in event_data(item.frames)]
    return [choice for payload in payloads for choice in payload["choices"]]


def text_of(items: list[Item]) -> str:
    parts = [choice.get("delta") or choice.get("message") for choice in choices_of(items)]
    return "".join(part.get("content", "") for part in parts if part).strip()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_sure_answer_is_what_it_is_unwatched(
    backend: OpenAIBackend, vendor: RunningVendor, *, stream: bool
) -> None:
    chat = request(stream=stream)
    unwatched = await collect(backend, chat, None)
    watched = await collect(backend, chat, COMMITS)
    assert text_of(watched) == text_of(unwatched) == TEXT
    assert not any(choice.get("logprobs") for choice in choices_of(watched))
    confidences = [item.confidence for item in watched if item.confidence is not None]
    assert confidences == [pytest.approx(0.5)]
    assert "logprobs" not in vendor.received[0].body
    assert vendor.received[1].body == {**vendor.received[0].body, "logprobs": True}
    last = watched[-1]
    assert last.usage is not None
    assert last.usage.completion_tokens == 7


@pytest.mark.parametrize("stream", [False, True])
async def test_an_unsure_answer_is_given_up(backend: OpenAIBackend, *, stream: bool) -> None:
    with pytest.raises(LowConfidence) as refused:
        await collect(backend, request(stream=stream), GIVES_UP)
    assert refused.value.confidence == pytest.approx(0.5)
    usage = refused.value.usage
    # A stream is cut once two tokens have come; what came in the same packet was used too.
    assert 2 <= usage.completion_tokens < 7 if stream else usage.completion_tokens == 7
    assert usage.source == ("estimated" if stream else "reported")


async def test_a_stream_is_given_up_at_once(backend: OpenAIBackend, vendor: RunningVendor) -> None:
    vendor.will(Behaviour(text=TEXT, logprobs=LOGPROBS, stall_after=3))
    with pytest.raises(LowConfidence):
        await collect(backend, request(stream=True), GIVES_UP)
    assert await asyncio.to_thread(vendor.wait_for_early_close) < 0.3


async def test_a_short_stream_is_judged_at_its_end(backend: OpenAIBackend) -> None:
    expected = math.exp(sum(LOGPROBS) / len(LOGPROBS))
    (first, *_) = await collect(backend, request(stream=True), Cascade(50, 0.7))
    assert first.confidence == pytest.approx(expected)
    with pytest.raises(LowConfidence) as refused:
        await collect(backend, request(stream=True), Cascade(50, 0.9))
    assert refused.value.usage.completion_tokens == 7
    assert refused.value.usage.source == "reported"


@pytest.mark.parametrize("stream", [False, True])
async def test_logprobs_that_the_client_asked_for_stay(
    backend: OpenAIBackend, vendor: RunningVendor, *, stream: bool
) -> None:
    items = await collect(backend, request(stream=stream, logprobs=True), COMMITS)
    found = [choice["logprobs"]["content"] for choice in choices_of(items) if "logprobs" in choice]
    assert [token["logprob"] for content in found for token in content] == LOGPROBS
    assert vendor.received[0].raw.count(b"logprobs") == 1


async def test_a_refusal_of_logprobs_by_the_client_is_overridden(
    backend: OpenAIBackend, vendor: RunningVendor
) -> None:
    items = await collect(backend, request(logprobs=False), COMMITS)
    assert vendor.received[0].body["logprobs"] is True
    assert items[0].confidence == pytest.approx(0.5)
    assert choices_of(items)[0]["logprobs"] is None


@pytest.mark.parametrize("stream", [False, True])
async def test_an_upstream_without_logprobs_is_trusted(
    backend: OpenAIBackend, vendor: RunningVendor, *, stream: bool
) -> None:
    vendor.will(Behaviour(text=TEXT))
    items = await collect(backend, request(stream=stream), GIVES_UP)
    assert text_of(items) == TEXT
    assert {item.confidence for item in items} == {None}


async def test_a_deployment_that_can_not_give_logprobs_is_not_asked(
    backend: OpenAIBackend, vendor: RunningVendor
) -> None:
    await collect(backend, request(stream=True), GIVES_UP, MUTE)
    assert "logprobs" not in vendor.received[0].body


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(text=TEXT, logprobs=LOGPROBS, byte_by_byte=True),
        Behaviour(text=TEXT, logprobs=LOGPROBS, line_end="\r\n", comments=True),
        Behaviour(text=TEXT, logprobs=LOGPROBS, usage_in_every_chunk=True),
        Behaviour(text=TEXT, logprobs=LOGPROBS, usage_with_choices=True, done_mark=False),
    ],
)
async def test_any_wire_form(
    backend: OpenAIBackend, vendor: RunningVendor, behaviour: Behaviour
) -> None:
    vendor.will(behaviour)
    items = await collect(backend, request(stream=True), COMMITS)
    assert text_of(items) == TEXT
    assert not any(choice.get("logprobs") for choice in choices_of(items))
    for item in items:
        assert isinstance(item, Chunk)
        shown = (item.payload or {}).get("choices", ())
        assert not any(choice.get("logprobs") for choice in shown)
    assert items[-1].usage is not None


@pytest.mark.parametrize(
    ("trouble", "kind", "is_late"),
    [
        ({"drop_after": 2}, UpstreamUnavailable, False),
        ({"error_after": 2}, None, False),
        ({"stall_after": 2}, UpstreamUnavailable, True),
        ({"delay_s": 2.0}, UpstreamTimeout, True),
    ],
)
async def test_trouble_while_held_allows_another_attempt(
    backend: OpenAIBackend,
    vendor: RunningVendor,
    trouble: dict[str, Any],
    kind: type[Exception] | None,
    *,
    is_late: bool,
) -> None:
    vendor.will(Behaviour(text=TEXT, logprobs=LOGPROBS, **trouble))
    with pytest.raises(kind or UpstreamUnavailable) as failed:
        await collect(backend, request(stream=True), Cascade(4, 0.4))
    assert failed.value.retryable  # type: ignore[attr-defined]
    assert failed.value.timed_out is is_late  # type: ignore[attr-defined]


async def test_trouble_after_that_interrupts(backend: OpenAIBackend, vendor: RunningVendor) -> None:
    vendor.will(Behaviour(text=TEXT, logprobs=LOGPROBS, drop_after=4))
    with pytest.raises(StreamInterrupted):
        await collect(backend, request(stream=True), COMMITS)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_upstream_that_refuses_logprobs_is_asked_again_without(
    backend: OpenAIBackend, vendor: RunningVendor, *, stream: bool
) -> None:
    vendor.will(Behaviour(status=400))
    items = await collect(backend, request(stream=stream), GIVES_UP)
    assert text_of(items) == TEXT
    assert items[0].confidence is None
    first, second = vendor.received
    assert first.body["logprobs"] is True
    assert "logprobs" not in second.body


async def test_a_client_s_own_logprobs_are_refused_once(
    backend: OpenAIBackend, vendor: RunningVendor
) -> None:
    vendor.will(Behaviour(status=400))
    with pytest.raises(UpstreamError):
        await collect(backend, request(logprobs=True), GIVES_UP)
    assert len(vendor.received) == 1
