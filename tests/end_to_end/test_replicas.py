"""Two gateways at one PostgreSQL and one Redis behave as one, whatever dies in mid-load."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from gateway.accounting.query import LedgerReader
from tests.gateway_process import RunningGateway, run_cli, running_gateway
from tests.servers.postgres import PostgresServer, own_postgres
from tests.servers.redis import RedisServer, own_redis
from tests.vendor.behaviour import Behaviour
from tests.vendor.fixture import RunningVendor

MASTER = {"authorization": "Bearer sk-master"}
#: What one answer costs when it is as long as it may be: 10 tokens at 10 USD a million.
DEAREST_USD = Decimal("0.0001")
BRIEF = Behaviour(
    text="a b c", usage={"prompt_tokens": 1, "completion_tokens": 10, "total_tokens": 11}
)


@dataclass(slots=True)
class Site:
    """The servers that replicas share, and what is asked there."""

    postgres: PostgresServer
    redis: RedisServer
    vendor: RunningVendor
    folder: Path

    @contextmanager
    def replica(self, name: str, **ledger: Any) -> Iterator[RunningGateway]:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        spool = {"spool_dir": str(folder / "spool")}
        config = {**self._config(), "ledger": {"url": self.postgres.url, **spool, **ledger}}
        env = {"GATEWAY_API_KEYS": "sk-master", "GATEWAY_REDIS_URL": self.redis.url}
        with running_gateway(folder, config, env=env) as gateway:
            yield gateway

    @contextmanager
    def replicas(self, given: Mapping[str, Mapping[str, Any]]) -> Iterator[list[RunningGateway]]:
        """Several, started at once: their names, and the ledger's keys of each."""
        with ExitStack() as running, ThreadPoolExecutor() as starting:
            entered = [self.replica(name, **ledger) for name, ledger in given.items()]
            started = [starting.submit(running.enter_context, one) for one in entered]
            yield [one.result() for one in started]

    def _config(self) -> dict[str, Any]:
        tiers = [
            {
                "name": tier,
                "tier": tier,
                "backend": "openai",
                "model": tier,
                "base_url": self.vendor.base_url,
                "price": {"input": 0, "output": 10},
                "retries": 0,
            }
            for tier in ("small", "large")
        ]
        unsteady = {**tiers[1], "name": "unsteady", "model": "unsteady"}
        return {
            "deployments": [*tiers, unsteady],
            "routing": {"affinity": {"margin": 1}, "fallback": "none"},
            "resilience": {"breaker": {"failures": 3, "cooldown_s": 2, "longest_cooldown_s": 2}},
        }


@pytest.fixture(scope="module")
def site(vendor_server: RunningVendor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with own_postgres("fsync=off") as postgres, own_redis() as redis:
        redis.start()
        yield Site(postgres, redis, vendor_server, tmp_path_factory.mktemp("replicas"))


@pytest.fixture(scope="module")
def running(site: Site) -> Iterator[tuple[RunningGateway, RunningGateway]]:
    with site.replicas({"one": {}, "two": {}}) as (one, two):
        yield one, two


@pytest.fixture
def pair(
    running: tuple[RunningGateway, RunningGateway], vendor: RunningVendor
) -> tuple[RunningGateway, RunningGateway]:
    vendor.always(BRIEF)
    return running


def ask(
    gateway: RunningGateway, model: str = "large", *, key: str = "sk-master", **headers: str
) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 10}
    return httpx.post(
        f"{gateway.base_url}/chat/completions",
        json=body,
        headers={"authorization": f"Bearer {key}", **headers},
        timeout=30,
    )


def until(condition: Callable[..., bool], *given: Any, within_s: float = 20) -> None:
    deadline_s = time.monotonic() + within_s
    while not condition(*given):
        assert time.monotonic() < deadline_s, "it never came true"
        time.sleep(0.05)


def breaker(gateway: RunningGateway, deployment: str) -> float:
    text = httpx.get(f"{gateway.url}/metrics", headers=MASTER).text
    line = f'gateway_breaker_state{{deployment="{deployment}"}} '
    return float(text.partition(line)[2].partition("\n")[0] or 0)


