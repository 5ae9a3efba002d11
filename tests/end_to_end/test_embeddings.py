"""`/v1/embeddings` as the OpenAI SDK asks for it: the local encoder, and a vendor's."""

import base64
import math
import struct
from decimal import Decimal
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI, BadRequestError, NotFoundError, OpenAI
from openai.types import CreateEmbeddingResponse

from tests.end_to_end.conftest import CLIENT_KEY, VENDOR_KEY
from tests.gateway_process import RunningGateway
from tests.vendor.behaviour import Behaviour
from tests.vendor.embeddings import vector_of
from tests.vendor.fixture import RunningVendor

TEXTS = ["A cat sits on the mat.", "On the mat there is a sitting cat.", "Revenue grew by 9%."]
DOWN = Behaviour(status=503)


def similarity(one: list[float], other: list[float]) -> float:
    return math.fsum(a * b for a, b in zip(one, other, strict=True))


def test_the_sdk_gets_vectors_of_the_local_encoder(
    gateway: RunningGateway, client: OpenAI, vendor: RunningVendor
) -> None:
    raw = client.embeddings.with_raw_response.create(model="auto", input=TEXTS)
    answer = raw.parse()
    cat, paraphrase, revenue = (one.embedding for one in answer.data)
    assert len(cat) == 384
    assert similarity(cat, cat) == pytest.approx(1, abs=1e-5)
    assert similarity(cat, paraphrase) > 0.7
    assert similarity(cat, revenue) < 0.3
    assert answer.model == "all-minilm-l6-v2"
    assert raw.headers["x-gateway-tier"] == "small"
    assert raw.headers["x-gateway-model"] == "minilm"
    assert raw.headers["x-gateway-reason"] == "embeddings"
    assert "x-gateway-score" not in raw.headers
    cost = raw.headers["x-gateway-cost-usd"]
    assert Decimal(cost) > 0
    assert answer.usage.model_extra is not None
    assert answer.usage.model_extra["cost"] == pytest.approx(float(cost))
    assert answer.usage.model_extra["cost_details"]["usage_source"] == "counted"
    (row,) = gateway.ledger_rows(1, request_id=raw.headers["x-request-id"])
    assert (row["endpoint"], row["deployment"]) == ("/v1/embeddings", "minilm")
    assert (row["outcome"], row["status"], row["cost_usd"]) == ("ok", 200, cost)
    assert row["prompt_tokens"] == answer.usage.prompt_tokens == answer.usage.total_tokens > 20
    assert (row["completion_tokens"], row["score"]) == (0, None)
    assert not vendor.received


async def test_numbers_and_base64_agree(async_client: AsyncOpenAI) -> None:
    asked = {"model": "minilm", "input": "naïve café, 東京"}
    usual = await async_client.embeddings.create(model="minilm", input=asked["input"])
    numbers = await async_client.embeddings.create(
        model="minilm", input=asked["input"], encoding_format="float", dimensions=384
    )
    assert usual.data[0].embedding == pytest.approx(numbers.data[0].embedding, abs=1e-6)


@pytest.mark.parametrize("encoding_format", ["float", "base64"])
def test_a_vendor_s_vectors_pass_through(
    gateway: RunningGateway, vendor: RunningVendor, encoding_format: str
) -> None:
    vendor.will(Behaviour(extra={"new_field": 1.0}))
    body = {
        "model": "text-embedding-3-small",
        "input": ["π", "x"],
        "encoding_format": encoding_format,
        "input_type": "query",
    }
    answer = httpx.post(
        f"{gateway.base_url}/embeddings",
        json=body,
        headers={"authorization": f"Bearer {CLIENT_KEY}"},
    )
    (received,) = vendor.received
    assert received.path == "/v1/embeddings"
    assert received.body == body
    assert received.headers["authorization"] == f"Bearer {VENDOR_KEY}"
    assert '"new_field": 1.0' in answer.text
    written = [one["embedding"] for one in answer.json()["data"]]
    if encoding_format == "float":
        parsed = CreateEmbeddingResponse.model_validate(answer.json())
        assert [one.embedding for one in parsed.data] == written
    else:
        written = [[*struct.unpack("<8f", base64.b64decode(text))] for text in written]
    assert written == [vector_of("π"), vector_of("x")]
    assert answer.json()["usage"]["cost"] == 2 * 0.02 / 1e6
    (row,) = gateway.ledger_rows(1, request_id=answer.headers["x-request-id"])
    assert (row["deployment"], row["reason"], row["tier"]) == ("embed", "pinned", "large")
    assert (row["prompt_tokens"], row["usage_source"]) == (2, "reported")
    assert row["cost_usd"] == answer.headers["x-gateway-cost-usd"] == "0.00000004"


