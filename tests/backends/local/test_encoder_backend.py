"""The backend that asks the encoder's process: begun lazily, shared, killed, begun again."""

import asyncio
import base64
import os
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from openai.types import CreateEmbeddingResponse

from gateway.api.embeddings import EmbeddingsFormat
from gateway.backends.local.encoder_backend import LocalEncoder
from gateway.backends.local.process import ENCODER, EngineProcess
from gateway.core.answer import Answer
from gateway.core.deployment import Deployment, Tier
from gateway.core.errors import ContextTooLong, EngineUnavailable
from gateway.core.request import ChatRequest
from tests.backends.local.asking import CALLER

ENCODER_MODEL = "all-minilm-l6-v2"
DEPLOYMENT = Deployment("minilm", Tier.SMALL, "local", ENCODER_MODEL, serves="embeddings")


@pytest.fixture(scope="module")
async def process(models_dir: Path, encoder_folder: Path) -> AsyncIterator[EngineProcess]:
    process = EngineProcess(ENCODER_MODEL, models_dir, worker=ENCODER, starts_lazily=True)
    process.start()
    yield process
    await asyncio.to_thread(process.stop)


@pytest.fixture(scope="module")
async def backend(process: EngineProcess, models_dir: Path) -> AsyncIterator[LocalEncoder]:
    backend = LocalEncoder(ENCODER_MODEL, models_dir=models_dir, socket_path=process.socket_path)
    await backend.start()
    yield backend
    await backend.stop()


def request(given: object, **fields: Any) -> ChatRequest:
    return EmbeddingsFormat().parse(orjson.dumps({"model": "minilm", "input": given, **fields}))


async def answer_of(backend: LocalEncoder, given: object, **fields: Any) -> Answer:
    asked = request(given, **fields)
    async with aclosing(backend.call(asked, DEPLOYMENT, CALLER)) as items:
        (item,) = [item async for item in items]
    assert isinstance(item, Answer)
    return item


async def test_nothing_runs_until_somebody_asks(
    process: EngineProcess, backend: LocalEncoder, models_dir: Path
) -> None:
    await asyncio.sleep(0.5)
    assert process.pid is None
    assert backend.not_ready() is None
    other = LocalEncoder(ENCODER_MODEL, models_dir=models_dir, socket_path=process.socket_path)
    await other.start()
    both = await asyncio.gather(answer_of(backend, "Hello"), answer_of(other, "Hello"))
    await other.stop()
    vectors = [[one["embedding"] for one in orjson.loads(one.raw)["data"]] for one in both]
    # Which texts share a batch may turn the last digits.
    assert vectors[0] == [pytest.approx(vector, abs=1e-5) for vector in vectors[1]]
    assert process.pid is not None


async def test_an_answer_is_openai_s(backend: LocalEncoder) -> None:
    answer = await answer_of(backend, ["Hello", "Grüße"], user="me")
    parsed = CreateEmbeddingResponse.model_validate_json(answer.raw)
    assert parsed.to_dict() == orjson.loads(answer.raw)
    assert [one.index for one in parsed.data] == [0, 1]
    assert [len(one.embedding) for one in parsed.data] == [384, 384]
    assert parsed.model == answer.model_served == ENCODER_MODEL
    assert answer.usage is not None
    assert parsed.usage.prompt_tokens == parsed.usage.total_tokens == answer.usage.prompt_tokens
    assert answer.usage.prompt_tokens == 3 + 5  # with the tokens around each text
    assert (answer.usage.completion_tokens, answer.usage.source) == (0, "counted")
    assert answer.usage.compute_s
    assert (answer.wire, answer.ignored) == ("embeddings", ("user",))


async def test_base64_holds_the_same_numbers(backend: LocalEncoder) -> None:
    as_numbers = orjson.loads((await answer_of(backend, "Hello", encoding_format="float")).raw)
    as_base64 = orjson.loads((await answer_of(backend, "Hello", encoding_format="base64")).raw)
    unpacked = np.frombuffer(base64.b64decode(as_base64["data"][0]["embedding"]), "<f4")
    numbers = np.array(as_numbers["data"][0]["embedding"], "<f4")
    np.testing.assert_allclose(unpacked, numbers, atol=1e-6)


async def test_a_text_that_is_too_long(backend: LocalEncoder) -> None:
    with pytest.raises(ContextTooLong, match="index 1 of 'input' takes 602") as refused:
        await answer_of(backend, ["short", "word " * 600])
    assert refused.value.param == "input"


async def test_a_cancelled_caller_frees_the_encoder(backend: LocalEncoder) -> None:
    asking = asyncio.create_task(answer_of(backend, ["word " * 400] * 500))
    await until_inside(backend, 1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await until_inside(backend, 0)


async def test_a_killed_encoder_comes_back(process: EngineProcess, backend: LocalEncoder) -> None:
    asking = asyncio.create_task(answer_of(backend, ["word " * 400] * 500))
    await until_inside(backend, 1)
    killed = process.pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    with pytest.raises(EngineUnavailable, match="being restarted"):
        await asking
    assert (await answer_of(backend, "Hello")).payload["model"] == ENCODER_MODEL
    assert process.pid not in {None, killed}


async def test_a_model_that_is_not_here(tmp_path: Path) -> None:
    backend = LocalEncoder(ENCODER_MODEL, models_dir=tmp_path)
    await backend.start()
    try:
        with pytest.raises(EngineUnavailable, match="slm-gateway pull all-minilm-l6-v2"):
            await answer_of(backend, "Hello")
    finally:
        await backend.stop()


async def until_inside(backend: LocalEncoder, count: int) -> None:
    client = backend._client
    assert client is not None
    for _ in range(3000):
        status = await client.ask_status()
        if status["active"] + status["waiting"] == count:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(status)
