"""Chat completions in OpenAI's wire format, made from the engine's events."""

from __future__ import annotations

import time
import uuid
from typing import Any

import orjson

from gateway.core.answer import Answer, Chunk
from gateway.core.usage import Usage


class Completion:
    """The objects of one answer; they share an id and a time of creation (Unix seconds)."""

    def __init__(self, model: str, fingerprint: str | None, *, include_usage: bool) -> None:
        self._model = model
        self._fingerprint = fingerprint
        self._include_usage = include_usage
        self._id = f"chatcmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())

    def answer(self, text: str, finish_reason: str, usage: Usage) -> Answer:
        """The whole answer as one `chat.completion`."""
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": finish_reason,
        }
        payload = {
            **self._envelope("chat.completion"),
            "choices": [choice],
            "usage": _wire_usage(usage),
        }
        return Answer(orjson.dumps(payload), payload, self._model, usage)

    def opening(self) -> Chunk:
        """The first chunk of a stream: the role, no text."""
        return self._chunk({"role": "assistant", "content": "", "refusal": None})

    def text(self, text: str) -> Chunk:
        """A piece of the answer."""
        return self._chunk({"content": text})

    def finish(self, finish_reason: str) -> Chunk:
        """The last chunk with a choice: why the answer ended."""
        return self._chunk({}, finish_reason)

    def usage(self, usage: Usage) -> Chunk:
        """The chunk after the last choice: what the answer used."""
        payload = {
            **self._envelope("chat.completion.chunk"),
            "choices": [],
            "usage": _wire_usage(usage),
        }
        return Chunk(_frame(payload), 1, usage, payload, self._model)

    def _envelope(self, kind: str) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self._model,
            "system_fingerprint": self._fingerprint,
        }

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> Chunk:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        payload = {**self._envelope("chat.completion.chunk"), "choices": [choice]}
        if self._include_usage:
            payload["usage"] = None
        return Chunk(_frame(payload), model_served=self._model)


def _frame(payload: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(payload) + b"\n\n"


def _wire_usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
