"""HTTP/1.1 for uvicorn: one connection, with limits in size and time, and little work a request.

uvicorn's own protocols know no limit of a request's head and no time within which it has to come,
so that slow clients hold connections for ever; and they set a timer for every answer.
"""

from __future__ import annotations

import asyncio
import http
import logging
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import httptools
from starlette.types import ASGIApp, Message, Scope
from uvicorn import Config
from uvicorn.server import ServerState

from gateway.api.errors import envelope_of
from gateway.api.exchange import Exchange

#: A body that nobody reads yet is held back from here on.
HIGH_WATER_BYTES = 256 * 1024
#: Each header counts for so much more than its bytes: many small ones cost as well.
HEADER_WEIGHT_BYTES = 32
#: Larger bodies are written apart from their head, not copied behind it.
LARGEST_COPIED_BYTES = 64 * 1024

#: So long may a client go on sending what nobody reads.
LINGER_S = 2.0

_ASGI = {"version": "3.0", "spec_version": "2.3"}
_BODYLESS = frozenset({204, 304})
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    for status in http.HTTPStatus
}

_log = logging.getLogger("gateway.http")


@dataclass(slots=True, frozen=True)
class Limits:
    """What one connection may take: bytes of a request's head, seconds, and how many there are.

    A head has `head_s` from its first byte, a body `body_s` and a second for each
    `least_bytes_per_s`; between two requests a connection may be idle for `keep_alive_s`.
    """

    head_bytes: int = 64 * 1024
    head_s: float = 10
    body_s: float = 30
    least_bytes_per_s: int = 16 * 1024
    keep_alive_s: float = 75
    connections: int = 10_000


