"""Runs the real command `slm-gateway serve` for the end-to-end tests."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

START_TIMEOUT_S = 120

#: Below those that the system hands out, and others for each of pytest's processes (gw0, gw1, …).
_FIRST_PORT = 20_000 + 1000 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_PORTS = itertools.cycle(range(_FIRST_PORT, _FIRST_PORT + 1000))


@dataclass(slots=True)
class RunningGateway:
    """A gateway process, where it listens, and what it left behind."""

    process: subprocess.Popen[bytes]
    config: Path
    log: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    def ledger_rows(self, expected: int = 0, **filters: object) -> list[dict[str, Any]]:
        """The ledger's rows by the command that users have; waits for as many as expected."""
        deadline = time.monotonic() + 10
        while True:
            rows = [
                row
                for row in json.loads(run_cli("costs", "--config", self.config, "--format", "json"))
                if all(row[key] == value for key, value in filters.items())
            ]
            if len(rows) >= expected or time.monotonic() > deadline:
                return rows
            time.sleep(0.2)

    def stop(self, *, timeout_s: float = 30) -> int:
        """Ask it to end, as a service manager would; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)


def run_cli(*arguments: object, env: Mapping[str, str] | None = None, status: int = 0) -> str:
    """Standard output of `slm-gateway ARGUMENTS`; its exit status is checked."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **(env or {})},
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout if status == 0 else done.stderr


def free_port() -> int:
    """A port that neither another of pytest's processes nor an outgoing connection takes."""
    for port in _PORTS:
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
    raise AssertionError("there are always more ports")


@contextmanager
def running_gateway(
    folder: Path,
    config: Mapping[str, Any],
    *,
    env: Mapping[str, str] | None = None,
    ready: str = "/readyz",
    arguments: tuple[str, ...] = (),
) -> Iterator[RunningGateway]:
    """Serve `config` from `folder` until the block ends; yields once `ready` answers 200."""
    port = free_port()
    path = folder / "gateway.yaml"
    ledger = {"url": f"sqlite:///{folder / 'ledger.db'}", "flush_interval_s": 0.05}
    path.write_text(yaml.safe_dump({"ledger": ledger, **config}))
    log = folder / "gateway.log"
    command = [sys.executable, "-m", "gateway", "serve", "--config", str(path), "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
        )
    gateway = RunningGateway(process, path, log, port)
    try:
        _wait_until(gateway, ready)
        yield gateway
    finally:
        if process.poll() is None:
            gateway.stop()


def _wait_until(gateway: RunningGateway, path: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if gateway.process.poll() is not None:
            break
        try:
            if httpx.get(gateway.url + path, timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"no {path} in time:\n{gateway.log.read_text()}")
