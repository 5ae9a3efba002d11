"""A load of keep-alive HTTP/1.1 requests over raw loopback sockets, with latencies.

Closed loop: a number of connections, each sending its next request when it has its answer. Open
loop: a request at each tick of a clock, and its latency counts from that tick, so that a system
that falls behind can't hide it (no coordinated omission). An answer counts only when it is whole:
status 200, the text to its last word and, in a stream, every chunk and the end mark.
"""

from __future__ import annotations

import asyncio
import collections
import ctypes
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import httptools

from benchmarks.upstream import CHUNKS, WORD

#: How long answers may still take after the last request was sent.
GRACE_S = 60.0

_END = b"data: [DONE]\n\n"


@dataclass(slots=True)
class LoadResult:
    """What a load measured. `first_bytes_ms` are times to the first byte of an answer's body."""

    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    first_bytes_ms: list[float] = field(default_factory=list)
    chunks: int = 0
    failures: collections.Counter[str] = field(default_factory=collections.Counter)

    @property
    def answers(self) -> int:
        return len(self.latencies_ms)

    @property
    def per_second(self) -> float:
        return self.answers / self.seconds if self.seconds else 0.0

    @property
    def chunks_per_second(self) -> float:
        return self.chunks / self.seconds if self.seconds else 0.0


def percentile(values: list[float], share: float) -> float:
    """The value that `share` (0..1) of the values don't exceed; 0 without values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class _Connection(asyncio.Protocol):
    """One connection with at most one request in flight."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._since_s: float | None = None
        self._first_byte_s = 0.0

    @property
    def is_asking(self) -> bool:
        return self._since_s is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own is no subclass

    def send(self, request: bytes, since_s: float) -> None:
        """Send a request whose latency counts from `since_s`."""
        self._since_s = since_s
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.abort()

    def on_body(self, body: bytes) -> None:
        if not self._body:
            self._first_byte_s = time.perf_counter()
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._since_s is None:  # nothing was asked
            self.transport.abort()
            return
        body = b"".join(self._body)
        self._load.note(self._parser.get_status_code(), body, self._since_s, self._first_byte_s)
        self._body.clear()
        self._since_s = None
        if self._parser.should_keep_alive():
            self._load.answered(self)
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.lost(self, is_asking=self.is_asking)


class _Load(ABC):
    """What both kinds of load share: the connections, the books, and when it is over."""

    def __init__(self, port: int, requests: Iterator[bytes], *, streaming: bool) -> None:
        self._result = LoadResult()
        self._port = port
        self._requests = requests
        self._streaming = streaming
        self._open: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._over = asyncio.Event()

    @abstractmethod
    def answered(self, connection: _Connection) -> None:
        """A connection has its answer and can take the next request."""

    @abstractmethod
    def lost(self, connection: _Connection, *, is_asking: bool) -> None:
        """A connection was closed, perhaps without the answer to its request."""

    def note(self, status: int, body: bytes, since_s: float, first_byte_s: float) -> None:
        """Book one answer."""
        now_s = time.perf_counter()
        result = self._result
        words = body.count(WORD)
        if status != 200:
            result.failures[f"status {status}"] += 1
        elif words != CHUNKS or (self._streaming and not body.endswith(_END)):
            result.failures["incomplete"] += 1
        else:
            result.latencies_ms.append((now_s - since_s) * 1e3)
            result.first_bytes_ms.append((first_byte_s - since_s) * 1e3)
            result.chunks += words if self._streaming else 0

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        connection = _Connection(self)
        await loop.create_connection(lambda: connection, "127.0.0.1", self._port)
        self._open.add(connection)
        return connection

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _end(self, started_s: float, timeout_s: float) -> LoadResult:
        """Wait until all is answered or it takes too long, and close the connections."""
        try:
            await asyncio.wait_for(self._over.wait(), timeout_s)
        except TimeoutError:
            self._result.failures["no answer"] += sum(one.is_asking for one in self._open)
        self._result.seconds = time.perf_counter() - started_s
        self._over.set()
        for connection in list(self._open):
            connection.transport.abort()
        return self._result


