"""The backend `local`: the engine's events as OpenAI chat completions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import cached_property
from pathlib import Path
from typing import Any

from gateway.backends.local.adapters import missing_of
from gateway.backends.local.calls import CallReader, Said
from gateway.backends.local.client import RESTART_RETRY_AFTER_S, EngineClient
from gateway.backends.local.completion import Choice, Completion
from gateway.backends.local.dialect import DIALECTS, HERMES
from gateway.backends.local.folder import folder_of, served_name
from gateway.backends.local.forms import form_of, tools_of
from gateway.backends.local.honoured import ignored_in, unsupported_in
from gateway.backends.local.params import asked_of
from gateway.backends.local.process import EngineProcess
from gateway.backends.local.submission import certainty_of, usage_of
from gateway.backends.local.tokens import TokenCounter
from gateway.core.answer import Chunk, Item
from gateway.core.cascade import Cascade
from gateway.core.deployment import Capability, Deployment
from gateway.core.errors import EngineUnavailable
from gateway.core.request import Caller, ChatRequest
from gateway.core.usage import UsageSource

#: What the engine can do beyond plain text; the router sends the rest elsewhere.
LOCAL_CAPABILITIES = frozenset(
    {
        Capability.JSON_OBJECT,
        Capability.JSON_SCHEMA,
        Capability.LOGPROBS,
        Capability.MULTIPLE_CHOICES,
        Capability.TOOLS,
    }
)


class LocalBackend:
    """Answers with a small model whose engine runs in a process of its own.

    With `socket_path` the engine is somebody else's and only asked; otherwise `start` and `stop`
    also start and stop one.
    """

    counts_as: UsageSource = "counted"

    def __init__(
        self,
        model: str,
        *,
        models_dir: Path,
        threads: int | None = None,
        dtype: str = "auto",
        max_concurrent: int = 8,
        max_queue: int = 64,
        socket_path: Path | None = None,
        adapters: Mapping[str, str] | None = None,
        idle_unload_s: float | None = None,
    ) -> None:
        """`model` is a known name, a hub id or a folder; opens and loads nothing.

        `adapters` are hub ids or folders of LoRA adapters by the name that requests say.
        """
        self._model = model
        self._adapters = adapters or {}
        self._models_dir = models_dir
        self._socket_path = socket_path
        self._client: EngineClient | None = None
        self._process: EngineProcess | None = None
        if socket_path is None:
            self._process = EngineProcess(
                model,
                models_dir,
                threads=threads,
                dtype=dtype,
                max_concurrent=max_concurrent,
                max_queue=max_queue,
                adapters=adapters,
                idle_unload_s=idle_unload_s,
            )

    @property
    def process(self) -> EngineProcess | None:
        """The engine's process where it is ours."""
        return self._process

    @property
    def client(self) -> EngineClient | None:
        """The connection to the engine, once started."""
        return self._client

    @cached_property
    def counter(self) -> TokenCounter | None:
        """The model's own tokenizer; None when the model or its `tokenizer.json` isn't here."""
        folder = folder_of(self._model, self._models_dir)
        return TokenCounter.of_folder(folder) if folder is not None else None

    async def start(self) -> None:
        """Start the engine where it is ours, and begin to connect to it."""
        path = self._socket_path
        if path is None and self._process is not None:
            self._process.start()
            path = self._process.socket_path
        assert path is not None  # noqa: S101 (one of the two is always given)
        self._client = EngineClient(path)
        self._client.start()

    async def stop(self) -> None:
        """Close the connection, and end the engine where it is ours."""
        if self._client is not None:
            await self._client.stop()
            self._client = None
        if self._process is not None:
            await asyncio.to_thread(self._process.stop)

    def not_ready(self) -> str | None:
        """Why the model can't answer yet."""
        status = self._client.status if self._client is not None else {"state": "stopped"}
        if status["state"] == "ready" or (self._client is not None and self._client.is_asleep):
            return None
        if status["state"] == "failed":
            return f"the model {self._model} can't be loaded: {status['reason']}"
        missing = missing_of(self._model, self._adapters, self._models_dir)
        return missing or f"the model {self._model} is loading"

    def unsupported_in(self, request: ChatRequest) -> str | None:
        """The place in a request that the engine can't honour; None without any."""
        return unsupported_in(request.payload, request.messages)

    async def count_tokens(
        self, request: ChatRequest, deployment: Deployment, caller: Caller
    ) -> int:
        """The tokens of the prompt, by the model's own tokenizer. Raises GatewayError."""
        counter = await asyncio.to_thread(lambda: self.counter)
        if counter is None:
            raise EngineUnavailable(f"The tokenizer of {self._model} is not here.", status=503)
        return await asyncio.to_thread(counter.count, request.messages, tools_of(request.payload))

    async def call(
        self,
        request: ChatRequest,
        deployment: Deployment,
        caller: Caller,
        *,
        cascade: Cascade | None = None,
    ) -> AsyncGenerator[Item, None]:
        """Generate one answer, whole or in chunks, with the deployment's adapter if it has one.

        What else `deployment` and `caller` say changes nothing.
        """
        client = self._client
        if client is not None and client.is_asleep:
            await client.awake()
        reason = self.not_ready()
        if reason is not None or client is None:
            raise EngineUnavailable(
                f"The small model can't answer: {reason}.",
                status=503,
                retry_after_s=RESTART_RETRY_AFTER_S,
            )
        payload = request.payload
        completion = Completion(
            deployment.adapter or served_name(self._model),
            client.status["fingerprint"],
            include_usage=request.include_usage,
            has_logprobs=bool(payload.get("logprobs")),
            has_confidence=caller.wants_confidence,
        )
        tools, n = tools_of(payload), payload.get("n") or 1
        dialect = DIALECTS.get(client.status.get("dialect", ""), HERMES)
        choices = [Choice(CallReader(dialect) if tools else None) for _ in range(n)]
        events = client.generate(
            request.messages,
            asked_of(request),
            cascade if n == 1 else None,
            prompt=_prompt_of(request),
            caller=caller.key_id,
            n=n,
            tools=tools,
            form=form_of(payload),
            adapter=deployment.adapter,
        )
        async with aclosing(events):
            items = _streamed if request.stream else _whole
            ignored = ignored_in(request.payload, request.messages)
            async for item in items(completion, choices, events):
                item.ignored, ignored = ignored, ()
                yield item


