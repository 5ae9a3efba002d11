"""HTTP/1.1 (RFC 9112) on one connection to an upstream: one wake-up a plain answer.

A gateway's throughput is what its client costs: general ones spend several times as long on a
request as it takes to write its bytes and parse the answer's.
"""

from __future__ import annotations

import asyncio
import math
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import httptools

if TYPE_CHECKING:
    from gateway.backends.pool import Pool

MAX_HEAD_BYTES = 64 * 1024
#: An answer that isn't a success is looked at so far, and no further.
MAX_REFUSAL_BYTES = 64 * 1024
#: A stream that nobody reads is held back from here on.
HIGH_WATER_BYTES = 256 * 1024
KEEPALIVE_S = 60.0
_DECODABLE = {"gzip": 31, "x-gzip": 31, "deflate": 15}


class HttpFailure(Exception):
    """No answer, or not a whole one; the message is a clause without secrets."""


class NotConnected(HttpFailure):
    """No connection could be made: nothing has been sent."""


class Disconnected(HttpFailure):
    """The upstream closed the connection early."""


class TimedOut(HttpFailure):
    """The upstream took too long; `began` says whether its answer had begun."""

    def __init__(self, message: str, *, began: bool) -> None:
        super().__init__(message)
        self.began = began


class Malformed(HttpFailure):
    """What came is not HTTP that can be read."""


class TooLarge(HttpFailure):
    """The answer is larger than its limit."""


@dataclass(slots=True, frozen=True)
class Timeouts:
    """Seconds: to connect, to the first byte, between two pieces, and for all of an answer."""

    connect_s: float = 5
    first_byte_s: float = 60
    idle_s: float = 30
    total_s: float = math.inf


