"""The simulator's HTTP server, on aiohttp."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.vendor import anthropic
from tests.vendor.behaviour import Behaviour
from tests.vendor.completions import text_completion, text_events
from tests.vendor.embeddings import embeddings
from tests.vendor.other import Handler, OtherEndpoints

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
    query: dict[str, str] = field(default_factory=dict)

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
        application.router.add_post("/v1/completions", self._chat)
        application.router.add_post("/v1/messages", self._chat)
        application.router.add_post("/v1/messages/count_tokens", self._count_tokens)
        application.router.add_post("/v1/embeddings", self._chat)
        OtherEndpoints().add_to(application.router, self._scripted)
        application.router.add_route("*", "/{anything:.*}", self._anything)
        return application

    async def _anything(self, request: web.Request) -> web.Response:
        self._record(request, await request.read())
        return web.json_response({"error": {"message": "no such path", "type": "x"}}, status=404)

    async def _count_tokens(self, request: web.Request) -> web.Response:
        received = self._record(request, await request.read())
        behaviour = self.script.popleft() if self.script else self.default
        if behaviour.status != 200:
            body = anthropic.error(behaviour.status)
            return web.Response(status=behaviour.status, body=body, content_type="application/json")
        return web.json_response({"input_tokens": len(received.raw)})

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

    def _scripted(self, handler: Handler) -> Handler:
        """The handler, save that what the script or the default says goes before."""

        async def answer(request: web.Request) -> web.StreamResponse:
            received = self._record(request, await request.read())
            behaviour = self.script.popleft() if self.script else self.default
            if behaviour.drop or behaviour.status != 200 or behaviour.body is not None:
                return await self._answer(request, {}, behaviour)
            try:
                return await handler(request)
            except (KeyError, ValueError, TypeError):
                return web.Response(status=400, body=_error(400), content_type="application/json")
            except (asyncio.CancelledError, ConnectionError):
                received.closed_early_after_s = time.monotonic() - received.received_s
                raise

        return answer

    def _record(self, request: web.Request, raw: bytes) -> ReceivedRequest:
        headers = {name.lower(): value for name, value in request.headers.items()}
        received = ReceivedRequest(request.method, request.path, headers, raw, time.monotonic())
        received.query = dict(request.query)
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
            error = anthropic.error if _speaks_messages(request) else _error
            return web.Response(
                status=behaviour.status,
                body=behaviour.body if behaviour.body is not None else error(behaviour.status),
                headers=behaviour.headers,
                content_type=behaviour.content_type or "application/json",
            )
        if _asks_too_many(body):
            return web.Response(status=400, body=_error(400), content_type="application/json")
        if not body.get("stream"):
            answer = _ANSWERS.get(request.path, _completion)
            return web.Response(
                body=answer(body, behaviour),
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
            written = _STREAMS.get(request.path, _data_events)
            async for event in written(body, behaviour):
                for piece in _pieces(event, behaviour):
                    await response.write(piece)
                    if behaviour.byte_by_byte:
                        await asyncio.sleep(0)
            await response.write_eof()
            return response
        _hang_up(request)
        return response


def _speaks_messages(request: web.Request) -> bool:
    return request.path.startswith("/v1/messages")


class _HangUp(Exception):
    """The stream's connection is to be dropped here."""


def _hang_up(request: web.Request) -> None:
    assert request.transport is not None
    request.transport.abort()
    raise ConnectionResetError


def _asks_too_many(body: dict[str, Any]) -> bool:
    """OpenAI writes at most 128 choices."""
    count = body.get("n")
    return isinstance(count, int) and count > 128


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
        **({"reasoning_content": behaviour.thinking} if behaviour.thinking else {}),
        **({"tool_calls": _tool_calls(behaviour)} if behaviour.tool_calls else {}),
        **behaviour.message,
    }
    logprobs = _logprobs(body, behaviour)
    content = {"content": [entry for word in logprobs for entry in word]} if logprobs else None
    reason = _finish_reason(behaviour)
    choices = [
        {"index": index, "message": message, "logprobs": content, "finish_reason": reason}
        for index in range(body.get("n") or 1)
    ]
    payload = {**_envelope(body, "chat.completion", behaviour), "choices": choices}
    if behaviour.usage is not None:
        payload["usage"] = behaviour.usage
    return json.dumps(payload, ensure_ascii=False).encode()


_ANSWERS = {
    "/v1/completions": text_completion,
    "/v1/messages": anthropic.message,
    "/v1/embeddings": embeddings,
}


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
    if behaviour.thinking:
        thought = {"reasoning_content": behaviour.thinking}
        yield {"index": 0, "delta": thought, "finish_reason": None}
    logprobs = _logprobs(body, behaviour)
    deltas = behaviour.deltas
    if deltas is None:
        deltas = [{"content": word} for word in _words(behaviour)]
    for number, delta in enumerate(deltas):
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        yield {**choice, "logprobs": {"content": logprobs[number]}} if logprobs else choice
    for number, call in enumerate(_tool_calls(behaviour)):
        text = call["function"]["arguments"]
        begun = {**call, "index": number, "function": {**call["function"], "arguments": ""}}
        halves = (text[: len(text) // 2], text[len(text) // 2 :])
        parts = [{"index": number, "function": {"arguments": half}} for half in halves]
        for part in (begun, *parts):
            yield {"index": 0, "delta": {"tool_calls": [part]}, "finish_reason": None}
    if behaviour.finish:
        yield {"index": 0, "delta": {}, "finish_reason": _finish_reason(behaviour)}


def _tool_calls(behaviour: Behaviour) -> list[dict[str, Any]]:
    return [
        {
            "id": f"call_{number}",
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }
        for number, (name, arguments) in enumerate(behaviour.tool_calls)
    ]


def _finish_reason(behaviour: Behaviour) -> str:
    return "tool_calls" if behaviour.tool_calls else behaviour.finish_reason


async def _data_events(body: dict[str, Any], behaviour: Behaviour) -> AsyncIterator[str]:
    async for data in _events(body, behaviour):
        yield f"data: {data}"


async def _named_events(body: dict[str, Any], behaviour: Behaviour) -> AsyncIterator[str]:
    """Anthropic's events, and whatever goes wrong between them."""
    number = -1
    async for event in anthropic.events(body, behaviour):
        number += 1
        if number == behaviour.drop_after:
            raise _HangUp
        if number == behaviour.stall_after:
            await asyncio.sleep(STALL_S)
        if number == behaviour.error_after:
            yield f"event: error{behaviour.line_end}data: {anthropic.error(529).decode()}"
            return
        data = json.dumps(event, ensure_ascii=False)
        yield f"event: {event['type']}{behaviour.line_end}data: {data}"


async def _text_events(body: dict[str, Any], behaviour: Behaviour) -> AsyncIterator[str]:
    """Text completions, and whatever goes wrong between them."""
    for number, event in enumerate(text_events(body, behaviour)):
        if number == behaviour.drop_after:
            raise _HangUp
        if number == behaviour.error_after:
            yield f"data: {_error(500).decode()}"
            return
        yield f"data: {json.dumps(event, ensure_ascii=False)}"
    if behaviour.done_mark:
        yield "data: [DONE]"


_STREAMS = {"/v1/completions": _text_events, "/v1/messages": _named_events}


def _pieces(written: str, behaviour: Behaviour) -> Iterator[bytes]:
    end = behaviour.line_end
    comment = f": keep-alive{end}{end}" if behaviour.comments else ""
    event = f"{comment}{written}{end}{end}".encode()
    if behaviour.byte_by_byte:
        yield from (event[at : at + 1] for at in range(len(event)))
    else:
        yield event
