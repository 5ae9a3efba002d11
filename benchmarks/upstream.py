"""A fast upstream that speaks OpenAI's chat API: `python -m benchmarks.upstream --port N`.

It parses each request and answers from prepared bytes, so that it is not what a benchmark measures.
A stream has 50 chunks of content, each its own write, as vendors send them. A request may ask for
trouble: `"metadata": {"upstream": "error" | "drop" | "slow" | "cut"}`. `GET /received` counts the
chat requests that arrived whole.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
from typing import Any, cast

import httptools
import orjson
import uvloop

#: Chunks of content in a stream.
CHUNKS = 50
#: A stream has it once a chunk, so that answers can be checked for being whole.
WORD = b"tick"
#: How long a slow answer takes to begin.
SLOW_S = 1.5

_TEXT = f"{WORD.decode()} "
_JSON_HEAD = b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
_USAGE = {
    "prompt_tokens": 210,
    "completion_tokens": CHUNKS,
    "total_tokens": 210 + CHUNKS,
    "prompt_tokens_details": {"cached_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0},
}


def _json(status: int, phrase: bytes, payload: object) -> bytes:
    body = orjson.dumps(payload)
    return _JSON_HEAD % (status, phrase, len(body)) + body


_ERROR = _json(
    500,
    b"Internal Server Error",
    {"error": {"message": "asked for", "type": "server_error", "param": None, "code": "asked"}},
)


def _envelope(model: str, kind: str) -> dict[str, Any]:
    served = {"model": model, "system_fingerprint": "fp_benchmark", "service_tier": "default"}
    return {"id": "chatcmpl-benchmark", "object": kind, "created": 1_700_000_000, **served}


@functools.lru_cache(maxsize=16)
def _plain(model: str) -> bytes:
    message = {"role": "assistant", "content": _TEXT * CHUNKS, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    answer = {**_envelope(model, "chat.completion"), "choices": [choice], "usage": _USAGE}
    return _json(200, b"OK", answer)


@functools.lru_cache(maxsize=32)
def _frames(model: str, *, with_usage: bool) -> tuple[bytes, ...]:
    """The writes of a stream: a role, the chunks, the end, and the usage where it was asked for."""
    envelope = _envelope(model, "chat.completion.chunk")
    if with_usage:
        envelope["usage"] = None

    def chunk(delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**envelope, "choices": [choice]}

    events = [
        chunk({"role": "assistant", "content": ""}),
        *[chunk({"content": _TEXT})] * CHUNKS,
        chunk({}, "stop"),
    ]
    if with_usage:
        events.append({**envelope, "choices": [], "usage": _USAGE})
    frames = [_http_chunk(b"data: " + orjson.dumps(event) + b"\n\n") for event in events]
    return (*frames, _http_chunk(b"data: [DONE]\n\n"), b"0\r\n\r\n")


def _http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class _Tally:
    received = 0


class _Connection(asyncio.Protocol):
    def __init__(self, tally: _Tally) -> None:
        self._tally = tally
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport | None = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._url = self._body = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        assert self._transport is not None
        if self._parser.get_method() == b"POST":
            self._tally.received += 1
            self._chat(orjson.loads(self._body), self._transport)
        else:
            found = {"received": self._tally.received} if self._url == b"/received" else {}
            self._transport.write(_json(200, b"OK", found))

    def _chat(self, payload: dict[str, Any], transport: asyncio.Transport) -> None:
        metadata = payload.get("metadata")
        trouble = metadata.get("upstream") if metadata else None
        if trouble == "error":
            transport.write(_ERROR)
        elif trouble == "drop":
            transport.abort()
        elif trouble == "slow":
            self._loop.call_later(SLOW_S, self._answer, payload, trouble)
        else:
            self._answer(payload, trouble)

    def _answer(self, payload: dict[str, Any], trouble: str | None) -> None:
        if self._transport is None:  # the caller left meanwhile
            return
        if not payload.get("stream"):
            self._transport.write(_plain(payload["model"]))
            return
        asked = payload.get("stream_options") or {}
        frames = _frames(payload["model"], with_usage=asked.get("include_usage", False))
        self._transport.write(_STREAM_HEAD)
        self._write_from(frames, 0, CHUNKS // 2 if trouble == "cut" else len(frames))

    def _write_from(self, frames: tuple[bytes, ...], position: int, end: int) -> None:
        """One frame a turn of the loop, which joins the writes of one turn into one packet."""
        if self._transport is None:
            return
        if position < end:
            self._transport.write(frames[position])
            self._loop.call_soon(self._write_from, frames, position + 1, end)
        elif end < len(frames):
            self._transport.abort()


async def _serve(port: int) -> None:
    tally = _Tally()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(tally), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


def main() -> None:
    """Serve until a signal ends it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(_serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
