"""A process under test: started on a core of its own, and what `/proc` says about it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_POLL_S = 0.005
START_TIMEOUT_S = 120


@dataclass(slots=True, frozen=True)
class Running:
    """A started process, and the seconds from its start to its first healthy answer."""

    pid: int
    start_s: float


@contextmanager
def running(
    command: Sequence[str],
    health_url: str,
    *,
    log: Path,
    cores: set[int] | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[Running]:
    """Run a command on `cores` until the block ends; yields once `health_url` answers 200."""
    with log.open("ab") as output:
        began_s = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            env={**os.environ, **(env or {})},
        )
    try:
        if cores is not None:
            os.sched_setaffinity(process.pid, cores)
        _wait_until_healthy(process, health_url, log)
        yield Running(process.pid, time.perf_counter() - began_s)
    finally:
        _signal(family(process.pid), signal.SIGCONT)
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_healthy(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(_POLL_S)
    raise RuntimeError(f"{url} didn't answer:\n{log.read_text()[-4000:]}")


@contextmanager
def pinned_to(cores: set[int]) -> Iterator[None]:
    """Keep this process on `cores` while the block runs."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def family(pid: int) -> list[int]:
    """The process and its descendants, parents first; without those that have ended."""
    found = [pid] if Path(f"/proc/{pid}").exists() else []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # a thread that has just ended
            for child in path.read_text().split():
                found += family(int(child))
    return found


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def cpu_s(pid: int, *, with_descendants: bool = True) -> float:
    """CPU time of a process since it began, user and system, seconds."""
    ticks = 0
    for one in family(pid) if with_descendants else [pid]:
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS_A_SECOND


def rss_mb(pid: int) -> float:
    """Resident memory of one process, in MB (10^6 bytes)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def open_files(pid: int) -> int:
    """How many file descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 (the names are all that is wanted)


@contextmanager
def stopped(pids: Sequence[int]) -> Iterator[None]:
    """Stop processes, with their descendants, while the block runs."""
    members = [one for pid in pids for one in family(pid)]
    _signal(members, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(members, signal.SIGCONT)
