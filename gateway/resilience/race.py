"""The first of several attempts to succeed; the others are ended."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

Runner = TypeVar("Runner")
Prize = TypeVar("Prize")


class Race(Generic[Runner, Prize]):
    """Runs coroutines side by side. On exit nothing of it runs any more."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[Prize], Runner] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def enter(self, runner: Runner, run: Coroutine[Any, Any, Prize]) -> None:
        """Let one more run."""
        self._tasks[asyncio.create_task(run)] = runner

    async def is_over(self, within_s: float) -> bool:
        """Wait so long; whether one has come in by then, or failed."""
        done, _ = await asyncio.wait(self._tasks, timeout=within_s)
        return bool(done)

    async def winner(self) -> tuple[Runner, Prize]:
        """The first that succeeds, with what it got. Raises the first's failure where all fail."""
        running = set(self._tasks)
        while running:
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task, runner in self._tasks.items():
                if task in done and not task.cancelled() and task.exception() is None:
                    return runner, task.result()
        first = next(iter(self._tasks))
        return self._tasks[first], first.result()

    def others(self, winner: Runner) -> list[Runner]:
        """Who else ran."""
        return [runner for runner in self._tasks.values() if runner is not winner]