class _Refused(Exception):
    """The connection's request is answered with an error, and the connection ends."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


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
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._deadline = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._answering: Cycle | None = None
        self._receiving: Cycle | None = None
        self._queued: deque[Cycle] = deque()
        self._refusal: _Refused | None = None
        self._writable: asyncio.Future[None] | None = None
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
            self._refuse(_Refused(503, "too_many_connections", "Too many clients are connected."))
            return
        self._set_deadline(self._loop.time() + self._limits.head_s)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request."""
        if self._is_ending:
            return
        is_new = self._receiving is None and not self._url
        if is_new:
            self._deadline = math.inf
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # it is answered as if it had not asked
        except httptools.HttpParserError:
            malformed = _Refused(400, "malformed_http", "The request is not valid HTTP/1.1.")
            self._refuse(self._refusal or malformed)
            return
        receiving = self._receiving
        if receiving is not None:
            seconds = len(data) / self._limits.least_bytes_per_s
            if receiving.is_new:
                receiving.is_new = False
                self._set_deadline(self._loop.time() + self._limits.body_s + seconds)
            else:
                self._set_deadline(self._deadline + seconds)
        elif self._url and is_new:
            self._set_deadline(self._loop.time() + self._limits.head_s)

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

    def resume_writing(self) -> None:
        """The client has caught up."""
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    def shutdown(self) -> None:
        """Close the connection, or let its answer end it."""
        if self._answering is None:
            self.transport.close()
        else:
            self._answering.keep_alive = False

    # The parser's side

    def on_message_begin(self) -> None:
        """A request begins."""
        self._url = b""
        self._headers = []
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        """A part of the request's target."""
        self._url += url
        if len(self._url) > self._limits.head_bytes:
            self._refusal = _Refused(414, "uri_too_long", "The request's target is too long.")
            raise self._refusal

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._head_bytes += len(name) + len(value) + HEADER_WEIGHT_BYTES
        if self._head_bytes > self._limits.head_bytes:
            most = self._limits.head_bytes
            self._refusal = _Refused(
                431, "headers_too_large", f"The request's headers exceed {most} bytes."
            )
            raise self._refusal
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is whole: the request can be worked on while its body comes."""
        parser = self._parser
        target = httptools.parse_url(self._url)
        raw_path: bytes = target.path or b"/"
        path = raw_path.decode("ascii")
        scope: Scope = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": parser.get_http_version(),
            "method": parser.get_method().decode("ascii"),
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
        if self._receiving is not None:
            self._receiving.add(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        cycle, self._receiving = self._receiving, None
        self._url = b""
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

    def _refuse(self, refused: _Refused) -> None:
        """Answer without the application, unless an answer has begun, and end the connection."""
        self._refusal = refused
        _log.debug("a request is refused: %s", refused)
        if self._answering is None or not self._answering.has_started:
            body = envelope_of(
                str(refused),
                error_type="server_error" if refused.status >= 500 else "invalid_request_error",
                code=refused.code,
            )
            head = (
                f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
                f"x-request-id: {Exchange().request_id}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(_STATUS_LINES[refused.status] + head.encode() + body)
        if self._answering is not None:
            self._answering.disconnect()
        self._end()

    def _end(self) -> None:
        """Close, but not under a client that still sends: it would never see its answer."""
        self._is_ending = True
        self._receiving = None
        self._url = b""
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
        elif self._receiving is not None or self._url:
            self._refuse(_Refused(408, "request_timeout", "The request didn't come in time."))
        else:
            self.transport.close()


class Cycle:
    """One request and its answer: the ASGI application's `receive` and `send`."""

    __slots__ = (
        "_body",
        "_body_ended",
        "_chunked",
        "_complete",
        "_disconnected",
        "_end_told",
        "_head",
        "_news",
        "_protocol",
        "_scope",
        "_wants_continue",
        "has_started",
        "is_new",
        "keep_alive",
    )

    def __init__(self, protocol: Protocol, scope: Scope, *, keep_alive: bool) -> None:
        self._protocol = protocol
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

    async def run(self, app: ASGIApp) -> None:
        """Let the application answer."""
        try:
            await app(self._scope, self.receive, self.send)
        except Exception:
            _log.exception("the application failed")
        finally:
            if not (self._complete or self._disconnected):
                self._protocol.transport.close()

    async def receive(self) -> Message:
        """What has come of the body, or the news that nobody waits for an answer any more."""
        if self._wants_continue:
            self._wants_continue = False
            self._protocol.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not (self._complete or self._disconnected):
            if self._body or (self._body_ended and not self._end_told):
                body, self._body = self._body, b""
                self._end_told = self._body_ended
                self._protocol.read_on(wanted=True)
                return {"type": "http.request", "body": body, "more_body": not self._body_ended}
            self._news = asyncio.get_running_loop().create_future()
            await self._news
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Write a part of the answer; the head goes out with the first bytes of the body."""
        await self._protocol.drained()
        if self._disconnected:
            return
        if not self.has_started:
            self.has_started = True
            self._wants_continue = False
            self._head = self._head_of(message)
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
        write = self._protocol.transport.write
        if len(body) <= LARGEST_COPIED_BYTES:
            write(head + body)
        else:
            write(head)
            write(body)
        if not more:
            self._complete = True
            self._tell()
            self._protocol.answered(self)

    def add(self, body: bytes) -> None:
        """Take a part of the body."""
        self._body = self._body + body if self._body else body
        if len(self._body) > HIGH_WATER_BYTES:
            self._protocol.read_on(wanted=False)
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
        headers = [*self._protocol.default_headers(), *message.get("headers", ())]
        names = {name for name, _ in headers}
        if (b"connection", b"close") in headers:
            self.keep_alive = False
        elif not self.keep_alive:
            headers.append((b"connection", b"close"))
        if b"content-length" not in names and status not in _BODYLESS:
            self._chunked = True
            headers.append((b"transfer-encoding", b"chunked"))
        lines = [b"%b: %b\r\n" % header for header in headers]
        head = b"".join((_STATUS_LINES[status], *lines, b"\r\n"))
        if head.count(b"\n") != len(lines) + 2 or head.count(b"\r") != len(lines) + 2:
            raise ValueError("a header of the answer holds a line break")
        return head


def _address(name: object) -> tuple[str, int] | None:
    """Host and port of an Internet socket."""
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) and len(name) >= 2 else None
