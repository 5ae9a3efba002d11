"""The gateway beside its peers and its limit: `python -m benchmarks.bench`.

One core runs the system under test, the other the load and the upstream. Every system gets the same
loads in interleaved rounds, alone: the others are stopped meanwhile. A full run writes
`benchmarks/RESULTS.md`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.measure import Bench, Measured, Plan, cores
from benchmarks.profiling import profile
from benchmarks.prompts import PATH, conversations
from benchmarks.report import provenance, tables, write_section
from benchmarks.systems import KEY, SYSTEMS, Missing, System, simulated_upstream
from benchmarks.workers import measure_scaling


def main() -> None:
    """Measure, print, and write the results of a full run."""
    options = _options()
    if options.workers_scaling:
        scaling = measure_scaling((1, 2), options.seconds, options.rounds)
        _publish("Workers", f"{provenance(_command())}\n\n{scaling}")
        return
    if options.profile:
        profile(options.seconds)
        return
    with tempfile.TemporaryDirectory() as name:
        report = _compare(options, Path(name))
    if options.only is None:
        _publish("Beside peers and a limit", report)
    else:
        print(report)


def _publish(title: str, report: str) -> None:
    print(report)
    write_section(title, report)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench")
    parser.add_argument("--only", help=f"some of {','.join(SYSTEMS)}, separated by commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4, help="of each closed loop")
    parser.add_argument("--warm-up", type=float, default=1.5, help="seconds of each closed loop")
    parser.add_argument("--rate-seconds", type=float, default=10, help="of the load at 100/s")
    parser.add_argument("--starts", type=int, default=3, help="cold starts of each system")
    parser.add_argument("--profile", action="store_true", help="profile our process instead")
    parser.add_argument(
        "--workers-scaling", action="store_true", help="1 worker, 2 workers instead"
    )
    return parser.parse_args()


def _compare(options: argparse.Namespace, folder: Path) -> str:
    chosen = options.only.split(",") if options.only else list(SYSTEMS)
    plan = Plan(
        options.rounds, options.seconds, options.rate_seconds, options.starts, options.warm_up
    )
    with ExitStack() as stack:
        port, _ = stack.enter_context(simulated_upstream(folder, {cores()[1]}))
        systems, notes = _found(chosen, port, folder)
        progress = stack.enter_context(_progress())
        task = progress.add_task("")
        bench = Bench(
            systems, plan, folder, lambda step: progress.update(task, advance=1, description=step)
        )
        progress.update(task, total=bench.steps, completed=-1)
        found = bench.run(stack)
        progress.update(task, completed=bench.steps, description="measured")
        if "us" in found:
            notes += _proofs(found["us"])
    return f"{provenance(_command())}\n\n{tables(found)}\n\n{' '.join(notes)}"


def _found(names: Sequence[str], port: int, folder: Path) -> tuple[list[System], list[str]]:
    """The systems that can be started here, and a note for each of the others."""
    systems, notes = [], []
    for name in names:
        try:
            systems.append(SYSTEMS[name](port, folder))
        except KeyError:
            raise SystemExit(f"There is no system {name!r}, only {', '.join(SYSTEMS)}.") from None
        except Missing as missing:
            notes.append(f"Skipped: {missing}.")
            print(notes[-1], file=sys.stderr)
    return systems, notes


def _proofs(us: Measured) -> list[str]:
    """That everything is on: the key, the score, both tiers, a row for each answer, metrics."""
    url = f"http://127.0.0.1:{us.system.port}"
    question = {"model": us.system.model, "messages": next(conversations())}
    with httpx.Client(base_url=url) as client:
        refused = client.post(PATH, json=question)
        client.headers["authorization"] = f"Bearer {KEY}"
        answer = client.post(PATH, json=question).raise_for_status()
        expected = us.asked + 1 - sum(us.failures().values())
        rows = _rows_by_tier(client, expected)
        metrics = client.get("/metrics")
    tiers = ", ".join(f"{count:,} {tier}" for tier, count in rows.items())
    cost = answer.headers.get("x-gateway-cost-usd")
    return [
        f"Without a key ours answers {refused.status_code};",
        f"an answer says score {answer.headers.get('x-gateway-score')}, cost {cost} USD;",
        f"{sum(rows.values()):,} ledger rows for {expected:,} answers ({tiers});",
        f"`/metrics` answers {metrics.status_code}.",
    ]


def _rows_by_tier(client: httpx.Client, expected: int) -> dict[str, int]:
    """Ledger rows a tier, once there are as many as expected or 10 s have passed."""
    deadline_s = time.monotonic() + 10
    while True:
        sums = client.get("/v1/costs", params={"by": "tier"}).raise_for_status().json()["data"]
        rows = {one["tier"]: one["calls"] for one in sums}
        if sum(rows.values()) >= expected or time.monotonic() > deadline_s:
            return rows
        time.sleep(0.2)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _command() -> str:
    return " ".join(("python -m benchmarks.bench", *sys.argv[1:]))


if __name__ == "__main__":
    main()
