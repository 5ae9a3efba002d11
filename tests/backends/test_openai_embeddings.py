"""An upstream's `/embeddings`: everything passes through, and the usage is read."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import orjson
import pytest

from gateway.api.embeddings import EmbeddingsFormat
from gateway.backends.openai_embeddings import OpenAIEmbeddings, without_vectors
from gateway.core.answer import Answer
from gateway.core.deployment import Deployment, Tier
from gateway.core.errors import UpstreamError, UpstreamUnavailable
from gateway.core.request import Caller
from tests.vendor.behaviour import Behaviour
from tests.vendor.embeddings import vector_of
from tests.vendor.fixture import RunningVendor

EMBED = Deployment("embed", Tier.LARGE, "openai", "te3", serves="embeddings")
CALLER = Caller("req_1")


@pytest.fixture
async def backend(vendor: RunningVendor) -> AsyncIterator[OpenAIEmbeddings]:
    backend = OpenAIEmbeddings(base_url=vendor.base_url, api_key="sk-secret")
    await backend.start()
    yield backend
    await backend.stop()


async def answer_of(backend: OpenAIEmbeddings, raw: bytes) -> Answer:
    request = EmbeddingsFormat().parse(raw)
    async with aclosing(backend.call(request, EMBED, CALLER)) as items:
        (item,) = [item async for item in items]
    assert isinstance(item, Answer)
    return item


async def test_only_the_model_is_replaced(backend: OpenAIEmbeddings, vendor: RunningVendor) -> None:
    vendor.will(Behaviour(extra={"new_field": {"é": [1]}}))
    raw = '{"input": ["π", "x"],  "model": "auto", "task": "é", "dimensions": 4}'.encode()
    answer = await answer_of(backend, raw)
    (received,) = vendor.received
    assert received.path == "/v1/embeddings"
    assert received.raw == raw.replace(b'"auto"', b'"te3"')
    payload = orjson.loads(answer.raw)
    assert payload["new_field"] == {"é": [1]}
    assert payload["data"][0]["embedding"] == vector_of("π", 4)
    assert answer.payload == {
        **payload,
        "data": [{**one, "embedding": []} for one in payload["data"]],
    }
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2, 0)
    assert (answer.wire, answer.model_served) == ("embeddings", "te3")


async def test_a_total_alone_counts_as_the_prompt(
    backend: OpenAIEmbeddings, vendor: RunningVendor
) -> None:
    body = {"object": "list", "data": [], "model": "m", "usage": {"total_tokens": 9}}
    vendor.will(Behaviour(body=orjson.dumps(body)))
    answer = await answer_of(backend, b'{"model": "auto", "input": "x"}')
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 9


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        (Behaviour(status=400), UpstreamError),
        (Behaviour(body=b'{"error": {"message": "no", "code": 429}}'), UpstreamError),
        (Behaviour(body=b"<html>"), UpstreamUnavailable),
        (Behaviour(body=b'{"data": [{"embedding": [1, 2'), UpstreamUnavailable),
        (Behaviour(body=b"[]"), UpstreamUnavailable),
    ],
)
async def test_what_is_no_answer(
    backend: OpenAIEmbeddings, vendor: RunningVendor, behaviour: Behaviour, error: type[Exception]
) -> None:
    vendor.will(behaviour)
    with pytest.raises(error):
        await answer_of(backend, b'{"model": "auto", "input": "x"}')


@pytest.mark.parametrize(
    "payload",
    [
        {"data": [{"embedding": [1.5, -2e-9], "object": "embedding"}], "usage": {"a": 1}},
        {"data": [{"object": "embedding", "embedding": "AAA/+="}, {"embedding": []}]},
        {"data": [{"embedding": None}], "embedding": {"x": [1]}},
        {"object": "embedding", "model": 'say "embedding": [1] twice'},
        {},
    ],
)
@pytest.mark.parametrize("option", [0, orjson.OPT_INDENT_2])
def test_vectors_are_left_out_and_nothing_else(payload: dict[str, Any], option: int) -> None:
    found = orjson.loads(without_vectors(orjson.dumps(payload, option=option)))
    expected = {**payload}
    if "data" in payload:
        expected["data"] = [
            {**one, "embedding": type(one["embedding"])() if one["embedding"] else one["embedding"]}
            for one in payload["data"]
        ]
    assert found == expected
