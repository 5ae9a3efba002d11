"""Embeddings of an upstream that speaks OpenAI's API."""

from __future__ import annotations

import re

from gateway.backends.openai import OpenAIBackend
from gateway.core.answer import Answer
from gateway.core.request import Wire
from gateway.core.usage import Usage

#: 2048 vectors of 3072 numbers, written as text.
MAX_EMBEDDINGS_BYTES = 128 * 1024 * 1024

_VECTOR = re.compile(rb'"embedding"\s*:\s*(\[|")')
_CLOSING = {b"[": b"]", b'"': b'"'}


class OpenAIEmbeddings(OpenAIBackend):
    """Calls one upstream's `/embeddings`; everything but `model` passes through, both ways."""

    path = "/embeddings"
    wire: Wire = "embeddings"

    def _answer(self, raw: bytes) -> Answer:
        answer = super()._answer(without_vectors(raw))
        answer.raw = raw
        usage = answer.payload.get("usage")
        if isinstance(usage, dict) and "total_tokens" in usage:  # some count nothing else
            answer.usage = Usage.from_wire({"prompt_tokens": usage["total_tokens"], **usage})
        return answer


def without_vectors(raw: bytes) -> bytes:
    """The answer with empty vectors: parsing millions of numbers would stall other requests."""
    kept, at = [], 0
    while (match := _VECTOR.search(raw, at)) is not None:
        end = raw.find(_CLOSING[match.group(1)], match.end())
        if end < 0:
            break
        kept.append(raw[at : match.end()])
        at = end
    return b"".join((*kept, raw[at:]))
