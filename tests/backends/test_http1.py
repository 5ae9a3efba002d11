"""The HTTP/1.1 client against raw sockets: right answers, and every way to get them wrong."""

import asyncio
import gzip
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from gateway.backends.http1 import (
    HIGH_WATER_BYTES,
    MAX_HEAD_BYTES,
    MAX_REFUSAL_BYTES,
    Connection,
    Disconnected,
    HttpFailure,
    Malformed,
    NotConnected,
    TimedOut,
    Timeouts,
    TooLarge,
)
from gateway.backends.pool import Pool
from tests.gateway_process import free_port

LIMIT = 1_000_000
OK = b"HTTP/1.1 200 OK\r\n"
QUICK = Timeouts(connect_s=2, first_byte_s=0.3, idle_s=0.2, total_s=5)

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Upstream:
    """A server whose answers are bytes; it counts connections and keeps the requests."""

    def __init__(self, *answers: bytes | Handler) -> None:
        self._answers = list(answers)
        self.connections = 0
        self.requests: list[bytes] = []
        self.closed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self._answers:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                answer = self._answers.pop(0)
                if isinstance(answer, bytes):
                    writer.write(answer)
                    await writer.drain()
                    if b"content-length" not in answer and b"chunked" not in answer:
                        break
                else:
                    await answer(reader, writer)
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.closed.set()
            writer.close()


@asynccontextmanager
async def pool_to(
    upstream: Upstream, timeouts: Timeouts = QUICK, headers: dict[str, str] | None = None
) -> AsyncIterator[Pool]:
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    pool = Pool(f"http://127.0.0.1:{port}/v1/chat", headers or {"x-one": "1"}, timeouts)
    try:
        yield pool
    finally:
        pool.close()
        server.close()
        await asyncio.sleep(0)


def whole(body: bytes, extra: bytes = b"", status: bytes = OK) -> bytes:
    return status + b"content-length: %d\r\n%b\r\n" % (len(body), extra) + body


def chunked(*pieces: bytes) -> bytes:
    framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return OK + b"transfer-encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"


async def body_of(pool: Pool, *, stream: bool = False) -> bytes:
    connection = await pool.exchange(b"{}", whole=not stream, limit=LIMIT)
    content = connection.taken()
    while stream and (piece := await connection.piece()):
        content += piece
    connection.release()
    return content


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "answer",
    [
        whole(b"hello world"),
        chunked(b"hello", b" ", b"world"),
        OK + b"\r\nhello world",  # as long as the connection
        b"HTTP/1.1 100 Continue\r\n\r\n" + whole(b"hello world"),
        b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + whole(b"hello world"),
        whole(gzip.compress(b"hello world", mtime=0), b"content-encoding: gzip\r\n"),
        b"HTTP/1.0 200 OK\r\n\r\nhello world",
    ],
)
async def test_every_framing_gives_the_same_body(answer: bytes, stream: bool) -> None:
    async with pool_to(Upstream(answer)) as pool:
        assert await body_of(pool, stream=stream) == b"hello world"


async def test_an_answer_cut_anywhere_is_read_alike() -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in chunked("naïve 東京".encode(), b"!"):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)

    async with pool_to(Upstream(drip)) as pool:
        assert (await body_of(pool, stream=True)).decode() == "naïve 東京!"


async def test_a_connection_serves_one_request_after_another() -> None:
    upstream = Upstream(whole(b"1"), chunked(b"2"), whole(b"3"))
    async with pool_to(upstream, headers={"x-team": "search"}) as pool:
        assert [await body_of(pool, stream=s) for s in (False, True, False)] == [b"1", b"2", b"3"]
    assert upstream.connections == 1
    head, _, body = upstream.requests[0].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /v1/chat HTTP/1.1"
    assert {b"x-team: search", b"content-length: 2"} <= set(lines)
    assert body == b"{}"


