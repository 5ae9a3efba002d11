"""The pass-through that the gateway is held against: Starlette, orjson and aiohttp, nothing else.

It scores, checks and records nothing. `BARE_UPSTREAM` is the URL that it posts to.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

_HEADERS = {"content-type": "application/json"}


@asynccontextmanager
async def _session(app: Starlette) -> AsyncIterator[None]:
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept-Encoding"),
    ) as app.state.session:
        yield


async def _chat(request: Request) -> Response:
    payload = orjson.loads(await request.body())
    session: aiohttp.ClientSession = request.app.state.session
    answer = await session.post(_UPSTREAM, data=orjson.dumps(payload), headers=_HEADERS)
    if payload.get("stream"):
        return StreamingResponse(_pieces(answer), answer.status, media_type=answer.content_type)
    async with answer:
        return Response(await answer.read(), answer.status, media_type=answer.content_type)


async def _pieces(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async with answer:
        async for piece in answer.content.iter_any():
            yield piece


async def _healthz(_: Request) -> Response:
    return Response()


_UPSTREAM = os.environ.get("BARE_UPSTREAM", "")

app = Starlette(
    routes=[
        Route("/v1/chat/completions", _chat, methods=["POST"]),
        Route("/healthz", _healthz),
    ],
    lifespan=_session,
)


def main() -> None:
    """Serve until a signal ends it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    uvicorn.run(
        app,
        port=parser.parse_args().port,
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        backlog=4096,
    )


if __name__ == "__main__":
    main()
