"""No answered call is missing from the ledger, and none is there twice, however the process ends.

Real processes under load: killed, ended, with the database locked, with the disk full.
"""

import asyncio
import resource
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.accounting.query import LedgerReader
from tests.gateway_process import RunningGateway, running_gateway
from tests.vendor.behaviour import Behaviour
from tests.vendor.fixture import RunningVendor

ENV = {"VENDOR_KEY": "k", "GATEWAY_API_KEYS": ""}


def config(vendor: RunningVendor, folder: Path, **sections: Any) -> dict[str, Any]:
    """One remote deployment, so that a start takes no model, and the ledger as it is shipped."""
    deployment = {
        "name": "gpt-4o",
        "tier": "large",
        "backend": "openai",
        "model": "gpt-4o",
        "base_url": vendor.base_url,
        "api_key_env": "VENDOR_KEY",
        "price": {"input": 2.5, "cached_input": 1.25, "output": 10},
    }
    ledger = {"url": url_in(folder), **sections.pop("ledger", {})}
    return {"deployments": [deployment], "ledger": ledger, **sections}


def url_in(folder: Path) -> str:
    return f"sqlite:///{folder / 'ledger.db'}"


@dataclass(slots=True)
class Load:
    """Plain and streamed requests, as fast as they are answered."""

    gateway: RunningGateway
    answered: dict[str, float] = field(default_factory=dict)
    refused: int = 0
    ended_s: float = 0.0

    async def run(self, until: Callable[[], bool], end: Callable[[], None]) -> None:
        """Ask until the condition holds, then call `end` in mid-load, and stop with the gateway."""
        async with httpx.AsyncClient(base_url=self.gateway.base_url, timeout=30) as http:
            askers = [asyncio.create_task(self._ask(http, stream=i % 2 == 0)) for i in range(8)]
            deadline_s = time.monotonic() + 60
            while not await asyncio.to_thread(until):
                assert time.monotonic() < deadline_s, "it never came true"
                await asyncio.sleep(0.05)
            self.ended_s = time.monotonic()
            end()
            await asyncio.gather(*askers)

    async def _ask(self, http: httpx.AsyncClient, *, stream: bool) -> None:
        body = {
            "model": "gpt-4o",
            "stream": stream,
            "messages": [{"role": "user", "content": "Hello"}],
        }
        while True:
            try:
                response = await http.post("/chat/completions", json=body)
            except httpx.TransportError:
                return
            if response.status_code != 200 or (stream and "[DONE]" not in response.text):
                self.refused += 1
                continue
            self.answered[response.headers["x-request-id"]] = time.monotonic()

    def older_than(self, age_s: float) -> set[str]:
        """The ids of requests that were answered so long before the end."""
        return {one for one, at_s in self.answered.items() if at_s <= self.ended_s - age_s}


def after_s(seconds: float) -> Callable[[], bool]:
    started_s = time.monotonic()
    return lambda: time.monotonic() - started_s >= seconds


def recorded(url: str) -> set[str]:
    return {row["request_id"] for row in LedgerReader(url).rows(limit=None)}


def recorded_once(url: str) -> set[str]:
    """The ids in the ledger of a gateway that has ended: once in the rows, once in the totals."""
    ids = [row["request_id"] for row in LedgerReader(url).rows(limit=None)]
    in_totals = sum(row["calls"] for row in LedgerReader(url).summary("day"))
    assert len(set(ids)) == len(ids) == in_totals
    return set(ids)


