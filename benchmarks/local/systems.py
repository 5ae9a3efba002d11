"""The systems side by side: how each is started, asked and ended."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from benchmarks.local.asked import Prompts
from benchmarks.local.play import Played, Stream
from gateway.backends.local.client import EngineClient
from gateway.backends.local.process import EngineProcess

PEERS = Path(__file__).parent.parent.parent / ".bench-local-venv" / "bin" / "python"
_LOAD_WITHIN_S = 180.0
#: llama.cpp's matrix code for AMX crashed where this was written; this build leaves it out.
_WITHOUT_AMX = "see LLAMA_CMAKE_ARGS in the Makefile for processors with AMX"


class Missing(Exception):
    """A system can't be measured here; the message says why."""


class System(Protocol):
    """A loaded model that plays jobs. `start_s` is from the start of its process to loaded."""

    name: str
    label: str
    start_s: float

    @property
    def pid(self) -> int:
        """The process that has the model."""

    def play(self, streams: Sequence[Stream]) -> list[Played]:
        """Run a job. Raises Missing when the process dies of it."""

    def stop(self) -> None:
        """End the process."""


class Piped:
    """A player (see `play`) as a process with jobs on its standard input."""

    def __init__(self, name: str, label: str, command: Sequence[str], log: Path) -> None:
        """Start it and wait until it has loaded its model. Raises Missing."""
        self.name = name
        self.label = label
        self._log = log
        began_s = time.perf_counter()
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
            )
        self._answer()
        self.start_s = time.perf_counter() - began_s

    @property
    def pid(self) -> int:
        return self._process.pid

    def play(self, streams: Sequence[Stream]) -> list[Played]:
        assert self._process.stdin is not None
        try:
            print(
                json.dumps([asdict(one) for one in streams]), file=self._process.stdin, flush=True
            )
        except BrokenPipeError:
            self._died()
        return [Played(**fields) for fields in self._answer()]

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def _answer(self) -> list[dict[str, Any]]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._died()
        answer: list[dict[str, Any]] = json.loads(line)
        return answer

    def _died(self) -> None:
        status = self._process.wait()
        how = signal.Signals(-status).name if status < 0 else f"status {status}"
        last = self._log.read_text().strip().rpartition("\n")[2]
        raise Missing(f"{self.label} ended with {how} ({last[-200:]})")


class Ours:
    """The engine's process, asked through its socket as the web process does."""

    def __init__(
        self, models_dir: Path, model: str, prompts: Prompts, *, threads: int, dtype: str
    ) -> None:
        """Start it and wait until it has loaded its model. Raises Missing."""
        self.name = "us"
        self.label = f"slm-gateway's engine, {dtype}"
        self._prompts = prompts
        self._runner = asyncio.Runner()
        self._process = EngineProcess(
            model, models_dir, threads=threads, dtype=dtype, max_concurrent=16
        )
        began_s = time.perf_counter()
        self._process.start()
        self._client = self._runner.run(self._connected())
        self.start_s = time.perf_counter() - began_s

    @property
    def pid(self) -> int:
        pid: int = self._client.status["pid"]
        return pid

    def play(self, streams: Sequence[Stream]) -> list[Played]:
        return self._runner.run(self._play(streams))

    def answers(self, prompts: Sequence[str], tokens: int) -> list[str]:
        """Greedy answers, all asked at once; each of so many tokens at most."""

        async def every() -> list[str]:
            return await asyncio.gather(*(self._text(prompt, tokens) for prompt in prompts))

        return self._runner.run(every())

    def stop(self) -> None:
        self._runner.run(self._client.stop())
        self._runner.close()
        self._process.stop()

    async def _connected(self) -> EngineClient:
        client = EngineClient(self._process.socket_path)
        client.start()
        async with asyncio.timeout(_LOAD_WITHIN_S):
            status = await client.awake()
        if status["state"] != "ready":
            raise Missing(f"our engine can't load the model: {status['reason']}")
        return client

    async def _play(self, streams: Sequence[Stream]) -> list[Played]:
        texts = [self._prompts.text(one.prompt) for one in streams]
        began_s = time.perf_counter()
        playing = (
            self._stream(one, text, began_s) for one, text in zip(streams, texts, strict=True)
        )
        return await asyncio.gather(*playing)

    async def _stream(self, stream: Stream, text: str, began_s: float) -> Played:
        await asyncio.sleep(stream.after_s)
        played = Played()
        sampling = {"temperature": 0.0, "max_tokens": stream.tokens}
        async with aclosing(self._client.generate([], sampling, prompt=text)) as events:
            async for event in events:
                if event["type"] == "text":
                    played.stamps_s.append(time.perf_counter() - began_s)
                elif event["type"] == "end":
                    played.tokens = event["completion_tokens"]
                    if event["prompt_tokens"] != len(stream.prompt):
                        raise RuntimeError("the engine has read another prompt than the others")
        return played

    async def _text(self, prompt: str, tokens: int) -> str:
        sampling = {"temperature": 0.0, "max_tokens": tokens}
        messages = [{"role": "user", "content": prompt}]
        async with aclosing(self._client.generate(messages, sampling)) as events:
            return "".join([event["text"] async for event in events if event["type"] == "text"])


def llama(gguf: Path, threads: int, folder: Path) -> System:
    """llama.cpp in the peers' virtual environment. Raises Missing."""
    if not PEERS.exists():
        raise Missing(f"llama-cpp-python isn't installed in {PEERS.parent.parent.name}")
    command = [str(PEERS), "-m", "benchmarks.local.llama"]
    command += ["--weights", str(gguf), "--threads", str(threads)]
    try:
        return Piped("llama", "llama.cpp, batch API, Q4_1", command, folder / "llama.log")
    except Missing as missing:
        raise Missing(f"{missing}; {_WITHOUT_AMX}") from None


def transformers(weights: Path, threads: int, folder: Path, *, continuous: bool) -> System:
    """transformers in our own interpreter. Raises Missing."""
    command = [sys.executable, "-m", "benchmarks.local.transformer"]
    command += ["--weights", str(weights), "--threads", str(threads)]
    if continuous:
        label = "transformers, continuous batching, float32"
        command.append("--continuous")
        return Piped("continuous", label, command, folder / "continuous.log")
    label = "transformers, generate one by one, float32"
    return Piped("generate", label, command, folder / "generate.log")
