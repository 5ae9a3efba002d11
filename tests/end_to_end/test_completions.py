"""The OpenAI SDK's `completions`, on the small model and on upstreams of both kinds."""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types import Completion

from tests.end_to_end.conftest import CLIENT_KEY, SECRETS, VENDOR_KEY
from tests.gateway_process import RunningGateway, running_gateway
from tests.vendor.behaviour import ANSWER, USAGE, Behaviour
from tests.vendor.fixture import RunningVendor

FRANCE = "The capital of France is"
#: What goes to upstreams that complete texts themselves, and to no other.
OWN_FIELDS: list[tuple[str, dict[str, Any]]] = [
    ("prompt", {"prompt": None}),
    ("prompt", {"prompt": ""}),
    ("prompt", {"prompt": ["One", "Two"]}),
    ("prompt", {"prompt": [1, 2, 3]}),
    ("prompt", {"prompt": [[1, 2], [3]]}),
    ("suffix", {"suffix": " was the capital."}),
    ("echo", {"echo": True}),
    ("best_of", {"best_of": 2}),
    ("logprobs", {"logprobs": 21}),
    ("max_tokens", {"max_tokens": 0}),
]
#: 7 fresh and 4 cached input tokens, 7 output tokens.
USD = (7 * Decimal("2.5") + 4 * Decimal("1.25") + 7 * 10) / 1_000_000