class Connection(asyncio.Protocol):
    """One connection, and the answer that comes on it: `status`, `headers` (lower case), a body."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._loop = pool.loop
        self._timeouts = pool.timeouts
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = math.inf
        self._total_deadline = math.inf
        self._waiter: asyncio.Future[None] | None = None
        self._failure: HttpFailure | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._limit = 0
        self._head_size = 0
        self._whole = False
        self._began = False
        self._headed = False
        self._paused = False
        self._is_lent = False
        self._decoder: zlib._Decompress | None = None
        self.complete = True
        self.reusable = True
        self.status = 0
        self.headers: dict[str, str] = {}

    # What the pool and the caller do

    @property
    def is_open(self) -> bool:
        """Whether another request can be sent on it."""
        transport = self._transport
        return transport is not None and not transport.is_closing()

    async def ask(self, request: bytes, *, whole: bool, limit: int) -> None:
        """Send a request; return once the head, or with `whole` all of the answer, has come.

        Raises HttpFailure. An answer of more than `limit` bytes is one, where it is read whole.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            raise Disconnected("it closed the connection")
        self.complete = self._began = self._headed = False
        self._is_lent = True
        self._whole, self._limit = whole, limit
        self._size = self._head_size = 0
        self.headers = {}
        now = self._loop.time()
        self._total_deadline = now + self._timeouts.total_s
        self._set_deadline(min(now + self._timeouts.first_byte_s, self._total_deadline))
        transport.write(request)
        await self._woken()

    async def piece(self) -> bytes:
        """What has come since the last piece; empty at the end. Raises HttpFailure."""
        while not self._parts and not self.complete:
            await self._woken()
        return self.taken()

    async def completed(self) -> None:
        """Return once an answer that is read whole has come. Raises HttpFailure."""
        while not self.complete:
            await self._woken()

    def taken(self) -> bytes:
        """The bytes of the body that have come and weren't taken yet."""
        parts = self._parts
        if not parts:
            return b""
        taken = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self._size = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return taken

    def release(self) -> None:
        """Give the connection back, once; an answer that isn't complete is broken off."""
        if not self._is_lent:
            return
        self._is_lent = False
        if self.complete and self.reusable and self._failure is None and self.is_open:
            self.taken()  # what nobody wanted; the next answer is read again
            self._set_deadline(self._loop.time() + KEEPALIVE_S)
            self._pool.put(self)
        else:
            self.abort()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    # What the event loop does

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self._transport = transport  # type: ignore[assignment]  # of a stream, so it can be written

    def data_received(self, data: bytes) -> None:
        """Bytes came: parse them, and wake whoever waits, once."""
        if self.complete:
            self.abort()  # nobody asked for anything
            return
        self._began = True
        self._deadline = min(self._loop.time() + self._timeouts.idle_s, self._total_deadline)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, zlib.error):
            if not self.complete:
                self._fail(self._failure or Malformed("it sent what is not HTTP"))
                return
            self.reusable = False
        if self.complete or (not self._whole and (self._parts or self._headed)):
            self._wake()
        if not self._whole and self._size > HIGH_WATER_BYTES and not self._paused:
            self._paused = True
            assert self._transport is not None  # noqa: S101 (it delivers)
            self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; that ends an answer of unknown length well."""
        if self._timer is not None:
            self._timer.cancel()
        self._pool.forget(self)
        if self.complete:
            return
        if exc is None and self._headed and self._ends_with_connection():
            self.complete, self.reusable = True, False
            self._wake()
        else:
            self._fail(Disconnected("it closed the connection"))

    # What the parser does

    def on_message_begin(self) -> None:
        """An answer begins, or one that nobody asked for."""
        if self.complete:
            raise Malformed("it sent two answers")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header of the answer."""
        self._head_size += len(name) + len(value)
        if self._head_size > MAX_HEAD_BYTES:
            self._failure = TooLarge(f"its head is larger than {MAX_HEAD_BYTES} bytes")
            raise self._failure
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """The head is whole."""
        status = self._parser.get_status_code()
        if status < 200:
            return
        self.status, self._headed = status, True
        if status >= 300:
            self._whole, self._limit = True, min(self._limit, MAX_REFUSAL_BYTES)
        length = self.headers.get("content-length", "")
        if status < 300 and self._whole and length.isdecimal() and int(length) > self._limit:
            self._too_large()
        encoding = self.headers.get("content-encoding")
        self._decoder = None if encoding is None else _decoder_of(encoding)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self._decoder is not None:
            body = self._decoder.decompress(body, self._limit + 1)
            if self._decoder.unconsumed_tail:
                self._too_large()
        self._size += len(body)
        if self._whole and self._size > self._limit:
            if self.status < 300:
                self._too_large()
            self.complete, self.reusable = True, False
            return
        if body:  # a compressed part may hold no byte of the answer yet
            self._parts.append(body)

    def on_message_complete(self) -> None:
        """The answer is whole."""
        if not self._headed:  # 100 Continue and its like
            self.headers = {}
            return
        self.complete = True
        self.reusable = self._parser.should_keep_alive()

    def _too_large(self) -> NoReturn:
        self._failure = TooLarge(f"its answer is larger than {self._limit} bytes")
        raise self._failure

    # Waiting

    async def _woken(self) -> None:
        if self._failure is not None:
            raise self._failure
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _fail(self, failure: HttpFailure) -> None:
        self._failure = failure
        self.abort()
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_exception(failure)

    def _set_deadline(self, deadline: float) -> None:
        """Deadlines move with every piece, the timer only when it is due: it costs nothing."""
        self._deadline = deadline
        if self._timer is None or self._timer.when() > deadline:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(deadline, self._check_deadline)

    def _check_deadline(self) -> None:
        self._timer = None
        now = self._loop.time()
        if self._paused:  # it is the client who is slow
            self._deadline = min(now + self._timeouts.idle_s, self._total_deadline)
        if now < self._deadline:
            self._set_deadline(self._deadline)
        elif self.complete:
            self.abort()  # idle for too long
        else:
            self._fail(TimedOut("it didn't answer in time", began=self._began))

    def _ends_with_connection(self) -> bool:
        return "content-length" not in self.headers and "transfer-encoding" not in self.headers


def _decoder_of(encoding: str) -> zlib._Decompress | None:
    """Some servers compress what they were asked not to."""
    if encoding == "identity":
        return None
    if encoding not in _DECODABLE:
        raise Malformed(f"it sent the encoding {encoding}")
    return zlib.decompressobj(_DECODABLE[encoding])
