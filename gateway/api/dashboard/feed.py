"""`GET /dashboard/events`: the latest requests as server-sent events, when there are new ones."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.types import Receive, Scope, Send

from gateway.api.body import ClientLeft
from gateway.api.dashboard.shared import Shared
from gateway.api.presence import Presence
from gateway.api.respond import UNBUFFERED

LOOK_EVERY_S = 1.0
#: A comment now and then: proxies close connections on which nothing comes.
BEAT_EVERY_S = 15.0

_log = logging.getLogger("gateway.dashboard")


class Feed:
    """Looks into the ledger once a second while anybody watches: what any process has recorded.

    It ends when `ending` is set, so that a page that is open keeps no server from stopping.
    """

    def __init__(self, latest: Shared[None], ending: asyncio.Event) -> None:
        self._latest = latest
        self._ending = ending
        self._seen = b""
        self._changed = asyncio.Event()
        self._viewers = 0
        self._looking: asyncio.Task[None] | None = None

    async def watch(self) -> AsyncGenerator[bytes, None]:
        """Events for one viewer: the latest requests now, and again whenever there are others."""
        self._viewers += 1
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_on(), name="dashboard")
        sent = b""
        try:
            yield b"retry: 2000\n\n"
            while not self._ending.is_set():
                changed = self._changed
                if self._seen not in {sent, b""}:
                    sent = self._seen
                    yield b"event: requests\ndata: " + sent + b"\n\n"
                    continue
                try:
                    async with asyncio.timeout(BEAT_EVERY_S):
                        await changed.wait()
                except TimeoutError:
                    yield b": still here\n\n"
        finally:
            self._viewers -= 1

    async def _look_on(self) -> None:
        is_away = False
        try:
            while self._viewers and not self._ending.is_set():
                try:
                    self._tell(await self._latest.get(None))
                    is_away = False
                except Exception as error:
                    if not is_away:
                        _log.warning("the latest requests can't be read: %s", error)
                    is_away = True
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_EVERY_S):
                        await self._ending.wait()
        finally:
            self._looking = None
            self._tell(b"")

    def _tell(self, latest: bytes) -> None:
        if latest != self._seen or self._ending.is_set():
            self._seen = latest
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()


class FeedEndpoint:
    """The stream of one viewer."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._presence = Presence()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the viewer leaves or the server ends."""
        with contextlib.suppress(ClientLeft):
            await self._presence.while_connected(receive, self._send(send))

    async def _send(self, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), UNBUFFERED]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async with aclosing(self._feed.watch()) as events:
            async for event in events:
                await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
