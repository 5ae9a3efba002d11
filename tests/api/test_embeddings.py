"""Bodies of `/v1/embeddings`: what is read, what is refused, and the cost in the answer."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest
from openai.types import CreateEmbeddingResponse

from gateway.api.embeddings import MOST_INPUTS, EmbeddingsFormat
from gateway.core.answer import Answer
from gateway.core.entry import LedgerEntry
from gateway.core.errors import InvalidRequest, UpstreamUnavailable
from gateway.core.price import Cost
from gateway.core.request import ChatRequest
from gateway.core.usage import Usage, estimate_tokens

ENTRY = LedgerEntry(
    request_id="req_1",
    attempt=1,
    ts=datetime(2026, 3, 1, tzinfo=UTC),
    endpoint="/v1/embeddings",
    model_requested="auto",
    deployment="embed",
    tier="large",
    reason="embeddings",
    router_version="r",
    stream=False,
    usage=Usage(3, 0),
    cost=Cost(Decimal("0.00000006"), "computed", "config:embed"),
)


def parsed(given: object, **fields: Any) -> ChatRequest:
    return EmbeddingsFormat().parse(orjson.dumps({"model": "m", "input": given, **fields}))


@pytest.mark.parametrize("given", ["text", ["a", "b"], ["x"] * MOST_INPUTS])
def test_texts(given: str | list[str]) -> None:
    request = parsed(given, encoding_format="base64", input_type="query")
    texts = [given] if isinstance(given, str) else given
    assert [message["content"] for message in request.messages] == texts
    assert request.prompt_tokens is None
    assert (request.wire, request.endpoint, request.stream) == (
        "embeddings",
        "/v1/embeddings",
        False,
    )
    assert request.payload["input_type"] == "query"
    assert estimate_tokens(request.messages) >= len(texts)


@pytest.mark.parametrize(("given", "count"), [([1, 2, 3], 3), ([[1, 2], [3]], 3), ([0], 1)])
def test_tokens_are_counted(given: object, count: int) -> None:
    assert parsed(given).prompt_tokens == count


@pytest.mark.parametrize(
    "given",
    [
        *("", [], [""], ["a", ""], [[]], [[1], []], None, 3, {}, {"text": "x"}, [None], True),
        *(["a", 1], [1, "a"], [["a"]], [[1], "a"], ["a", ["b"]], [1.5], [True], [-1], [[1, None]]),
        ["x"] * (MOST_INPUTS + 1),
        [[1]] * (MOST_INPUTS + 1),
    ],
)
def test_inputs_that_are_refused(given: object) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parsed(given)
    assert refused.value.param == "input"
    assert "'input'" in refused.value.message


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": "many"}, "dimensions"),
        ({"encoding_format": 1}, "encoding_format"),
        ({"user": {}}, "user"),
        ({"model": ""}, "model"),
    ],
)
def test_other_fields_are_checked(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parsed("x", **fields)
    assert refused.value.param == param


def test_an_input_is_needed() -> None:
    with pytest.raises(InvalidRequest, match="'input' is missing"):
        EmbeddingsFormat().parse(b'{"model": "m"}')


def written(raw: bytes) -> tuple[bytes, dict[str, Any]]:
    """The answer for a client; the backend kept no vectors in its payload."""
    payload = {**orjson.loads(raw), "data": []}
    body = EmbeddingsFormat().answer(parsed("x"), Answer(raw, payload), ENTRY)
    return body, orjson.loads(body)


def test_the_cost_is_added_and_every_other_byte_stays() -> None:
    raw = (
        b'{"object":"list", "data":[{"object":"embedding","index":0,"embedding":[1e-1, 0.10]}],'
        b' "model":"m", "new": 1.0, "usage": {"prompt_tokens":3,"total_tokens":3}}'
    )
    body, payload = written(raw)
    added = (
        b'"cost":0.00000006,"cost_details":{"source":"computed","price_id":"config:embed",'
        b'"usage_source":"reported","energy_wh":null,"co2_g":null,"energy_source":null},'
    )
    assert body == raw.replace(b'"prompt_tokens"', added + b'"prompt_tokens"')
    assert CreateEmbeddingResponse.model_validate(payload).data[0].embedding == [0.1, 0.1]


@pytest.mark.parametrize(
    "usage", [b"", b',"usage":null', b',"usage":{"prompt_tokens":3,"total_tokens":3,"cost":9}']
)
def test_an_answer_that_can_not_be_spliced_keeps_its_vectors(usage: bytes) -> None:
    data = b'"data":[{"object":"embedding","index":0,"embedding":[0.5,0.25]}]'
    _, payload = written(b'{"object":"list","model":"m",' + data + usage + b"}")
    parsed = CreateEmbeddingResponse.model_validate(payload)
    assert parsed.data[0].embedding == [0.5, 0.25]
    assert parsed.usage.prompt_tokens == parsed.usage.total_tokens == 3
    assert payload["usage"]["cost"] == 6e-8


def test_vectors_that_are_no_json_are_the_upstreams_fault() -> None:
    raw = b'{"object":"list","model":"m","data":[{"index":0,"embedding":[NaN]}]}'
    answer = Answer(raw, {"object": "list", "model": "m", "data": []})
    with pytest.raises(UpstreamUnavailable):
        EmbeddingsFormat().answer(parsed("x"), answer, ENTRY)
