"""The backend `local`: the engine's events as OpenAI chat completions."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from functools import cached_property
from pathlib import Path
from typing import Any

from gateway.backends.local.client import EngineClient
from gateway.backends.local.completion import Completion
from gateway.backends.local.conversation import plain_messages
from gateway.backends.local.folder import folder_of
from gateway.backends.local.params import SamplingParams
from gateway.backends.local.tokens import ModelTokenCounter, load_counter
from gateway.core.answer import Item
from gateway.core.deployment import Capability, Deployment
from gateway.core.errors import EngineUnavailable
from gateway.core.request import Caller, ChatRequest
from gateway.core.usage import Usage

#: What the engine can do beyond plain text; the router sends the rest elsewhere.
LOCAL_CAPABILITIES: frozenset[Capability] = frozenset()


class LocalBackend:
    """Answers with the model whose engine listens on `socket_path`."""

    def __init__(self, model: str, *, models_dir: Path, socket_path: Path | None) -> None:
        """`socket_path` is None where no engine was started, as in the router's dry runs."""
        self._model = model
        self._models_dir = models_dir
        self._client = EngineClient(socket_path) if socket_path is not None else None

    @cached_property
    def counter(self) -> ModelTokenCounter | None:
        """The model's own tokenizer; None when the model isn't on this machine."""
        folder = folder_of(self._model, self._models_dir)
        return load_counter(folder) if folder is not None else None

    async def start(self) -> None:
        """Begin to connect to the engine."""
        if self._client is not None:
            await self._client.start()

    async def stop(self) -> None:
        """Close the connection to the engine."""
        if self._client is not None:
            await self._client.stop()

    def not_ready(self) -> str | None:
        """Why the model can't answer yet."""
        state = self._client.status["state"] if self._client is not None else "absent"
        if state == "ready":
            return None
        if state == "failed" and self._client is not None:
            return f"the model {self._model} can't be loaded: {self._client.status['reason']}"
        if folder_of(self._model, self._models_dir) is None:
            return (
                f"the model {self._model} is not on this machine: "
                f"run `slm-gateway pull {self._model}`"
            )
        return f"the model {self._model} is loading"

    async def call(
        self, request: ChatRequest, deployment: Deployment, caller: Caller
    ) -> AsyncGenerator[Item, None]:
        """Generate one answer, whole or in chunks."""
        reason = self.not_ready()
        if reason is not None or self._client is None:
            raise EngineUnavailable(f"The small model can't answer: {reason}.", retry_after_s=2)
        params = SamplingParams.from_payload(request.payload, request.max_tokens)
        events = self._client.generate(plain_messages(request.messages), params)
        async with aclosing(events), aclosing(self._items(events, request)) as items:
            async for item in items:
                yield item

    async def _items(
        self, events: AsyncGenerator[Mapping[str, Any], None], request: ChatRequest
    ) -> AsyncGenerator[Item, None]:
        completion = Completion(self._model, include_usage=request.include_usage)
        pieces: list[str] = []
        opened = False
        async for event in events:
            if request.stream and not opened:
                opened = True
                yield completion.opening()
            if event["type"] == "text":
                if request.stream:
                    yield completion.text(event["text"])
                else:
                    pieces.append(event["text"])
            elif request.stream:
                yield completion.finish(event["finish_reason"])
                yield completion.usage(_usage_of(event))
            else:
                yield completion.answer("".join(pieces), event["finish_reason"], _usage_of(event))


def _usage_of(event: Mapping[str, Any]) -> Usage:
    return Usage(
        prompt_tokens=event["prompt_tokens"],
        completion_tokens=event["completion_tokens"],
        source="counted",
        compute_s=event["compute_s"],
    )
