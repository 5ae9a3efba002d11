"""What the gateway costs a plain remote call: `python -m benchmarks.proxy`.

The vendor simulator is asked directly, then through the gateway with everything on (key check,
scoring, capability filter, ledger row), in interleaved rounds. The gateway has one core, the
simulator and the load the other, where the machine has two.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import orjson
import uvloop
import yaml

from benchmarks.load import LoadResult, http_request, median_of, run_load
from tests.gateway_process import free_port

KEY = "sk-benchmark"
BODY = orjson.dumps(
    {
        "model": "auto@0",
        "messages": [
            {"role": "system", "content": "You are a helpful assistant. " * 20},
            {"role": "user", "content": "Explain the proof of the theorem step by step. " * 6},
        ],
    }
)


@contextmanager
def started(command: list[str], ready_url: str, core: int, env: dict[str, str]) -> Iterator[float]:
    """A process pinned to a core; yields the seconds until it answered."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, **env})
    os.sched_setaffinity(process.pid, {core})
    try:
        while True:
            try:
                httpx.get(ready_url, timeout=1)
                break
            except httpx.TransportError:
                if time.perf_counter() - began > 60:
                    raise
                time.sleep(0.01)
        yield time.perf_counter() - began
    finally:
        process.terminate()
        process.wait(30)


def config_of(vendor_port: int, folder: Path) -> Path:
    deployment = {
        "name": "gpt-4o",
        "tier": "large",
        "backend": "openai",
        "model": "gpt-4o",
        "base_url": f"http://127.0.0.1:{vendor_port}/v1",
        "price": {"input": 2.5, "cached_input": 1.25, "output": 10},
        "context_window": 128000,
    }
    path = folder / "gateway.yaml"
    ledger = {"url": f"sqlite:///{folder / 'ledger.db'}"}
    path.write_text(yaml.safe_dump({"deployments": [deployment], "ledger": ledger}))
    return path


async def measure(
    direct: tuple[int, bytes], gateway: tuple[int, bytes], options: argparse.Namespace
) -> tuple[list[LoadResult], list[LoadResult]]:
    """Rounds of both, interleaved, after a warm-up."""
    found: tuple[list[LoadResult], list[LoadResult]] = ([], [])
    for round_number in range(options.rounds + 1):
        for (port, request), results in zip((direct, gateway), found, strict=True):
            result = await run_load(
                port, request, connections=options.connections, seconds=options.seconds
            )
            if round_number > 0:
                results.append(result)
    return found


def show(name: str, results: list[LoadResult]) -> None:
    per_second, p50, p99 = median_of(results)
    failures = sum(result.failures for result in results)
    print(f"| {name} | {per_second:,.0f} | {p50:.2f} | {p99:.2f} | {failures} |")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    vendor_port, port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as name:
        config = config_of(vendor_port, Path(name))
        vendor = [sys.executable, "-m", "tests.vendor", "--port", str(vendor_port)]
        serve = [sys.executable, "-m", "gateway", "serve", "--config", str(config)]
        with (
            started(vendor, f"http://127.0.0.1:{vendor_port}/", cores[-1], {}),
            started(
                [*serve, "--port", str(port)],
                f"http://127.0.0.1:{port}/healthz",
                cores[0],
                {"GATEWAY_API_KEYS": KEY},
            ) as start_s,
        ):
            path = "/v1/chat/completions"
            direct = (vendor_port, http_request(path, BODY, vendor_port))
            gateway = (port, http_request(path, BODY, port, KEY))
            limits, ours = uvloop.run(measure(direct, gateway, options))
    print(f"{options.connections} connections, {options.rounds} rounds of {options.seconds:g} s\n")
    print("| | requests/s | p50 ms | p99 ms | failures |\n|---|---|---|---|---|")
    show("simulator asked directly", limits)
    show("through the gateway", ours)
    ratio = median_of(ours)[0] / median_of(limits)[0]
    print(f"\nratio {ratio:.3f}; start of the gateway to /healthz {start_s:.2f} s")


if __name__ == "__main__":
    main()
