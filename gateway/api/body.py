"""Reading what the client sends: the body, bounded, and the news that the client has left."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive, Scope

from gateway.api.errors import UnsupportedMediaType
from gateway.api.exchange import header
from gateway.core.errors import InvalidRequest, RequestTooLarge

T = TypeVar("T")


#: How long a request runs before its client is watched.
WATCHED_AFTER_S = 0.05


class ClientLeft(Exception):
    """The client closed the connection before the answer was complete."""


async def read_body(scope: Scope, receive: Receive, limit_bytes: int) -> bytes:
    """The whole body of a JSON request.

    Raises UnsupportedMediaType, RequestTooLarge (before reading on, once that is known), and
    ClientLeft.
    """
    media_type = (header(scope, b"content-type") or "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise UnsupportedMediaType("The body must be JSON: send 'content-type: application/json'.")
    declared = header(scope, b"content-length")
    if declared is not None and declared.isdecimal() and int(declared) > limit_bytes:
        raise _too_large(limit_bytes)
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        whole: bytes = message.get("body", b"")
        _check_size(len(whole), limit_bytes)
        return whole
    parts = bytearray()
    while message["type"] == "http.request":
        parts += message.get("body", b"")
        _check_size(len(parts), limit_bytes)
        if not message.get("more_body", False):
            return bytes(parts)
        message = await receive()
    raise ClientLeft


def _check_size(size: int, limit_bytes: int) -> None:
    if size > limit_bytes:
        raise _too_large(limit_bytes)


def _too_large(limit_bytes: int) -> InvalidRequest:
    return RequestTooLarge(f"The body is larger than the limit of {limit_bytes} bytes.")


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Run `work`, cancelled soon after the client has left (then ClientLeft is raised)."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 (this is a coroutine)
    watcher = _Watcher(receive, task)
    # Most of what is quick ends before anybody has to watch.
    timer = loop.call_later(WATCHED_AFTER_S, watcher.start)
    try:
        return await work
    except asyncio.CancelledError:
        if watcher.has_seen_it and task.uncancel() == 0:
            raise ClientLeft from None
        raise
    finally:
        timer.cancel()
        watcher.stop()


class _Watcher:
    """Waits for the client to leave, and cancels the task that works for it."""

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
