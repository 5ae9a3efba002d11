"""An engine's process that is measured: the kernel's files are the test's, the rest is real."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.accounting.energy import energy_of
from gateway.backends.local.backend import LocalBackend
from gateway.backends.local.process import EngineProcess
from gateway.core.energy import Hardware
from gateway.core.usage import Usage
from tests.backends.local.asking import answer_of, chat, until_ready
from tests.backends.local.families import make_model
from tests.power.powercap import RANGE_UJ, count, zone

#: What the processor draws, and where its counter stands at first: it soon begins again.
WATTS = 50
FIRST_UJ = RANGE_UJ - 20_000_000


@contextmanager
def drawing(package: Path) -> Iterator[None]:
    """The processor draws `WATTS`, whatever is done."""
    ended, began_s = threading.Event(), time.monotonic()

    def draw() -> None:
        while not ended.wait(0.01):
            used = int((time.monotonic() - began_s) * WATTS * 1e6)
            count(package, (FIRST_UJ + used) % RANGE_UJ)

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


async def usage_after(backend: LocalBackend, seconds: float) -> Usage:
    """That of the last of many answers, until some time has passed."""
    until_s = time.monotonic() + seconds
    while True:
        usage = (await answer_of(backend, chat("a b c", max_tokens=200))).usage
        assert usage is not None
        if usage.reading is not None or time.monotonic() > until_s:
            return usage


async def test_answers_take_their_part_of_what_the_processor_draws(tmp_path: Path) -> None:
    folder = make_model("smollm2", tmp_path / "model")
    package = zone(tmp_path / "powercap" / "intel-rapl:0", "package-0", FIRST_UJ)
    zone(tmp_path / "powercap" / "intel-rapl:0:0", "core", 0)
    with drawing(package), EngineProcess(str(folder), tmp_path, powercap=package.parent) as engine:
        backend = LocalBackend(str(folder), models_dir=tmp_path, socket_path=engine.socket_path)
        await backend.start()
        await until_ready(backend)
        usage = await usage_after(backend, 30)
        await backend.stop()
    assert usage.reading is not None
    assert usage.compute_s
    assert usage.reading.meter == "rapl"
    whole_wh = WATTS * usage.compute_s / 3600
    # Others use the machine too: the engine's part is what it did of all that was done.
    assert 0 < usage.reading.wh <= whole_wh * 1.1
    energy = energy_of(usage, Hardware(1000), 1.0)
    assert energy is not None
    assert energy.wh == pytest.approx(usage.reading.wh, abs=1e-9)
    assert energy.source == "measured:rapl"