async def test_requests_at_once_have_connections_of_their_own() -> None:
    upstream = Upstream(*[whole(b"x")] * 8)
    async with pool_to(upstream) as pool:
        held = [await pool.exchange(b"{}", whole=True, limit=LIMIT) for _ in range(4)]
        assert upstream.connections == 4
        for connection in held:
            connection.release()
            connection.release()  # twice is once
        again = [await pool.exchange(b"{}", whole=True, limit=LIMIT) for _ in range(4)]
        assert set(again) == set(held)


@pytest.mark.parametrize("extra", [b"connection: close\r\n", b"Connection: Close\r\n"])
async def test_a_connection_that_the_upstream_ends_is_not_used_again(extra: bytes) -> None:
    upstream = Upstream(whole(b"1", extra), whole(b"2"))
    async with pool_to(upstream) as pool:
        assert await body_of(pool) == b"1"
        assert await body_of(pool) == b"2"
    assert upstream.connections == 2


async def test_an_answer_given_up_closes_the_connection_at_once() -> None:
    async def patient(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await reader.read()

    upstream = Upstream(patient)
    async with pool_to(upstream, Timeouts()) as pool:
        connection = await pool.exchange(b"{}", whole=False, limit=LIMIT)
        assert await connection.piece() == b"hello"
        connection.release()
        await asyncio.wait_for(upstream.closed.wait(), 1)


async def test_a_request_cancelled_while_it_waits_closes_the_connection_at_once() -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    upstream = Upstream(silent)
    async with pool_to(upstream, Timeouts()) as pool:
        asking = asyncio.create_task(pool.exchange(b"{}", whole=True, limit=LIMIT))
        while not upstream.requests:
            await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.wait_for(upstream.closed.wait(), 1)
        with pytest.raises(asyncio.CancelledError):
            await asking


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (b"nonsense\r\n\r\n", Malformed),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe", Disconnected),
        (OK + b"transfer-encoding: chunked\r\n\r\nzz\r\nhello\r\n", Malformed),
        (OK + b"x-long: " + b"y" * (MAX_HEAD_BYTES + 1) + b"\r\n\r\n", TooLarge),
        (whole(b"x" * (LIMIT + 1)), TooLarge),
        (
            whole(gzip.compress(b"x" * (LIMIT + 1), mtime=0), b"content-encoding: gzip\r\n"),
            TooLarge,
        ),
        (whole(b"not gzip at all", b"content-encoding: gzip\r\n"), Malformed),
        (whole(b"x", b"content-encoding: br\r\n"), Malformed),
        (b"", Disconnected),
    ],
)
async def test_what_cannot_be_read_is_a_failure(answer: bytes, failure: type[HttpFailure]) -> None:
    async def send(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    async with pool_to(Upstream(send)) as pool:
        with pytest.raises(failure):
            await body_of(pool)


async def test_an_answer_without_end_takes_bounded_memory() -> None:
    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"content-length: 100000000\r\n\r\n")
        for _step in range(1000):
            writer.write(b"x" * 100_000)
            await writer.drain()

    async with pool_to(Upstream(flood)) as pool:
        tracemalloc.start()
        with pytest.raises(TooLarge):
            await body_of(pool)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 10 * LIMIT


async def test_a_stream_that_nobody_reads_is_held_back() -> None:
    sent = 0

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(OK + b"transfer-encoding: chunked\r\n\r\n")
        for _step in range(2000):
            writer.write(b"%x\r\n%b\r\n" % (50_000, b"x" * 50_000))
            await writer.drain()
            sent += 50_000

    async with pool_to(Upstream(flood)) as pool:
        connection = await pool.exchange(b"{}", whole=False, limit=LIMIT)
        before = -1
        while before != sent:  # longer than it may be idle: waiting for the reader is no silence
            before = sent
            await asyncio.sleep(0.4)
        assert sent < 50_000_000
        assert HIGH_WATER_BYTES < len(await connection.piece()) < 10_000_000
        assert await connection.piece()
        connection.release()


