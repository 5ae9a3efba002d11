"""Asks a local backend as the pipeline does, and reads what comes."""

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import orjson

from gateway.api.completions import CompletionsFormat
from gateway.api.parse import parse_chat
from gateway.backends.local.backend import LocalBackend
from gateway.backends.local.client import EngineClient
from gateway.backends.sse import event_data
from gateway.core.answer import Answer, Chunk, Item
from gateway.core.cascade import Cascade
from gateway.core.deployment import Deployment, Tier
from gateway.core.request import Caller, ChatRequest

MODEL = "smollm2-135m-instruct"
SMALL = Deployment("small", Tier.SMALL, "local", "small")
CALLER = Caller("req_1")
#: How long an engine may take to load its model, on a busy machine, in seconds.
READY_WITHIN_S = 60.0


def chat(content: str, **fields: Any) -> ChatRequest:
    """A request of one user message; `max_tokens` 8 and greedy unless `fields` say otherwise."""
    messages = [{"role": "user", "content": content}]
    body = {"model": "auto", "messages": messages, "max_tokens": 8, "temperature": 0, **fields}
    return parse_chat(orjson.dumps(body))


def text(prompt: str) -> ChatRequest:
    """A request for eight more tokens of a text."""
    body = {"model": "auto", "prompt": prompt, "max_tokens": 8, "temperature": 0}
    return CompletionsFormat().parse(orjson.dumps(body))


async def items_of(
    backend: LocalBackend, request: ChatRequest, cascade: Cascade | None = None
) -> list[Item]:
    async with aclosing(backend.call(request, SMALL, CALLER, cascade=cascade)) as items:
        return [item async for item in items]


async def answer_of(
    backend: LocalBackend, request: ChatRequest, cascade: Cascade | None = None
) -> Answer:
    (item,) = await items_of(backend, request, cascade)
    assert isinstance(item, Answer)
    return item


async def chunks_of(
    backend: LocalBackend, request: ChatRequest, cascade: Cascade | None = None
) -> list[Chunk]:
    items = await items_of(backend, request, cascade)
    return [item for item in items if isinstance(item, Chunk)]


def content_of(answer: Answer) -> str:
    content: str = answer.payload["choices"][0]["message"]["content"]
    return content


def payloads_of(chunks: list[Chunk]) -> list[dict[str, Any]]:
    """The chunks as a client parses them."""
    return [orjson.loads(data) for chunk in chunks for data in event_data(chunk.frames)]


def pieces_of(chunks: list[Chunk]) -> list[str]:
    """The text of each chunk that has some."""
    deltas = [choice["delta"] for p in payloads_of(chunks) for choice in p["choices"]]
    return [delta["content"] for delta in deltas if delta.get("content")]


async def until_ready(backend: LocalBackend) -> None:
    """Wait until the engine has loaded its model."""
    await until(lambda: backend.not_ready() is None)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what an engine's process does."""
    deadline_s = time.monotonic() + READY_WITHIN_S
    while not condition():
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.02)


def client_of(backend: LocalBackend) -> EngineClient:
    assert backend.client is not None
    return backend.client


async def load_of(backend: LocalBackend) -> tuple[int, int]:
    """How many answers the engine has in progress and waiting."""
    status = await client_of(backend).ask_status()
    return status["active"], status["waiting"]


async def until_load(backend: LocalBackend, load: tuple[int, int], within_s: float = 5) -> None:
    """Wait until so many answers are in progress and waiting."""
    deadline_s = time.monotonic() + within_s
    while (now := await load_of(backend)) != load:
        assert time.monotonic() < deadline_s, now
        await asyncio.sleep(0.005)
