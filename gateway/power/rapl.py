"""The processor's own energy counters (RAPL), which Linux shows under `/sys/class/powercap`.

Intel's and AMD's processors have them; since CVE-2020-8694 they are readable by root alone unless
the machine's owner says otherwise. See the kernel's Documentation/power/powercap/powercap.rst.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Self

POWERCAP = Path("/sys/class/powercap")
PROC_STAT = Path("/proc/stat")

#: A process that worked less than this part of one core was idle: its share would tell nothing.
LEAST_WORK = 0.02
_JOULES_A_UNIT = 1e-6


class Zone:
    """One counter in microjoules, which begins again from zero beyond its range."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError or ValueError where it can't be read."""
        self._counter = folder / "energy_uj"
        self._range = int((folder / "max_energy_range_uj").read_text())
        self._last = int(self._counter.read_text())

    def joules(self) -> float:
        """What was drawn since the last look. Raises OSError or ValueError."""
        before, self._last = self._last, int(self._counter.read_text())
        used = self._last - before
        return (used if used >= 0 else used + self._range) * _JOULES_A_UNIT


class Rapl:
    """What this process draws of the processors and their memory.

    Of the whole machine's joules it is charged with its part of the time that cores were busy.
    """

    name = "rapl"

    def __init__(self, zones: list[Zone], proc_stat: Path = PROC_STAT) -> None:
        """Raises OSError or ValueError where the machine's time can't be read."""
        self._zones = zones
        self._proc_stat = proc_stat
        self._at_s = time.monotonic()
        self._worked_s = time.process_time()
        self._busy = busy_ticks(proc_stat)

    @classmethod
    def found(cls, folder: Path = POWERCAP, proc_stat: Path = PROC_STAT) -> Self | None:
        """The counters of every package; None where there are none, or any is unreadable."""
        try:
            zones = [Zone(zone) for zone in _zones(folder)]
            return cls(zones, proc_stat) if zones else None
        except (OSError, ValueError):
            return None

    def watts(self) -> float | None:
        """The mean since the last look; None where it has hardly worked.

        Raises OSError or ValueError where the counters can't be read any more.
        """
        at_s, worked_s, busy = time.monotonic(), time.process_time(), busy_ticks(self._proc_stat)
        joules = sum(zone.joules() for zone in self._zones)
        passed_s, work_s = at_s - self._at_s, worked_s - self._worked_s
        busy_s = (busy - self._busy) / os.sysconf("SC_CLK_TCK")
        self._at_s, self._worked_s, self._busy = at_s, worked_s, busy
        if passed_s <= 0 or work_s < LEAST_WORK * passed_s:
            return None
        return joules / passed_s * work_s / max(work_s, busy_s)


def busy_ticks(proc_stat: Path) -> int:
    """How long the cores together have worked since the machine was started."""
    fields = proc_stat.read_text().split("\n", 1)[0].split()
    if fields[:1] != ["cpu"]:
        raise ValueError(f"{proc_stat} doesn't begin with the sum over the cores")
    user, nice, system, _idle, _waiting, *rest = map(int, fields[1:])
    # Interrupts come next; guests' time, which comes last, is in the users' already.
    return user + nice + system + sum(rest[:2])


def _zones(folder: Path) -> list[Path]:
    """The packages, and beside each the memory that it doesn't count.

    `psys` counts packages again, and so do the zones of `intel-rapl-mmio`.
    """
    packages = [
        zone
        for zone in sorted(folder.glob("intel-rapl:*"))
        if zone.name.count(":") == 1 and _name(zone).startswith("package")
    ]
    memory = [
        zone
        for package in packages
        for zone in sorted(folder.glob(f"{package.name}:*"))
        if _name(zone) == "dram"
    ]
    return packages + memory


def _name(zone: Path) -> str:
    return (zone / "name").read_text().strip()
