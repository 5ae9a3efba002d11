"""HTTP/1.1 for uvicorn: one connection, with limits in size and time, and little work a request.

uvicorn's own protocols know no limit of a request's head and no time within which it has to come,
so that slow clients hold connections for ever; and they set a timer for every answer.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import httptools
from starlette.types import ASGIApp, Scope
from uvicorn import Config
from uvicorn.server import ServerState

from gateway.api.exchange import Exchange
from gateway.app.cycle import Cycle
from gateway.app.refusals import (
    BODY_TOO_SLOW,
    FULL,
    HEADERS_TOO_LARGE,
    HEADERS_TOO_SLOW,
    MALFORMED,
    TARGET_TOO_LONG,
    Refusal,
    response_to,
)

LONGEST_TARGET_BYTES = 8 * 1024
#: Each header counts for so much more than its bytes: many small ones cost as well.
HEADER_WEIGHT_BYTES = 32
#: So long may a client go on sending what nobody reads.
LINGER_S = 2.0

_ASGI = {"version": "3.0", "spec_version": "2.3"}
_log = logging.getLogger("gateway.http")


@dataclass(slots=True, frozen=True)
class Limits:
    """What one client may take: bytes of a request's head, seconds, and connections of all.

    A body has `body_timeout_s`, and the time at the slowest rate; between two requests a connection
    may be idle for `keep_alive_s`. A client that takes nothing of its answer for `write_timeout_s`
    counts as gone.
    """

    header_bytes: int = 32 * 1024
    header_timeout_s: float = 10
    body_timeout_s: float = 20
    body_bytes_per_s: float = 1024
    keep_alive_s: float = 75
    write_timeout_s: float = 60
    connections: int = 4096


class _Refused(Exception):
    """Raised inside the parser, to end it."""


_UPGRADE_HEADERS = frozenset({b"connection", b"upgrade", b"http2-settings"})


class Protocol(asyncio.Protocol):
    """One client's connection. Requests on it are answered one after another.

    Of uvicorn it relies on the constructor's arguments, `Config.loaded_app` and `ServerState`;
    uvicorn's server relies on `shutdown` and `transport`.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: Limits,
    ) -> None:
        self._app: ASGIApp = config.loaded_app
        self._state = server_state
        self._limits = limits
        self._loop = _loop or asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._method = b""
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._bodiless_bytes = 0
        self._in_head = False
        self._upgrading = False
        self._deadline = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._answering: Cycle | None = None
        self._receiving: Cycle | None = None
        self._queued: deque[Cycle] = deque()
        self._refusal: Refusal | None = None
        self._writable: asyncio.Future[None] | None = None
        self._unread_timer: asyncio.TimerHandle | None = None
        self._client: tuple[str, int] | None = None
        self._server: tuple[str, int | None] | None = None
        self._is_reading = True
        self._is_ending = False
        self.transport: asyncio.Transport

    # The event loop's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self.transport = transport  # type: ignore[assignment]  # of a stream, so it can be written
        self._client = _address(transport.get_extra_info("peername"))
        self._server = _address(transport.get_extra_info("sockname"))
        self._state.connections.add(self)  # type: ignore[arg-type]  # it has what uvicorn calls
        if len(self._state.connections) > self._limits.connections:
            self._refuse(FULL)
            return
        self._set_deadline(self._loop.time() + self._limits.header_timeout_s)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request."""
        if self._is_ending:
            return
        was_in_head = self._in_head
        was_receiving = self._receiving
        self._bodiless_bytes += len(data)
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self._refuse(self._refusal or MALFORMED)
            return
        if self._receiving is not None:
            self._expect_body(len(data), is_new=was_receiving is None)
        elif self._in_head:
            if self._bodiless_bytes > self._limits.header_bytes:
                self._refuse(HEADERS_TOO_LARGE)
            elif not was_in_head:
                self._set_deadline(self._loop.time() + self._limits.header_timeout_s)

    def _parse(self, data: bytes) -> None:
        while True:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                # What follows is the body of this request, not another protocol: a client that
                # only offers HTTP/2 (Java's does, with every first request) stays with HTTP/1.1.
                data = data[upgrade.args[0] :]
                self._parser, head = httptools.HttpRequestParser(self), self._head_without_upgrade()
                self._parser.feed_data(head)
            else:
                return

    def _expect_body(self, size: int, *, is_new: bool) -> None:
        """More time for a body, by what has come of it; none for what is no body."""
        if self._bodiless_bytes > self._limits.header_bytes:
            self._refuse(MALFORMED)  # endless trailers, or chunks that are all extension
            return
        earned_s = size / self._limits.body_bytes_per_s
        if is_new:
            self._set_deadline(self._loop.time() + self._limits.body_timeout_s + earned_s)
        else:
            self._set_deadline(self._deadline + earned_s)

    def _head_without_upgrade(self) -> bytes:
        kept = [one for one in self._headers if one[0] not in _UPGRADE_HEADERS]
        lines = [b"%b: %b\r\n" % header for header in kept]
        return b"".join((self._method, b" ", self._url, b" HTTP/1.1\r\n", *lines, b"\r\n"))

    def eof_received(self) -> None:
        """The client has closed its side: nobody waits for an answer."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._state.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._answering is not None:
            self._answering.disconnect()
        for cycle in self._queued:
            cycle.disconnect()
        self.resume_writing()

    def pause_writing(self) -> None:
        """The client is slower than the answer."""
        self._writable = self._loop.create_future()
        self._watch_unread()

    def resume_writing(self) -> None:
        """The client has caught up."""
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    def _watch_unread(self, earlier_bytes: int | None = None) -> None:
        """Break off with a client that takes nothing; a slow one has all the time it needs."""
        unread_bytes = self.transport.get_write_buffer_size()
        if earlier_bytes is not None and unread_bytes >= earlier_bytes:
            self.transport.abort()
            return
        wait_s = self._limits.write_timeout_s
        self._unread_timer = self._loop.call_later(wait_s, self._watch_unread, unread_bytes)

    def shutdown(self) -> None:
        """Close the connection, or let its answer end it."""
        if self._answering is None:
            self.transport.close()
        else:
            self._answering.keep_alive = False

    # The parser's side

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head = True
        self._url = b""
        self._headers = []
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        """A part of the request's target."""
        self._url += url
        if len(self._url) > LONGEST_TARGET_BYTES:
            self._refusal = TARGET_TOO_LONG
            raise _Refused

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; a trailer comes too late to matter."""
        if not self._in_head:
            return
        self._head_bytes += len(name) + len(value) + HEADER_WEIGHT_BYTES
        if self._head_bytes > self._limits.header_bytes:
            self._refusal = HEADERS_TOO_LARGE
            raise _Refused
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is whole: the request can be worked on while its body comes."""
        parser = self._parser
        self._method = parser.get_method()
        self._upgrading = parser.should_upgrade()
        if self._upgrading:
            if self._method == b"CONNECT":
                raise _Refused
            return
        self._in_head = False
        self._bodiless_bytes = 0
        target = httptools.parse_url(self._url)
        raw_path: bytes = target.path or b"/"
        path = raw_path.decode("ascii")
        scope: Scope = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": parser.get_http_version(),
            "method": self._method.decode("ascii"),
            "scheme": "http",
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": target.query or b"",
            "root_path": "",
            "headers": self._headers,
            "client": self._client,
            "server": self._server,
            "state": {},
        }
        cycle = Cycle(self, scope, keep_alive=parser.should_keep_alive())
        self._receiving = cycle
        if self._answering is None:
            self._answer(cycle)
        else:
            self._queued.append(cycle)
            self.read_on(wanted=False)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._bodiless_bytes = 0
        if self._receiving is not None:
            self._receiving.add(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._upgrading:
            return
        cycle, self._receiving = self._receiving, None
        self._bodiless_bytes = 0
        self._deadline = math.inf
        if cycle is not None:
            cycle.end_body()

    # The answer's side

    def read_on(self, *, wanted: bool) -> None:
        """Take bytes from the client, or leave them where they are."""
        if wanted is not self._is_reading and not self.transport.is_closing():
            self._is_reading = wanted
            (self.transport.resume_reading if wanted else self.transport.pause_reading)()

    async def drained(self) -> None:
        """Return once more can be written."""
        if self._writable is not None:
            await asyncio.shield(self._writable)

    def default_headers(self) -> Sequence[tuple[bytes, bytes]]:
        """The date."""
        return self._state.default_headers

    def answered(self, cycle: Cycle) -> None:
        """An answer is complete: go on with the next request, or wait for one."""
        self._state.total_requests += 1
        self._answering = None
        if cycle is self._receiving:  # what is left of a body that nobody read isn't a request
            self._end()
            return
        if not cycle.keep_alive:
            self.transport.close()
            return
        self.read_on(wanted=True)
        if self._queued:
            self._answer(self._queued.popleft())
        elif self._receiving is None:
            self._set_deadline(self._loop.time() + self._limits.keep_alive_s)

    def _answer(self, cycle: Cycle) -> None:
        self._answering = cycle
        task = self._loop.create_task(cycle.run(self._app))
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    def _refuse(self, refusal: Refusal) -> None:
        """Answer without the application, unless an answer has begun, and end the connection."""
        answering = self._answering
        if answering is None or not answering.has_started:
            exchange = None if answering is None else answering.exchange()
            if exchange is None:
                exchange = Exchange()
                fields = {"request_id": exchange.request_id, "status": refusal.status}
                _log.info("refused: %s", refusal.code, extra={"fields": fields})
            else:
                exchange.status = refusal.status  # the gate logs it
            self.transport.write(response_to(refusal, exchange.request_id))
        if answering is not None:
            answering.disconnect()
        self._end()

    def _end(self) -> None:
        """Close, but not under a client that still sends: it would never see its answer."""
        self._is_ending = True
        self._receiving = None
        self._in_head = False
        if self.transport.is_closing():
            return
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.read_on(wanted=True)
        self._set_deadline(self._loop.time() + LINGER_S)

    def _set_deadline(self, deadline: float) -> None:
        """Deadlines move with every request, the timer only when it is due."""
        self._deadline = deadline
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._check_deadline)
        elif self._timer.when() > deadline:
            self._timer.cancel()
            self._timer = self._loop.call_at(deadline, self._check_deadline)

    def _check_deadline(self) -> None:
        self._timer = None
        if self._loop.time() < self._deadline:
            if self._deadline < math.inf:
                self._set_deadline(self._deadline)
        elif self._receiving is not None and not self._is_reading:
            self._expect_body(0, is_new=True)  # the gateway is the one that takes its time
        elif self._receiving is not None:
            self._refuse(BODY_TOO_SLOW)
        elif self._in_head:
            self._refuse(HEADERS_TOO_SLOW)
        elif self._is_ending:
            self.transport.abort()
        else:
            self.transport.close()


def _address(name: object) -> tuple[str, int] | None:
    """Host and port of an Internet socket."""
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) and len(name) >= 2 else None