def test_tokens_go_where_they_are_understood(client: OpenAI, vendor: RunningVendor) -> None:
    raw = client.embeddings.with_raw_response.create(model="auto", input=[[1, 2], [3]])
    assert raw.headers["x-gateway-model"] == "embed"
    assert [one.embedding for one in raw.parse().data] == [vector_of([1, 2]), vector_of([3])]


def test_the_same_model_elsewhere_answers_after_a_failure(
    gateway: RunningGateway, client: OpenAI, vendor: RunningVendor
) -> None:
    vendor.will(DOWN)
    raw = client.embeddings.with_raw_response.create(model="auto", input=[5])
    assert raw.headers["x-gateway-model"] == "embed-too"
    assert raw.headers["x-gateway-reason"] == "fallback"
    rows = gateway.ledger_rows(2, request_id=raw.headers["x-request-id"])
    assert sorted((row["attempt"], row["deployment"], row["outcome"]) for row in rows) == [
        (1, "embed", "upstream_error"),
        (2, "embed-too", "ok"),
    ]


def test_what_the_local_encoder_can_not_do_is_refused_by_name(
    gateway: RunningGateway, client: OpenAI, vendor: RunningVendor
) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"input": "x", "dimensions": 256}, "dimensions"),
        ({"input": [1, 2]}, "input"),
        ({"input": "x", "extra_body": {"task": "query"}}, "task"),
    ]
    for fields, param in cases:
        with pytest.raises(BadRequestError) as refused:
            client.embeddings.create(model="minilm", **fields)
        assert (refused.value.code, refused.value.param) == ("unsupported_capability", param)
    with pytest.raises(BadRequestError) as too_long:
        client.embeddings.create(model="minilm", input=["short", "word " * 600])
    assert (too_long.value.code, too_long.value.param) == ("context_length_exceeded", "input")
    assert "index 1" in too_long.value.message
    request_id = too_long.value.response.headers["x-request-id"]
    (row,) = gateway.ledger_rows(1, request_id=request_id)
    assert (row["status"], row["prompt_tokens"]) == (400, None)
    assert not vendor.received


def test_embeddings_and_chats_keep_apart(client: OpenAI, vendor: RunningVendor) -> None:
    with pytest.raises(NotFoundError, match="makes no embeddings") as refused:
        client.embeddings.create(model="smollm2", input="x")
    assert refused.value.code == "model_not_found"
    with pytest.raises(NotFoundError, match="minilm, embed, text-embedding-3-small, embed-too"):
        client.embeddings.create(model="absent", input="x")
    for name in ("minilm", "text-embedding-3-small"):
        with pytest.raises(NotFoundError, match="can't chat"):
            client.chat.completions.create(
                model=name, messages=[{"role": "user", "content": "Hello"}]
            )
    served = {one.id: one for one in client.models.list()}
    assert {"minilm", "embed", "text-embedding-3-small"} <= served.keys()
    extra = served["minilm"].model_extra
    assert extra is not None
    assert (extra["serves"], extra["context_window"]) == ("embeddings", 512)
    assert not vendor.received
