"""Chat completions in OpenAI's wire format, made from the engine's events."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from gateway.backends.local.calls import CallReader, Said, tool_calls_of
from gateway.core.answer import Answer, Chunk
from gateway.core.certainty import Certainty
from gateway.core.usage import Usage


@dataclass(slots=True)
class Choice:
    """One answer to a request, as it comes.

    `reader` finds calls of tools in its text, where there are tools.
    """

    reader: CallReader | None = None
    said: list[Said] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    finish_reason: str = "stop"

    def push(self, text: str) -> list[Said]:
        """What a piece of text tells."""
        new = [Said(text=text)] if self.reader is None else list(self.reader.push(text))
        self.said += new
        return new

    def end(self, finish_reason: str) -> list[Said]:
        """What its end tells; the reason may be another when tools were called."""
        has_called = self.reader is not None and self.reader.calls > 0
        self.finish_reason = (
            "tool_calls" if has_called and finish_reason == "stop" else finish_reason
        )
        rest = list(self.reader.flush()) if self.reader is not None else []
        self.said += rest
        return rest

    @property
    def message(self) -> dict[str, Any]:
        """The whole answer."""
        text = "".join(part.text for part in self.said)
        calls = tool_calls_of(self.said)
        message = {"role": "assistant", "content": text or None if calls else text, "refusal": None}
        return {**message, "tool_calls": calls} if calls else message


class Completion:
    """The objects of one request; they share an id and a time of creation (Unix seconds)."""

    def __init__(
        self,
        model: str,
        fingerprint: str | None,
        *,
        include_usage: bool,
        has_logprobs: bool,
        has_confidence: bool = False,
    ) -> None:
        """`has_confidence` says whether the last object tells how sure the model was."""
        self._model = model
        self._fingerprint = fingerprint
        self._include_usage = include_usage
        self._has_logprobs = has_logprobs
        self._has_confidence = has_confidence
        self._id = f"chatcmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())

    def answer(
        self, choices: Sequence[Choice], usage: Usage, certainty: Certainty | None
    ) -> Answer:
        """The whole answer as one `chat.completion`."""
        payload = {
            **self._envelope("chat.completion"),
            "choices": [
                {
                    "index": index,
                    "message": choice.message,
                    "logprobs": self._logprobs(choice.logprobs),
                    "finish_reason": choice.finish_reason,
                }
                for index, choice in enumerate(choices)
            ],
            "usage": _wire_usage(usage),
            **self._confidence(certainty),
        }
        return Answer(orjson.dumps(payload), payload, self._model, usage, certainty=certainty)

    def opening(self, index: int) -> Chunk:
        """The first chunk of a choice: the role, no text."""
        return self._chunk(index, {"role": "assistant", "content": "", "refusal": None})

    def said(self, index: int, said: Said, logprobs: list[dict[str, Any]]) -> Chunk:
        """A piece of a choice."""
        return self._chunk(index, _delta(said), logprobs=logprobs)

    def finish(self, index: int, finish_reason: str, certainty: Certainty | None) -> Chunk:
        """The last chunk of a choice: why it ended; a `certainty` comes with the last of all.

        A client that asked for it and for no usage finds it here: no chunk follows.
        """
        told = {} if self._include_usage else self._confidence(certainty)
        return self._chunk(index, {}, finish_reason, **told)

    def usage(self, usage: Usage, certainty: Certainty | None) -> Chunk:
        """The chunk after the last choice: what the answer used."""
        payload = {
            **self._envelope("chat.completion.chunk"),
            "choices": [],
            "usage": _wire_usage(usage),
            **self._confidence(certainty),
        }
        return Chunk(_frame(payload), 1, usage, payload, self._model, certainty=certainty)

    def _envelope(self, kind: str) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self._model,
            "system_fingerprint": self._fingerprint,
        }

    def _logprobs(self, content: list[dict[str, Any]]) -> dict[str, Any] | None:
        return {"content": content, "refusal": None} if self._has_logprobs else None

    def _confidence(self, certainty: Certainty | None) -> dict[str, Any]:
        if certainty is None or not self._has_confidence:
            return {}
        return {"confidence": asdict(certainty)}

    def _chunk(
        self,
        index: int,
        delta: dict[str, Any],
        finish_reason: str | None = None,
        logprobs: list[dict[str, Any]] | None = None,
        **beside: Any,
    ) -> Chunk:
        choice = {
            "index": index,
            "delta": delta,
            "logprobs": self._logprobs(logprobs) if logprobs else None,
            "finish_reason": finish_reason,
        }
        payload = {**self._envelope("chat.completion.chunk"), "choices": [choice], **beside}
        if self._include_usage:
            payload["usage"] = None
        return Chunk(_frame(payload), model_served=self._model)


def _delta(said: Said) -> dict[str, Any]:
    if said.call is None:
        return {"content": said.text}
    call: dict[str, Any] = {"index": said.call, "function": {"arguments": said.arguments}}
    if said.name is not None:
        call |= {"id": said.id, "type": "function"}
        call["function"] = {"name": said.name, "arguments": said.arguments}
    return {"tool_calls": [call]}


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
