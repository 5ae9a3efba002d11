"""The backend `local` of a deployment that serves embeddings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import orjson

from gateway.backends.local.client import RESTART_RETRY_AFTER_S, EngineClient
from gateway.backends.local.folder import folder_of, served_name
from gateway.backends.local.process import ENCODER, EngineProcess
from gateway.backends.local.submission import usage_of
from gateway.core.answer import Answer, Item
from gateway.core.cascade import Cascade
from gateway.core.deployment import Deployment
from gateway.core.errors import EngineUnavailable
from gateway.core.request import Caller, ChatRequest
from gateway.core.usage import Usage


class LocalEncoder:
    """Answers with a sentence encoder, which runs in a process of its own.

    That process starts with the first request, which waits for it. With `socket_path` it is
    somebody else's and only asked; otherwise `start` and `stop` also watch over one.
    """

    def __init__(
        self,
        model: str,
        *,
        models_dir: Path,
        socket_path: Path | None = None,
    ) -> None:
        """`model` is a known name, a hub id or a folder; opens and loads nothing."""
        self._model = model
        self._models_dir = models_dir
        self._socket_path = socket_path
        self._client: EngineClient | None = None
        self._process: EngineProcess | None = None
        if socket_path is None:
            self._process = EngineProcess(model, models_dir, worker=ENCODER, starts_lazily=True)

    @property
    def process(self) -> EngineProcess | None:
        """The encoder's process where it is ours."""
        return self._process

    async def start(self) -> None:
        """Watch for the first request where the process is ours; nothing is loaded."""
        if self._process is not None:
            self._process.start()
            self._socket_path = self._process.socket_path

    async def stop(self) -> None:
        """Close the connection, and end the process where it is ours."""
        if self._client is not None:
            await self._client.stop()
            self._client = None
        if self._process is not None:
            await asyncio.to_thread(self._process.stop)

    def not_ready(self) -> str | None:
        """Never: nobody waits for an encoder but the requests that need it."""
        return None

    async def call(
        self,
        request: ChatRequest,
        deployment: Deployment,
        caller: Caller,
        *,
        cascade: Cascade | None = None,
    ) -> AsyncGenerator[Item, None]:
        """One answer with a vector for each text; `caller` and `cascade` change nothing."""
        client = await self._connected()
        payload = request.payload
        as_base64 = payload.get("encoding_format") == "base64"
        texts = payload["input"]
        asked = {"texts": [texts] if isinstance(texts, str) else texts, "as_base64": as_base64}
        ignored = ("user",) if payload.get("user") else ()
        async with aclosing(client.events(asked)) as events:
            async for event in events:
                yield self._answer(event, as_base64=as_base64, ignored=ignored)

    async def _connected(self) -> EngineClient:
        """The connection to an encoder that has loaded its model. Raises EngineUnavailable."""
        if folder_of(self._model, self._models_dir) is None:
            raise _unavailable(
                f"{self._model} is not on this machine: run `slm-gateway pull {self._model}`"
            )
        if self._client is None:
            if self._socket_path is None:
                raise _unavailable(f"{self._model} is not started")
            self._client = EngineClient(self._socket_path)
            self._client.start()
        client = self._client
        status = await client.awake()
        if status["state"] == "failed":
            raise _unavailable(f"{self._model} can't be loaded: {status['reason']}")
        return client

    def _answer(
        self, event: Mapping[str, Any], *, as_base64: bool, ignored: tuple[str, ...]
    ) -> Answer:
        usage, model = usage_of(event), served_name(self._model)
        payload = {
            "object": "list",
            "data": _data(event["vectors"], as_base64=as_base64),
            "model": model,
            "usage": _wire_usage(usage),
        }
        return Answer(
            raw=orjson.dumps(payload),
            payload={**payload, "data": []},
            model_served=model,
            usage=usage,
            wire="embeddings",
            ignored=ignored,
        )


def _data(vectors: Sequence[str], *, as_base64: bool) -> list[dict[str, Any]]:
    """The vectors as wire objects; what is a JSON array already is put in as it is."""
    return [
        {
            "object": "embedding",
            "index": index,
            "embedding": vector if as_base64 else orjson.Fragment(vector),
        }
        for index, vector in enumerate(vectors)
    ]


def _wire_usage(usage: Usage) -> dict[str, int]:
    return {"prompt_tokens": usage.prompt_tokens, "total_tokens": usage.prompt_tokens}


def _unavailable(reason: str) -> EngineUnavailable:
    return EngineUnavailable(
        f"The local encoder can't answer: {reason}.",
        status=503,
        retry_after_s=RESTART_RETRY_AFTER_S,
    )
