"""How throughput grows with `--workers`: the gateway, the load and the upstream share the cores."""

from __future__ import annotations

import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import uvloop

from benchmarks.load import LoadResult, closed_loop
from benchmarks.measure import CONNECTIONS, p99
from benchmarks.process import cpu_s, family, rss_mb, running
from benchmarks.prompts import Requests
from benchmarks.report import table
from benchmarks.systems import System, gateway, gateway_config, simulated_upstream


@dataclass(slots=True, frozen=True)
class Scaled:
    """One load on a number of workers. CPU times are µs an answer.

    `shares` are the parts of the gateway's CPU time that its processes had, `memory_mb` is theirs
    together; `busy` is the part of all cores' time that the three together used.
    """

    load: LoadResult
    gateway_us: float
    upstream_us: float
    generator_us: float
    busy: float
    shares: tuple[float, ...]
    memory_mb: float


def measure_scaling(counts: Sequence[int], seconds: float, rounds: int) -> str:
    """The table as Markdown: interleaved rounds on each number of workers, their medians."""
    found: dict[int, list[Scaled]] = {count: [] for count in counts}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        port, upstream_pid = stack.enter_context(simulated_upstream(Path(name)))
        for _, count in itertools.product(range(rounds), counts):
            with tempfile.TemporaryDirectory() as own:
                system = gateway(gateway_config(port, Path(own)), Path(own), workers=count)
                found[count].append(_measure(system, upstream_pid, seconds, Path(own)))
    return _report(found)


def _measure(system: System, upstream_pid: int, seconds: float, folder: Path) -> Scaled:
    log = folder / "us.log"
    with running(system.command, system.health_url, log=log, env=system.env) as started:
        requests = Requests(system.port, system.model, system.key, itertools.count())

        def ask(for_s: float) -> LoadResult:
            load = closed_loop(
                system.port, requests, connections=CONNECTIONS, seconds=for_s, streaming=False
            )
            return uvloop.run(load)

        ask(seconds / 2)
        members = family(started.pid)
        before = _cpu_times(members, upstream_pid)
        result = ask(seconds)
        used = [
            now - then for now, then in zip(_cpu_times(members, upstream_pid), before, strict=True)
        ]
        memory_mb = sum(rss_mb(pid) for pid in members)
    *ours, upstream_s, generator_s = used
    an_answer = 1e6 / max(1, result.answers)
    return Scaled(
        load=result,
        gateway_us=sum(ours) * an_answer,
        upstream_us=upstream_s * an_answer,
        generator_us=generator_s * an_answer,
        busy=sum(used) / result.seconds / len(os.sched_getaffinity(0)),
        shares=tuple(one / sum(ours) for one in ours if one > 0.01 * sum(ours)),
        memory_mb=memory_mb,
    )


def _cpu_times(members: Sequence[int], upstream_pid: int) -> list[float]:
    """Seconds of each of our processes alone, of the upstream, and of the load generator."""
    each = [cpu_s(pid, with_descendants=False) for pid in members]
    return [*each, cpu_s(upstream_pid), time.process_time()]


_HEAD = (
    "workers",
    "requests/s",
    "× first",
    "room for",
    "p99 ms",
    "gateway µs/request",
    "upstream µs",
    "generator µs",
    "cores busy",
    "work by process",
    "RSS MB, together",
    "failures",
)


def _report(found: dict[int, list[Scaled]]) -> str:
    cores = len(os.sched_getaffinity(0))
    first = _median(found[min(found)], _throughput)
    rows = [_row(count, measured, first, cores) for count, measured in found.items()]
    return (
        f"Plain answers, {CONNECTIONS} connections, everything on. Nothing is pinned: gateway, "
        f"upstream and generator share {cores} cores. Room for: the answers a second that these "
        "costs allow, with every core busy and a worker on no more than one.\n\n"
        f"{table(_HEAD, rows)}"
    )


def _row(count: int, measured: list[Scaled], first: float, cores: int) -> tuple[str, ...]:
    gateway_us = _median(measured, lambda one: one.gateway_us)
    upstream_us = _median(measured, lambda one: one.upstream_us)
    generator_us = _median(measured, lambda one: one.generator_us)
    room = min(cores * 1e6 / (gateway_us + upstream_us + generator_us), count * 1e6 / gateway_us)
    per_second = _median(measured, _throughput)
    return (
        str(count),
        f"{per_second:,.0f}",
        f"{per_second / first:.2f}",
        f"{room:,.0f}",
        f"{_median(measured, lambda one: p99(one.load)):.1f}",
        f"{gateway_us:,.0f}",
        f"{upstream_us:,.0f}",
        f"{generator_us:,.0f}",
        f"{_median(measured, lambda one: one.busy):.0%}",
        " + ".join(f"{share:.0%}" for share in measured[-1].shares),
        f"{_median(measured, lambda one: one.memory_mb):.0f}",
        str(sum(sum(one.load.failures.values()) for one in measured)),
    )


def _throughput(one: Scaled) -> float:
    return one.load.per_second


def _median(measured: list[Scaled], figure: Callable[[Scaled], float]) -> float:
    return statistics.median(figure(one) for one in measured)