def _prompt_of(request: ChatRequest) -> str | None:
    """The text to go on with, where a completion of text is asked for."""
    return request.messages[0]["content"] if request.wire == "completions" else None


async def _whole(
    completion: Completion,
    choices: Sequence[Choice],
    events: AsyncGenerator[Mapping[str, Any], None],
) -> AsyncGenerator[Item, None]:
    async for event in events:
        if event["type"] == "end":
            answer = completion.answer(choices, usage_of(event), certainty_of(event))
            answer.confidence = event.get("confidence")
            yield answer
            return
        choice = choices[event["index"]]
        if event["type"] == "text":
            choice.push(event["text"])
            choice.logprobs += event.get("logprobs", ())
        else:
            choice.end(event["finish_reason"])


async def _streamed(
    completion: Completion,
    choices: Sequence[Choice],
    events: AsyncGenerator[Mapping[str, Any], None],
) -> AsyncGenerator[Item, None]:
    opened = False
    async for event in events:
        # Not before the engine's first word: until then a failure can still become a fallback.
        if not opened:
            opened = True
            for index in range(len(choices)):
                opening = completion.opening(index)
                opening.confidence = event.get("confidence")
                yield opening
        if event["type"] == "end":
            yield completion.usage(usage_of(event), certainty_of(event))
            return
        for chunk in _chunks(completion, choices[event["index"]], event):
            yield chunk


def _chunks(completion: Completion, choice: Choice, event: Mapping[str, Any]) -> Iterator[Chunk]:
    index = event["index"]
    if event["type"] == "text":
        logprobs = event.get("logprobs", [])
        said = choice.push(event["text"]) or ([Said()] if logprobs else [])
        for part in said:
            yield completion.said(index, part, logprobs)
            logprobs = []
    else:
        for part in choice.end(event["finish_reason"]):
            yield completion.said(index, part, [])
        yield completion.finish(index, choice.finish_reason, certainty_of(event))
