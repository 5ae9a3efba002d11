"""How the gateway ends while it is busy."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import orjson
import pytest

from tests.end_to_end.load import DONE, Asked, ask, under_load
from tests.end_to_end.test_reload import version
from tests.gateway_process import RunningGateway, running_gateway
from tests.vendor.behaviour import Behaviour
from tests.vendor.fixture import RunningVendor

ENDLESS = Behaviour(chunks=3000, chunk_delay_s=0.05)
WORKERS = [(), ("--workers", "2")]
SOON_S = 15


@pytest.mark.parametrize("arguments", WORKERS, ids=["alone", "two workers"])
async def test_a_signal_in_mid_load_loses_no_answer_and_no_row(
    vendor: RunningVendor, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    vendor.always(Behaviour(chunks=10, chunk_delay_s=0.02, delay_s=0.1))
    with running_gateway(tmp_path, version(vendor, 0.5), arguments=arguments) as gateway:
        async with under_load(gateway) as asked:
            while len(asked) < 40:
                await asyncio.sleep(0.05)
            gateway.process.send_signal(signal.SIGTERM)
            # Every client stops at the first connection that fails.
        assert gateway.process.wait(SOON_S) == 0
        for one in asked:
            assert one.is_answered if one.failure is None else not one.status
        rows = gateway.ledger_rows()
        answered = {one.request_id for one in asked if one.is_answered}
        assert {row["request_id"] for row in rows} == answered
        assert {row["outcome"] for row in rows} == {"ok"}


class Busy:
    """A stream without an end and a plain request that waits, both at the vendor."""

    def __init__(self, gateway: RunningGateway, vendor: RunningVendor) -> None:
        self._gateway = gateway
        self._vendor = vendor
        self._asking: list[asyncio.Task[Asked]] = []

    async def begin(self) -> None:
        for behaviour in (ENDLESS, Behaviour(delay_s=60)):
            self._vendor.will(behaviour)
            self._asking.append(asyncio.create_task(self._ask(stream=behaviour is ENDLESS)))
            await eventually(lambda: len(self._vendor.received) == len(self._asking))
        await asyncio.sleep(0.2)  # the first chunks are on their way

    async def _ask(self, *, stream: bool) -> Asked:
        async with httpx.AsyncClient(base_url=self._gateway.url, timeout=60) as client:
            return await ask(client, stream=stream, prompt="x", model="big")

    async def assert_cut(self) -> None:
        """Both clients are told, and both requests have their rows."""
        stream, plain = await asyncio.gather(*self._asking)
        assert await asyncio.to_thread(self._gateway.process.wait, SOON_S) == 0
        assert stream.is_whole
        assert stream.error_code == "shutting_down"
        assert "word0" in stream.text
        assert DONE not in stream.text
        assert plain.status == 503
        assert plain.error_code == "shutting_down"
        rows = {row["request_id"]: row for row in self._gateway.ledger_rows(2)}
        told = {one.request_id: (one.status, "interrupted") for one in (stream, plain)}
        assert {key: (row["status"], row["outcome"]) for key, row in rows.items()} == told
        assert rows[stream.request_id]["completion_tokens"] > 0


async def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON_S
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("arguments", WORKERS, ids=["alone", "two workers"])
async def test_what_outlasts_the_grace_is_cut_with_an_error(
    vendor: RunningVendor, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    config = {**version(vendor, 0.5), "server": {"shutdown_grace_s": 1}}
    with running_gateway(tmp_path, config, arguments=arguments) as gateway:
        busy = Busy(gateway, vendor)
        await busy.begin()
        gateway.process.send_signal(signal.SIGTERM)
        await busy.assert_cut()


@pytest.mark.parametrize("arguments", WORKERS, ids=["alone", "two workers"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_cuts_at_once(
    vendor: RunningVendor, tmp_path: Path, arguments: tuple[str, ...], number: signal.Signals
) -> None:
    config = {**version(vendor, 0.5), "server": {"shutdown_grace_s": 600}}
    with running_gateway(tmp_path, config, arguments=arguments) as gateway:
        busy = Busy(gateway, vendor)
        await busy.begin()
        gateway.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(refuses_connections, gateway)
        gateway.process.send_signal(number)
        await busy.assert_cut()


def refuses_connections(gateway: RunningGateway) -> None:
    """Return once nobody listens any more."""
    deadline = time.monotonic() + SOON_S
    while True:
        try:
            httpx.get(f"{gateway.url}/healthz", timeout=5)
        except httpx.ConnectError:
            return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for thread in threads for child in thread.read_text().split()]


async def test_a_signal_to_the_whole_group_is_one_signal(
    vendor: RunningVendor, tmp_path: Path
) -> None:
    vendor.always(Behaviour(chunks=60, chunk_delay_s=0.05))
    with running_gateway(tmp_path, version(vendor, 0.5), arguments=("--workers", "2")) as gateway:
        async with httpx.AsyncClient(base_url=gateway.url, timeout=60) as client:
            asking = asyncio.create_task(ask(client, stream=True, prompt="x", model="big"))
            await eventually(lambda: len(vendor.received) == 1)
            pids = [*children(gateway.process.pid), gateway.process.pid]
            assert len(pids) >= 3
            for number in (signal.SIGINT, signal.SIGHUP):
                for pid in pids:
                    os.kill(pid, number)
            assert (await asking).is_answered
        assert gateway.process.wait(SOON_S) == 0
        (row,) = gateway.ledger_rows(1)
        assert row["outcome"] == "ok"


async def test_a_worker_that_dies_is_replaced_and_ends_with_its_parent(
    vendor: RunningVendor, tmp_path: Path
) -> None:
    with running_gateway(tmp_path, version(vendor, 0.5), arguments=("--workers", "2")) as gateway:
        before = web_processes(gateway)
        assert len(before) == 2
        os.kill(min(before), signal.SIGKILL)
        await eventually(lambda: len(web_processes(gateway) - {min(before)}) == 2)
        workers = web_processes(gateway)
        async with httpx.AsyncClient(base_url=gateway.url, timeout=60) as client:
            answers = [await ask(client, stream=False, prompt="x", model="big") for _ in range(10)]
        assert all(one.is_answered for one in answers)
        gateway.process.kill()
        gateway.process.wait(SOON_S)
        await eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


def web_processes(gateway: RunningGateway) -> set[int]:
    """The spawned processes that serve; multiprocessing has one more of its own."""
    found = set()
    for pid in children(gateway.process.pid):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"spawn_main" in command:
            found.add(pid)
    return found


async def test_a_client_that_does_not_read_holds_nothing_up(
    vendor: RunningVendor, tmp_path: Path
) -> None:
    # Much more than the buffers between the vendor and the client hold.
    vendor.always(Behaviour(chunks=1000, extra={"filler": "x" * 100_000}))
    config = {**version(vendor, 0.5), "server": {"shutdown_grace_s": 1}}
    with running_gateway(tmp_path, config) as gateway:
        body = orjson.dumps(
            {"model": "big", "stream": True, "messages": [{"role": "user", "content": "x"}]}
        )
        line = "POST /v1/chat/completions HTTP/1.1"
        head = f"{line}\r\nhost: localhost\r\ncontent-type: application/json"
        with socket.create_connection(("127.0.0.1", gateway.port)) as deaf:
            deaf.sendall(f"{head}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
            assert deaf.recv(100).startswith(b"HTTP/1.1 200")
            await asyncio.sleep(1)
            gateway.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(gateway.process.wait, SOON_S) == 0
        assert len(gateway.ledger_rows(1)) == 1
