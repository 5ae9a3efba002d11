"""The kernel's counters, read from files of its format; the process's own work is real."""

import os
import time
from pathlib import Path

import pytest

from gateway.power.rapl import PROC_STAT, Rapl, Zone, busy_ticks
from tests.power.powercap import RANGE_UJ, count, proc_stat, zone


def work(seconds: float) -> None:
    """Keep a core busy."""
    until_s = time.process_time() + seconds
    while time.process_time() < until_s:
        pass


def test_a_counter_begins_again_beyond_its_range(tmp_path: Path) -> None:
    folder = zone(tmp_path / "intel-rapl:0", "package-0", RANGE_UJ - 2_000_000)
    counter = Zone(folder)
    count(folder, RANGE_UJ - 500_000)
    assert counter.joules() == pytest.approx(1.5)
    count(folder, 1_000_000)
    assert counter.joules() == pytest.approx(1.5)
    assert counter.joules() == 0


def test_packages_and_their_memory_are_counted_once(tmp_path: Path) -> None:
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
    began_s = time.monotonic()
    work(0.05)
    for folder in counted:
        count(folder, 1_000_000)
    for folder in within:
        count(folder, 500_000_000)
    watts = rapl.watts()
    assert watts is not None
    # 3 J, and all that the machine did was done by this process.
    assert watts == pytest.approx(3 / (time.monotonic() - began_s), rel=0.2)


def test_a_process_is_charged_with_its_part_of_the_machines_work(tmp_path: Path) -> None:
    package = zone(tmp_path / "intel-rapl:0", "package-0", 0)
    stat = proc_stat(tmp_path / "stat", user=1000)
    rapl = Rapl.found(tmp_path, stat)
    assert rapl is not None
    began_s, worked_s = time.monotonic(), time.process_time()
    work(0.05)
    ticks = 100 * os.sysconf("SC_CLK_TCK")
    proc_stat(stat, user=1000 + ticks, idle=10**6)
    count(package, 10_000_000)
    watts = rapl.watts()
    passed_s, work_s = time.monotonic() - began_s, time.process_time() - worked_s
    assert watts == pytest.approx(10 / passed_s * work_s / 100, rel=0.2)


def test_an_idle_process_tells_nothing(tmp_path: Path) -> None:
    package = zone(tmp_path / "intel-rapl:0", "package-0", 0)
    rapl = Rapl.found(tmp_path, proc_stat(tmp_path / "stat"))
    assert rapl is not None
    time.sleep(0.1)
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
    work(0.1)
    assert busy_ticks(PROC_STAT) > before > 0