def says_of_redis(gateway: RunningGateway, connected: bool) -> bool:
    """Whether its health and its metrics say so."""
    text = httpx.get(f"{gateway.url}/metrics", headers=MASTER).text
    metric = text.partition("\ngateway_redis_connected ")[2].partition("\n")[0]
    return is_degraded(gateway, "redis") is not connected and float(metric) == connected


def is_degraded(gateway: RunningGateway, part: str) -> bool:
    """Which it says while it serves."""
    answer = httpx.get(f"{gateway.url}/readyz", timeout=10)
    assert answer.status_code == 200
    return str(answer.json()["checks"].get(part, "")).startswith("degraded")


def is_well(gateway: RunningGateway, part: str) -> bool:
    return not is_degraded(gateway, part)


def test_what_fails_for_one_rests_for_all_and_one_probe_brings_it_back(
    site: Site, pair: tuple[RunningGateway, RunningGateway], vendor: RunningVendor
) -> None:
    one, two = pair
    vendor.as_model("unsteady", Behaviour(status=500))
    for _ in range(3):
        assert ask(one, "unsteady").status_code == 500
    until(lambda: breaker(two, "unsteady") == 2)
    with site.replica("late") as late:
        asked = len(vendor.received)
        for gateway in (one, two, late):
            refused = ask(gateway, "unsteady")
            assert refused.status_code == 503 or breaker(gateway, "unsteady") == 1
        vendor.as_model("unsteady", BRIEF)
        until(lambda: ask(one, "unsteady").status_code == 200)
        until(lambda: breaker(two, "unsteady") == breaker(late, "unsteady") == 0)
        assert len(vendor.received) <= asked + 3
        for gateway in (two, late):
            assert ask(gateway, "unsteady").status_code == 200


def test_a_conversation_stays_on_its_model_wherever_it_goes_on(
    site: Site, pair: tuple[RunningGateway, RunningGateway]
) -> None:
    one, two = pair
    begun = ask(one, "auto", **{"x-gateway-session": "s1", "x-gateway-threshold": "0"})
    assert begun.headers["x-gateway-tier"] == "large"

    other = ask(two, "auto", **{"x-gateway-session": "s2", "x-gateway-threshold": "0.9"})
    assert other.headers["x-gateway-tier"] == "small"
    until(lambda: "s1" in str(redis_entries(site)))
    time.sleep(0.2)
    told = ask(two, "auto", **{"x-gateway-session": "s1", "x-gateway-threshold": "0.9"}).headers
    assert (told["x-gateway-tier"], told["x-gateway-reason"]) == ("large", "affinity")


def redis_entries(site: Site) -> object:
    with redis.Redis.from_url(site.redis.url) as client:
        return client.xrange("slm-gateway:sessions")


def keys(gateway: RunningGateway, *arguments: str) -> dict[str, Any]:
    told = json.loads(run_cli("keys", *arguments, "--config", gateway.config, "--format", "json"))
    first: dict[str, Any] = told[0]
    return first


async def statuses(
    pair: tuple[RunningGateway, RunningGateway], key: str, count: int
) -> Counter[int]:
    """What so many requests at once are answered with, half of them by each."""
    body = {"model": "large", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 10}
    async with httpx.AsyncClient(
        headers={"authorization": f"Bearer {key}"}, timeout=60, limits=httpx.Limits()
    ) as http:
        asked = [
            http.post(f"{gateway.base_url}/chat/completions", json=body)
            for gateway, _ in zip(itertools.cycle(pair), range(count), strict=False)
        ]
        return Counter(answer.status_code for answer in await asyncio.gather(*asked))


def rows_of(site: Site, key: dict[str, Any]) -> list[dict[str, Any]]:
    rows = LedgerReader(site.postgres.url).rows(limit=None)
    return [row for row in rows if row["key_id"] == key["id"]]


