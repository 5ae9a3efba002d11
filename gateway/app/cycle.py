"""One HTTP request and its answer, as an ASGI application sees them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from starlette.types import ASGIApp, Message, Scope

from gateway.api.exchange import SCOPE_KEY, Exchange
from gateway.app.refusals import STATUS_LINES

#: A body that nobody reads yet is held back from here on.
HIGH_WATER_BYTES = 256 * 1024
#: Larger bodies are written apart from their head, not copied behind it.
LARGEST_COPIED_BYTES = 64 * 1024

_BODYLESS = frozenset({204, 304})

_log = logging.getLogger("gateway.http")


class Connection(Protocol):
    """What a cycle needs of its connection."""

    transport: asyncio.Transport

    def read_on(self, *, wanted: bool) -> None:
        """Take bytes from the client, or leave them where they are."""

    async def drained(self) -> None:
        """Return once more can be written."""

    def default_headers(self) -> Sequence[tuple[bytes, bytes]]:
        """Headers of every answer."""

    def answered(self, cycle: Cycle) -> None:
        """An answer is complete."""


class Cycle:
    """One request and its answer: the ASGI application's `receive` and `send`."""

    __slots__ = (
        "_body",
        "_body_ended",
        "_chunked",
        "_complete",
        "_connection",
        "_disconnected",
        "_end_told",
        "_head",
        "_news",
        "_scope",
        "_wants_continue",
        "has_started",
        "is_new",
        "keep_alive",
    )

    def __init__(self, connection: Connection, scope: Scope, *, keep_alive: bool) -> None:
        self._connection = connection
        self._scope = scope
        self._body = b""
        self._body_ended = self._end_told = False
        self._news: asyncio.Future[None] | None = None
        self._head = b""
        self._chunked = False
        self._complete = self._disconnected = False
        self._wants_continue = any(name == b"expect" for name, _ in scope["headers"])
        self.has_started = False
        self.is_new = True
        self.keep_alive = keep_alive

    def exchange(self) -> Exchange | None:
        """What the gate knows of it, once it is there."""
        exchange = self._scope.get(SCOPE_KEY)
        return exchange if isinstance(exchange, Exchange) else None

    async def run(self, app: ASGIApp) -> None:
        """Let the application answer."""
        try:
            await app(self._scope, self.receive, self.send)
        except Exception:
            _log.exception("the application failed")
        finally:
            if not (self._complete or self._disconnected):
                self._connection.transport.close()

    async def receive(self) -> Message:
        """What has come of the body, or the news that nobody waits for an answer any more."""
        if self._wants_continue:
            self._wants_continue = False
            self._connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not (self._complete or self._disconnected):
            if self._body or (self._body_ended and not self._end_told):
                body, self._body = self._body, b""
                self._end_told = self._body_ended
                self._connection.read_on(wanted=True)
                return {"type": "http.request", "body": body, "more_body": not self._body_ended}
            self._news = asyncio.get_running_loop().create_future()
            await self._news
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Write a part of the answer; the head goes out with the first bytes of the body."""
        await self._connection.drained()
        if self._disconnected:
            return
        if not self.has_started:
            self._head = self._head_of(message)
            self.has_started = True
            self._wants_continue = False
            return
        body = message.get("body", b"")
        more = message.get("more_body", False)
        if self._scope["method"] == "HEAD":
            body = b""
        elif self._chunked:
            body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if not more:
                body += b"0\r\n\r\n"
        head, self._head = self._head, b""
        write = self._connection.transport.write
        if len(body) <= LARGEST_COPIED_BYTES:
            write(head + body)
        else:
            write(head)
            write(body)
        if not more:
            self._complete = True
            self._tell()
            self._connection.answered(self)

    def add(self, body: bytes) -> None:
        """Take a part of the body."""
        self._body = self._body + body if self._body else body
        if len(self._body) > HIGH_WATER_BYTES:
            self._connection.read_on(wanted=False)
        self._tell()

    def end_body(self) -> None:
        """The body is whole."""
        self._body_ended = True
        self._tell()

    def disconnect(self) -> None:
        """The client has left."""
        self._disconnected = True
        self._tell()

    def _tell(self) -> None:
        news = self._news
        if news is not None and not news.done():
            news.set_result(None)

    def _head_of(self, message: Message) -> bytes:
        status: int = message["status"]
        headers = [*self._connection.default_headers(), *message.get("headers", ())]
        names = {name for name, _ in headers}
        if (b"connection", b"close") in headers:
            self.keep_alive = False
        elif not self.keep_alive:
            headers.append((b"connection", b"close"))
        if b"content-length" not in names and status not in _BODYLESS:
            self._chunked = True
            headers.append((b"transfer-encoding", b"chunked"))
        lines = [b"%b: %b\r\n" % header for header in headers]
        head = b"".join((STATUS_LINES[status], *lines, b"\r\n"))
        if head.count(b"\n") != len(lines) + 2 or head.count(b"\r") != len(lines) + 2:
            raise ValueError("a header of the answer holds a line break")
        return head
