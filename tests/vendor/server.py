"""The simulator's HTTP server, on aiohttp."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tests.vendor.behaviour import Behaviour

STALL_S = 30.0


@dataclass(slots=True)
class ReceivedRequest:
    """What reached the simulator; `closed_early_after_s` tells when the caller hung up."""

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes
    received_s: float
    closed_early_after_s: float | None = None

    @property
    def body(self) -> dict[str, Any]:
        parsed = json.loads(self.raw)
        assert isinstance(parsed, dict)
        return parsed


class Vendor:
    """Behaviours to come, and requests that were received."""

    def __init__(self) -> None:
        self.default = Behaviour()
        self.script: collections.deque[Behaviour] = collections.deque()
        self.by_model: dict[str, Behaviour] = {}
        self.received: list[ReceivedRequest] = []
        self.recording = True

    def application(self) -> web.Application:
        application = web.Application(client_max_size=64 * 1024 * 1024)
        application.router.add_post("/v1/chat/completions", self._chat)
        application.router.add_route("*", "/{anything:.*}", self._anything)
        return application

    async def _anything(self, request: web.Request) -> web.Response:
        self._record(request, await request.read())
        return web.json_response({"error": {"message": "no such path", "type": "x"}}, status=404)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        received = self._record(request, raw)
        body = json.loads(raw)
        usual = self.by_model.get(body["model"], self.default)
        behaviour = self.script.popleft() if self.script else usual
        try:
            return await self._answer(request, body, behaviour)
        except (asyncio.CancelledError, ConnectionError):
            received.closed_early_after_s = time.monotonic() - received.received_s
            raise

    def _record(self, request: web.Request, raw: bytes) -> ReceivedRequest:
        headers = {name.lower(): value for name, value in request.headers.items()}
        received = ReceivedRequest(request.method, request.path, headers, raw, time.monotonic())
        if self.recording:
            self.received.append(received)
        return received

    async def _answer(
        self, request: web.Request, body: dict[str, Any], behaviour: Behaviour
    ) -> web.StreamResponse:
        if behaviour.delay_s:
            await asyncio.sleep(behaviour.delay_s)
        if behaviour.drop:
            _hang_up(request)
        if behaviour.body is not None or behaviour.status != 200:
            return web.Response(
                status=behaviour.status,
                body=behaviour.body if behaviour.body is not None else _error(behaviour.status),
                headers=behaviour.headers,
                content_type=behaviour.content_type or "application/json",
            )
        if not body.get("stream"):
            return web.Response(
                body=_completion(body, behaviour),
                headers=behaviour.headers,
                content_type=behaviour.content_type or "application/json",
            )
        return await self._stream(request, body, behaviour)

    async def _stream(
        self, request: web.Request, body: dict[str, Any], behaviour: Behaviour
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers=behaviour.headers)
        response.content_type = behaviour.content_type or "text/event-stream"
        await response.prepare(request)
        with contextlib.suppress(_HangUp):
            async for event in _events(body, behaviour):
                for piece in _pieces(event, behaviour):
                    await response.write(piece)
                    if behaviour.byte_by_byte:
                        await asyncio.sleep(0)
            await response.write_eof()
            return response
        _hang_up(request)
        return response


class _HangUp(Exception):
    """The stream's connection is to be dropped here."""


def _hang_up(request: web.Request) -> None:
    assert request.transport is not None
    request.transport.abort()
    raise ConnectionResetError


def _error(status: int) -> bytes:
    details = {"message": f"simulated {status}", "type": "simulated", "param": "p", "code": "c"}
    return json.dumps({"error": details}).encode()


def _envelope(body: dict[str, Any], kind: str, behaviour: Behaviour) -> dict[str, Any]:
    return {
        "id": "chatcmpl-simulated",
        "object": kind,
        "created": 1_700_000_000,
        "model": f"{body['model']}-2024-08-06",
        "service_tier": "default",
        "system_fingerprint": "fp_simulated",
        **behaviour.extra,
    }