@pytest.fixture(scope="module")
def remote(
    vendor_server: RunningVendor, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    """A gateway without a model of its own, in front of every kind of upstream."""
    usual: dict[str, Any] = {"backend": "openai", "api_key_env": "VENDOR_KEY", "retries": 0}
    usual |= {"base_url": vendor_server.base_url, "price": {"input": 2, "output": 4}}
    vllm = {"name": "vllm", "tier": "small", "model": "base", "text_completions": True}
    config = {
        "deployments": [
            # /completions has one name for the limit, whatever chats call it.
            {**usual, **vllm, "max_tokens_field": "max_completion_tokens"},
            {**usual, "name": "chat", "tier": "large", "model": "gpt-4o"},
            {**usual, "name": "claude", "tier": "large", "model": "c", "backend": "anthropic"},
        ],
        # Tests that make deployments fail share this gateway with others.
        "resilience": {
            "breaker": {"failures": 1000, "cooldown_s": 0.001, "longest_cooldown_s": 0.001}
        },
    }
    with running_gateway(tmp_path_factory.mktemp("texts"), config, env=SECRETS) as gateway:
        yield gateway


@pytest.fixture
def sdk(remote: RunningGateway, vendor: RunningVendor) -> Iterator[OpenAI]:
    with OpenAI(base_url=remote.base_url, api_key=CLIENT_KEY, max_retries=0) as client:
        yield client


def text_of(chunks: Iterable[Completion], index: int = 0) -> str:
    choices = (choice for chunk in chunks for choice in chunk.choices)
    return "".join(choice.text for choice in choices if choice.index == index)


def cost_of(completion: Completion) -> float:
    assert completion.usage is not None
    assert completion.usage.model_extra is not None
    cost: float = completion.usage.model_extra["cost"]
    return cost


def test_the_small_model_goes_on_with_the_text(
    gateway: RunningGateway, client: OpenAI, vendor: RunningVendor
) -> None:
    raw = client.completions.with_raw_response.create(
        model="auto", prompt=FRANCE, temperature=0, max_tokens=4
    )
    completion = Completion.model_validate_json(raw.content, strict=True)
    assert completion.choices[0].text.startswith(" Paris")
    assert completion.choices[0].finish_reason == "length"
    assert (completion.model, completion.id[:5]) == ("smollm2-135m-instruct", "cmpl-")
    assert completion.usage is not None
    # No template: as many tokens as words.
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (5, 4)
    assert cost_of(completion) > 0
    assert raw.headers["x-gateway-tier"] == "small"
    assert not vendor.received
    (row,) = gateway.ledger_rows(1, request_id=raw.headers["x-request-id"])
    assert (row["endpoint"], row["outcome"], row["status"]) == ("/v1/completions", "ok", 200)
    assert (row["usage_source"], row["prompt_tokens"]) == ("counted", 5)
    assert row["cost_usd"] == raw.headers["x-gateway-cost-usd"]


@pytest.mark.parametrize("asks_usage", [True, False])
async def test_the_small_model_streams(async_client: AsyncOpenAI, asks_usage: bool) -> None:
    plain = await async_client.completions.create(model="tiny", prompt=[FRANCE], temperature=0)
    stream = await async_client.completions.create(
        model="tiny",
        prompt=FRANCE,
        temperature=0,
        stream=True,
        stream_options={"include_usage": asks_usage},
    )
    chunks = [chunk async for chunk in stream]
    assert text_of(chunks) == plain.choices[0].text
    usages = [chunk.usage for chunk in chunks if chunk.usage is not None]
    assert len(usages) == asks_usage
    assert plain.usage is not None
    # OpenAI's default limit.
    assert plain.usage.completion_tokens == 16
    if asks_usage:
        assert usages[0].completion_tokens == 16
        assert chunks[-1].choices == []
        assert cost_of(chunks[-1]) > 0


def test_a_stop_text_ends_the_small_models_text(client: OpenAI, vendor: RunningVendor) -> None:
    asked: dict[str, Any] = {"model": "tiny", "prompt": "A, B, C, D,", "temperature": 0}
    whole = client.completions.create(**asked).choices[0].text
    stop = whole[3:5]
    choice = client.completions.create(**asked, stop=stop).choices[0]
    assert (choice.text, choice.finish_reason) == (whole[: whole.index(stop)], "stop")


@pytest.mark.parametrize(("field", "asked"), OWN_FIELDS)
def test_what_the_small_model_cannot_complete_is_refused_by_name(
    client: OpenAI, vendor: RunningVendor, field: str, asked: dict[str, Any]
) -> None:
    for model in ("tiny", "auto"):
        with pytest.raises(openai.BadRequestError) as refused:
            client.completions.create(**{"model": model, "prompt": FRANCE, **asked})
        assert refused.value.param == field
        assert refused.value.code == "unsupported_capability"
    assert not vendor.received


def test_a_prompt_that_does_not_fit_is_refused_by_name(
    client: OpenAI, vendor: RunningVendor
) -> None:
    too_long: list[dict[str, Any]] = [{"prompt": "a " * 9000}, {"prompt": "Hi", "max_tokens": 8190}]
    for asked in too_long:
        with pytest.raises(openai.BadRequestError) as refused:
            client.completions.create(**{"model": "tiny", **asked})
        assert (refused.value.param, refused.value.code) == ("prompt", "context_length_exceeded")


def test_several_choices_come_from_either_tier(client: OpenAI, vendor: RunningVendor) -> None:
    asked: dict[str, Any] = {"prompt": FRANCE, "n": 2, "best_of": 2}
    small = client.completions.with_raw_response.create(model="auto", **asked)
    assert small.headers["x-gateway-tier"] == "small"
    assert len(small.parse().choices) == 2
    client.completions.create(model="gpt-4o", **asked)
    body = vendor.received[0].body
    assert body["n"] == 2
    assert "best_of" not in body


def test_a_vendor_of_chats_is_asked_a_chat(
    gateway: RunningGateway, client: OpenAI, vendor: RunningVendor
) -> None:
    raw = client.completions.with_raw_response.create(
        model="gpt-4o", prompt=[FRANCE], stop=["\n"], seed=7, user="u-1", extra_body={"x": [1.5]}
    )
    completion = Completion.model_validate_json(raw.content, strict=True)
    assert (completion.choices[0].text, completion.choices[0].finish_reason) == (ANSWER, "stop")
    assert Decimal(raw.headers["x-gateway-cost-usd"]) == USD
    assert cost_of(completion) == float(USD)
    (received,) = vendor.received
    assert received.path == "/v1/chat/completions"
    assert received.body == {
        "model": "gpt-4o",
        "stop": ["\n"],
        "seed": 7,
        "user": "u-1",
        "x": [1.5],
        "max_tokens": 16,
        "messages": [{"role": "user", "content": FRANCE}],
    }
    (row,) = gateway.ledger_rows(1, request_id=raw.headers["x-request-id"])
    assert (row["endpoint"], row["cost_usd"]) == ("/v1/completions", str(USD))


@pytest.mark.parametrize("asks_usage", [True, False])
def test_a_vendors_chat_streams_as_text(
    gateway: RunningGateway, client: OpenAI, vendor: RunningVendor, asks_usage: bool
) -> None:
    options = {"stream_options": {"include_usage": True}} if asks_usage else {}
    with client.completions.with_streaming_response.create(
        model="gpt-4o", prompt=FRANCE, stream=True, extra_body=options
    ) as response:
        request_id = response.headers["x-request-id"]
        chunks = list(response.parse())
    assert text_of(chunks).strip() == ANSWER
    assert {(chunk.id, chunk.object) for chunk in chunks} == {("cmpl-simulated", "text_completion")}
    assert [chunk.usage is not None for chunk in chunks[-2:]] == [False, asks_usage]
    (row,) = gateway.ledger_rows(1, request_id=request_id)
    assert (row["stream"], row["usage_source"], row["cost_usd"]) == (True, "reported", str(USD))


def test_a_stream_that_breaks_is_an_error(client: OpenAI, vendor: RunningVendor) -> None:
    vendor.always(Behaviour(drop_after=3))
    with pytest.raises(openai.APIError):
        list(client.completions.create(model="gpt-4o", prompt=FRANCE, stream=True))


def test_a_text_is_completed_in_front_of_anthropics_api(sdk: OpenAI, vendor: RunningVendor) -> None:
    completion = sdk.completions.create(model="claude", prompt=FRANCE)
    assert completion.choices[0].text == ANSWER
    body = vendor.received[0].body
    assert (body["max_tokens"], len(body["messages"])) == (16, 1)
    with pytest.raises(openai.BadRequestError) as refused:
        sdk.completions.create(model="claude", prompt=FRANCE, logit_bias={"5": 1})
    assert refused.value.param == "logit_bias"


def test_an_upstream_of_texts_gets_the_body_as_it_is(
    remote: RunningGateway, vendor: RunningVendor
) -> None:
    body = (
        b'{"model": "vllm",  "top_p": 0.90, "prompt": "\\u00e9 \\/", "max_tokens": 5,'
        b' "min_p": 1e-3, "logprobs": 2, "echo": true, "suffix": "."}'
    )
    headers = {"authorization": f"Bearer {CLIENT_KEY}", "content-type": "application/json"}
    answer = httpx.post(f"{remote.base_url}/completions", content=body, headers=headers)
    (received,) = vendor.received
    assert received.path == "/v1/completions"
    assert received.raw == body.replace(b'"model": "vllm"', b'"model": "base"')
    assert received.headers["authorization"] == f"Bearer {VENDOR_KEY}"
    completion = Completion.model_validate_json(answer.content, strict=True)
    assert completion.choices[0].text == "é /" + ANSWER
    assert completion.choices[0].logprobs is not None
    assert completion.choices[0].logprobs.token_logprobs == [-0.5]
    assert cost_of(completion) == (11 * 2 + 7 * 4) / 1e6
    assert "x-gateway-ignored" not in answer.headers


@pytest.mark.parametrize(("field", "asked"), OWN_FIELDS)
def test_what_only_upstreams_of_texts_can_do_goes_to_one(
    sdk: OpenAI, vendor: RunningVendor, field: str, asked: dict[str, Any]
) -> None:
    given = {"prompt": FRANCE, **asked}
    raw = sdk.completions.with_raw_response.create(
        model="auto", extra_headers={"x-gateway-threshold": "0"}, **given
    )
    assert raw.headers["x-gateway-model"] == "vllm"
    assert raw.headers["x-gateway-reason"] in {"needs_completions_api", "needs_logprobs"}
    prompts = asked["prompt"] if isinstance(asked.get("prompt"), list) else [FRANCE]
    expected = 1 if isinstance(prompts[0], int) else len(prompts)
    assert len(raw.parse().choices) == expected
    assert vendor.received[0].body == {"max_tokens": 16, **given, "model": "base"}
    with pytest.raises(openai.BadRequestError) as refused:
        sdk.completions.create(**{"model": "chat", **given})
    assert refused.value.param == field
    assert len(vendor.received) == 1


@pytest.mark.parametrize("asks_usage", [True, False])
def test_an_upstream_of_texts_streams(
    remote: RunningGateway, sdk: OpenAI, vendor: RunningVendor, asks_usage: bool
) -> None:
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if asks_usage else {}
    with sdk.completions.with_streaming_response.create(
        model="vllm", prompt=["One", "Two"], stream=True, extra_body=options
    ) as response:
        request_id = response.headers["x-request-id"]
        chunks = list(response.parse())
    assert [text_of(chunks, index).strip() for index in (0, 1)] == [ANSWER, ANSWER]
    assert [chunk.usage is not None for chunk in chunks[-2:]] == [False, asks_usage]
    sent = vendor.received[0].body
    assert (sent["stream_options"], sent["max_tokens"]) == ({"include_usage": True}, 16)
    (row,) = remote.ledger_rows(1, request_id=request_id)
    assert (row["endpoint"], row["model_served"]) == ("/v1/completions", "base-served")
    assert row["prompt_tokens"] == USAGE["prompt_tokens"]
    assert row["cost_usd"] == "0.00005"


@pytest.mark.parametrize("stream", [True, False])
def test_texts_that_nobody_counted_are_estimated(
    remote: RunningGateway, sdk: OpenAI, vendor: RunningVendor, stream: bool
) -> None:
    vendor.always(Behaviour(usage=None))
    asked = {"model": "vllm", "prompt": [[7] * 40, [7] * 60], "stream": stream}
    headers = {"authorization": f"Bearer {CLIENT_KEY}"}
    answer = httpx.post(f"{remote.base_url}/completions", json=asked, headers=headers)
    (row,) = remote.ledger_rows(1, request_id=answer.headers["x-request-id"])
    assert (row["usage_source"], row["prompt_tokens"]) == ("estimated", 100)
    assert 2 * 10 <= row["completion_tokens"] <= 2 * 30
    if not stream:
        assert answer.json()["usage"]["completion_tokens"] == row["completion_tokens"]


def test_an_upstream_of_texts_that_breaks_is_passed_over_until_it_has_begun(
    remote: RunningGateway, sdk: OpenAI, vendor: RunningVendor
) -> None:
    vendor.will(Behaviour(status=500))
    raw = sdk.completions.with_raw_response.create(
        model="auto", prompt=FRANCE, extra_headers={"x-gateway-threshold": "1"}
    )
    assert raw.headers["x-gateway-model"] in {"chat", "claude"}
    assert raw.parse().choices[0].text == ANSWER
    assert [one.path for one in vendor.received][:1] == ["/v1/completions"]
    assert len(remote.ledger_rows(2, request_id=raw.headers["x-request-id"])) == 2
    vendor.will(Behaviour(error_after=2))
    with pytest.raises(openai.APIError, match="simulated 500"):
        list(sdk.completions.create(model="vllm", prompt=FRANCE, stream=True))


@pytest.mark.parametrize("stream", [False, True])
def test_the_small_model_tells_its_logprobs(client: OpenAI, *, stream: bool) -> None:
    made: Any = client.completions.create(
        model="smollm2", prompt=FRANCE, logprobs=2, max_tokens=6, temperature=0, n=2, stream=stream
    )
    parts = [part for chunk in (made if stream else [made]) for part in chunk.choices]
    told: list[dict[str, list[Any]]] = [{}, {}]
    for part in parts:
        if part.logprobs is not None:
            for name, values in part.logprobs.to_dict().items():
                told[part.index].setdefault(name, []).extend(values)
    texts = ["".join(part.text for part in parts if part.index == index) for index in range(2)]
    for text, logprobs in zip(texts, told, strict=True):
        assert "".join(logprobs["tokens"]) == text
        assert [len(one) for one in logprobs["top_logprobs"]] == [2] * 6
        starts = zip(logprobs["text_offset"], logprobs["tokens"], strict=True)
        assert all(text.startswith(token, offset) for offset, token in starts)
        for token, logprob, likeliest in zip(
            *(logprobs[name] for name in ("tokens", "token_logprobs", "top_logprobs")), strict=True
        ):
            assert likeliest[token] == logprob  # greedy: the likeliest one


@pytest.mark.parametrize(
    ("field", "asked"),
    [("echo", {"echo": True}), ("suffix", {"suffix": "."}), ("best_of", {"best_of": 2})],
)
def test_what_the_small_model_refuses(client: OpenAI, field: str, asked: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model="smollm2", prompt=FRANCE, **asked)
    assert refused.value.param == field
