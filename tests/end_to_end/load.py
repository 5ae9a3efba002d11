"""Constant load on a gateway: every request is kept with how it ended."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import orjson

from tests.gateway_process import RunningGateway

PROMPTS = ("Hello!", "Prove that there are infinitely many primes congruent to 3 modulo 4.")
TIMEOUT_S = 60
DONE = "data: [DONE]\n\n"


@dataclass(slots=True)
class Asked:
    """One request: what came back, or that the connection failed."""

    stream: bool
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    text: str = ""
    is_whole: bool = False
    failure: str | None = None

    @property
    def request_id(self) -> str:
        return self.headers["x-request-id"]

    @property
    def error_code(self) -> str | None:
        """The code of the error that the answer is, or that a stream ends with."""
        last = self.text.strip().rpartition("data: ")[2] if self.stream else self.text
        if not self.text or last == "[DONE]":
            return None
        error = orjson.loads(last).get("error")
        return None if error is None else str(error["code"])

    @property
    def is_answered(self) -> bool:
        complete = self.text.endswith(DONE) if self.stream else self.error_code is None
        return self.status == 200 and self.is_whole and complete


async def ask(client: httpx.AsyncClient, *, stream: bool, prompt: str, model: str) -> Asked:
    asked = Asked(stream)
    body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": prompt}]}
    try:
        async with client.stream("POST", "/v1/chat/completions", json=body) as response:
            asked.status = response.status_code
            asked.headers = dict(response.headers)
            async for piece in response.aiter_text():
                asked.text += piece
            asked.is_whole = True
    except httpx.TransportError as error:
        asked.failure = repr(error)
    return asked


@asynccontextmanager
async def under_load(
    gateway: RunningGateway, *, clients: int = 8, model: str = "auto"
) -> AsyncIterator[list[Asked]]:
    """Ask until the block ends: half of the clients plain, half streams, half anew each time.

    A client whose connection fails asks no more. The list is complete after the block.
    """
    kept: list[Asked] = []
    is_over = asyncio.Event()

    async def one(number: int) -> None:
        limits = httpx.Limits(max_keepalive_connections=0 if number % 4 > 1 else 1)
        async with httpx.AsyncClient(
            base_url=gateway.url, timeout=TIMEOUT_S, limits=limits
        ) as client:
            for prompt in itertools.cycle(PROMPTS):
                if is_over.is_set():
                    return
                kept.append(await ask(client, stream=number % 2 > 0, prompt=prompt, model=model))
                if kept[-1].failure:
                    return
                await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(one(number))
        try:
            yield kept
        finally:
            is_over.set()
