"""The web process's end of the engine's socket: submit, stream, cancel."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from gateway.backends.local.params import SamplingParams
from gateway.core.errors import (
    BackendError,
    ContextTooLong,
    EngineUnavailable,
    GatewayError,
    StreamInterrupted,
)

_log = logging.getLogger(__name__)

LINE_LIMIT = 64 * 1024 * 1024
RECONNECT_S = 0.1

Event = Mapping[str, Any]

_LOST: Event = {"type": "lost"}


class EngineClient:
    """Keeps one connection to the engine, and opens it again whenever it is lost."""

    def __init__(self, socket_path: Path) -> None:
        self._socket_path = socket_path
        self._numbers = itertools.count(1)
        self._streams: dict[int, asyncio.Queue[Event]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self.status: Event = {"state": "starting"}

    async def start(self) -> None:
        """Begin to connect, in the background."""
        self._reading = asyncio.create_task(self._keep_connected())

    async def stop(self) -> None:
        """Close the connection; streams in flight end as lost."""
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading

    async def generate(
        self, messages: Sequence[Mapping[str, Any]], params: SamplingParams
    ) -> AsyncGenerator[Event, None]:
        """Events of one answer: `text`…, then `end`. Closing the generator cancels it.

        Raises EngineUnavailable, StreamInterrupted or ContextTooLong.
        """
        if self._writer is None or self.status.get("state") != "ready":
            raise EngineUnavailable("The local model is not loaded yet.", retry_after_s=1)
        number = next(self._numbers)
        events = self._streams[number] = asyncio.Queue()
        begun = ended = False
        try:
            submission = {"messages": messages, "params": params.to_wire()}
            self._send({"type": "submit", "id": number, **submission})
            while not ended:
                event = await events.get()
                if event["type"] not in {"text", "end"}:
                    ended = True
                    raise _failure(event, begun=begun)
                begun = True
                ended = event["type"] == "end"
                yield event
        finally:
            del self._streams[number]
            if not ended:
                self._send({"type": "cancel", "id": number})

    def _send(self, command: Mapping[str, Any]) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(orjson.dumps(command) + b"\n")

    async def _keep_connected(self) -> None:
        while True:
            try:
                reader, self._writer = await asyncio.open_unix_connection(
                    self._socket_path, limit=LINE_LIMIT
                )
                while line := await reader.readline():
                    self._dispatch(orjson.loads(line))
            except OSError as error:
                _log.debug("no connection to the engine: %s", error)
            finally:
                self._lose()
            await asyncio.sleep(RECONNECT_S)

    def _dispatch(self, event: Event) -> None:
        if event["type"] == "status":
            self.status = event
            return
        stream = self._streams.get(event["id"])
        if stream is not None:
            stream.put_nowait(event)

    def _lose(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            self.status = {"state": "starting"}
        for stream in self._streams.values():
            stream.put_nowait(_LOST)


def _failure(event: Event, *, begun: bool) -> GatewayError:
    if event["type"] == "lost":
        if begun:
            return StreamInterrupted("The local engine died while it was answering.")
        return EngineUnavailable("The local engine died; it is being restarted.", retry_after_s=2)
    code, message = event["code"], event["message"]
    if code == "context_length_exceeded":
        return ContextTooLong(message, param="messages")
    if code == "queue_full":
        return EngineUnavailable(message, status=503, retry_after_s=1)
    if begun:
        return StreamInterrupted(message)
    return EngineUnavailable(message) if code == "not_ready" else BackendError(message, code=code)
