"""Does memory stay flat, is every call accounted for? `python -m benchmarks.soak --minutes 10`.

One gateway process has mixed traffic for minutes; its memory, open files and asyncio tasks are
sampled each second. The exit status is 1 when an answer was not what its request should have had,
or when the ledger's rows are not as many as the requests that the upstream received.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import uvloop
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.measure import cores
from benchmarks.process import cpu_s, open_files, pinned_to, rss_mb, running
from benchmarks.report import provenance, table, write_section
from benchmarks.systems import (
    KEY,
    System,
    deployment,
    gateway,
    gateway_config,
    simulated_upstream,
)
from benchmarks.traffic import FAULTY, LEFT_EARLY, Client, Tally, run_client
from benchmarks.trend import slope_of

CLIENTS = 16
#: From this length on the results are worth keeping.
WORTH_KEEPING_MINUTES = 10
#: How long the gateway may take to come to rest and write its last rows.
_REST_S = 15.0


@dataclass(slots=True)
class Samples:
    """The process each second: seconds since the start, MB, counts."""

    at_s: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)
    files: list[float] = field(default_factory=list)
    tasks: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Soaked:
    """What came of a soak. `at_rest` are open files and tasks before the traffic and after it."""

    seconds: float
    tally: Tally
    samples: Samples
    cpu_s: float
    received: int
    rows: int
    at_rest: tuple[tuple[int, int], tuple[int, int]]

    @property
    def rows_fit(self) -> bool:
        """A row for each request received; who left early may have left before the call arrived."""
        left_early = self.tally.asked[LEFT_EARLY]
        return self.received <= self.rows <= self.received + left_early

    @property
    def as_expected(self) -> bool:
        return not self.tally.unexpected and self.rows_fit


class Soak:
    """One gateway process, its upstream, and the traffic."""

    def __init__(self, system: System, pid: int, tasks_file: Path, upstream_port: int) -> None:
        self._url = f"http://127.0.0.1:{system.port}"
        self._upstream = f"http://127.0.0.1:{upstream_port}"
        self._pid = pid
        self._tasks_file = tasks_file
        self._tally = Tally()
        self._samples = Samples()

    async def run(self, seconds: float) -> Soaked:
        """Traffic for `seconds`, then rest."""
        await asyncio.sleep(2)
        before = self._state()
        cpu_before_s, began_s = cpu_s(self._pid), time.perf_counter()
        is_over = asyncio.Event()
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            client = Client(self._url, session)
            clients = [
                run_client(client, number, is_over, self._tally) for number in range(CLIENTS)
            ]
            traffic = asyncio.gather(*clients)
            await self._watch(seconds)
            is_over.set()
            await traffic
        took_s = time.perf_counter() - began_s
        received, rows = await self._come_to_rest()
        return Soaked(
            seconds=took_s,
            tally=self._tally,
            samples=self._samples,
            cpu_s=cpu_s(self._pid) - cpu_before_s,
            received=received,
            rows=rows,
            at_rest=(before, self._state()),
        )

    def _state(self) -> tuple[int, int]:
        """Open files and asyncio tasks."""
        return open_files(self._pid), int(self._tasks_file.read_text())

    async def _watch(self, seconds: float) -> None:
        began_s = time.perf_counter()
        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        with bar:
            task = bar.add_task("", total=seconds)
            while (passed_s := time.perf_counter() - began_s) < seconds:
                samples, (files, tasks) = self._samples, self._state()
                samples.at_s.append(passed_s)
                samples.memory_mb.append(rss_mb(self._pid))
                samples.files.append(files)
                samples.tasks.append(tasks)
                text = (
                    f"{self._tally.asked.total():,} requests, "
                    f"{self._tally.unexpected.total()} unexpected, {samples.memory_mb[-1]:.1f} MB"
                )
                bar.update(task, completed=passed_s, description=text)
                await asyncio.sleep(1)

    async def _come_to_rest(self) -> tuple[int, int]:
        """What the upstream received and the ledger's rows, once equal and quiet, or time is up."""
        deadline_s = time.monotonic() + _REST_S
        headers = {"authorization": f"Bearer {KEY}"}
        async with httpx.AsyncClient() as client:
            while True:
                await asyncio.sleep(1)
                received: int = (await client.get(f"{self._upstream}/received")).json()["received"]
                params = {"by": "tier"}
                costs = await client.get(f"{self._url}/v1/costs", params=params, headers=headers)
                rows: int = sum(one["calls"] for one in costs.raise_for_status().json()["data"])
                if rows == received or time.monotonic() > deadline_s:
                    break
        await asyncio.sleep(2)
        return received, rows