def _completion(body: dict[str, Any], behaviour: Behaviour) -> bytes:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": behaviour.text,
        "refusal": None,
        "annotations": [],
        **behaviour.message,
    }
    logprobs = _logprobs(body, behaviour)
    content = {"content": [entry for word in logprobs for entry in word]} if logprobs else None
    reason = behaviour.finish_reason
    choices = [
        {"index": index, "message": message, "logprobs": content, "finish_reason": reason}
        for index in range(body.get("n") or 1)
    ]
    payload = {**_envelope(body, "chat.completion", behaviour), "choices": choices}
    if behaviour.usage is not None:
        payload["usage"] = behaviour.usage
    return json.dumps(payload, ensure_ascii=False).encode()


def _words(behaviour: Behaviour) -> list[str]:
    if behaviour.chunks is not None:
        return [f"word{number} " for number in range(behaviour.chunks)]
    return [f"{word} " for word in behaviour.text.split(" ")]


async def _events(body: dict[str, Any], behaviour: Behaviour) -> AsyncIterator[str]:
    """The `data` of each event, and whatever goes wrong between them."""
    asked = bool((body.get("stream_options") or {}).get("include_usage"))
    for number, choice in enumerate(_choices(body, behaviour)):
        if number == behaviour.drop_after:
            raise _HangUp
        if number == behaviour.stall_after:
            await asyncio.sleep(STALL_S)
        if number == behaviour.error_after:
            yield _error(500).decode()
            return
        payload = {**_envelope(body, "chat.completion.chunk", behaviour), "choices": [choice]}
        last = choice["finish_reason"] is not None
        if behaviour.usage_in_every_chunk or (behaviour.usage_with_choices and last):
            payload["usage"] = behaviour.usage
        elif asked:
            payload["usage"] = None
        yield json.dumps(payload, ensure_ascii=False)
        if behaviour.chunk_delay_s:
            await asyncio.sleep(behaviour.chunk_delay_s)
    if asked and behaviour.usage is not None and not behaviour.usage_with_choices:
        envelope = _envelope(body, "chat.completion.chunk", behaviour)
        yield json.dumps({**envelope, "choices": [], "usage": behaviour.usage})
    if behaviour.done_mark:
        yield "[DONE]"


def _logprobs(body: dict[str, Any], behaviour: Behaviour) -> list[list[dict[str, Any]]]:
    """A word's tokens with their logprobs, word by word; empty where nobody asked."""
    if not body.get("logprobs") or behaviour.logprobs is None:
        return []
    return [
        [{"token": word, "logprob": logprob, "bytes": list(word.encode()), "top_logprobs": []}]
        for word, logprob in zip(_words(behaviour), behaviour.logprobs, strict=True)
    ]


def _choices(body: dict[str, Any], behaviour: Behaviour) -> Iterator[dict[str, Any]]:
    """One choice an event; several answers take turns."""
    for choice in _single_choice(body, behaviour):
        for index in range(body.get("n") or 1):
            yield {**choice, "index": index}


def _single_choice(body: dict[str, Any], behaviour: Behaviour) -> Iterator[dict[str, Any]]:
    yield {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
    logprobs = _logprobs(body, behaviour)
    deltas = behaviour.deltas
    if deltas is None:
        deltas = [{"content": word} for word in _words(behaviour)]
    for number, delta in enumerate(deltas):
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        yield {**choice, "logprobs": {"content": logprobs[number]}} if logprobs else choice
    if behaviour.finish:
        yield {"index": 0, "delta": {}, "finish_reason": behaviour.finish_reason}


def _pieces(data: str, behaviour: Behaviour) -> Iterator[bytes]:
    end = behaviour.line_end
    comment = f": keep-alive{end}{end}" if behaviour.comments else ""
    event = f"{comment}data: {data}{end}{end}".encode()
    if behaviour.byte_by_byte:
        yield from (event[at : at + 1] for at in range(len(event)))
    else:
        yield event
