"""Interleaved rounds of the same jobs on every system, one at a time: the others are stopped."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from benchmarks.local import weights
from benchmarks.local.asked import CONCURRENT, SHORT_PROMPT, Prompts
from benchmarks.local.figures import Round
from benchmarks.local.play import Stream
from benchmarks.local.systems import Missing, Ours, System, llama, transformers
from benchmarks.process import cpu_s, running, stopped
from tests.gateway_process import free_port

#: Systems that take a stream while others are being written.
_TAKES_LATECOMERS = frozenset({"us", "llama"})


@dataclass(slots=True)
class Measured:
    """All that was found out about one system; `peak_mb` in MB of 10^6 bytes."""

    name: str
    label: str
    start_s: float
    rounds: list[Round] = field(default_factory=list)
    peak_mb: float = 0.0


@dataclass(slots=True)
class Found:
    """A whole run. `limits` are tokens/s of one stream that the memory allows, by system.

    `first_start_s` is our engine's start on weights that it has never seen, `ready_s` the
    gateway's start to `/readyz` on those that it has. `taken` is the part of the cores' time that
    processes of somebody else had while the rounds ran.
    """

    by_name: dict[str, Measured]
    notes: list[str]
    gigabytes_per_s: float
    limits: dict[str, float]
    first_start_s: float
    first_peak_mb: float
    ready_s: float
    taken: float


class Comparison:
    """Starts the systems one after another and has them play in turns."""

    def __init__(
        self, names: Sequence[str], threads: int, dtype: str, say: Callable[[str], None]
    ) -> None:
        """`say` is told each step."""
        self._names = names
        self._threads = threads
        self._dtype = dtype
        self._say = say
        self._folder = weights.folder()
        self._prompts = Prompts(self._folder / "tokenizer.json")
        self._systems: dict[str, System] = {}
        self._notes: list[str] = []

    def run(self, rounds: int) -> Found:
        """Measure. Every system runs until the end, for its peak memory."""
        self._say("memory bandwidth")
        bandwidth = self._bandwidth()
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            weights.unconverted(folder / "models")
            first_s, first_peak_mb = self._first_start(folder)
            ready_s = self._ready_s(folder)
            step_bytes = weights.step_bytes(folder / "models")
            for name in self._names:
                self._say(f"{name}, start")
                self._start(name, folder, stack)
            found = {
                name: Measured(name, one.label, one.start_s) for name, one in self._systems.items()
            }
            others = OthersTime()
            for number in range(rounds + 1):
                for name in list(self._systems):
                    self._say(f"{name}, {f'round {number}' if number else 'warm-up'}")
                    self._turn(found[name], is_warm_up=number == 0)
            taken = others.share()
            for name, system in self._systems.items():
                found[name].peak_mb = peak_mb(system.pid)
        return Found(
            {name: one for name, one in found.items() if one.rounds},
            self._notes,
            bandwidth,
            self._limits(bandwidth * 1e9, step_bytes),
            first_s,
            first_peak_mb,
            ready_s,
            taken,
        )

    def _bandwidth(self) -> float:
        command = [sys.executable, "-m", "benchmarks.local.bandwidth"]
        command += ["--threads", str(self._threads)]
        return float(subprocess.run(command, check=True, capture_output=True).stdout)

    def _limits(self, bytes_per_s: float, step_bytes: int | None) -> dict[str, float]:
        """A token reads every weight once; the embeddings are the head's weights too."""
        floats = 4 * weights.parameters()
        limits = {
            "us": bytes_per_s / (step_bytes or floats),
            "generate": bytes_per_s / floats,
            "continuous": bytes_per_s / floats,
        }
        if "llama" in self._names:
            limits["llama"] = bytes_per_s / weights.gguf().stat().st_size
        return limits

    def _first_start(self, folder: Path) -> tuple[float, float]:
        self._say("us, first start")
        ours = self._ours(folder)
        try:
            return ours.start_s, peak_mb(ours.pid)
        finally:
            ours.stop()

    def _ready_s(self, folder: Path) -> float:
        """The gateway's start until it and its model are ready."""
        self._say("us, the gateway's start to /readyz")
        port = free_port()
        config = folder / "gateway.yaml"
        small = {"name": "small", "tier": "small", "backend": "local", "model": weights.MODEL}
        price = {"usd_per_hour": 0}
        ours = {**small, "dtype": self._dtype, "threads": self._threads, "price": price}
        config.write_text(
            yaml.safe_dump(
                {
                    "deployments": [ours],
                    "models": {"dir": str(folder / "models")},
                    "ledger": {"url": f"sqlite:///{folder / 'ledger.db'}"},
                }
            )
        )
        command = [sys.executable, "-m", "gateway", "serve", "--config", str(config)]
        command += ["--port", str(port)]
        url = f"http://127.0.0.1:{port}/readyz"
        with running(command, url, log=folder / "gateway.log") as started:
            return started.start_s

    def _start(self, name: str, folder: Path, stack: ExitStack) -> None:
        threads = self._threads
        starts: dict[str, Callable[[], System]] = {
            "us": lambda: self._ours(folder),
            "llama": lambda: llama(weights.gguf(), threads, folder),
            "generate": lambda: transformers(self._folder, threads, folder, continuous=False),
            "continuous": lambda: transformers(self._folder, threads, folder, continuous=True),
        }
        try:
            system = starts[name]()
        except Missing as missing:
            self._leave_out(missing)
        else:
            stack.callback(system.stop)
            self._systems[name] = system

    def _ours(self, folder: Path) -> Ours:
        return Ours(
            folder / "models",
            weights.MODEL,
            self._prompts,
            threads=self._threads,
            dtype=self._dtype,
        )

    def _turn(self, measured: Measured, *, is_warm_up: bool) -> None:
        system = self._systems[measured.name]
        others = [one.pid for one in self._systems.values() if one is not system]
        with stopped(others):
            try:
                if is_warm_up:
                    for count in CONCURRENT[:2]:
                        system.play([Stream(self._prompts.of(SHORT_PROMPT), 4)] * count)
                    return
                measured.rounds.append(self._round(system))
            except Missing as missing:
                del self._systems[measured.name]
                self._leave_out(missing)

    def _round(self, system: System) -> Round:
        found = Round()
        # One by one, several take as long as one after the other: nothing new to be seen.
        for count in CONCURRENT[:1] if system.name == "generate" else CONCURRENT:
            found.note_alike(system.play(self._prompts.alike(count)))
        (played,) = system.play(self._prompts.long())
        found.first_token_s = played.stamps_s[0]
        if system.name in _TAKES_LATECOMERS:
            streams = self._prompts.long_among_others()
            found.note_long_among_others(streams, system.play(streams))
        return found

    def _leave_out(self, missing: Missing) -> None:
        self._notes.append(f"Left out: {missing}.")
        self._say(self._notes[-1])


class OthersTime:
    """What processes other than this one and its descendants take of the cores."""

    def __init__(self) -> None:
        self._began_s = time.perf_counter()
        self._before_s = self._others_s()

    def share(self) -> float:
        """Their part of all cores' time since the beginning, 0 to 1."""
        passed_s = time.perf_counter() - self._began_s
        taken_s = self._others_s() - self._before_s
        return max(0.0, taken_s / passed_s / len(os.sched_getaffinity(0)))

    def _others_s(self) -> float:
        line = Path("/proc/stat").read_text().partition("\n")[0].split()
        user, nice, system, _, _, *interrupts_and_stolen = map(int, line[1:9])
        busy = user + nice + system + sum(interrupts_and_stolen)
        return busy / os.sysconf("SC_CLK_TCK") - cpu_s(os.getpid())


def peak_mb(pid: int) -> float:
    """The most memory that a process has had resident."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError("/proc states no VmHWM")
