"""The OpenAI SDK with only `base_url` changed."""

from decimal import Decimal

import pytest
from openai import NotFoundError, OpenAI
from openai.types.chat import ChatCompletionMessageParam

from tests.gateway_process import RunningGateway
from tests.vendor.behaviour import ANSWER, Behaviour
from tests.vendor.fixture import RunningVendor

EASY: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "What is the capital of France?"}
]
HARD: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "Prove that there are infinitely many primes congruent to 3 mod 4."}
]


def test_an_easy_question_is_answered_by_the_real_small_model(
    gateway: RunningGateway, client: OpenAI, vendor: RunningVendor
) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="auto", messages=EASY, temperature=0
    )
    answer = raw.parse()
    assert "Paris" in (answer.choices[0].message.content or "")
    assert answer.model == "smollm2-135m-instruct"
    assert answer.choices[0].finish_reason == "stop"
    assert raw.headers["x-gateway-tier"] == "small"
    assert raw.headers["x-gateway-model"] == "smollm2"
    assert raw.headers["x-gateway-reason"] == "below_threshold"
    assert 0 <= float(raw.headers["x-gateway-score"]) < 0.5
    assert float(raw.headers["x-gateway-threshold"]) == 0.5
    assert raw.headers["x-gateway-router"].startswith("r2-")
    assert float(raw.headers["x-gateway-overhead-ms"]) < 1000
    assert raw.headers["x-gateway-cost-source"] == "computed"
    assert Decimal(raw.headers["x-gateway-cost-usd"]) > 0
    assert not vendor.received
    (row,) = gateway.ledger_rows(1, request_id=raw.headers["x-request-id"])
    assert row["usage_source"] == "counted"
    assert row["cost_usd"] == raw.headers["x-gateway-cost-usd"]
    assert (row["outcome"], row["status"], row["stream"]) == ("ok", 200, False)


def test_a_hard_prompt_goes_to_the_large_deployment(
    gateway: RunningGateway, client: OpenAI, vendor: RunningVendor
) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="auto", messages=HARD, extra_headers={"x-gateway-tags": "team=search"}
    )
    answer = raw.parse()
    assert answer.choices[0].message.content == ANSWER
    assert raw.headers["x-gateway-tier"] == "large"
    assert raw.headers["x-gateway-reason"] == "above_threshold"
    # 7 fresh and 4 cached input tokens, 7 output tokens
    expected = (7 * Decimal("2.5") + 4 * Decimal("1.25") + 7 * 10) / 1_000_000
    assert Decimal(raw.headers["x-gateway-cost-usd"]) == expected
    assert answer.usage is not None
    assert answer.usage.model_extra is not None
    assert answer.usage.model_extra["cost"] == float(expected)
    assert answer.usage.model_extra["cost_details"]["source"] == "computed"
    (row,) = gateway.ledger_rows(1, request_id=raw.headers["x-request-id"])
    assert row["cost_usd"] == str(expected)
    assert row["model_served"] == "gpt-4o-2024-08-06"
    assert row["tags"] == {"team": "search"}
    assert (row["cached_tokens"], row["reasoning_tokens"]) == (4, 2)
    assert len(vendor.received) == 1


