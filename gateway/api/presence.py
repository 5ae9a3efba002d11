"""The news that a client has left: the work for it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

from gateway.api.body import ClientLeft

T = TypeVar("T")

#: A request is watched from this age on, at the latest from twice of it.
WATCHED_AFTER_S = 0.05


class Presence:
    """Watches the clients of requests that take a while.

    A task or a timer for each request would cost more than most of the gateway's own work on it,
    so one timer starts the watching of all that have grown old enough.
    """

    def __init__(self) -> None:
        self._young: dict[_Watcher, None] = {}
        self._older: dict[_Watcher, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def while_connected(self, receive: Receive, work: Coroutine[Any, Any, T]) -> T:
        """Run `work`, cancelled soon after the client has left (then ClientLeft is raised)."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 (this is a coroutine)
        watcher = _Watcher(receive, task)
        self._young[watcher] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WATCHED_AFTER_S, self._watch)
        try:
            return await work
        except asyncio.CancelledError:
            if watcher.has_seen_it and task.uncancel() == 0:
                raise ClientLeft from None
            raise
        finally:
            if self._young.pop(watcher, watcher) is not None:
                self._older.pop(watcher, None)
                watcher.stop()

    def _watch(self) -> None:
        for watcher in self._older:
            watcher.start()
        self._older, self._young = self._young, {}
        self._timer = None
        if self._older:
            self._timer = asyncio.get_running_loop().call_later(WATCHED_AFTER_S, self._watch)


class _Watcher:
    """Waits for one client to leave, and cancels the task that works for it."""

    __slots__ = ("_receive", "_watching", "_work", "has_seen_it")

    def __init__(self, receive: Receive, work: asyncio.Task[Any]) -> None:
        self._receive = receive
        self._work = work
        self._watching: asyncio.Task[None] | None = None
        self.has_seen_it = False

    def start(self) -> None:
        self._watching = asyncio.create_task(self._watch())

    def stop(self) -> None:
        if self._watching is not None:
            self._watching.cancel()

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.has_seen_it = True
        self._work.cancel()
