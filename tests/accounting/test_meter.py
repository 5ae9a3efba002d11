from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest

from gateway.accounting.meter import Meter
from gateway.accounting.pricing import cost_of
from gateway.accounting.row import row_of
from gateway.api.parse import parse_chat
from gateway.core.answer import Answer, Chunk, Item
from gateway.core.deployment import Deployment, Tier
from gateway.core.entry import LedgerEntry
from gateway.core.price import Price
from gateway.core.usage import Usage

CLAUDE = Deployment("claude", Tier.LARGE, "anthropic", "claude")
OPENING = Usage(1000, 1, cached_tokens=900, source="estimated")


def entry_after(*items: Item, ended: bool, deployment: Deployment = CLAUDE) -> LedgerEntry:
    body = {"model": "claude", "messages": [{"role": "user", "content": "Hi."}], "stream": True}
    entry = LedgerEntry(
        request_id="req_1",
        attempt=1,
        ts=datetime.now(UTC),
        endpoint="/v1/messages",
        model_requested="claude",
        deployment="claude",
        tier="large",
        reason="pinned",
        router_version="r",
        stream=True,
    )
    meter = Meter(parse_chat(orjson.dumps(body)), deployment, entry, cost_of)
    for item in items:
        meter.observe(item)
    if ended:
        meter.end("ok", 200)
    meter.settle()
    return entry


def test_a_stream_that_is_cut_has_used_what_its_beginning_told_and_what_came_since() -> None:
    entry = entry_after(Chunk(b"", 0, OPENING), *[Chunk(b"", 10)] * 3, ended=False)
    assert entry.usage == Usage(1000, 30, cached_tokens=900, source="estimated")


def test_the_last_word_on_usage_is_the_upstreams() -> None:
    reported = Usage(1000, 20, cached_tokens=900)
    chunks = (Chunk(b"", 0, OPENING), Chunk(b"", 30), Chunk(b"", 0, reported, {"usage": {}}))
    assert entry_after(*chunks, ended=True).usage == reported
    assert entry_after(*chunks, ended=False).usage == reported


def test_a_stream_that_nobody_counts_is_estimated() -> None:
    entry = entry_after(Chunk(b"", 5), ended=True)
    assert entry.usage is not None
    assert (entry.usage.completion_tokens, entry.usage.source) == (5, "estimated")


def usage_estimated_of(payload: dict[str, Any]) -> Usage:
    answer = Answer(orjson.dumps(payload), payload)
    answer.wire = "messages" if payload.get("type") == "message" else "chat"
    entry = entry_after(answer, ended=False)
    assert entry.usage is not None
    assert entry.usage.source == "estimated"
    return entry.usage


@pytest.mark.parametrize(
    "payload",
    [
        {"choices": [{"message": {"content": "Good day"}}]},
        {"choices": [{"text": "Good day"}]},
        {"type": "message", "content": [{"type": "text", "text": "Good day"}]},
    ],
)
def test_an_answer_that_nobody_counts_is_estimated_in_every_wire(payload: dict[str, Any]) -> None:
    assert usage_estimated_of(payload).completion_tokens == 4 + 2


@pytest.mark.parametrize("payload", [{"choices": 5}, {"choices": [1]}, {"data": []}])
def test_an_answer_without_text_has_no_tokens(payload: dict[str, Any]) -> None:
    assert usage_estimated_of(payload).completion_tokens == 0


@pytest.mark.parametrize("count", [1e308, 2**64, float("inf"), float("nan"), -1, "3", None])
def test_a_count_that_is_none_is_recorded_all_the_same(count: object) -> None:
    usage = Usage.from_wire({"prompt_tokens": count, "completion_tokens": 2})
    priced = replace(CLAUDE, price=Price("p", Decimal(3), Decimal(15)))
    entry = entry_after(Chunk(b"", 0, usage), ended=True, deployment=priced)
    assert row_of(entry)["outcome"] == "ok"
    # 2**53 tokens would cost more than any call does.
    assert (entry.cost.usd is None) == (usage.prompt_tokens > 0)


@pytest.mark.parametrize("usage", [{}, {"prompt_tokens": 0}, {"prompt_tokens": "3"}])
@pytest.mark.parametrize("stream", [False, True])
def test_usage_that_counts_nothing_is_no_price_of_zero(usage: dict[str, Any], stream: bool) -> None:
    payload = {"choices": [{"message": {"content": "Good day"}}], "usage": usage}
    told = Usage.from_wire(usage)
    item = Chunk(b"", 3, told) if stream else Answer(b"", payload, usage=told)
    priced = replace(CLAUDE, price=Price("p", Decimal(3), Decimal(15)))
    entry = entry_after(item, ended=True, deployment=priced)
    assert entry.usage is not None
    assert entry.usage.source == "estimated"
    assert entry.usage.completion_tokens == (3 if stream else 6)
    assert entry.cost.usd
