"""Requests and answers as an application sees them, over real sockets."""

import asyncio
import functools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from gateway.app.protocol import Limits, Protocol

LIMITS = Limits(
    header_bytes=2048,
    header_timeout_s=0.4,
    body_timeout_s=0.4,
    body_bytes_per_s=1000,
    keep_alive_s=0.5,
    connections=20,
)
OK = b"HTTP/1.1 200 OK\r\n"


class Application:
    """Answers with what it was asked; what a request does is in its path."""

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self.release = asyncio.Event()
        self.messages = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/fails":
            raise RuntimeError("unexpected")
        if scope["path"] == "/waits":
            await self._wait(receive, send)
            return
        body = b""
        more = scope["path"] != "/unread"
        while more:
            message = await receive()
            self.messages += 1
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if scope["path"] == "/stream":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for piece in (b"one ", b"", b"two"):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            return
        headers = [(b"x-evil", b"a\r\nb: c")] if scope["path"] == "/splits" else []
        told = json.dumps(
            {
                "method": scope["method"],
                "path": scope["path"],
                "query": scope["query_string"].decode(),
                "headers": {name.decode(): value.decode() for name, value in scope["headers"]},
                "body": body.decode(),
            }
        ).encode()
        headers.append((b"content-length", b"%d" % len(told)))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": told})

    async def _wait(self, receive: Receive, send: Send) -> None:
        await receive()
        if (await receive())["type"] == "http.disconnect":
            self.left.set()


@asynccontextmanager
async def serving(limits: Limits = LIMITS) -> AsyncIterator[tuple[Application, int]]:
    application = Application()
    config = uvicorn.Config(
        application,
        port=0,
        http=functools.partial(Protocol, limits=limits),  # type: ignore[arg-type]
        lifespan="off",
        log_config=None,
        server_header=False,
    )
    server = uvicorn.Server(config)
    config.load()
    task = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield application, port
    finally:
        server.should_exit = True
        await asyncio.wait_for(task, 10)


async def talk(port: int, *pieces: bytes, pause_s: float = 0.0) -> bytes:
    """Send pieces, and read until the server closes or is silent for a while."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    reading = asyncio.create_task(reader.read())
    try:
        for piece in pieces:
            if reading.done():
                break
            writer.write(piece)
            await asyncio.sleep(pause_s)
        return await asyncio.wait_for(reading, 5)
    except ConnectionError:
        return b""
    finally:
        writer.close()


def get(path: str, *lines: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "host: x", *lines, "", ""]).encode()


async def test_requests_in_turn_on_one_connection() -> None:
    async with (
        serving() as (_, port),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http,
    ):
        first = await http.post("/a%20b?x=1", content=b"hello", headers={"X-One": "1"})
        told = first.json()
        assert (told["method"], told["path"], told["query"], told["body"]) == (
            "POST",
            "/a b",
            "x=1",
            "hello",
        )
        assert told["headers"]["x-one"] == "1"
        assert first.headers["date"]
        assert (await http.get("/stream")).text == "one two"
        assert (await http.head("/stream")).content == b""
        assert (await http.get("/again")).json()["path"] == "/again"


async def test_a_body_comes_in_pieces_and_large() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 50_000

    limits = Limits()
    async with serving(limits) as (application, port):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            told = (await http.post("/", content=pieces())).json()
        assert len(told["body"]) == 2_000_000
        assert application.messages > 1


async def test_requests_sent_at_once_are_answered_in_their_order() -> None:
    async with serving() as (_, port):
        answer = await talk(port, get("/1") + get("/stream") + get("/3", "connection: close"))
    first, second, third = answer.split(OK)[1:]
    assert b'"/1"' in first
    assert b"one" in second
    assert b'"/3"' in third


async def test_the_application_hears_that_the_client_has_left() -> None:
    async with serving() as (application, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get("/waits"))
        await asyncio.sleep(0.1)
        writer.close()
        await asyncio.wait_for(application.left.wait(), 2)


@pytest.mark.parametrize("path", ["/fails", "/splits"])
async def test_an_application_that_fails_closes_the_connection(path: str) -> None:
    async with serving() as (_, port):
        assert await talk(port, get(path)) == b""


async def test_what_is_left_of_an_unread_body_is_no_request() -> None:
    hidden = get("/hidden")
    head = b"POST /unread HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % (len(hidden) + 5)
    async with serving() as (_, port):
        answer = await talk(port, head, hidden)
        assert answer.count(OK) == 1


async def test_a_client_that_goes_on_sending_sees_why_it_is_refused() -> None:
    head = b"POST /unread HTTP/1.1\r\ncontent-length: 5000000\r\n\r\n"
    async with serving() as (_, port):
        answer = await talk(port, head, *[b"x" * 50_000] * 100)
        assert answer.startswith(OK)


async def test_a_client_that_reads_slowly_holds_nobody_else() -> None:
    async with serving() as (_, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(get("/stream") * 50)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            assert (await http.get("/")).status_code == 200
        writer.close()
