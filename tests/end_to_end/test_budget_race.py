"""200 calls at once against a budget that pays for a part of them, over two web processes."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx

from gateway.accounting.access.budget_reader import BudgetReader
from gateway.accounting.access.keys import KeyStore
from gateway.accounting.pricing import pico_of
from gateway.accounting.query import LedgerReader
from gateway.core.access import Budget
from tests.gateway_process import RunningGateway, running_gateway
from tests.vendor.behaviour import Behaviour
from tests.vendor.fixture import RunningVendor

CALLS = 200
PAID = 60
#: An answer of at most 10 tokens at 10 USD a million.
DEAREST_USD = Decimal("0.0001")
BUDGET_USD = PAID * DEAREST_USD
BODY = {"model": "large", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 10}


def used(tokens: int) -> Behaviour:
    usage = {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": tokens + 1}
    return Behaviour(text="a b c", usage=usage, delay_s=0.2)


def config_for(vendor: RunningVendor, ledger_url: str) -> dict[str, Any]:
    deployment = {
        "name": "large",
        "tier": "large",
        "backend": "openai",
        "model": "large",
        "base_url": vendor.base_url,
        "price": {"input": 0, "output": 10},
        "retries": 0,
    }
    return {
        "deployments": [deployment],
        "ledger": {"url": ledger_url, "flush_interval_s": 0.05},
        "keys": {"lease_s": 3},
    }


async def asked(gateway: RunningGateway, secret: str, count: int) -> Counter[int]:
    """The statuses of so many calls at once; 0 where the connection was lost."""
    limits = httpx.Limits(max_connections=count, max_keepalive_connections=0)
    headers = {"authorization": f"Bearer {secret}"}

    async def one(client: httpx.AsyncClient) -> int:
        try:
            answer = await client.post("/chat/completions", json=BODY)
        except httpx.TransportError:
            return 0
        return answer.status_code

    async with httpx.AsyncClient(
        base_url=gateway.base_url, headers=headers, limits=limits, timeout=60
    ) as client:
        return Counter(await asyncio.gather(*(one(client) for _ in range(count))))


def spent(url: str) -> Decimal:
    rows = LedgerReader(url).rows(limit=None)
    return sum((Decimal(row["cost_usd"] or 0) for row in rows), Decimal(0))


def settled(url: str) -> Decimal:
    """What is spent once nothing is reserved any more."""
    deadline_s = time.monotonic() + 20
    while BudgetReader(url).budgets()[0]["reserved_usd"] != "0":
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    return spent(url)


def made(url: str) -> str:
    return KeyStore(url).create("race", budget=Budget(pico_of(BUDGET_USD), "day"))[1]


def workers_of(gateway: RunningGateway) -> list[int]:
    children = Path(f"/proc/{gateway.process.pid}/task/{gateway.process.pid}/children")
    pids = [int(pid) for pid in children.read_text().split()]
    return [pid for pid in pids if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


async def test_no_crowd_passes_a_budget(
    vendor: RunningVendor, new_ledger_url: Callable[[], str], tmp_path: Path
) -> None:
    url = new_ledger_url()
    secret = made(url)
    vendor.always(used(7))
    config = config_for(vendor, url)
    with running_gateway(tmp_path, config, arguments=("--workers", "2")) as gateway:
        statuses = await asked(gateway, secret, CALLS)
        assert statuses[200] >= PAID, statuses
        assert statuses[200] + statuses[429] == CALLS, statuses
        assert settled(url) == statuses[200] * 7 * DEAREST_USD / 10 <= BUDGET_USD
        vendor.always(used(10))
        while (await asked(gateway, secret, 20))[200]:
            settled(url)
        assert BUDGET_USD - DEAREST_USD < settled(url) <= BUDGET_USD


async def test_a_process_that_dies_in_the_middle_opens_no_gap(
    vendor: RunningVendor, new_ledger_url: Callable[[], str], tmp_path: Path
) -> None:
    url = new_ledger_url()
    secret = made(url)
    vendor.always(used(10))
    config = config_for(vendor, url)
    with running_gateway(tmp_path, config, arguments=("--workers", "2")) as gateway:
        crowd = asyncio.create_task(asked(gateway, secret, CALLS))
        while not vendor.received:
            await asyncio.sleep(0.005)
        os.kill(workers_of(gateway)[0], signal.SIGKILL)
        statuses = await crowd
        assert statuses[200] <= PAID, statuses
        # What the dead one held still counts until its lease is over.
        assert spent(url) <= BUDGET_USD
        await asked(gateway, secret, 50)
        assert spent(url) <= BUDGET_USD
        assert settled(url) <= BUDGET_USD
        while (await asked(gateway, secret, 20))[200]:
            settled(url)
        assert BUDGET_USD - DEAREST_USD < settled(url) <= BUDGET_USD