def main() -> None:
    """Soak, print what came of it, exit with 1 when something was unexpected."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak")
    parser.add_argument("--minutes", type=float, default=10)
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory() as name:
        soaked = soak(minutes * 60, Path(name))
    command = f"python -m benchmarks.soak --minutes {minutes:g}"
    report = f"{provenance(command)}\n\n{report_of(soaked)}"
    print(report)
    if minutes >= WORTH_KEEPING_MINUTES:
        write_section("Soak", report)
    sys.exit(0 if soaked.as_expected else 1)


def soak(seconds: float, folder: Path) -> Soaked:
    """Run the traffic against a gateway of its own; files go into `folder`."""
    core, other_core = cores()
    tasks_file = folder / "tasks"
    with ExitStack() as stack:
        stack.enter_context(pinned_to({other_core}))
        port, _ = stack.enter_context(simulated_upstream(folder, {other_core}))
        module = ("benchmarks.observed", str(tasks_file))
        system = gateway(_config(port, folder), folder, module=module)
        log = folder / "us.log"
        started = stack.enter_context(
            running(system.command, system.health_url, log=log, cores={core}, env=system.env)
        )
        return uvloop.run(Soak(system, started.pid, tasks_file, port).run(seconds))


def _config(upstream_port: int, folder: Path) -> dict[str, Any]:
    config = gateway_config(upstream_port, folder)
    price = {"input": 1, "output": 1}
    faulty = deployment(FAULTY, "large", "gpt-4o", upstream_port, price)
    config["deployments"].append({**faulty, "retries": 1})
    config["resilience"] = {"breaker": {"failures": 1_000_000}}
    config["routing"] = {"fallback": "none"}  # who asks for the faulty one is to see it fail
    return config


def report_of(soaked: Soaked) -> str:
    """Tables of the traffic and of the process, as Markdown."""
    tally, samples = soaked.tally, soaked.samples
    total = tally.asked.total()
    unexpected = [f"- {count} × {what}" for what, count in tally.unexpected.items()]
    surplus = soaked.rows - soaked.received
    equality = (
        f"{surplus} too many or too few"
        if not soaked.rows_fit
        else (
            f"{surplus} more, of clients that left before their call arrived"
            if surplus
            else "equal"
        )
    )
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in tally.asked.most_common())
    late = len(samples.at_s) // 3
    rows = [
        _trend(name, samples.at_s[late:], values[late:])
        for name, values in (
            ("RSS, MB", samples.memory_mb),
            ("open files", samples.files),
            ("asyncio tasks", samples.tasks),
        )
    ]
    (files_before, tasks_before), (files_after, tasks_after) = soaked.at_rest
    series = ", ".join(
        f"{one:.0f}" for one in samples.memory_mb[:: max(1, len(samples.at_s) // 20)]
    )
    return "\n".join(
        (
            f"{total:,} requests of {CLIENTS} clients in {soaked.seconds:.0f} s "
            f"({total / soaked.seconds:,.0f}/s, {soaked.cpu_s * 1e6 / total:,.0f} µs CPU each): "
            f"{kinds}.\n",
            f"Unexpected answers: {tally.unexpected.total()}.",
            *unexpected,
            f"\nThe upstream received {soaked.received:,} requests, the ledger has "
            f"{soaked.rows:,} rows: {equality}.\n",
            "Over the last two thirds of the time, by least squares:\n",
            table(
                ("", "first", "last", "lowest", "highest", "slope an hour", "95% interval"), rows
            ),
            f"\nRSS in MB, 20 times from the start on: {series}.",
            f"\nAt rest before and after: {files_before} and {files_after} open files, "
            f"{tasks_before} and {tasks_after} asyncio tasks.",
        )
    )


def _trend(name: str, at_s: list[float], values: list[float]) -> tuple[str, ...]:
    slope = slope_of([one / 3600 for one in at_s], values)
    part = max(1, len(values) // 10)
    return (
        name,
        f"{statistics.median(values[:part]):.1f}",
        f"{statistics.median(values[-part:]):.1f}",
        f"{min(values):.1f}",
        f"{max(values):.1f}",
        f"{slope.value:+.1f}",
        f"{slope.low:+.1f} to {slope.high:+.1f}",
    )


if __name__ == "__main__":
    main()
