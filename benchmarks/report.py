"""What was measured as text: tables, goals reached or not, and the versions of everything."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.load import percentile
from benchmarks.measure import CONNECTIONS, FIXED_RATE, Measured, Round, p50, p99
from benchmarks.systems import PEERS

RESULTS = Path(__file__).parent / "RESULTS.md"
_TITLE = "# Results\nWritten by the benchmarks themselves; each section says by which command.\n"
_OURS = ("uvicorn", "uvloop", "httptools", "starlette", "aiohttp", "orjson")


def plain_per_second(one: Round) -> float:
    """Plain answers a second."""
    return one.plain.per_second


def streams_per_second(one: Round) -> float:
    """Whole streams a second."""
    return one.streams.per_second


def ratio(found: Mapping[str, Measured], to: str, figure: Callable[[Round], float]) -> float | None:
    """Ours over another's, the median over rounds; None where one of them wasn't measured."""
    if "us" not in found or to not in found:
        return None
    pairs = zip(found["us"].rounds, found[to].rounds, strict=True)
    return statistics.median(figure(ours) / max(1e-9, figure(other)) for ours, other in pairs)


def added_ms(
    found: Mapping[str, Measured], name: str, latency: Callable[[Round], float]
) -> float | None:
    """What a system adds to the direct call, the median over rounds; None where unmeasured."""
    if name not in found or "direct" not in found:
        return None
    pairs = zip(found[name].rounds, found["direct"].rounds, strict=True)
    return statistics.median(latency(one) - latency(direct) for one, direct in pairs)


@dataclass(slots=True, frozen=True)
class Goal:
    """A figure and the bound that it is to keep; `value` is None where it wasn't measured."""

    text: str
    value: float | None
    bound: float
    at_least: bool

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        reached = self.value >= self.bound if self.at_least else self.value <= self.bound
        return "reached" if reached else "**not reached**"


def goals(found: Mapping[str, Measured]) -> list[Goal]:
    """Every goal, whether or not it could be measured."""
    us = found.get("us")
    has_rate = us is not None and all(one.fixed_rate.answers for one in us.rounds)

    def added(latency: Callable[[Round], float]) -> float | None:
        return added_ms(found, "us", latency) if has_rate else None

    return [
        Goal("plain, ours / bare", ratio(found, "bare", plain_per_second), 0.75, True),
        Goal("streams, ours / bare", ratio(found, "bare", streams_per_second), 0.75, True),
        Goal("plain, ours / LiteLLM", ratio(found, "litellm", plain_per_second), 30, True),
        Goal("streams, ours / LiteLLM", ratio(found, "litellm", streams_per_second), 80, True),
        Goal("added at 100/s, p50 ms", added(lambda one: p50(one.fixed_rate)), 1.0, False),
        Goal("added at 100/s, p99 ms", added(lambda one: p99(one.fixed_rate)), 3.0, False),
        Goal("RSS of the web process, MB", us.web_mb if us else None, 150, False),
        Goal(
            "cold start to `/healthz`, s",
            statistics.median(us.starts_s) if us else None,
            1.5,
            False,
        ),
        Goal(
            "failed requests of ours",
            float(sum(us.failures().values())) if us else None,
            0,
            False,
        ),
    ]


def tables(found: Mapping[str, Measured]) -> str:
    """Four Markdown tables: plain, at a fixed rate, streams, processes; then the goals."""
    every = list(found.values())
    parts = [
        f"Plain answers, {CONNECTIONS} connections:\n",
        table(
            ("", "requests/s", "p50 ms", "p99 ms", "CPU µs/request", "of its core", "failures"),
            [_plain_row(one) for one in every],
        ),
        f"\nStreams of 50 chunks, {CONNECTIONS} connections:\n",
        table(
            ("", "streams/s", "chunks/s", "first byte p50 ms", "p99 ms", "CPU µs/stream"),
            [_stream_row(one) for one in every],
        ),
        f"\nPlain answers at a fixed {FIXED_RATE:g}/s, from the intended time of sending:\n",
        table(
            ("", "p50 ms", "p99 ms", "added p50 ms", "added p99 ms"),
            [_rate_row(found, one) for one in every if one.rounds[0].fixed_rate.seconds],
        ),
        "\nProcesses:\n",
        table(
            ("", "cold start s", "RSS MB, idle", "RSS MB after the load", "its relatives MB"),
            [_process_row(one) for one in every],
        ),
        "\nGoals:\n",
        table(
            ("", "value", "goal", ""),
            [
                (
                    one.text,
                    "–" if one.value is None else f"{one.value:.2f}",
                    f"{'≥' if one.at_least else '≤'} {one.bound:g}",
                    one.verdict,
                )
                for one in goals(found)
            ],
        ),
    ]
    return "\n".join((*parts, *_remarks(found)))


