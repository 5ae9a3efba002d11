"""The cascade from the router to the entries; the vendor simulator is both tiers."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from decimal import Decimal
from typing import Any

import orjson
import pytest

from gateway.accounting.pricing import cost_of
from gateway.api.parse import parse_chat
from gateway.backends.openai import OpenAIBackend
from gateway.core.answer import Answer, Item
from gateway.core.cascade import Cascade
from gateway.core.deployment import Deployment, Tier
from gateway.core.entry import LedgerEntry
from gateway.core.errors import DeadlinePassed, UpstreamError
from gateway.core.price import Price
from gateway.core.request import Caller, ChatRequest
from gateway.pipeline import Pipeline, Reply
from gateway.resilience.breaker import BreakerSettings
from gateway.resilience.health import Capacity, Health
from gateway.routing.capability import CapabilityFilter
from gateway.routing.classifier import load_scorer
from gateway.routing.policy import FixedThreshold, Policy
from gateway.routing.router import Fallback, Router
from tests.vendor.behaviour import ANSWER, Behaviour
from tests.vendor.fixture import RunningVendor

PRICE = Price("config:test", Decimal(1), Decimal(2))
SMALL = Deployment("small", Tier.SMALL, "openai", "small", price=PRICE)
LARGE = Deployment("large", Tier.LARGE, "openai", "large", price=PRICE)
SURE = Behaviour(text="a b c d", logprobs=[math.log(0.9)] * 4)
UNSURE = Behaviour(text="a b c d", logprobs=[math.log(0.3)] * 4)
DOWN = Behaviour(status=503)


class Entries:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.kept: list[LedgerEntry] = []

    def put(self, entry: LedgerEntry) -> None:
        self.kept.append(entry)

    def start(self) -> None: ...

    def stop(self) -> None: ...


@pytest.fixture
def entries() -> Entries:
    return Entries()


@pytest.fixture
async def backend(vendor: RunningVendor) -> AsyncIterator[OpenAIBackend]:
    backend = OpenAIBackend(base_url=vendor.base_url, api_key=None)
    await backend.start()
    yield backend
    await backend.stop()


def pipeline(
    backend: OpenAIBackend,
    entries: Entries,
    fallback: Fallback = "none",
    *,
    keep_messages: bool = False,
    deadline_s: float = 120,
    health: Health | None = None,
) -> Pipeline:
    router = Router(
        deployments=[SMALL, LARGE],
        policies={"watched": Policy("watched", FixedThreshold(1.0), cascade=Cascade(2, 0.6))},
        default_policy="watched",
        scorer=load_scorer(),
        capability_filter=CapabilityFilter({}, 256),
        fallback=fallback,
    )
    return Pipeline(
        router=router,
        backends={"small": backend, "large": backend},
        health=(health or Health()).of(
            BreakerSettings(failures=1), dict.fromkeys(("small", "large"), Capacity())
        ),
        deadline_s=deadline_s,
        price_call=cost_of,
        sink=entries,
        retries={},
        keep_messages=keep_messages,
    )


def request(*, stream: bool) -> ChatRequest:
    body = {"model": "auto", "messages": [{"role": "user", "content": "Hi"}], "stream": stream}
    return parse_chat(orjson.dumps(body))


async def answered(serving: Pipeline, *, stream: bool) -> tuple[Reply, list[Item]]:
    reply = await serving.answer(request(stream=stream), Caller("req_1"))
    async with aclosing(reply.rest) as rest:
        return reply, [reply.first, *[item async for item in rest]]


def story_of(entries: Entries) -> list[tuple[int, str, str, str, int]]:
    return [
        (one.attempt, one.deployment, one.reason, one.outcome, one.status) for one in entries.kept
    ]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_sure_answer_is_one_entry_with_its_confidence(
    backend: OpenAIBackend, entries: Entries, vendor: RunningVendor, *, stream: bool
) -> None:
    vendor.will(SURE)
    await answered(pipeline(backend, entries), stream=stream)
    assert story_of(entries) == [(1, "small", "below_threshold", "ok", 200)]
    assert entries.kept[0].confidence == pytest.approx(0.9)


@pytest.mark.parametrize("stream", [False, True])
async def test_both_legs_of_an_escalation_are_entries_of_one_request(
    backend: OpenAIBackend, entries: Entries, vendor: RunningVendor, *, stream: bool
) -> None:
    vendor.will(UNSURE)
    reply, items = await answered(pipeline(backend, entries), stream=stream)
    assert story_of(entries) == [
        (1, "small", "below_threshold", "cancelled", 200),
        (2, "large", "escalated", "ok", 200),
    ]
    small, large = entries.kept
    assert reply.entry is large
    assert {small.request_id, large.request_id} == {"req_1"}
    assert small.confidence == pytest.approx(0.3)
    assert large.earlier_usd == small.cost.usd
    assert large.confidence is None
    assert small.usage is not None
    assert small.cost.usd is not None
    assert small.cost.usd > 0
    assert small.ttft_ms is None
    assert (small.score, small.threshold) == (large.score, large.threshold)
    if not stream:
        assert isinstance(items[0], Answer)
        assert items[0].payload["choices"][0]["message"]["content"] == ANSWER
    asked_small, asked_large = vendor.received
    assert asked_small.body["logprobs"] is True
    assert "logprobs" not in asked_large.body


@pytest.mark.parametrize("failure", [DOWN, Behaviour(status=400), Behaviour(drop=True)])
@pytest.mark.parametrize("fallback", ["none", "any_tier"])
async def test_when_the_large_tier_fails_the_small_one_answers_unwatched(
    backend: OpenAIBackend,
    entries: Entries,
    vendor: RunningVendor,
    failure: Behaviour,
    fallback: Fallback,
) -> None:
    vendor.will(UNSURE, failure, UNSURE)
    reply, _ = await answered(pipeline(backend, entries, fallback), stream=True)
    assert [step[1:4] for step in story_of(entries)] == [
        ("small", "below_threshold", "cancelled"),
        ("large", "escalated", "upstream_error"),
        ("small", "fallback", "ok"),
    ]
    assert reply.entry.confidence is None
    assert "logprobs" not in vendor.received[2].body


async def test_when_all_fail_the_client_hears_of_the_last_failure(
    backend: OpenAIBackend, entries: Entries, vendor: RunningVendor
) -> None:
    vendor.will(UNSURE, DOWN, DOWN)
    with pytest.raises(UpstreamError) as failed:
        await answered(pipeline(backend, entries), stream=False)
    assert failed.value.exhausted
    assert len(entries.kept) == 3


async def test_a_client_that_leaves_while_the_answer_is_held(
    backend: OpenAIBackend, entries: Entries, vendor: RunningVendor
) -> None:
    vendor.will(Behaviour(text="a b c d", logprobs=[-1.0] * 4, stall_after=2))
    asking = asyncio.create_task(answered(pipeline(backend, entries), stream=True))
    while not vendor.received:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert story_of(entries) == [(1, "small", "below_threshold", "cancelled", 499)]
    assert entries.kept[0].usage is not None
    assert await asyncio.to_thread(vendor.wait_for_early_close) < 3


@pytest.mark.parametrize(
    ("content", "kept"), [("Hi", True), ("x" * 70_000, False), ([[[]]], False)]
)
async def test_messages_are_kept_unless_they_are_too_long_or_too_deep(
    backend: OpenAIBackend, entries: Entries, content: Any, *, kept: bool
) -> None:
    message: dict[str, Any] = {"role": "user", "content": "Hi"}
    if isinstance(content, list):
        for _ in range(600):
            content = [content]
        message["x"] = content
    else:
        message["content"] = content
    serving = pipeline(backend, entries, keep_messages=True)
    asked = replace(request(stream=False), messages=[message])
    reply = await serving.answer(asked, Caller("req_1"))
    await reply.rest.aclose()
    assert (entries.kept[0].messages is not None) is kept


@pytest.mark.parametrize("stream", [False, True])
async def test_who_does_not_begin_before_the_deadline_has_failed(
    backend: OpenAIBackend, entries: Entries, vendor: RunningVendor, *, stream: bool
) -> None:
    vendor.will(Behaviour(delay_s=5))
    health = Health()
    serving = pipeline(backend, entries, deadline_s=0.2, health=health)
    with pytest.raises(DeadlinePassed):
        await serving.answer(request(stream=stream), Caller("req_1"))
    assert story_of(entries) == [(1, "small", "below_threshold", "timeout", 504)]
    assert health.breaker_states()["small"] == "open"
