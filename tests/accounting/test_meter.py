from datetime import UTC, datetime

import orjson

from gateway.accounting.meter import Meter
from gateway.accounting.pricing import cost_of
from gateway.api.parse import parse_chat
from gateway.core.answer import Chunk
from gateway.core.deployment import Deployment, Tier
from gateway.core.entry import LedgerEntry
from gateway.core.usage import Usage

CLAUDE = Deployment("claude", Tier.LARGE, "anthropic", "claude")
OPENING = Usage(1000, 1, cached_tokens=900, source="estimated")


def entry_after(*chunks: Chunk, ended: bool) -> LedgerEntry:
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
    meter = Meter(parse_chat(orjson.dumps(body)), CLAUDE, entry, cost_of)
    for chunk in chunks:
        meter.observe(chunk)
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