class _ClosedLoop(_Load):
    def __init__(
        self, port: int, requests: Iterator[bytes], *, streaming: bool, deadline_s: float
    ) -> None:
        super().__init__(port, requests, streaming=streaming)
        self._deadline_s = deadline_s
        self._active = 0

    async def run(self, connections: int, started_s: float) -> LoadResult:
        self._active = connections
        for _ in range(connections):
            self._start(self._begin())
        return await self._end(started_s, self._deadline_s - started_s + GRACE_S)

    async def _begin(self) -> None:
        while time.perf_counter() < self._deadline_s:
            try:
                connection = await self._connect()
            except OSError:
                self._result.failures["no connection"] += 1
                await asyncio.sleep(0.05)
            else:
                self.answered(connection)
                return
        self._retire()

    def answered(self, connection: _Connection) -> None:
        now_s = time.perf_counter()
        if now_s < self._deadline_s:
            connection.send(next(self._requests), now_s)
        else:
            connection.transport.close()

    def lost(self, connection: _Connection, *, is_asking: bool) -> None:
        self._open.discard(connection)
        if is_asking and not self._over.is_set():
            self._result.failures["connection lost"] += 1
        self._start(self._begin())

    def _retire(self) -> None:
        self._active -= 1
        if self._active == 0:
            self._over.set()


class _OpenLoop(_Load):
    def __init__(
        self, port: int, requests: Iterator[bytes], *, per_second: float, total: int
    ) -> None:
        super().__init__(port, requests, streaming=False)
        self._interval_s = 1 / per_second
        self._left_to_send = self._unanswered = total
        self._idle: collections.deque[_Connection] = collections.deque()

    async def run(self, connections: int) -> LoadResult:
        for _ in range(connections):
            self._idle.append(await self._connect())
        loop = asyncio.get_running_loop()
        started_s = self._next_s = time.perf_counter() + 0.01
        timer = _timer(started_s, self._interval_s)
        loop.add_reader(timer, self._tick, timer)
        try:
            return await self._end(started_s, self._left_to_send * self._interval_s + GRACE_S)
        finally:
            loop.remove_reader(timer)
            os.close(timer)

    def _tick(self, timer: int) -> None:
        for _ in range(int.from_bytes(os.read(timer, 8), "little")):
            if self._left_to_send == 0:
                return
            self._left_to_send -= 1
            if self._idle:
                self._idle.popleft().send(next(self._requests), self._next_s)
            else:
                self._start(self._send_on_new(self._next_s))
            self._next_s += self._interval_s

    async def _send_on_new(self, since_s: float) -> None:
        try:
            (await self._connect()).send(next(self._requests), since_s)
        except OSError:
            self._result.failures["no connection"] += 1
            self._settle()

    def answered(self, connection: _Connection) -> None:
        self._idle.append(connection)
        self._settle()

    def lost(self, connection: _Connection, *, is_asking: bool) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if is_asking and not self._over.is_set():
            self._result.failures["connection lost"] += 1
            self._settle()

    def _settle(self) -> None:
        self._unanswered -= 1
        if self._unanswered == 0:
            self._over.set()


async def closed_loop(
    port: int, requests: Iterator[bytes], *, connections: int, seconds: float, streaming: bool
) -> LoadResult:
    """Keep `connections` busy for `seconds` against 127.0.0.1:`port`."""
    started_s = time.perf_counter()
    deadline_s = started_s + seconds
    load = _ClosedLoop(port, requests, streaming=streaming, deadline_s=deadline_s)
    return await load.run(connections, started_s)


async def open_loop(
    port: int, requests: Iterator[bytes], *, per_second: float, seconds: float, connections: int = 8
) -> LoadResult:
    """Send `per_second` plain requests for `seconds`; more connections are opened as needed."""
    total = round(per_second * seconds)
    return await _OpenLoop(port, requests, per_second=per_second, total=total).run(connections)


class _TimeSpec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _TimerSpec(ctypes.Structure):
    _fields_ = (("interval", _TimeSpec), ("first", _TimeSpec))


_CLOCK_MONOTONIC, _TFD_TIMER_ABSTIME = 1, 1


def _timer(first_s: float, interval_s: float) -> int:
    """A descriptor that is readable at each tick: an event loop's own timers round to 1 ms."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor: int = libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
    spec = _TimerSpec(_timespec(interval_s), _timespec(first_s))
    if libc.timerfd_settime(descriptor, _TFD_TIMER_ABSTIME, ctypes.byref(spec), None) != 0:
        raise OSError(ctypes.get_errno(), "timerfd_settime")
    return descriptor


def _timespec(seconds: float) -> _TimeSpec:
    whole = int(seconds)
    return _TimeSpec(whole, int((seconds - whole) * 1e9))