async def test_keys_budgets_and_rates_are_one(
    site: Site, pair: tuple[RunningGateway, RunningGateway]
) -> None:
    one, two = pair
    slow = keys(one, "create", "--name", "slow", "--rpm", "6")
    poor = keys(two, "create", "--name", "poor", "--budget", f"{40 * DEAREST_USD}/day")
    for key in (slow, poor):
        for gateway in pair:
            assert await asyncio.to_thread(models_status, gateway, key) == 200
    told = [
        (await asyncio.to_thread(ask, gateway, key=slow["key"])).status_code
        for gateway in pair * 5  # in turn: Redis has a quarter of a second to count each
    ]
    assert told == [200] * 6 + [429] * 4
    answered = await statuses(pair, poor["key"], 200)
    assert answered == {200: 40, 429: 160}
    await asyncio.to_thread(until, lambda: len(rows_of(site, poor)) == 40)
    assert sum(Decimal(row["cost_usd"]) for row in rows_of(site, poor)) == 40 * DEAREST_USD
    await asyncio.to_thread(keys, one, "revoke", "slow")
    for gateway in pair:
        await asyncio.to_thread(until, is_refused, gateway, slow)


def is_refused(gateway: RunningGateway, key: dict[str, Any]) -> bool:
    return models_status(gateway, key) == 401


def models_status(gateway: RunningGateway, key: dict[str, Any]) -> int:
    return httpx.get(f"{gateway.base_url}/models", headers=bearer(key)).status_code


def bearer(key: dict[str, Any]) -> dict[str, str]:
    return {"authorization": f"Bearer {key['key']}"}


@dataclass(slots=True)
class Load:
    """Requests over the replicas, each with a mark of its own."""

    gateways: Sequence[RunningGateway]
    prefix: str
    #: By mark: which of the replicas answered, and when.
    answered: dict[str, tuple[int, float]] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)
    ended: bool = False

    async def during(self, work: Callable[[], None]) -> None:
        """Ask until the work, which blocks, is done."""
        numbers = itertools.count()
        async with httpx.AsyncClient(headers=MASTER, timeout=30) as http:
            askers = [asyncio.create_task(self._ask(http, asker, numbers)) for asker in range(9)]
            try:
                await asyncio.to_thread(work)
            finally:
                self.ended = True
                await asyncio.gather(*askers)

    async def _ask(self, http: httpx.AsyncClient, asker: int, numbers: Iterator[int]) -> None:
        while not self.ended:
            mark = f"{self.prefix}-{next(numbers)}"
            stream, replica = asker % 2 > 0, asker % len(self.gateways)
            url = f"{self.gateways[replica].base_url}/chat/completions"
            body = {
                "model": "large",
                "stream": stream,
                "messages": [{"role": "user", "content": mark}],
            }
            try:
                answer = await http.post(url, json=body, headers={"x-client-request-id": mark})
            except httpx.TransportError:
                self.cut.add(mark)
                await asyncio.sleep(0.02)
                continue
            if answer.status_code != 200 or (stream and "[DONE]" not in answer.text):
                self.refused.append(answer.text)
            else:
                self.answered[mark] = replica, time.monotonic()

    def count(self, replica: int) -> int:
        """How many answers one has given."""
        return sum(by == replica for by, _ in list(self.answered.values()))

    def at_vendor(self, vendor: RunningVendor) -> Counter[str]:
        """How often the vendor was asked, by mark."""
        marks = [one.body["messages"][0]["content"] for one in list(vendor.received)]
        return Counter(mark for mark in marks if mark.startswith(self.prefix))


def recorded(url: str, prefix: str) -> Counter[str]:
    """Rows by mark; none stands there twice."""
    rows = LedgerReader(url).rows(limit=None)
    attempts = [(row["request_id"], row["attempt"]) for row in rows]
    assert len(set(attempts)) == len(attempts)
    marks = [row["client_request_id"] or "" for row in rows]
    return Counter(mark for mark in marks if mark.startswith(prefix))