def wait_until_recorded(url: str, expected: set[str]) -> set[str]:
    deadline_s = time.monotonic() + 20
    while True:
        missing = expected - recorded(url)
        if not missing or time.monotonic() > deadline_s:
            return missing
        time.sleep(0.1)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Another connection holds the database."""
    with closing(sqlite3.connect(folder / "ledger.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


def largest_file(folder: Path) -> int:
    return max(path.stat().st_size for path in folder.iterdir())


def health(gateway: RunningGateway) -> tuple[int, str, str]:
    answer = httpx.get(f"{gateway.url}/readyz", timeout=10)
    body = answer.json()
    return answer.status_code, body["status"], body["checks"]["ledger"]


@pytest.mark.parametrize("is_locked", [False, True], ids=["free", "locked"])
@pytest.mark.parametrize(("durable", "age_s"), [(False, 1), (True, 0)], ids=["default", "durable"])
async def test_a_kill_under_load_loses_no_finished_call(
    vendor: RunningVendor, tmp_path: Path, durable: bool, age_s: float, is_locked: bool
) -> None:
    given = config(vendor, tmp_path, ledger={"durable": durable})
    with running_gateway(tmp_path, given, env=ENV) as gateway:
        load = Load(gateway)
        if is_locked:
            with locked(tmp_path):
                await load.run(after_s(2.5), gateway.process.kill)
        else:
            await load.run(after_s(2.5), gateway.process.kill)
        assert gateway.process.wait(10) == -signal.SIGKILL
    finished = load.older_than(age_s)
    assert len(finished) > 20
    with running_gateway(tmp_path, given, env=ENV):
        assert wait_until_recorded(url_in(tmp_path), finished) == set()
    assert finished <= recorded_once(url_in(tmp_path))
    assert not (tmp_path / "ledger.db.spool").exists()


@pytest.mark.parametrize("is_locked", [False, True], ids=["free", "locked"])
async def test_an_end_in_mid_load_loses_no_row(
    vendor: RunningVendor, tmp_path: Path, is_locked: bool
) -> None:
    given = config(vendor, tmp_path)
    with running_gateway(tmp_path, given, env=ENV) as gateway:
        load = Load(gateway)
        if is_locked:
            with locked(tmp_path):
                await load.run(after_s(1), gateway.process.terminate)
                assert await asyncio.to_thread(gateway.process.wait, 30) == 0
        else:
            await load.run(after_s(1), gateway.process.terminate)
            assert await asyncio.to_thread(gateway.process.wait, 30) == 0
            assert set(load.answered) <= recorded_once(url_in(tmp_path))
    assert len(load.answered) > 20
    with running_gateway(tmp_path, given, env=ENV):
        assert wait_until_recorded(url_in(tmp_path), set(load.answered)) == set()
    assert set(load.answered) <= recorded_once(url_in(tmp_path))


async def test_streams_that_outlast_the_grace_have_their_rows(
    vendor: RunningVendor, tmp_path: Path
) -> None:
    vendor.always(Behaviour(chunks=500, chunk_delay_s=0.05))
    given = config(vendor, tmp_path, server={"shutdown_grace_s": 1})
    body = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": "x"}]}
    with running_gateway(tmp_path, given, env=ENV) as gateway:

        async def watch() -> str:
            async with (
                httpx.AsyncClient(timeout=30) as http,
                http.stream("POST", f"{gateway.base_url}/chat/completions", json=body) as answer,
            ):
                try:
                    async for _ in answer.aiter_bytes():
                        pass
                except httpx.TransportError:
                    pass
                return answer.headers["x-request-id"]

        watching = [asyncio.create_task(watch()) for _ in range(5)]
        while len(vendor.received) < 5:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)
        gateway.process.terminate()
        assert await asyncio.to_thread(gateway.process.wait, 30) == 0
        begun = set(await asyncio.gather(*watching))
    with running_gateway(tmp_path, given, env=ENV):
        assert wait_until_recorded(url_in(tmp_path), begun) == set()
    rows = LedgerReader(url_in(tmp_path)).rows()
    assert {row["outcome"] for row in rows} == {"interrupted"}
    assert all(row["completion_tokens"] for row in rows)


async def test_requests_go_on_while_the_database_is_locked(
    vendor: RunningVendor, tmp_path: Path
) -> None:
    with running_gateway(tmp_path, config(vendor, tmp_path), env=ENV) as gateway:
        load = Load(gateway)
        seen: list[tuple[int, str, str]] = []

        def is_degraded() -> bool:
            seen.append(health(gateway))
            return "rows wait in the spool" in seen[-1][2]

        with locked(tmp_path):
            await load.run(is_degraded, gateway.process.terminate)
        assert load.refused == 0
        assert {status for status, _, _ in seen} == {200}
        assert seen[-1][1] == "degraded"


async def test_a_full_disk_delays_rows_and_no_request(
    vendor: RunningVendor, tmp_path: Path
) -> None:
    with running_gateway(tmp_path, config(vendor, tmp_path), env=ENV) as gateway:
        pid = gateway.process.pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (largest_file(tmp_path) + 50_000, hard))
        load = Load(gateway)

        def free() -> None:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))

        def is_full() -> bool:
            status, _, ledger = health(gateway)
            assert status == 200
            return "in memory" in ledger

        await load.run(is_full, free_then_end(free, gateway, load))
        assert load.refused == 0
        assert await asyncio.to_thread(gateway.process.wait, 30) == 0
    assert set(load.answered) <= recorded_once(url_in(tmp_path))


def free_then_end(
    free: Callable[[], None], gateway: RunningGateway, load: Load
) -> Callable[[], None]:
    def end() -> None:
        free()
        loaded = set(load.answered)
        assert wait_until_recorded(url_in(gateway.config.parent), loaded) == set()
        assert len(loaded) > 20
        gateway.process.terminate()

    return end