async def test_a_connection_whose_stream_nobody_read_to_its_end_reads_the_next_answer() -> None:
    long = chunked(b"x" * (HIGH_WATER_BYTES + 10_000))
    async with asyncio.timeout(5), pool_to(Upstream(long, whole(b"next"))) as pool:
        connection = await pool.exchange(b"{}", whole=False, limit=LIMIT)
        while not connection.complete:
            await asyncio.sleep(0.01)
        connection.release()
        assert await body_of(pool) == b"next"


async def test_a_compressed_stream_may_begin_without_a_byte() -> None:
    packed = gzip.compress(b"hello world", mtime=0)
    pieces = (packed[:10], packed[10:])  # the header alone comes first
    framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    head = OK + b"transfer-encoding: chunked\r\ncontent-encoding: gzip\r\n\r\n"
    async with pool_to(Upstream(head + framed + b"0\r\n\r\n")) as pool:
        assert await body_of(pool, stream=True) == b"hello world"


async def test_a_refusal_is_read_so_far_and_its_status_kept() -> None:
    refused = whole(b"no " * MAX_REFUSAL_BYTES, status=b"HTTP/1.1 500 Oops\r\n")
    async with pool_to(Upstream(refused)) as pool:
        connection = await pool.exchange(b"{}", whole=True, limit=LIMIT)
        assert connection.status == 500
        assert len(connection.taken()) <= MAX_REFUSAL_BYTES
        connection.release()


async def _silent_after(head: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(head)
    await writer.drain()
    await asyncio.sleep(5)


@pytest.mark.parametrize(
    ("head", "began"),
    [(b"", False), (OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", True)],
)
async def test_silence_before_and_after_the_first_byte(head: bytes, began: bool) -> None:
    async with pool_to(Upstream(lambda _, writer: _silent_after(head, writer))) as pool:
        with pytest.raises(TimedOut) as caught:
            await body_of(pool)
        assert caught.value.began is began


async def test_a_trickle_ends_with_the_time_for_all_of_it() -> None:
    async def trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"transfer-encoding: chunked\r\n\r\n")
        for _step in range(100):
            writer.write(b"1\r\nx\r\n")
            await writer.drain()
            await asyncio.sleep(0.05)

    timeouts = Timeouts(first_byte_s=1, idle_s=1, total_s=0.4)
    async with pool_to(Upstream(trickle), timeouts) as pool:
        started = asyncio.get_running_loop().time()
        with pytest.raises(TimedOut):
            await body_of(pool)
        assert asyncio.get_running_loop().time() - started < 3


async def test_nobody_listens() -> None:
    pool = Pool(f"http://127.0.0.1:{free_port()}/", {}, QUICK)
    with pytest.raises(NotConnected):
        await pool.exchange(b"{}", whole=True, limit=LIMIT)


async def test_bytes_that_nobody_asked_for_close_the_connection() -> None:
    upstream = Upstream(whole(b"1") + whole(b"injected"), whole(b"2"))
    async with pool_to(upstream) as pool:
        assert await body_of(pool) == b"1"
        assert await body_of(pool) == b"2"
    assert upstream.connections == 2


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\nb", "a\0b"])
def test_no_header_of_the_configuration_can_end_its_line(value: str) -> None:
    async def build() -> None:
        Pool("http://127.0.0.1/", {"x-one": value}, QUICK)

    with pytest.raises(ValueError, match="no header may"):
        asyncio.run(build())


async def test_a_pool_that_is_closed_breaks_off_what_is_on_its_way() -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    upstream = Upstream(silent)
    async with pool_to(upstream, Timeouts()) as pool:
        asking: asyncio.Task[Connection] = asyncio.create_task(
            pool.exchange(b"{}", whole=True, limit=LIMIT)
        )
        while not upstream.requests:
            await asyncio.sleep(0.01)
        pool.close()
        with pytest.raises(Disconnected):
            await asking


async def test_a_connection_that_is_made_while_the_pool_closes_is_closed() -> None:
    async with pool_to(Upstream()) as pool:
        asking = asyncio.create_task(pool.exchange(b"{}", whole=True, limit=LIMIT))
        await asyncio.sleep(0)  # it is connecting
        pool.close()
        with pytest.raises(NotConnected, match="has closed"):
            await asking
