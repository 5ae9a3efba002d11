"""The engine's process: full, killed, restarted; with a tiny network of random weights."""

import asyncio
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import pytest

from gateway.backends.local.backend import LocalBackend
from gateway.core.answer import Chunk
from gateway.core.errors import EngineUnavailable, Overloaded, StreamInterrupted
from tests.backends.local.asking import (
    CALLER,
    SMALL,
    answer_of,
    chat,
    content_of,
    until,
    until_load,
    until_ready,
)

LONG = chat("Go on.", stream=True, max_tokens=8000, temperature=1, seed=1)


@pytest.fixture(scope="module")
def tiny_folder(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of two thin layers with the real model's tokenizer: fast, and talks nonsense."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=8192,
        bos_token_id=1,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(model_folder / name, folder)
    return folder


@pytest.fixture(scope="module")
async def tiny(
    tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[LocalBackend]:
    """A backend with an engine of its own, which takes one answer and lets one more wait."""
    models_dir = tmp_path_factory.mktemp("none")
    backend = LocalBackend(
        str(tiny_folder), models_dir=models_dir, threads=1, max_concurrent=1, max_queue=1
    )
    await backend.start()
    await until_ready(backend)
    yield backend
    await backend.stop()


async def test_a_folder_is_served_under_its_own_name(tiny: LocalBackend) -> None:
    answer = await answer_of(tiny, chat("Hello", max_tokens=4))
    assert answer.model_served == "tiny-llama"
    assert answer.payload["usage"]["completion_tokens"] == 4
    assert tiny.counter is not None
    assert answer.payload["usage"]["prompt_tokens"] == tiny.counter.count(chat("Hello").messages)


async def test_a_full_queue(tiny: LocalBackend) -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(aclosing(tiny.call(LONG, SMALL, CALLER)))
        await anext(first)
        waiting = asyncio.create_task(answer_of(tiny, chat("Hello", max_tokens=2)))
        await until_load(tiny, (1, 1))
        with pytest.raises(Overloaded, match="queue is full") as refused:
            await answer_of(tiny, chat("Hello"))
    assert refused.value.status == 503
    assert refused.value.retry_after_s
    assert refused.value.retryable
    # The place of the one that left goes to the one that waited.
    assert (await waiting).payload["usage"]["completion_tokens"] == 2
    await until_load(tiny, (0, 0))


async def test_one_that_leaves_the_queue_frees_its_place(tiny: LocalBackend) -> None:
    async with aclosing(tiny.call(LONG, SMALL, CALLER)) as first:
        await anext(first)
        waiting = asyncio.create_task(answer_of(tiny, chat("Hello")))
        await until_load(tiny, (1, 1))
        waiting.cancel()
        await until_load(tiny, (1, 0))
    await until_load(tiny, (0, 0))


async def test_a_killed_engine_comes_back(tiny: LocalBackend) -> None:
    process = tiny.process
    assert process is not None
    killed = process.pid
    assert killed is not None
    async with aclosing(tiny.call(LONG, SMALL, CALLER)) as items:
        assert isinstance(await anext(items), Chunk)
        assert isinstance(await anext(items), Chunk)
        os.kill(killed, signal.SIGKILL)
        with pytest.raises(StreamInterrupted):
            async for _ in items:
                pass
    with pytest.raises(EngineUnavailable) as refused:
        await answer_of(tiny, chat("Hello"))
    assert refused.value.retry_after_s
    await until_ready(tiny)
    assert process.pid not in {None, killed}
    assert (await answer_of(tiny, chat("Hello", max_tokens=3))).payload["choices"]


async def test_a_model_that_can_not_be_loaded(tiny_folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny_folder, broken)
    (broken / "model.safetensors").write_bytes(b"no weights")
    backend = LocalBackend(str(broken), models_dir=tmp_path)
    await backend.start()
    try:
        await until(lambda: "can't be loaded" in str(backend.not_ready()))
        assert "broken" in str(backend.not_ready())
        with pytest.raises(EngineUnavailable, match="can't be loaded"):
            await answer_of(backend, chat("Hello"))
    finally:
        await backend.stop()


async def test_stopping_leaves_nothing_behind(tiny_folder: Path, tmp_path: Path) -> None:
    backend = LocalBackend(str(tiny_folder), models_dir=tmp_path)
    await backend.start()
    process = backend.process
    assert process is not None
    socket_path = process.socket_path
    assert socket_path.parent.stat().st_mode & 0o077 == 0
    await until(lambda: process.pid is not None)
    pid = process.pid
    assert pid is not None
    await backend.stop()
    assert process.pid is None
    assert not socket_path.parent.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert "loading" in str(backend.not_ready())


async def test_an_idle_model_is_unloaded_until_it_is_asked_again(
    tiny_folder: Path, tmp_path: Path
) -> None:
    backend = LocalBackend(str(tiny_folder), models_dir=tmp_path, idle_unload_s=0.5)
    await backend.start()
    process = backend.process
    assert process is not None
    try:
        await until_ready(backend)
        first = process.pid
        answer = await answer_of(backend, chat("Hello", max_tokens=3))
        await until(lambda: process.pid is None)
        await asyncio.sleep(0.5)
        # It stays away, which is no reason to send requests elsewhere.
        assert process.pid is None
        assert backend.not_ready() is None
        again = await asyncio.gather(
            *(answer_of(backend, chat("Hello", max_tokens=3)) for _ in range(3))
        )
        assert {content_of(one) for one in again} == {content_of(answer)}
        assert process.pid not in {None, first}
        await until(lambda: process.pid is None)
    finally:
        await backend.stop()


async def test_a_model_that_works_is_not_idle(tiny_folder: Path, tmp_path: Path) -> None:
    backend = LocalBackend(str(tiny_folder), models_dir=tmp_path, idle_unload_s=0.2)
    await backend.start()
    try:
        await until_ready(backend)
        async with aclosing(backend.call(LONG, SMALL, CALLER)) as items:
            started_s = time.monotonic()
            async for _ in items:
                if time.monotonic() - started_s > 1.5:
                    break
                await asyncio.sleep(0.05)
        assert backend.process is not None
        assert backend.process.pid is not None
    finally:
        await backend.stop()


async def test_what_can_not_be_started_now_is_started_later(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = LocalBackend(str(tiny_folder), models_dir=tmp_path)
    with monkeypatch.context() as patched:
        patched.setenv("PATH", str(tmp_path))  # nothing can be run
        await backend.start()
        await asyncio.sleep(0.3)
        assert backend.process is not None
        assert backend.process.pid is None
    try:
        await until_ready(backend)
    finally:
        await backend.stop()
