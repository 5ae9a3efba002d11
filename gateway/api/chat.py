"""The wire format of `POST /v1/chat/completions`, which is the gateway's own inside."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.api.errors import envelope
from gateway.api.parse import parse_chat
from gateway.api.respond import EventStream, cost_spliced, usage_with_cost, whole_usd, with_cost
from gateway.core.answer import Answer, Chunk, Item
from gateway.core.entry import LedgerEntry
from gateway.core.errors import GatewayError
from gateway.core.request import ChatRequest

DONE = b"data: [DONE]\n\n"


class ChatFormat:
    """Chat completions: what a backend sends is sent on, with the cost added to its usage."""

    def parse(self, body: bytes) -> ChatRequest:
        """Check a body. Raises InvalidRequest naming the field at fault."""
        return parse_chat(body)

    def answer(self, request: ChatRequest, answer: Answer, entry: LedgerEntry) -> bytes:
        """The backend's own bytes, with the cost added to its usage."""
        return with_cost(answer, entry, whole_usd(entry))

    def stream(self, request: ChatRequest, entry: LedgerEntry) -> EventStream:
        """The events of one streamed answer."""
        return ChatEvents(entry, include_usage=request.include_usage)


class ChatEvents:
    """Chunks as they are; the usage chunk goes only to clients that asked for it."""

    def __init__(self, entry: LedgerEntry, *, include_usage: bool) -> None:
        self._entry = entry
        self._include_usage = include_usage
        self._usage_sent = False

    def frames(self, item: Item) -> bytes:
        """The events to send for one item."""
        if isinstance(item, Answer):  # a backend that can't stream answers in one piece
            return b"data: " + with_cost(item, self._entry, whole_usd(self._entry)) + b"\n\n"
        if item.usage is None or item.payload is None:
            return item.frames
        return self._with_usage(item)

    def _with_usage(self, chunk: Chunk) -> bytes:
        entry = self._entry
        payload = dict(chunk.payload or {})
        usage = payload.pop("usage", None)
        if self._include_usage:
            self._usage_sent = True
            spliced = cost_spliced(chunk.frames, usage, entry, whole_usd(entry))
            if spliced is not None:
                return spliced
            payload["usage"] = usage_with_cost(usage, entry)
        elif not payload.get("choices"):
            return b""
        return self.framed(payload)

    def finish(self) -> bytes:
        """The end of a stream that ended well; usage that nobody reported is estimated."""
        if self._include_usage and not self._usage_sent:
            return self.framed(self.usage_object()) + DONE
        return DONE

    def fail(self, error: GatewayError) -> bytes:
        """The end of a stream that broke: one error event, and no `[DONE]`."""
        return b"data: " + envelope(error) + b"\n\n"

    @staticmethod
    def framed(payload: Mapping[str, Any]) -> bytes:
        """One event."""
        return b"data: " + orjson.dumps(payload) + b"\n\n"

    def usage_object(self) -> dict[str, Any]:
        """The usage chunk that the upstream didn't send, from our own estimate."""
        entry = self._entry
        return {
            "id": f"chatcmpl-{entry.request_id}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": entry.model_served or entry.deployment,
            "choices": [],
            "usage": usage_with_cost(None, entry),
        }
