"""The wire format of `POST /v1/embeddings`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NotRequired

import orjson
from pydantic import ConfigDict, Field, TypeAdapter, WithJsonSchema, with_config
from typing_extensions import TypedDict

from gateway.api.parse import ModelName, checked, parse_object
from gateway.api.respond import EventStream, cost_spliced, usage_with_cost, whole_usd
from gateway.core.answer import Answer
from gateway.core.entry import LedgerEntry
from gateway.core.errors import InvalidRequest, UpstreamUnavailable
from gateway.core.request import EMBEDDINGS, ChatRequest

#: OpenAI's limit on the inputs of one request.
MOST_INPUTS = 2048

_TEXT = {"type": "string", "minLength": 1}
_TOKENS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
_INPUT_SCHEMA = {
    "anyOf": [
        _TEXT,
        _TOKENS,
        *(
            {"type": "array", "items": item, "minItems": 1, "maxItems": MOST_INPUTS}
            for item in (_TEXT, _TOKENS)
        ),
    ]
}


@with_config(ConfigDict(extra="ignore", strict=True))
class _EmbeddingsFields(TypedDict):
    model: ModelName
    input: Annotated[Any, WithJsonSchema(_INPUT_SCHEMA)]
    encoding_format: NotRequired[str | None]
    dimensions: NotRequired[Annotated[int, Field(ge=1)] | None]
    user: NotRequired[str | None]


EMBEDDINGS_FIELDS: TypeAdapter[_EmbeddingsFields] = TypeAdapter(_EmbeddingsFields)


class EmbeddingsFormat:
    """Embeddings: what a backend sends is sent on, with the cost added to its usage."""

    def parse(self, body: bytes) -> ChatRequest:
        """Check a body. Raises InvalidRequest naming the field at fault."""
        payload = parse_object(body)
        fields = checked(EMBEDDINGS_FIELDS, payload)
        texts, prompt_tokens = _inputs(payload["input"])
        return ChatRequest(
            raw=body,
            payload=payload,
            model=fields["model"],
            messages=[{"content": text} for text in texts],
            endpoint=EMBEDDINGS,
            wire="embeddings",
            prompt_tokens=prompt_tokens,
        )

    def answer(self, request: ChatRequest, answer: Answer, entry: LedgerEntry) -> bytes:
        """The backend's own bytes, with the cost added to its usage."""
        spliced = cost_spliced(answer.raw, answer.payload.get("usage"), entry, whole_usd(entry))
        if spliced is not None:
            return spliced
        try:
            payload = orjson.loads(answer.raw)
        except orjson.JSONDecodeError:  # the vectors are read here first: Python's NaN is no JSON
            raise UpstreamUnavailable("The upstream's answer is not JSON.") from None
        return orjson.dumps({**payload, "usage": usage_with_cost(payload.get("usage"), entry)})

    def stream(self, request: ChatRequest, entry: LedgerEntry) -> EventStream:
        """Never asked for: no request is parsed as one for a stream."""
        raise AssertionError("embeddings are not streamed")


def _inputs(given: object) -> tuple[Sequence[str], int | None]:
    """The texts, or how many tokens there are in their stead. Raises InvalidRequest."""
    if isinstance(given, str):
        return _checked_texts([given]), None
    if not isinstance(given, list) or not given:
        raise _invalid("must be a text, an array of texts, or an array of token arrays")
    if isinstance(given[0], int):
        return (), _count_tokens(given)
    if len(given) > MOST_INPUTS:
        raise _invalid(f"must hold at most {MOST_INPUTS} inputs", code="invalid_value")
    if isinstance(given[0], str):
        return _checked_texts(given), None
    return (), sum(map(_count_tokens, given))


def _checked_texts(given: Sequence[Any]) -> Sequence[str]:
    for text in given:
        if not isinstance(text, str):
            raise _invalid("must hold texts alone, or token arrays alone")
        if not text:
            raise _invalid("must not hold an empty text", code="invalid_value")
    return given


def _count_tokens(given: object) -> int:
    if not isinstance(given, list) or not given:
        raise _invalid("must hold texts alone, or token arrays alone, none of them empty")
    for token in given:
        if type(token) is not int or token < 0:
            raise _invalid("must hold tokens as integers from 0")
    return len(given)


def _invalid(problem: str, code: str = "invalid_type") -> InvalidRequest:
    return InvalidRequest(f"Invalid 'input': it {problem}.", param="input", code=code)
