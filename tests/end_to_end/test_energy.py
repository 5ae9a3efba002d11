"""What calls cost that aren't free: the machine's time, once, and its electricity."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI, OpenAI

from gateway.backends.local.worker import usable_cores
from tests.gateway_process import RunningGateway, run_cli, running_gateway
from tests.vendor.behaviour import Behaviour
from tests.vendor.fixture import RunningVendor

#: Of the shared gateway's small model, and of this one's machine.
USD_PER_HOUR = 0.08
WATTS = 3.5 * usable_cores()
GRAMS = 458


async def ask_together(client: AsyncOpenAI, model: str, calls: int) -> tuple[list[str], float]:
    """Request ids of as many answers at once, and how long they took together."""
    began_s = time.perf_counter()
    raw = await asyncio.gather(
        *(
            client.chat.completions.with_raw_response.create(
                model=model,
                messages=[{"role": "user", "content": f"Count from {number} to 90."}],
                max_tokens=24,
            )
            for number in range(calls)
        )
    )
    return [one.headers["x-request-id"] for one in raw], time.perf_counter() - began_s


async def rows_of(gateway: RunningGateway, ids: list[str]) -> list[dict[str, Any]]:
    for _ in range(20):
        found = await asyncio.to_thread(gateway.ledger_rows, len(ids))
        rows = [row for row in found if row["request_id"] in ids]
        if len(rows) == len(ids):
            break
    assert [row["outcome"] for row in rows] == ["ok"] * len(ids)
    return rows


async def test_local_answers_at_once_are_billed_the_engines_time_once(
    gateway: RunningGateway, async_client: AsyncOpenAI
) -> None:
    ids, took_s = await ask_together(async_client, "smollm2", 8)
    rows = await rows_of(gateway, ids)
    billed_s = [float(row["cost_usd"]) / USD_PER_HOUR * 3600 for row in rows]
    assert all(seconds > 0 for seconds in billed_s)
    assert sum(billed_s) <= took_s
    for row, seconds in zip(rows, billed_s, strict=True):
        assert row["energy_source"] == "estimated:power"
        assert row["energy_wh"] == pytest.approx(WATTS * seconds / 3600, abs=2e-9)
        assert row["co2_g"] == pytest.approx(row["energy_wh"] / 1000 * GRAMS, abs=1e-9)


def test_an_answer_says_what_it_took(gateway: RunningGateway, client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="smollm2", messages=[{"role": "user", "content": "Hi"}], max_tokens=4
    )
    usage = raw.parse().usage
    assert usage is not None
    assert usage.model_extra is not None
    details = usage.model_extra["cost_details"]
    (row,) = gateway.ledger_rows(1, request_id=raw.headers["x-request-id"])
    names = ("energy_wh", "co2_g", "energy_source")
    assert {name: details[name] for name in names} == {name: row[name] for name in names}
    assert row["energy_wh"] > 0


def test_of_a_vendor_that_nobody_knows_nothing_is_claimed(
    gateway: RunningGateway, client: OpenAI
) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="gpt-4o", messages=[{"role": "user", "content": "Hi"}]
    )
    (row,) = gateway.ledger_rows(1, request_id=raw.headers["x-request-id"])
    assert (row["energy_wh"], row["co2_g"], row["energy_source"]) == (None, None, None)
    assert row["cost_usd"] is not None


@pytest.fixture(scope="module")
def own_h100(
    vendor_server: RunningVendor, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    """A gateway before an upstream on a machine of one's own, paid by the hour."""
    deployment = {
        "name": "h100",
        "tier": "small",
        "backend": "openai",
        "model": "mistral-nemo",
        "base_url": vendor_server.base_url,
        "power_w": 993,
        "price": {"usd_per_hour": 3.6},
    }
    config = {
        "deployments": [deployment],
        "energy": {"usd_per_kwh": 0.25, "grams_co2_per_kwh": 100, "pue": 1.2},
    }
    folder: Path = tmp_path_factory.mktemp("h100")
    with running_gateway(folder, config) as gateway:
        yield gateway


async def test_an_upstream_by_the_hour_is_billed_its_time_once_and_its_electricity(
    own_h100: RunningGateway, vendor: RunningVendor
) -> None:
    vendor.always(Behaviour(delay_s=0.3))
    async with AsyncOpenAI(base_url=own_h100.base_url, api_key="x", max_retries=0) as client:
        ids, took_s = await ask_together(client, "h100", 8)
    rows = await rows_of(own_h100, ids)
    seconds = [row["energy_wh"] / 1.2 / 993 * 3600 for row in rows]
    assert 0.3 <= sum(seconds) <= took_s
    for row, compute_s in zip(rows, seconds, strict=True):
        assert row["energy_source"] == "estimated:power"
        assert row["co2_g"] == pytest.approx(row["energy_wh"] / 10, abs=1e-8)
        electricity = row["energy_wh"] / 1000 * 0.25
        assert float(row["cost_usd"]) == pytest.approx(compute_s * 0.001 + electricity, rel=1e-4)
        assert row["price_id"] == "config:h100"
    async with httpx.AsyncClient() as http:
        text = (await http.get(f"{own_h100.url}/metrics")).text
    counted = 'gateway_energy_wh_total{deployment="h100",energy_source="estimated:power"} '
    (line,) = [line for line in text.splitlines() if line.startswith(counted)]
    assert float(line.removeprefix(counted)) >= sum(row["energy_wh"] for row in rows) * 0.999
    table = run_cli("costs", "--config", own_h100.config)
    assert "mWh" in table
    assert "mg CO2" in table