def _remarks(found: Mapping[str, Measured]) -> list[str]:
    """Ratios without a goal of their own."""
    plain, streams = (
        ratio(found, "nginx", figure) for figure in (plain_per_second, streams_per_second)
    )
    remarks = []
    if plain is not None and streams is not None:
        remarks.append(f"\nTo nginx: plain {plain:.3f}, streams {streams:.3f}.")
    plain, streams = (
        ratio(found, "bare", lambda one: 1 / max(1e-9, one.plain_cpu_us)),
        ratio(found, "bare", lambda one: 1 / max(1e-9, one.stream_cpu_us)),
    )
    if plain is not None and streams is not None:
        remarks.append(
            f"\nTo bare by CPU time, which other work on the machine hardly disturbs: plain "
            f"{plain:.2f}, streams {streams:.2f}. Where a system had much less than its whole core "
            "(and wasn't waiting for the load), the machine was busy."
        )
    return remarks


def _plain_row(one: Measured) -> tuple[str, ...]:
    failures = ", ".join(f"{count} {kind}" for kind, count in one.failures().items())
    return (
        one.system.label,
        f"{one.median(plain_per_second):,.0f}",
        f"{one.median(lambda each: p50(each.plain)):.2f}",
        f"{one.median(lambda each: p99(each.plain)):.2f}",
        f"{one.median(lambda each: each.plain_cpu_us):,.0f}",
        f"{one.median(lambda each: each.plain_cpu_us * each.plain.per_second / 1e6):.0%}",
        failures or "0",
    )


def _stream_row(one: Measured) -> tuple[str, ...]:
    return (
        one.system.label,
        f"{one.median(streams_per_second):,.0f}",
        f"{one.median(lambda each: each.streams.chunks_per_second):,.0f}",
        f"{one.median(lambda each: percentile(each.streams.first_bytes_ms, 0.5)):.2f}",
        f"{one.median(lambda each: percentile(each.streams.first_bytes_ms, 0.99)):.2f}",
        f"{one.median(lambda each: each.stream_cpu_us):,.0f}",
    )


def _rate_row(found: Mapping[str, Measured], one: Measured) -> tuple[str, ...]:
    name = one.system.name
    added = (
        added_ms(found, name, lambda each: p50(each.fixed_rate)),
        added_ms(found, name, lambda each: p99(each.fixed_rate)),
    )
    return (
        one.system.label,
        f"{one.median(lambda each: p50(each.fixed_rate)):.2f}",
        f"{one.median(lambda each: p99(each.fixed_rate)):.2f}",
        *("–" if value is None or name == "direct" else f"{value:.2f}" for value in added),
    )


def _process_row(one: Measured) -> tuple[str, ...]:
    return (
        one.system.label,
        f"{statistics.median(one.starts_s):.2f}",
        f"{one.idle_mb:.0f}",
        f"{one.web_mb:.0f}",
        f"{one.others_mb:.0f}" if one.others_mb else "–",
    )


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def provenance(command: str, versions: Sequence[str] | None = None) -> str:
    """When, by what command, on which machine, with which versions (by default, the gateways')."""
    if versions is None:
        ours = [f"{name} {importlib.metadata.version(name)}" for name in _OURS]
        versions = [*ours, *_peer_versions()]
    python = f"Python {platform.python_version()}"
    load = ", ".join(f"{one:.2f}" for one in os.getloadavg())
    return "\n".join(
        (
            f"`{command}`, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, at {_commit()}.",
            f"{_cpu_model()}, {len(os.sched_getaffinity(0))} cores, "
            f"Linux {platform.release()}; load average at the end {load}.",
            ", ".join((python, *versions)) + ".",
        )
    )


def _peer_versions() -> list[str]:
    installed = PEERS.parent.glob("lib/python*/site-packages/litellm-*.dist-info")
    found = [f"LiteLLM {path.stem.removeprefix('litellm-')}" for path in installed]
    try:
        shown = _output("/usr/sbin/nginx", "-v")
    except OSError:
        return found
    return [*found, f"nginx {shown.rpartition('/')[2].strip()}"]


def _cpu_model() -> str:
    match = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return match.group(1) if match else platform.machine()


def _commit() -> str:
    try:
        changed = _output("git", "status", "--porcelain", "--", "gateway", "benchmarks/*.py")
        commit = _output("git", "rev-parse", "--short", "HEAD").strip()
    except OSError:
        return "an unknown commit"
    return f"commit {commit}{' with changes' if changed.strip() else ''}"


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def write_section(title: str, text: str, path: Path = RESULTS) -> None:
    """Put a section into the results, in place of the one with the same title."""
    old = path.read_text() if path.exists() else _TITLE
    head, *sections = re.split(r"^(?=## )", old, flags=re.MULTILINE)
    by_title = {one.partition("\n")[0]: one.strip() for one in (*sections, f"## {title}\n{text}")}
    path.write_text("\n\n".join((head.strip(), *by_title.values())) + "\n")
