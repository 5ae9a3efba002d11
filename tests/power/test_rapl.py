"""The kernel's counters, read from files of its format."""

import os
import time
from pathlib import Path

import pytest

from gateway.power.rapl import PROC_STAT, Rapl, Zone, busy_ticks
from tests.power.powercap import RANGE_UJ, count, proc_stat, zone


def test_a_counter_begins_again_beyond_its_range(tmp_path: Path) -> None:
    folder = zone(tmp_path / "intel-rapl:0", "package-0", RANGE_UJ - 2_000_000)
    counter = Zone(folder)
    count(folder, RANGE_UJ - 500_000)
    assert counter.joules() == pytest.approx(1.5)
    count(folder, 1_000_000)
    assert counter.joules() == pytest.approx(1.5)
    assert counter.joules() == 0


class Clock:
    """The time that passed, and the time that this process worked, as the test says."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.worked_s = 10.0

    def work(self, seconds: float, *, within_s: float) -> None:
        self.now_s += within_s
        self.worked_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: clock.now_s)
    monkeypatch.setattr(time, "process_time", lambda: clock.worked_s)
    return clock


def ticks(seconds: float) -> int:
    return round(seconds * os.sysconf("SC_CLK_TCK"))


def test_packages_and_their_memory_are_counted_once(tmp_path: Path, clock: Clock) -> None:
    counted = [
        zone(tmp_path / "intel-rapl:0", "package-0", 0),
        zone(tmp_path / "intel-rapl:1", "package-1", 0),
        zone(tmp_path / "intel-rapl:0:1", "dram", 0),
    ]
    within = [
        zone(tmp_path / "intel-rapl:0:0", "core", 0),
        zone(tmp_path / "intel-rapl:2", "psys", 0),
        zone(tmp_path / "intel-rapl-mmio:0", "package-0", 0),
    ]
    rapl = Rapl.found(tmp_path, proc_stat(tmp_path / "stat"))
    assert rapl is not None
    for folder in counted:
        count(folder, 1_000_000)
    for folder in within:
        count(folder, 500_000_000)
    clock.work(0.5, within_s=0.25)
    # All that the machine did was done by this process.
    assert rapl.watts() == pytest.approx(3 / 0.25)


def test_a_process_is_charged_with_its_part_of_the_machines_work(
    tmp_path: Path, clock: Clock
) -> None:
    package = zone(tmp_path / "intel-rapl:0", "package-0", 0)
    stat = proc_stat(tmp_path / "stat", user=1000)
    rapl = Rapl.found(tmp_path, stat)
    assert rapl is not None
    clock.work(0.5, within_s=1.0)
    count(package, 60_000_000)
    proc_stat(stat, user=1000 + ticks(2), idle=10**6)
    assert rapl.watts() == pytest.approx(15)
    clock.work(1.0, within_s=2.0)
    count(package, 100_000_000)
    proc_stat(stat, user=1000 + ticks(3), idle=10**7)
    assert rapl.watts() == pytest.approx(20)


def test_an_idle_process_tells_nothing(tmp_path: Path, clock: Clock) -> None:
    package = zone(tmp_path / "intel-rapl:0", "package-0", 0)
    rapl = Rapl.found(tmp_path, proc_stat(tmp_path / "stat"))
    assert rapl is not None
    clock.work(0.001, within_s=0.25)
    count(package, 10_000_000)
    assert rapl.watts() is None


@pytest.mark.parametrize("missing", ["energy_uj", "max_energy_range_uj", "stat"])
def test_where_a_file_cant_be_read_nothing_is_measured(tmp_path: Path, missing: str) -> None:
    zone(tmp_path / "intel-rapl:0", "package-0", 0)
    package = zone(tmp_path / "intel-rapl:1", "package-1", 0)
    stat = proc_stat(tmp_path / "stat")
    unreadable = stat if missing == "stat" else package / missing
    # A folder can't be read by anybody; a mode would not stop root.
    unreadable.unlink()
    unreadable.mkdir()
    assert Rapl.found(tmp_path, stat) is None


@pytest.mark.parametrize("text", ["", "n/a\n"])
def test_a_counter_without_a_number_is_none(tmp_path: Path, text: str) -> None:
    package = zone(tmp_path / "intel-rapl:0", "package-0", 0)
    (package / "energy_uj").write_text(text)
    assert Rapl.found(tmp_path, proc_stat(tmp_path / "stat")) is None


def test_a_machine_without_counters_measures_nothing(tmp_path: Path) -> None:
    assert Rapl.found(tmp_path / "none") is None


def test_the_machines_own_file_is_understood() -> None:
    before = busy_ticks(PROC_STAT)
    until_s = time.process_time() + 0.1
    while time.process_time() < until_s:
        pass
    assert busy_ticks(PROC_STAT) > before > 0