def test_the_small_model_streams(gateway: RunningGateway, client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="auto",
        messages=EASY,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert "Paris" in text
    assert len(chunks) > 5
    usage = chunks[-1].usage
    assert usage is not None
    assert chunks[-1].choices == []
    assert usage.completion_tokens > 3
    assert usage.model_extra is not None
    assert usage.model_extra["cost"] > 0
    assert all(chunk.usage is None for chunk in chunks[:-1])


@pytest.mark.parametrize("asks_usage", [False, True])
def test_the_large_model_streams(
    gateway: RunningGateway, client: OpenAI, vendor: RunningVendor, asks_usage: bool
) -> None:
    options = {"stream_options": {"include_usage": True}} if asks_usage else {}
    with client.chat.completions.with_streaming_response.create(
        model="auto", messages=HARD, stream=True, extra_body=options
    ) as response:
        request_id = response.headers["x-request-id"]
        chunks = list(response.parse())
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text.strip() == ANSWER
    assert vendor.received[0].body["stream_options"] == {"include_usage": True}
    usages = [chunk.usage for chunk in chunks if chunk.usage is not None]
    assert len(usages) == int(asks_usage)
    (row,) = gateway.ledger_rows(1, request_id=request_id)
    assert row["cost_usd"] == "0.0000925"
    assert (row["stream"], row["usage_source"], row["outcome"]) == (True, "reported", "ok")
    assert row["ttft_ms"] <= row["latency_ms"]


def test_a_stream_whose_upstream_counts_nothing_still_costs(
    gateway: RunningGateway, client: OpenAI, vendor: RunningVendor
) -> None:
    vendor.always(Behaviour(usage=None))
    chunks = list(
        client.chat.completions.create(
            model="gpt-4o",
            messages=HARD,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    usage = chunks[-1].usage
    assert usage is not None
    assert usage.model_extra is not None
    assert usage.model_extra["cost"] > 0
    assert usage.model_extra["cost_details"]["usage_source"] == "estimated"


def test_unknown_fields_pass_both_ways(
    gateway: RunningGateway, client: OpenAI, vendor: RunningVendor
) -> None:
    vendor.always(Behaviour(extra={"x_vendor": {"deep": [1, 2.5]}}))
    answer = client.chat.completions.create(
        model="gpt-4o",
        messages=[{"role": "developer", "content": "Be brief."}, *HARD],
        reasoning_effort="high",
        metadata={"a": "b"},
        user="u-1",
        extra_body={"x_client": [None, {"y": 1.0}]},
    )
    assert answer.model_extra is not None
    assert answer.model_extra["x_vendor"] == {"deep": [1, 2.5]}
    body = vendor.received[0].body
    assert body["x_client"] == [None, {"y": 1.0}]
    assert body["messages"][0]["role"] == "developer"
    assert (body["reasoning_effort"], body["metadata"], body["user"]) == ("high", {"a": "b"}, "u-1")
    assert body["model"] == "gpt-4o"


def test_what_the_small_model_cannot_do_goes_to_the_large_one(
    gateway: RunningGateway, client: OpenAI
) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    content = [{"type": "text", "text": "Hi, what is this?"}, image]
    raw = client.chat.completions.with_raw_response.create(
        model="auto",
        messages=[{"role": "user", "content": content}],  # type: ignore[misc,list-item]
    )
    assert raw.headers["x-gateway-tier"] == "large"
    assert raw.headers["x-gateway-reason"] == "needs_vision"


@pytest.mark.parametrize(
    ("model", "headers", "tier", "threshold"),
    [
        ("auto@0", {}, "large", "0"),
        ("auto@1", {}, "small", "1"),
        ("auto:cheap", {}, None, "0.8"),
        ("auto", {"x-gateway-threshold": "0"}, "large", "0"),
        ("auto", {"x-gateway-policy": "cheap"}, None, "0.8"),
        ("gpt-3.5-turbo", {"x-gateway-threshold": "0"}, "large", "0"),
    ],
)
def test_overrides(
    gateway: RunningGateway,
    client: OpenAI,
    model: str,
    headers: dict[str, str],
    tier: str | None,
    threshold: str,
) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=HARD, max_tokens=2, extra_headers=headers
    )
    assert tier is None or raw.headers["x-gateway-tier"] == tier
    assert raw.headers["x-gateway-threshold"] == threshold


def test_a_deployment_or_its_alias_is_asked_directly(
    gateway: RunningGateway, client: OpenAI
) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="tiny", messages=HARD, max_tokens=3
    )
    assert raw.headers["x-gateway-model"] == "smollm2"
    assert raw.headers["x-gateway-reason"] == "pinned"
    assert "x-gateway-score" not in raw.headers
    answer = raw.parse()
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3
    assert answer.choices[0].finish_reason == "length"


def test_models_are_listed(client: OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names[0] == "auto"
    assert {"auto:balanced", "auto:cheap", "auto:quality", "smollm2", "tiny", "gpt-4o"} <= {*names}
    assert client.models.retrieve("gpt-4o").owned_by == "openai"
    with pytest.raises(NotFoundError):
        client.models.retrieve("absent")
