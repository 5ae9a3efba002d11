import time
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest

from gateway.accounting.footprints import footprint_of
from gateway.accounting.machine import Machine
from gateway.accounting.meter import Meter
from gateway.accounting.pricing import cost_of
from gateway.accounting.row import row_of
from gateway.api.parse import parse_chat
from gateway.core.answer import Answer, Chunk, Item
from gateway.core.deployment import Deployment, Tier
from gateway.core.energy import Hardware, Reading
from gateway.core.entry import LedgerEntry
from gateway.core.price import Price
from gateway.core.usage import Usage

CLAUDE = Deployment("claude", Tier.LARGE, "anthropic", "claude")
OPENING = Usage(1000, 1, cached_tokens=900, source="estimated")


def meter_of(deployment: Deployment, machine: Machine | None = None) -> tuple[Meter, LedgerEntry]:
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
    return Meter(parse_chat(orjson.dumps(body)), deployment, entry, cost_of, machine), entry


def entry_after(*items: Item, ended: bool, deployment: Deployment = CLAUDE) -> LedgerEntry:
    meter, entry = meter_of(deployment)
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


PER_HOUR = Price("p", usd_per_hour=Decimal(3600), usd_per_kwh=Decimal(1))
H100 = replace(CLAUDE, price=PER_HOUR, energy=Hardware(993, 1.0, 400))


class Wattmeter:
    """Counts a watt-hour for each second."""

    def reading(self, compute_s: float, elapsed_s: float) -> Reading:
        return Reading(compute_s, "nvml")


def settled_together(machine: Machine, calls: int) -> tuple[list[LedgerEntry], float]:
    """Calls that begin and end together on one machine, and how long they took."""
    began_s = time.perf_counter()
    answer = Answer(b"", {"choices": []}, usage=Usage(10, 20))
    meters = [meter_of(H100, machine) for _ in range(calls)]
    time.sleep(0.02)
    for meter, _ in meters:
        meter.observe(answer)
        meter.settle()
    return [entry for _, entry in meters], time.perf_counter() - began_s


@pytest.mark.parametrize("calls", [1, 8])
def test_an_upstream_by_the_hour_bills_its_time_once(calls: int) -> None:
    entries, took_s = settled_together(Machine(), calls)
    billed = [entry.usage.compute_s for entry in entries if entry.usage and entry.usage.compute_s]
    assert len(billed) == calls
    assert 0.02 <= sum(billed) <= took_s
    for entry, compute_s in zip(entries, billed, strict=True):
        assert entry.energy_source == "estimated:power"
        assert entry.energy_wh is not None
        assert entry.energy_wh == pytest.approx(993 * compute_s / 3600, abs=1e-9)
        assert entry.co2_g == pytest.approx(0.4 * entry.energy_wh, abs=1e-9)
        assert float(entry.cost.usd or 0) == pytest.approx(compute_s + entry.energy_wh / 1000)


def test_what_a_machine_measures_goes_to_its_calls() -> None:
    ((entry,), took_s) = settled_together(Machine(Wattmeter()), 1)
    assert entry.energy_source == "measured:nvml"
    assert entry.energy_wh is not None
    assert 0.02 <= entry.energy_wh <= took_s


def test_a_time_that_an_engine_told_is_kept() -> None:
    meter, entry = meter_of(H100, Machine(Wattmeter()))
    told = Usage(10, 20, source="counted", compute_s=1.5, reading=Reading(0.25, "rapl"))
    meter.observe(Answer(b"", {}, usage=told))
    meter.settle()
    assert entry.usage == told
    assert (entry.energy_wh, entry.energy_source) == (0.25, "measured:rapl")


def test_a_vendors_model_is_estimated_by_its_tokens_and_nothing_is_added_to_its_price() -> None:
    gpt = replace(CLAUDE, price=Price("p", Decimal(1), Decimal(1)))
    gpt = replace(gpt, energy=footprint_of("gpt-4o", "openai"))
    answer = Answer(b"", {}, usage=Usage(1000, 200))
    entry = entry_after(answer, ended=True, deployment=gpt)
    assert entry.energy_source == "estimated:ecologits"
    assert entry.energy_wh == pytest.approx(0.35, rel=0.05)
    assert entry.co2_g == pytest.approx(0.3844 * (entry.energy_wh or 0), abs=1e-8)
    assert entry.cost.usd == Decimal("0.0012")


def test_a_call_that_nothing_came_of_took_nothing_that_is_known() -> None:
    meter, entry = meter_of(H100, Machine())
    meter.end("timeout", 504)
    meter.settle()
    assert (entry.energy_wh, entry.co2_g, entry.energy_source) == (None, None, None)
