"""A bounded load of keep-alive HTTP/1.1 requests over raw loopback sockets, with latencies."""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass, field
from typing import cast


@dataclass(slots=True)
class LoadResult:
    """What a load measured: answers, failures, and a latency in ms for each answer."""

    seconds: float
    failures: int = 0
    latencies_ms: list[float] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        return len(self.latencies_ms) / self.seconds

    def percentile(self, share: float) -> float:
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class _Connection(asyncio.Protocol):
    """One connection: a request, its answer, and so on until the deadline."""

    def __init__(self, request: bytes, deadline: float, result: LoadResult) -> None:
        self._request = request
        self._deadline = deadline
        self._result = result
        self._received = bytearray()
        self._sent_at = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own is no subclass
        self._send()

    def _send(self) -> None:
        self._received.clear()
        self._sent_at = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not _is_complete(self._received):
            return
        now = time.perf_counter()
        if self._received.startswith(b"HTTP/1.1 200"):
            self._result.latencies_ms.append((now - self._sent_at) * 1e3)
        else:
            self._result.failures += 1
        if now < self._deadline:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self._result.failures += 1
        if not self.done.done():
            self.done.set_result(None)


def _is_complete(response: bytearray) -> bool:
    head_end = response.find(b"\r\n\r\n")
    if head_end < 0:
        return False
    head = bytes(response[:head_end]).lower()
    _, _, after = head.partition(b"content-length:")
    if after:
        length = int(after.split(b"\r\n", 1)[0])
        return len(response) >= head_end + 4 + length
    return response.endswith(b"0\r\n\r\n")


def http_request(path: str, body: bytes, port: int, key: str | None = None) -> bytes:
    """The bytes of one POST with a JSON body."""
    authorization = f"authorization: Bearer {key}\r\n" if key else ""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
        f"{authorization}content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def run_load(port: int, request: bytes, *, connections: int, seconds: float) -> LoadResult:
    """Keep `connections` busy for `seconds` against 127.0.0.1:`port`."""
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    result = LoadResult(seconds=seconds)
    opened = [
        await loop.create_connection(
            lambda: _Connection(request, started + seconds, result), "127.0.0.1", port
        )
        for _ in range(connections)
    ]
    await asyncio.wait_for(
        asyncio.gather(*(protocol.done for _, protocol in opened)), timeout=seconds + 30
    )
    result.seconds = time.perf_counter() - started
    return result


def median_of(results: list[LoadResult]) -> tuple[float, float, float]:
    """Requests a second, p50 and p99 in ms: the median over rounds of each."""
    return (
        statistics.median(result.per_second for result in results),
        statistics.median(result.percentile(0.5) for result in results),
        statistics.median(result.percentile(0.99) for result in results),
    )
