"""The simulator as a fixture: one server for the session, a clean record for each test."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest
from aiohttp import web

from tests.vendor.behaviour import Behaviour
from tests.vendor.server import ReceivedRequest, Vendor


class RunningVendor:
    """The simulator in a thread of its own."""

    def __init__(self) -> None:
        self._vendor = Vendor()
        self._started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="vendor", daemon=True)
        self._thread.start()
        assert self._started.wait(10)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.run_forever()
        self._loop.run_until_complete(self._runner.cleanup())
        # What is closed by then is gone only after another turn of the loop.
        self._loop.run_until_complete(asyncio.sleep(0.05))
        self._loop.close()

    async def _serve(self) -> None:
        self._runner = web.AppRunner(
            self._vendor.application(), handler_cancellation=True, shutdown_timeout=0.1
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port: int = self._runner.addresses[0][1]
        self._started.set()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def received(self) -> list[ReceivedRequest]:
        return self._vendor.received

    def will(self, *behaviours: Behaviour) -> None:
        """Answer the next requests so, one each."""
        self._vendor.script.extend(behaviours)

    def always(self, behaviour: Behaviour) -> None:
        """Answer every further request of this test so."""
        self._vendor.default = behaviour

    def as_model(self, model: str, behaviour: Behaviour) -> None:
        """Answer every further request for that model so."""
        self._vendor.by_model[model] = behaviour

    def forget(self) -> None:
        """No record, no script."""
        self._vendor.script.clear()
        self._vendor.received.clear()
        self._vendor.by_model.clear()
        self._vendor.default = Behaviour()

    def wait_for_early_close(self, timeout_s: float = 3) -> float:
        """Seconds until the caller of the last request hung up."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            closed = self.received[-1].closed_early_after_s if self.received else None
            if closed is not None:
                return closed
            time.sleep(0.02)
        raise AssertionError("the caller did not hang up")

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


@pytest.fixture(scope="session")
def vendor_server() -> Iterator[RunningVendor]:
    running = RunningVendor()
    yield running
    running.stop()


@pytest.fixture
def vendor(vendor_server: RunningVendor) -> RunningVendor:
    vendor_server.forget()
    return vendor_server
