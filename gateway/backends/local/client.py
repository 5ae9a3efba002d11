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

from gateway.backends.local.submission import LAST_EVENTS, certainty_of, usage_of
from gateway.core.cascade import Cascade
from gateway.core.errors import (
    ContextTooLong,
    EngineUnavailable,
    GatewayError,
    InvalidRequest,
    LowConfidence,
    Overloaded,
    StreamInterrupted,
)

_log = logging.getLogger(__name__)

#: The longest line from the engine, in bytes: the vectors of one request.
LINE_LIMIT = 64 * 1024 * 1024
RECONNECT_S = 0.1
#: When a client whom the engine couldn't serve may come again.
QUEUE_RETRY_AFTER_S = 1.0
RESTART_RETRY_AFTER_S = 2.0

Event = Mapping[str, Any]

_LOST: Event = {"type": "lost"}

#: The engine's error codes that are the request's own fault.
_REFUSALS: Mapping[str, type[InvalidRequest]] = {
    "context_length_exceeded": ContextTooLong,
    "invalid_request": InvalidRequest,
}


class EngineClient:
    """Keeps one connection to the engine, and opens it again whenever it is lost."""

    def __init__(self, socket_path: Path) -> None:
        self._socket_path = socket_path
        self._numbers = itertools.count(1)
        self._listeners: dict[int, asyncio.Queue[Event]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()
        self._wanted = asyncio.Event()
        #: Whether the model was unloaded, and isn't loaded again yet; requests wait for it.
        self.is_asleep = False
        #: What the engine last said of itself: `state` is starting, loading, ready, failed, or
        #: unloaded, when it had been idle for long.
        self.status: Event = {"state": "starting"}

    def start(self) -> None:
        """Begin to connect, in the background."""
        self._reading = asyncio.create_task(self._keep_connected(), name="engine-client")

    async def stop(self) -> None:
        """Close the connection; streams in flight end as lost."""
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading

    def generate(
        self,
        messages: Sequence[Mapping[str, Any]],
        sampling: Mapping[str, Any],
        cascade: Cascade | None = None,
        *,
        prompt: str | None = None,
        caller: str | None = None,
        n: int = 1,
        tools: Sequence[Mapping[str, Any]] = (),
        form: Mapping[str, Any] | None = None,
        adapter: str | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Events of one answer: `text`… and `choice_end` of each choice, told apart by `index`,
        then `end`. Closing the generator cancels it.

        See `Submission` for what is asked.

        Raises EngineUnavailable, StreamInterrupted, LowConfidence, ContextTooLong, InvalidRequest.
        """
        return self.events(
            {
                "messages": messages,
                "sampling": sampling,
                "cascade": cascade,
                "prompt": prompt,
                "caller": caller,
                "n": n,
                "tools": tools,
                "form": form,
                "adapter": adapter,
            }
        )

    async def events(self, asked: Mapping[str, Any]) -> AsyncGenerator[Event, None]:
        """As `generate`, of any job for an engine; `asked` are the fields of its `submit`."""
        number = next(self._numbers)
        events = self._listeners[number] = asyncio.Queue()
        begun = ended = False
        try:
            self._send({"type": "submit", "id": number, **asked})
            while not ended:
                event = await events.get()
                ended = event["type"] in LAST_EVENTS
                if event["type"] == "low_confidence":
                    raise LowConfidence(event["confidence"], usage_of(event), certainty_of(event))
                if ended and event["type"] != "end":
                    raise _failure(event, begun=begun)
                begun = True
                yield event
        finally:
            # No await here: this also runs in a task that is being cancelled.
            del self._listeners[number]
            if not ended:
                with contextlib.suppress(EngineUnavailable):
                    self._send({"type": "cancel", "id": number})

    async def awake(self) -> Event:
        """Have an unloaded model loaded again; the status once it is ready or has failed."""
        self._wanted.set()
        while self.status["state"] not in {"ready", "failed"}:
            await self._settled.wait()
        return self.status

    async def ask_status(self) -> Event:
        """The engine's status now, with how many answers are `active` and `waiting`."""
        number = next(self._numbers)
        events = self._listeners[number] = asyncio.Queue()
        try:
            self._send({"type": "status", "id": number})
            event = await events.get()
        finally:
            del self._listeners[number]
        if event is _LOST:
            raise _failure(event, begun=False)
        return event

    def _send(self, command: Mapping[str, Any]) -> None:
        if self._writer is None or self._writer.is_closing():
            raise EngineUnavailable(
                "The local model's engine is not running yet.", retry_after_s=RESTART_RETRY_AFTER_S
            )
        try:
            line = orjson.dumps(command)
        except TypeError as error:  # what was read from JSON may be deeper than what can be written
            raise InvalidRequest(
                "The request is nested too deeply for the local model.", param="messages"
            ) from error
        self._writer.write(line + b"\n")

    async def _keep_connected(self) -> None:
        while True:
            try:
                reader, self._writer = await asyncio.open_unix_connection(
                    self._socket_path, limit=LINE_LIMIT
                )
                while line := await reader.readline():
                    self._dispatch(orjson.loads(line))
            except (OSError, ValueError) as error:
                _log.debug("no connection to the engine: %s", error)
            finally:
                self._lose()
            if self.status["state"] == "unloaded":
                self._wanted.clear()
                await self._wanted.wait()
                self.status = {"state": "starting"}
            else:
                await asyncio.sleep(RECONNECT_S)

    def _dispatch(self, event: Event) -> None:
        if event["type"] == "status":
            self.status = event
            if event["state"] in {"ready", "failed"}:
                self.is_asleep = False
                self._settled.set()
            else:
                self.is_asleep = self.is_asleep or event["state"] == "unloaded"
                self._settled.clear()
        listener = self._listeners.get(event.get("id", 0))
        if listener is not None:
            listener.put_nowait(event)

    def _lose(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self.status["state"] != "unloaded":
            self.status = {"state": "starting"}
        self._settled.clear()
        for listener in self._listeners.values():
            listener.put_nowait(_LOST)


def _failure(event: Event, *, begun: bool) -> GatewayError:
    if event["type"] == "lost":
        if begun:
            return StreamInterrupted("The local model's engine died while it was answering.")
        return EngineUnavailable(
            "The local model's engine died; it is being restarted.",
            retry_after_s=RESTART_RETRY_AFTER_S,
        )
    code, message = event["code"], event["message"]
    refused = _REFUSALS.get(code)
    if refused is not None:
        return refused(message, param=event.get("param", "messages"))
    if begun:
        return StreamInterrupted(message)
    if code == "queue_full":
        return Overloaded(message, status=503, retry_after_s=QUEUE_RETRY_AFTER_S)
    return EngineUnavailable(message)
