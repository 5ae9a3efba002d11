"""A cascade over a remote upstream: the answer is held back until its logprobs have decided."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import orjson

from gateway.backends.sse import event_data, frame
from gateway.core.answer import Answer, Chunk
from gateway.core.cascade import Cascade
from gateway.core.errors import LowConfidence, StreamInterrupted, UpstreamUnavailable
from gateway.core.request import ChatRequest
from gateway.core.usage import Usage, estimate_tokens


class Held:
    """One answer of an upstream that was asked for logprobs, for the cascade or by the client.

    Logprobs that the client didn't ask for are taken out. An upstream that gives none is trusted:
    its answer passes without a confidence.
    """

    def __init__(self, request: ChatRequest, cascade: Cascade) -> None:
        self._request = request
        self._cascade = cascade
        self._is_asked = bool(request.payload.get("logprobs"))
        self._logprobs: list[float] = []
        self._usage: Usage | None = None

    def answer(self, answer: Answer) -> Answer:
        """The whole answer with its confidence. Raises LowConfidence."""
        for choice in _choices(answer.payload):
            self._logprobs += _logprobs(choice)
        answer.confidence = self._judged(answer.usage)
        if not self._is_asked and self._logprobs:
            answer.payload = _without_logprobs(answer.payload)
            answer.raw = orjson.dumps(answer.payload)
        return answer

    async def chunks(self, chunks: AsyncGenerator[Chunk, None]) -> AsyncGenerator[Chunk, None]:
        """The stream, once it is decided. Raises LowConfidence before the first chunk."""
        held: list[Chunk] = []
        is_open = False
        try:
            async for chunk in chunks:
                if is_open:
                    yield self._shown(chunk)
                    continue
                held.append(chunk)
                is_open = self._is_decided(chunk)
                if is_open:
                    held[0].confidence = self._judged(self._usage)
                    for early in held:
                        yield self._shown(early)
        except StreamInterrupted as error:
            if is_open:
                raise
            # Nothing has been sent: another attempt may still answer.
            failure = UpstreamUnavailable(error.message, code=error.code, param=error.param)
            failure.timed_out = error.timed_out
            raise failure from error
        if held and not is_open:
            held[0].confidence = self._judged(self._usage)
            for early in held:
                yield self._shown(early)

    def _is_decided(self, chunk: Chunk) -> bool:
        """Read a chunk: whether enough tokens have come, or some without their logprobs."""
        if chunk.usage is not None:
            self._usage = chunk.usage
        for payload in _payloads(chunk):
            for choice in _choices(payload):
                found = _logprobs(choice)
                self._logprobs += found
                delta = choice.get("delta")
                if not found and isinstance(delta, Mapping) and _says_something(delta):
                    return True
        return len(self._logprobs) >= self._cascade.hold_tokens

    def _judged(self, usage: Usage | None) -> float | None:
        confidence = self._cascade.confidence(self._logprobs)
        if confidence is None or self._cascade.commits(confidence):
            return confidence
        raise LowConfidence(confidence, usage or self._estimate())

    def _estimate(self) -> Usage:
        return Usage(
            prompt_tokens=estimate_tokens(self._request.messages),
            completion_tokens=len(self._logprobs),
            source="estimated",
        )

    def _shown(self, chunk: Chunk) -> Chunk:
        if self._is_asked or b'"logprobs"' not in chunk.frames:
            return chunk
        chunk.frames = b"".join(
            frame(orjson.dumps(_without_logprobs(payload))) for payload in _payloads(chunk)
        )
        if chunk.payload is not None:
            chunk.payload = _without_logprobs(chunk.payload)
        return chunk


def _payloads(chunk: Chunk) -> list[dict[str, Any]]:
    """The objects of a chunk's events. Raises UpstreamUnavailable."""
    try:
        payloads = [orjson.loads(data) for data in event_data(chunk.frames)]
    except orjson.JSONDecodeError:
        raise UpstreamUnavailable("The upstream sent an event that is not JSON.") from None
    return [payload for payload in payloads if isinstance(payload, dict)]


def _choices(payload: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The first of the choices that were asked for, as a list: often empty in a stream."""
    choices = payload.get("choices")
    if not isinstance(choices, list):
        return []
    return [one for one in choices if isinstance(one, dict) and one.get("index", 0) == 0]


def _logprobs(choice: Mapping[str, Any]) -> Sequence[float]:
    logprobs = choice.get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    if not isinstance(content, list):
        return []
    found = [token.get("logprob") for token in content if isinstance(token, Mapping)]
    return [float(one) for one in found if isinstance(one, int | float)]


def _says_something(delta: Mapping[str, Any]) -> bool:
    return any(value for key, value in delta.items() if key != "role")


def _without_logprobs(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The payload as an upstream sends it that wasn't asked for them."""
    choices = [
        {**choice, "logprobs": None} if isinstance(choice, dict) else choice
        for choice in payload.get("choices") or ()
    ]
    return {**payload, "choices": choices}
