"""Figures that are computed once for all who ask, in a thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Key = TypeVar("Key")

#: So long an answer is good for everybody.
FRESH_FOR_S = 1.0


class Shared(Generic[Key]):
    """Keeps what `compute` gave for each key; `compute` blocks, the keys must be few."""

    def __init__(self, compute: Callable[[Key], bytes], fresh_for_s: float = FRESH_FOR_S) -> None:
        self._compute = compute
        self._fresh_for_s = fresh_for_s
        self._kept: dict[Key, tuple[bytes, float]] = {}
        self._computing: dict[Key, asyncio.Task[bytes]] = {}

    async def get(self, key: Key) -> bytes:
        """What was computed at most a second ago, else what is now. Raises what `compute` does."""
        kept = self._kept.get(key)
        if kept is not None and time.monotonic() < kept[1]:
            return kept[0]
        task = self._computing.get(key)
        if task is None:
            task = self._computing[key] = asyncio.create_task(self._computed(key))
            task.add_done_callback(lambda done: self._ended(key, done))
        # Whoever leaves doesn't take the others' answer away.
        return await asyncio.shield(task)

    async def _computed(self, key: Key) -> bytes:
        body = await asyncio.to_thread(self._compute, key)
        self._kept[key] = (body, time.monotonic() + self._fresh_for_s)
        return body

    def _ended(self, key: Key, task: asyncio.Task[bytes]) -> None:
        del self._computing[key]
        if not task.cancelled():
            task.exception()  # told to whoever still waits
