"""Two models, each with an engine's process of its own: what one's death means to the other."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.backends.local.families import make_model
from tests.gateway_process import RunningGateway, running_gateway

NAMES = ("first", "second")
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    folder = tmp_path_factory.mktemp("isolation")
    deployments = [
        {
            "name": name,
            "tier": "small",
            "backend": "local",
            "model": str(make_model(family, folder / name)),
            "threads": 1,
            "dtype": "float32",
            "retries": 0,
            "price": {"usd_per_hour": 0.08},
        }
        for name, family in zip(NAMES, ("qwen2", "smollm2"), strict=True)
    ]
    # Deployments fail on purpose here, and are asked again at once.
    breaker = {"failures": 1000, "cooldown_s": 0.001, "longest_cooldown_s": 0.001}
    config = {"deployments": deployments, "resilience": {"breaker": breaker}}
    with running_gateway(folder, config) as gateway:
        yield gateway


def engine_of(gateway: RunningGateway, name: str) -> int | None:
    """The process of a deployment's engine; None while there is none."""
    folder = str(gateway.config.parent / name).encode()
    for threads in Path(f"/proc/{gateway.process.pid}/task").glob("*/children"):
        for child in threads.read_text().split():
            if folder in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"):
                return int(child)
    return None


def body(model: str, **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "What is 12 + 345?"}]
    return {"model": model, "messages": messages, "temperature": 0, "max_tokens": 4, **fields}


def ask(gateway: RunningGateway, model: str) -> httpx.Response:
    return httpx.post(gateway.url + CHAT, json=body(model), timeout=30)


def until_it_answers(gateway: RunningGateway, model: str) -> None:
    deadline_s = time.monotonic() + 60
    while ask(gateway, model).status_code != 200:
        assert time.monotonic() < deadline_s
        time.sleep(0.1)


def libraries_of(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


def test_torch_is_loaded_by_the_engines_alone(gateway: RunningGateway) -> None:
    engines = [engine_of(gateway, name) for name in NAMES]
    assert None not in engines
    assert len(set(engines)) == 2
    for name, engine in zip(NAMES, engines, strict=True):
        answer = ask(gateway, name)
        assert answer.status_code == 200
        assert answer.json()["model"] == name
        assert engine is not None
        assert "libtorch" in libraries_of(engine)
    assert "libtorch" not in libraries_of(gateway.process.pid)


async def test_a_death_fails_what_was_in_that_engine_and_nothing_else(
    gateway: RunningGateway,
) -> None:
    killed = engine_of(gateway, "first")
    assert killed is not None
    endless = {"max_tokens": 900, "stream": True, "temperature": 1, "seed": 1}
    async with (
        httpx.AsyncClient(base_url=gateway.url, timeout=60) as http,
        http.stream("POST", CHAT, json=body("first", **endless)) as broken,
    ):
        lines = broken.aiter_lines()
        assert (await anext(lines)).startswith("data: {")
        os.kill(killed, signal.SIGSTOP)  # nothing more is finished before the end
        waiting = [asyncio.create_task(http.post(CHAT, json=body("first"))) for _ in range(2)]
        other = asyncio.create_task(http.post(CHAT, json=body("second", max_tokens=300)))
        await asyncio.sleep(0.3)
        os.kill(killed, signal.SIGKILL)
        rest = [line async for line in lines if line]
        failed = await asyncio.gather(*waiting)
        elsewhere = await http.post(CHAT, json=body("auto@1"))
        assert (await other).status_code == 200

    assert sum('"error"' in line for line in rest) == 1
    assert rest[-1].startswith('data: {"error"')
    for answer in failed:
        assert answer.status_code == 503
        assert "engine died" in answer.json()["error"]["message"]
        assert answer.headers["retry-after"]
    assert elsewhere.status_code == 200
    assert elsewhere.headers["x-gateway-model"] == "second"
    assert elsewhere.headers["x-gateway-reason"] == "fallback"
    for answer, outcome in ((broken, "interrupted"), *((one, "upstream_error") for one in failed)):
        (row,) = await asyncio.to_thread(
            gateway.ledger_rows, 1, request_id=answer.headers["x-request-id"]
        )
        assert (row["deployment"], row["outcome"]) == ("first", outcome)

    await asyncio.to_thread(until_it_answers, gateway, "first")
    assert engine_of(gateway, "first") not in {None, killed}
