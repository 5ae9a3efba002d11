"""200 calls at once against a budget that pays for a part of them, over two web processes."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

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


def spent(url: str, key_id: str) -> Decimal:
    rows = LedgerReader(url).rows(limit=None, key=key_id)
    return sum((Decimal(row["cost_usd"] or 0) for row in rows), Decimal(0))


def settled(url: str, key_id: str) -> Decimal:
    """What is spent once nothing is reserved any more."""
    deadline_s = time.monotonic() + 20
    while any(
        one["key_id"] == key_id and one["reserved_usd"] != "0"
        for one in BudgetReader(url).budgets()
    ):
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    return spent(url, key_id)


def made(url: str, name: str) -> tuple[str, str]:
    """A key's id, and the key."""
    record, secret = KeyStore(url).create(name, budget=Budget(pico_of(BUDGET_USD), "day"))
    return record.key.key_id, secret


def workers_of(gateway: RunningGateway) -> list[int]:
    children = Path(f"/proc/{gateway.process.pid}/task/{gateway.process.pid}/children")
    pids = [int(pid) for pid in children.read_text().split()]
    return [pid for pid in pids if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.fixture(scope="module")
def url(new_ledger_url: Callable[[], str]) -> str:
    return new_ledger_url()


@pytest.fixture(scope="module")
def gateway(
    vendor_server: RunningVendor, url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    KeyStore(url).create("first")  # without a key everybody is let in
    folder = tmp_path_factory.mktemp("race")
    config = config_for(vendor_server, url)
    with running_gateway(folder, config, arguments=("--workers", "2")) as gateway:
        yield gateway


async def test_no_crowd_passes_a_budget(
    vendor: RunningVendor, gateway: RunningGateway, url: str
) -> None:
    key_id, secret = made(url, "crowd")
    vendor.always(used(7))
    statuses = await asked(gateway, secret, CALLS)
    assert statuses[200] >= PAID, statuses
    assert statuses[200] + statuses[429] == CALLS, statuses
    assert settled(url, key_id) == statuses[200] * 7 * DEAREST_USD / 10 <= BUDGET_USD
    vendor.always(used(10))
    while (await asked(gateway, secret, 20))[200]:
        settled(url, key_id)
    assert BUDGET_USD - DEAREST_USD < settled(url, key_id) <= BUDGET_USD


async def test_a_process_that_dies_in_the_middle_opens_no_gap(
    vendor: RunningVendor, gateway: RunningGateway, url: str
) -> None:
    key_id, secret = made(url, "deadly")
    vendor.always(used(10))
    crowd = asyncio.create_task(asked(gateway, secret, CALLS))
    while not vendor.received:
        await asyncio.sleep(0.005)
    os.kill(workers_of(gateway)[0], signal.SIGKILL)
    statuses = await crowd
    assert statuses[200] <= PAID, statuses
    # What the dead one held still counts until its lease is over.
    assert spent(url, key_id) <= BUDGET_USD
    await asked(gateway, secret, 50)
    assert settled(url, key_id) <= BUDGET_USD
    while (await asked(gateway, secret, 20))[200]:
        settled(url, key_id)
    assert BUDGET_USD - DEAREST_USD < settled(url, key_id) <= BUDGET_USD
