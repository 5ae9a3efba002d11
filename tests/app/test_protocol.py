"""Connections of hostile and broken clients: each gets the envelope, and ends in time."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from gateway.api.body import ClientLeft, read_body
from gateway.api.gate import Gate
from gateway.api.keys import KeyRing
from gateway.api.respond import send_json
from gateway.app.protocol import Limits, Protocol

LIMITS = Limits(
    header_bytes=4096,
    header_timeout_s=0.4,
    body_timeout_s=0.4,
    body_bytes_per_s=1e6,
    keep_alive_s=1,
    connections=20,
)
POST = b"POST /x HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n"
GET = b"GET /x HTTP/1.1\r\nhost: h\r\n\r\n"
PATIENCE_S = 20


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with what it got."""
    try:
        body = await read_body(scope, receive, 1_000_000) if scope["method"] == "POST" else b""
    except ClientLeft:
        return
    names = [name.decode() for name, _ in scope["headers"]]
    got = {"path": scope["path"], "body_bytes": len(body), "headers": names}
    await send_json(send, 200, json.dumps(got).encode())


@dataclass(slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        """The envelope's error."""
        assert self.headers["x-request-id"].startswith("req_")
        assert self.headers["x-content-type-options"] == "nosniff"
        assert self.headers["content-type"] == "application/json"
        body = json.loads(self.body)
        assert body.keys() == {"error"}
        error: dict[str, Any] = body["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        return error


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> Answer:
        async with asyncio.timeout(PATIENCE_S):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            body = await self._reader.readexactly(int(headers["content-length"]))
        return Answer(int(head[0].split()[1]), headers, body)

    async def line(self) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await self._reader.readline()

    async def exactly(self, size: int) -> bytes:
        """So many bytes of what comes."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._reader.readexactly(size)

    async def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._reader.read()

    async def dribble(self, piece: bytes, every_s: float) -> None:
        """Send without an end, until the gateway hangs up."""
        try:
            while True:
                self.writer.write(piece)
                await self.writer.drain()
                await asyncio.sleep(every_s)
        except ConnectionError:
            pass


class Server:
    def __init__(self, port: int, lines: list[dict[str, Any]], state: ServerState) -> None:
        self.port = port
        self.state = state
        self.lines = lines
        self._open: list[asyncio.StreamWriter] = []

    async def connect(self) -> Connection:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._open.append(writer)
        return Connection(reader, writer)

    async def ask(self, data: bytes) -> Answer:
        connection = await self.connect()
        connection.send(data)
        return await connection.answer()

    def close(self) -> None:
        for writer in self._open:
            writer.close()


@asynccontextmanager
async def serving(
    limits: Limits = LIMITS, keys: tuple[str, ...] = (), app: ASGIApp = echo
) -> AsyncIterator[Server]:
    gate = Gate(app, KeyRing(keys))
    lines: list[dict[str, Any]] = []
    gate.log_request = lambda line, _: lines.append(line)
    config = uvicorn.Config(gate, log_config=None, ws="none")
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(
        lambda: Protocol(config=config, server_state=state, app_state={}, limits=limits),
        "127.0.0.1",
        0,
    )
    server = Server(listener.sockets[0].getsockname()[1], lines, state)
    yield server
    server.close()
    listener.close()
    async with asyncio.timeout(PATIENCE_S):
        while state.connections or state.tasks:
            await asyncio.sleep(0.01)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as running:
        yield running


async def test_an_ordinary_connection_answers_one_request_after_another(server: Server) -> None:
    connection = await server.connect()
    for number in range(3):
        connection.send(POST + b"content-length: 2\r\n\r\n{}")
        answer = await connection.answer()
        assert (answer.status, json.loads(answer.body)["body_bytes"]) == (200, 2), number


async def test_chunks_and_pieces_and_a_promise_to_continue(server: Server) -> None:
    chunked = await server.ask(
        POST + b"transfer-encoding: chunked\r\n\r\n3\r\n{  \r\n1;ext=1\r\n}\r\n0\r\nlate: 1\r\n\r\n"
    )
    assert json.loads(chunked.body)["body_bytes"] == 4
    assert "late" not in json.loads(chunked.body)["headers"]
    connection = await server.connect()
    connection.send(POST + b"content-length: 2\r\nexpect: 100-continue\r\n\r\n")
    await asyncio.sleep(0.05)
    connection.send(b"{}")
    assert await connection.line() == b"HTTP/1.1 100 Continue\r\n"
    assert await connection.line() == b"\r\n"
    assert (await connection.answer()).status == 200


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,  # a TLS handshake
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /x HTTP/9.9\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nhost: h\r\n\r\n",
        b"GET /x HTTP/1.1\r\nhost: h\r\nx-a: 1\x00\r\n\r\n",
        b"GET /x HTTP/1.1\r\nhost: h\r\nx-a: 1\rx-b: 2\r\n\r\n",
        b"GET /x HTTP/1.1\r\nhost: h\r\nx a: 1\r\n\r\n",
        b"GET /x HTTP/1.1\r\nhost: h\r\n: 1\r\n\r\n",
        b"GET /x HTTP/1.1\r\nhost: h\r\nx-a: 1\r\n folded\r\n\r\n",
        POST + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        POST + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n0\r\n\r\n",
        POST + b"transfer-encoding: identity, chunked, x\r\n\r\n0\r\n\r\n",
        POST + b"content-length: -1\r\n\r\n",
        POST + b"content-length: +2\r\n\r\n{}",
        POST + b"content-length: 99999999999999999999999\r\n\r\n",
        POST + b"transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        POST + b"transfer-encoding: chunked\r\n\r\n2\r\n{}x\r\n0\r\n\r\n",
        POST + b"transfer-encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
        POST + b"transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        b"CONNECT example.org:443 HTTP/1.1\r\nhost: h\r\n\r\n",
    ],
)
async def test_what_is_not_http_gets_400_in_the_envelope(
    server: Server, request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    connection = await server.connect()
    connection.send(request_bytes)
    answer = await connection.answer()
    assert answer.status == 400
    assert answer.error["code"] == "invalid_http"
    assert answer.headers["connection"] == "close"
    assert await connection.rest() == b""
    assert not [record for record in caplog.records if record.exc_info]
    assert (await server.ask(GET)).status == 200


async def test_too_much_of_headers(server: Server) -> None:
    start = b"GET /x HTTP/1.1\r\nhost: h\r\n"
    many = b"".join(b"a%d: 1\r\n" % number for number in range(300))
    for headers in (b"x-a: " + b"1" * 5000 + b"\r\n", many, b"x-a: 1\r\nx-b: " + b"1" * 300_000):
        answer = await server.ask(start + headers + b"\r\n")
        assert (answer.status, answer.error["code"]) == (431, "headers_too_large")
    target = await server.ask(b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nhost: h\r\n\r\n")
    assert (target.status, target.error["code"]) == (414, "uri_too_long")


async def test_a_large_body_in_the_headers_packet_is_no_large_header(server: Server) -> None:
    answer = await server.ask(POST + b"content-length: 20000\r\n\r\n" + b" " * 20_000)
    assert json.loads(answer.body)["body_bytes"] == 20_000


@pytest.mark.parametrize("start", [b"", b"GET /x", b"GET /x HTTP/1.1\r\nx-a: "])
async def test_slow_headers(server: Server, start: bytes) -> None:
    started_s = time.monotonic()
    connection = await server.connect()
    connection.send(start)
    if start:
        dribbling = asyncio.create_task(connection.dribble(b"1", 0.05))
        answer = await connection.answer()
        assert (answer.status, answer.error["code"]) == (408, "request_timeout")
        dribbling.cancel()
    assert await connection.rest() == b""
    assert time.monotonic() - started_s >= LIMITS.header_timeout_s * 0.9


@pytest.mark.parametrize("every_s", [PATIENCE_S, 0.05])
@pytest.mark.parametrize("framing", [b"content-length: 999", b"transfer-encoding: chunked"])
async def test_a_slow_body(server: Server, every_s: float, framing: bytes) -> None:
    connection = await server.connect()
    connection.send(POST + framing + b"\r\n\r\n")
    piece = b"1" if framing.startswith(b"content") else b"1\r\nx\r\n"
    dribbling = asyncio.create_task(connection.dribble(piece, every_s))
    answer = await connection.answer()
    dribbling.cancel()
    assert (answer.status, answer.error["code"]) == (408, "request_timeout")
    assert await connection.rest() == b""
    (line,) = server.lines
    assert line["request_id"] == answer.headers["x-request-id"]
    assert line["status"] == 408


async def test_a_slow_client_that_keeps_up_the_rate_is_served() -> None:
    async with serving(replace(LIMITS, body_bytes_per_s=10)) as server:
        connection = await server.connect()
        connection.send(POST + b"content-length: 40\r\n\r\n")
        for _ in range(8):
            connection.send(b"     ")
            await asyncio.sleep(0.1)
        assert (await connection.answer()).status == 200


async def test_a_refused_clients_endless_body_ends() -> None:
    async with serving(keys=("sk-1",)) as server:
        connection = await server.connect()
        connection.send(POST + b"content-length: 99999999999\r\n\r\n")
        dribbling = asyncio.create_task(connection.dribble(b"x" * 10_000, 0.01))
        assert (await connection.answer()).status == 401
        assert await connection.rest() == b""
        dribbling.cancel()


@pytest.mark.parametrize(
    "endless",
    [b"1;" + b"x" * 40_000, b"0\r\nlate: " + b"x" * 40_000, b"0\r\n" + b"a: 1\r\n" * 9000],
)
async def test_endless_chunk_extensions_and_trailers(server: Server, endless: bytes) -> None:
    connection = await server.connect()
    connection.send(POST + b"transfer-encoding: chunked\r\n\r\n" + endless[:5000])
    await asyncio.sleep(0.05)
    connection.send(endless[5000:])
    answer = await connection.answer()
    assert (answer.status, answer.error["code"]) == (400, "invalid_http")


async def test_empty_lines_do_not_keep_an_idle_connection(server: Server) -> None:
    connection = await server.connect()
    connection.send(GET)
    await connection.answer()
    dribbling = asyncio.create_task(connection.dribble(b"\r\n", 0.1))
    assert await connection.rest() == b""
    dribbling.cancel()


async def test_an_idle_connection_outlives_the_header_timeout(server: Server) -> None:
    connection = await server.connect()
    for _ in range(2):
        connection.send(GET)
        assert (await connection.answer()).status == 200
        await asyncio.sleep(LIMITS.header_timeout_s * 1.5)


async def test_one_connection_too_many() -> None:
    async with serving(replace(LIMITS, connections=2, header_timeout_s=PATIENCE_S)) as server:
        first = await server.connect()
        await server.connect()
        third = await server.connect()
        refused = await third.answer()
        assert (refused.status, refused.error["code"]) == (503, "too_many_connections")
        first.send(GET)
        assert (await first.answer()).status == 200


async def test_many_slow_clients_stall_nobody() -> None:
    async with serving(replace(LIMITS, connections=500)) as server:
        slow = []
        for _ in range(200):
            slow.append(await server.connect())
            slow[-1].send(b"GET /x HTTP/1.1\r\n")
        for _ in range(20):
            assert (await server.ask(GET)).status == 200
        answers = [await connection.answer() for connection in slow]
        assert {answer.status for answer in answers} == {408}


@pytest.mark.parametrize("cut", [None, 30, 130])
async def test_an_upgrade_is_answered_as_if_not_asked_for(server: Server, cut: int | None) -> None:
    # Java's HttpClient asks for HTTP/2 with every first request.
    upgrade = b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAM\r\n"
    whole = POST + upgrade + b"content-length: 2\r\n\r\n{}"
    connection = await server.connect()
    for _ in range(2):
        connection.send(whole[:cut])
        if cut is not None:
            await asyncio.sleep(0.02)
            connection.send(whole[cut:])
        answer = await connection.answer()
        assert (answer.status, json.loads(answer.body)["body_bytes"]) == (200, 2)
        assert "upgrade" not in json.loads(answer.body)["headers"]
    websocket = b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
    assert (await server.ask(GET[:-2] + websocket + b"\r\n")).status == 200


async def test_many_upgrades_in_one_packet(server: Server) -> None:
    upgrade = GET[:-2] + b"connection: upgrade\r\nupgrade: h2c\r\n\r\n"
    connection = await server.connect()
    connection.send(upgrade * 2000)
    for _ in range(2000):
        assert (await connection.answer()).status == 200


async def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    connection = await server.connect()
    connection.send(b"".join(GET.replace(b"/x", b"/%d" % number) for number in range(5)))
    for number in range(5):
        assert json.loads((await connection.answer()).body)["path"] == f"/{number}"


async def flood(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with 100 MB."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(1000):
        await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def test_a_client_that_takes_nothing_of_its_answer_is_left() -> None:
    async with serving(replace(LIMITS, write_timeout_s=0.3), app=flood) as server:
        stalled = await server.connect()
        stalled.send(GET)
        while not server.state.connections:
            await asyncio.sleep(0.01)
        async with asyncio.timeout(PATIENCE_S):
            while server.state.connections or server.state.tasks:
                await asyncio.sleep(0.05)
        stalled.writer.transport.abort()


async def test_a_client_that_takes_little_at_a_time_is_served() -> None:
    async with serving(replace(LIMITS, write_timeout_s=0.3), app=flood) as server:
        slow = await server.connect()
        slow.send(GET)
        for _ in range(10):
            await slow.exactly(4_000_000)  # no less moves the kernels' buffers
            await asyncio.sleep(0.1)
        assert len(server.state.connections) == 1
        slow.writer.transport.abort()
