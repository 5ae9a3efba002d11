"""Anthropic's stream of events to chunks: as they are, or translated to chat's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Protocol

import orjson

from gateway.backends.sse import EventSplitter, event_data, frame
from gateway.core.answer import Chunk
from gateway.core.errors import BackendError, UpstreamUnavailable
from gateway.core.usage import Usage
from gateway.wire.anthropic_stream import ChunksFromEvents
from gateway.wire.anthropic_usage import translated_usage_of, usage_of

#: Events that are most of a stream, and hold nothing for us.
_PASSED = b"content_block_"
#: Events before an answer begins.
_OPENING = frozenset({"message_start", "ping"})


class Reader(Protocol):
    """Bytes of a stream to chunks; `begun` says whether the answer itself has."""

    begun: bool

    @property
    def done(self) -> bool:
        """Whether the stream has come to its own end."""

    def push(self, data: bytes) -> Iterator[Chunk]:
        """The chunks that these bytes complete."""

    def flush(self) -> Iterator[Chunk]:
        """The chunks of an end without a blank line."""


class NativeReader:
    """Events untouched; those with usage stand alone in their chunk, parsed.

    `error_in` makes an error of an `error` event's data.
    """

    def __init__(self, error_in: Callable[[bytes], BackendError]) -> None:
        self._error_in = error_in
        self._splitter = EventSplitter()
        self._usage: dict[str, Any] = {}
        self._model: str | None = None
        self.begun = False
        self.done = False

    def push(self, data: bytes) -> Iterator[Chunk]:
        """The chunks that these bytes complete."""
        return self._read(self._splitter.push(data))

    def flush(self) -> Iterator[Chunk]:
        """The chunks of an end without a blank line."""
        return self._read(self._splitter.flush())

    def _read(self, block: bytes) -> Iterator[Chunk]:
        """Lazily: what came before an error in the same block still goes out."""
        plain: list[bytes] = []
        for event in block.split(b"\n\n"):
            if not event:
                continue
            framed = event + b"\n\n"
            if _is_passed(event):
                self.begun = True
                plain.append(framed)
                continue
            data = next(event_data(event), b"")
            if not data:
                plain.append(framed)
                continue
            payload = _object(data)
            if payload.get("type") == "error":
                yield from self._opaque(plain)
                raise self._error_in(data)
            self.begun = self.begun or str(payload.get("type")) not in _OPENING
            if (usage := self._counted(payload)) is None:
                plain.append(framed)
            else:
                yield from self._opaque(plain)
                yield Chunk(framed, 0, usage, payload, self._model, wire="messages")
            self.done = self.done or payload.get("type") == "message_stop"
        yield from self._opaque(plain)

    def _opaque(self, plain: list[bytes]) -> Iterator[Chunk]:
        if plain:
            chunk = Chunk(b"".join(plain), len(plain), model_served=self._model, wire="messages")
            plain.clear()
            yield chunk

    def _counted(self, payload: dict[str, Any]) -> Usage | None:
        """The usage so far, where this event tells of some: later counts replace earlier ones."""
        message = payload.get("message")
        if isinstance(message, dict):
            self._model = model_of(message) or self._model
        told = message if isinstance(message, dict) else payload
        usage = told.get("usage")
        if not isinstance(usage, dict):
            return None
        self._usage.update({key: count for key, count in usage.items() if count is not None})
        return usage_of(self._usage) if told is payload else _opening_usage(message)


class TranslatingReader:
    """Events as `chat.completion.chunk`s, one an event; the last carries the usage."""

    def __init__(self, error_in: Callable[[bytes], BackendError]) -> None:
        self._error_in = error_in
        self._splitter = EventSplitter()
        self._chunks = ChunksFromEvents()
        self.begun = False

    @property
    def done(self) -> bool:
        """Whether the stream has come to its own end."""
        return self._chunks.done

    def push(self, data: bytes) -> Iterator[Chunk]:
        """The chunks that these bytes complete."""
        return self._read(self._splitter.push(data))

    def flush(self) -> Iterator[Chunk]:
        """The chunks of an end without a blank line."""
        return self._read(self._splitter.flush())

    def _read(self, block: bytes) -> Iterator[Chunk]:
        for data in event_data(block):
            event = _object(data)
            if event.get("type") == "error":
                raise self._error_in(data)
            try:
                chunks = [_chunk(payload) for payload in self._chunks.push(event)]
                if event.get("type") == "message_start":
                    chunks[0].usage = _opening_usage(event.get("message"))
            except (AttributeError, KeyError, TypeError, ValueError):
                raise UpstreamUnavailable("The upstream sent an event that is none.") from None
            self.begun = self.begun or str(event.get("type")) not in _OPENING
            yield from chunks


def _is_passed(event: bytes) -> bool:
    return event.startswith(b"event:") and event[6:].lstrip().startswith(_PASSED)


def _opening_usage(message: object) -> Usage | None:
    """What a stream has used before its answer: all of the prompt, and of the answer a guess."""
    usage = usage_of(message.get("usage")) if isinstance(message, dict) else None
    return None if usage is None else replace(usage, source="estimated")


def model_of(payload: Mapping[str, Any]) -> str | None:
    """The model that a message or a completion says it is of."""
    model = payload.get("model")
    return model if model and isinstance(model, str) else None


def _chunk(payload: dict[str, Any]) -> Chunk:
    framed, model = frame(orjson.dumps(payload)), model_of(payload)
    if "usage" not in payload:
        return Chunk(framed, model_served=model)
    return Chunk(framed, 0, translated_usage_of(payload["usage"]), payload, model)


def _object(data: bytes) -> dict[str, Any]:
    try:
        payload = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise UpstreamUnavailable("The upstream sent an event that is not JSON.") from None
    if not isinstance(payload, dict):
        raise UpstreamUnavailable("The upstream sent an event that is not an object.")
    return payload
