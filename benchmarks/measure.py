"""The same loads for every system, in interleaved rounds, on one core each time."""

from __future__ import annotations

import itertools
import os
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from benchmarks.load import LoadResult, closed_loop, open_loop, percentile
from benchmarks.process import Running, cpu_s, family, pinned_to, rss_mb, running, stopped
from benchmarks.prompts import STREAMING, Requests
from benchmarks.systems import System

CONNECTIONS = 32
FIXED_RATE = 100.0


@dataclass(slots=True, frozen=True)
class Plan:
    """How long to measure. `rate_seconds` is for the load at a fixed rate; it may be 0."""

    rounds: int
    seconds: float
    rate_seconds: float
    starts: int
    warm_up_seconds: float = 1.5


@dataclass(slots=True, frozen=True)
class Round:
    """One system's results of one round; CPU times are of its processes, µs an answer."""

    plain: LoadResult
    plain_cpu_us: float
    fixed_rate: LoadResult
    streams: LoadResult
    stream_cpu_us: float


@dataclass(slots=True)
class Measured:
    """All that was found out about one system; `others_mb` is the rest of its process family."""

    system: System
    starts_s: list[float] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    idle_mb: float = 0.0
    web_mb: float = 0.0
    others_mb: float = 0.0
    asked: int = 0

    def median(self, figure: Callable[[Round], float]) -> float:
        """The median of a figure over the rounds."""
        return statistics.median(figure(one) for one in self.rounds)

    def failures(self) -> dict[str, int]:
        """Failed requests of all measured loads, by kind."""
        loads = [load for one in self.rounds for load in (one.plain, one.fixed_rate, one.streams)]
        kinds = sorted({kind for load in loads for kind in load.failures})
        return {kind: sum(load.failures[kind] for load in loads) for kind in kinds}


def p50(load: LoadResult) -> float:
    """The median latency, ms."""
    return percentile(load.latencies_ms, 0.5)


def p99(load: LoadResult) -> float:
    """The latency that one request in a hundred exceeds, ms."""
    return percentile(load.latencies_ms, 0.99)


def cores() -> tuple[int, int]:
    """The core of the system under test, and that of the generator and the upstream."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


class Bench:
    """Starts the systems, keeps all but one stopped, and measures that one."""

    def __init__(
        self, systems: Sequence[System], plan: Plan, folder: Path, say: Callable[[str], None]
    ) -> None:
        """`say` is told each step, `steps` of them."""
        self.measured = {system.name: Measured(system) for system in systems}
        self._plan = plan
        self._folder = folder
        self._say = say
        self._serials = itertools.count()
        self._core, self._other_core = cores()
        self._running: dict[str, Running] = {}

    @property
    def steps(self) -> int:
        """How often `say` will be called."""
        return len(self.measured) * (self._plan.starts + self._plan.rounds + 1)

    def run(self, stack: ExitStack) -> Mapping[str, Measured]:
        """Start everything and measure; the systems run until `stack` ends."""
        stack.enter_context(pinned_to({self._other_core}))
        for measured in self.measured.values():
            self._start(measured, stack)
        names = list(self.measured)
        for number in range(self._plan.rounds + 1):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                self._say(f"{name}, {f'round {number}' if number else 'warm-up'}")
                with self.alone(name):
                    self._measure(self.measured[name], is_warm_up=number == 0)
        for name, measured in self.measured.items():
            web, others = self._memory(name)
            measured.web_mb, measured.others_mb = rss_mb(web), sum(map(rss_mb, others))
        return self.measured

    def alone(self, name: str) -> ExitStack:
        """A context in which all other systems are stopped."""
        stack = ExitStack()
        stack.enter_context(stopped([one.pid for key, one in self._running.items() if key != name]))
        return stack

    def pid(self, name: str) -> int:
        """The started process of a system."""
        return self._running[name].pid

    def load(
        self, measured: Measured, seconds: float, *, streaming: bool
    ) -> tuple[LoadResult, float]:
        """A closed loop, and the CPU time of the system in µs an answer."""
        pid = self.pid(measured.system.name)
        before_s = cpu_s(pid)
        result = uvloop.run(
            closed_loop(
                measured.system.port,
                self._requests(measured, streaming=streaming),
                connections=CONNECTIONS,
                seconds=seconds,
                streaming=streaming,
            )
        )
        used_s = cpu_s(pid) - before_s
        return result, used_s * 1e6 / max(1, result.answers)

    def _start(self, measured: Measured, stack: ExitStack) -> None:
        system = measured.system
        # Asked directly, the upstream has the core that it has as the upstream of the others.
        core = self._other_core if system.name == "direct" else self._core
        for number in range(self._plan.starts):
            self._say(f"{system.name}, start {number + 1}")
            is_last = number == self._plan.starts - 1
            with self.alone(system.name), ExitStack() as once:
                started = (stack if is_last else once).enter_context(
                    running(
                        system.command,
                        system.health_url,
                        log=self._folder / f"{system.name}.log",
                        cores={core},
                        env=system.env,
                    )
                )
                measured.starts_s.append(started.start_s)
        self._running[system.name] = started
        measured.idle_mb = rss_mb(self._memory(system.name)[0])

    def _memory(self, name: str) -> tuple[int, list[int]]:
        """The process that answers, and its relatives."""
        members = family(self.pid(name))
        web = members[1] if self.measured[name].system.forks else members[0]
        return web, [one for one in members if one != web]

    def _measure(self, measured: Measured, *, is_warm_up: bool) -> None:
        seconds = self._plan.warm_up_seconds if is_warm_up else self._plan.seconds
        plain, plain_cpu_us = self.load(measured, seconds, streaming=False)
        streams, stream_cpu_us = self.load(measured, seconds, streaming=True)
        if is_warm_up:
            return
        fixed_rate = LoadResult()
        if self._plan.rate_seconds:
            fixed_rate = uvloop.run(
                open_loop(
                    measured.system.port,
                    self._requests(measured, streaming=False),
                    per_second=FIXED_RATE,
                    seconds=self._plan.rate_seconds,
                )
            )
        measured.rounds.append(Round(plain, plain_cpu_us, fixed_rate, streams, stream_cpu_us))

    def _requests(self, measured: Measured, *, streaming: bool) -> Iterator[bytes]:
        system = measured.system
        fields = STREAMING if streaming else None
        for request in Requests(system.port, system.model, system.key, self._serials, fields):
            measured.asked += 1
            yield request
