"""What real answers cost: by service tier, length and hour, with thoughts; and otherwise."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI

from tests.end_to_end.conftest import CLIENT_KEY, SECRETS
from tests.gateway_process import RunningGateway, running_gateway
from tests.vendor.behaviour import MESSAGES_USAGE, Behaviour
from tests.vendor.fixture import RunningVendor

RATES = {
    "input": 2,
    "output": 8,
    "tiers": [{"above_tokens": 1000, "input": 4}],
    "service_tiers": {"flex": 0.5},
    "hours": [{"begins": "00:00", "ends": "23:59:59.999", "factor": 1.5}],
}


@pytest.fixture
def gateway(vendor: RunningVendor, tmp_path: Path) -> Any:
    """Two upstreams at the same price, one of them Anthropic's."""
    deployments = [
        {
            "name": name,
            "tier": tier,
            "backend": backend,
            "model": name,
            "base_url": vendor.base_url,
            "api_key_env": "VENDOR_KEY",
            "price": RATES,
        }
        for name, tier, backend in (("gpt", "large", "openai"), ("claude", "small", "anthropic"))
    ]
    with running_gateway(tmp_path, {"deployments": deployments}, env=SECRETS) as running:
        yield running


def usage(prompt: int, completion: int, total: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}


def test_an_answer_costs_what_its_tier_length_and_thoughts_say(
    gateway: RunningGateway, vendor: RunningVendor
) -> None:
    short, long, thought = usage(1000, 10, 1010), usage(1001, 10, 1011), usage(1000, 10, 1040)
    standard = MESSAGES_USAGE | {"input_tokens": 100, "output_tokens": 10}
    vendor.will(
        Behaviour(usage=short),
        Behaviour(usage=short, extra={"service_tier": "flex"}),
        Behaviour(usage=short, extra={"service_tier": "flex"}),
        Behaviour(usage=long, extra={"service_tier": "default"}),
        Behaviour(usage=short, extra={"service_tier": "priority"}),
        Behaviour(usage=thought),
        Behaviour(messages_usage=standard),
        Behaviour(messages_usage=standard | {"service_tier": "priority"}),
    )
    with OpenAI(base_url=gateway.base_url, api_key=CLIENT_KEY, max_retries=0) as client:
        told = [_ask(client, "gpt", streams=at == 2) for at in range(6)]
        told += [_ask(client, "claude", streams=False) for _ in range(2)]
    # Now a token costs 3 in and 12 out, of a prompt of more than 1,000 tokens 6 in.
    expected = [0.00312, 0.00156, 0.00156, 0.006126, None, 0.00348, 0.000441, None]
    rows = sorted(gateway.ledger_rows(8), key=lambda row: row["ts"])
    booked = [None if row["cost_usd"] is None else float(row["cost_usd"]) for row in rows]
    assert told == booked == expected
    assert [row["service_tier"] for row in rows] == [
        *("default", "flex", "flex", "default", "priority", "default"),
        *("standard", "priority"),
    ]
    assert [row["price_id"] for row in rows[:4]] == [
        "config:gpt@T00:00",
        "config:gpt@T00:00+flex",
        "config:gpt@T00:00+flex",
        "config:gpt@T00:00>1000",
    ]
    assert rows[5]["completion_tokens"] == 40
    assert rows[4]["cost_source"] == rows[7]["cost_source"] == "unpriced"


def _ask(client: OpenAI, model: str, *, streams: bool) -> float | None:
    """The cost that the client is told."""
    messages: Any = [{"role": "user", "content": "Hello"}]
    if not streams:
        answer = client.chat.completions.create(model=model, messages=messages)
        assert answer.usage is not None
        return answer.usage.cost  # type: ignore[attr-defined,no-any-return]
    options: Any = {"include_usage": True}
    *_, last = client.chat.completions.create(
        model=model, messages=messages, stream=True, stream_options=options
    )
    assert last.usage is not None
    return last.usage.cost  # type: ignore[attr-defined,no-any-return]


def test_what_other_routing_would_cost_is_told_over_http(
    gateway: RunningGateway, vendor: RunningVendor
) -> None:
    vendor.will(Behaviour(usage=usage(1000, 10, 1010)))
    with OpenAI(base_url=gateway.base_url, api_key=CLIENT_KEY, max_retries=0) as client:
        _ask(client, "gpt", streams=False)
    gateway.ledger_rows(1)
    with httpx.Client(
        base_url=gateway.url, headers={"authorization": f"Bearer {CLIENT_KEY}"}
    ) as http:
        for kind in ("all-large", "all-small", "random"):
            answer = http.get("/v1/costs", params={"what_if": kind}).raise_for_status().json()
            (record,) = answer["data"]
            assert (record["what_if"], record["requests"]) == (kind, 1)
            assert record["cost_usd"] == record["actual_cost_usd"] == "0.00312"
            assert (record["saved_usd"], record["router_cost_usd"]) == ("0", None)
        as_csv = http.get("/v1/costs", params={"what_if": "random", "format": "csv"}).text
        assert as_csv.startswith("what_if,requests,cost_usd,")
        wrong = http.get("/v1/costs", params={"what_if": "all-free"})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "what_if")