def wait_until_recorded(url: str, prefix: str, expected: Counter[str]) -> None:
    """Wait for these rows; in the totals, too, each counts once."""
    until(lambda: not expected - recorded(url, prefix))
    reader = LedgerReader(url)

    def adds_up() -> bool:
        calls: int = sum(row["calls"] for row in reader.summary("day"))
        return calls == len(reader.rows(limit=None))

    until(adds_up)


async def test_redis_away_in_mid_load_costs_no_request(
    site: Site, pair: tuple[RunningGateway, RunningGateway], vendor: RunningVendor
) -> None:
    def stop_and_start() -> None:
        time.sleep(0.5)
        site.redis.stop()
        for gateway in pair:
            until(says_of_redis, gateway, False)
        assert ask(pair[0], **{"x-gateway-session": "away"}).status_code == 200
        site.redis.start()
        for gateway in pair:
            until(says_of_redis, gateway, True)

    load = Load(pair, "redis")
    await load.during(stop_and_start)
    assert load.refused == []
    assert load.cut == set()
    assert len(load.answered) > 50
    wait_until_recorded(site.postgres.url, "redis", load.at_vendor(vendor))
    for gateway in pair:
        log = gateway.log.read_text()
        assert log.count("this process goes on with what it knows itself") == 1
        assert str(site.redis.url) not in log


def holds_rows(spool: Path) -> bool:
    return any(path.is_file() and path.stat().st_size for path in spool.rglob("*"))


async def test_postgresql_away_in_mid_load_costs_no_row(
    site: Site, pair: tuple[RunningGateway, RunningGateway], vendor: RunningVendor
) -> None:
    spools = [gateway.config.parent / "spool" for gateway in pair]

    def stop_and_start() -> None:
        time.sleep(0.5)
        site.postgres.stop()
        try:
            for gateway, spool in zip(pair, spools, strict=True):
                until(is_degraded, gateway, "ledger")
                until(holds_rows, spool)
        finally:
            site.postgres.start()
        for gateway in pair:
            until(is_well, gateway, "ledger")

    load = Load(pair, "pg")
    await load.during(stop_and_start)
    assert load.refused == []
    assert load.cut == set()
    assert len(load.answered) > 50
    at_vendor = load.at_vendor(vendor)
    assert set(at_vendor) == set(load.answered)
    wait_until_recorded(site.postgres.url, "pg", at_vendor)
    assert recorded(site.postgres.url, "pg") == at_vendor


async def test_replicas_killed_in_mid_load_lose_nothing_and_bill_nothing_twice(
    site: Site, pair: tuple[RunningGateway, RunningGateway], vendor: RunningVendor
) -> None:
    url, given = site.postgres.url, {"usual": {}, "durable": {"durable": True}}
    with site.replicas(given) as doomed:
        load = Load([*doomed, pair[0]], "kill")
        killed_s = 0.0

        def kill() -> None:
            nonlocal killed_s
            until(lambda: all(load.count(replica) > 10 for replica in range(3)))
            time.sleep(1.1)
            for gateway in doomed:
                gateway.process.kill()
            killed_s = time.monotonic()
            for gateway in doomed:
                assert gateway.process.wait(10) == -signal.SIGKILL
            time.sleep(0.5)

        await load.during(kill)
    assert load.refused == []
    assert load.cut, "they were killed in mid-load"
    least_age_s = {0: 1.0, 1: 0.0, 2: -math.inf}
    finished = {
        mark
        for mark, (replica, at_s) in load.answered.items()
        if at_s <= killed_s - least_age_s[replica]
    }
    assert {load.answered[mark][0] for mark in finished} == {0, 1, 2}
    with site.replicas(given):  # they write what they had spooled
        wait_until_recorded(url, "kill", Counter(finished))
    rows, at_vendor = recorded(url, "kill"), load.at_vendor(vendor)
    assert not rows - at_vendor, "billed twice, or never asked"
    assert set(at_vendor) - set(rows) <= load.cut | (set(load.answered) - finished)
