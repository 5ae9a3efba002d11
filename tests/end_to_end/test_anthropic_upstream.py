"""The OpenAI SDK in front of an upstream that speaks Anthropic's API."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from openai.types import Completion
from openai.types.chat import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionMessageParam,
    ChatCompletionToolParam,
)
from openai.types.responses import Response, ResponseStreamEvent

from tests.end_to_end.conftest import CLIENT_KEY, SECRETS, VENDOR_KEY
from tests.gateway_process import RunningGateway, running_gateway
from tests.vendor.behaviour import ANSWER, Behaviour
from tests.vendor.fixture import RunningVendor
from tests.wire.sdk_types import ended, unknown_members

HI: list[ChatCompletionMessageParam] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi."},
]
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}
CALLS = [("weather", '{"city": "Oslo"}'), ("weather", '{"city": "Rome"}')]
#: 7 fresh tokens, 4 from the cache, 2 written to it for minutes and 1 for an hour; 9 of output.
USD = (
    7 * Decimal(3) + 4 * Decimal("0.3") + 2 * Decimal("3.75") + Decimal(6) + 9 * Decimal(15)
) / 1_000_000


@pytest.fixture(scope="module")
def both(
    vendor_server: RunningVendor, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    """A gateway in front of both vendors, and of no model of its own."""
    rates = {"cached_input": 0.3, "cache_write": 3.75, "cache_write_1h": 6}
    usual: dict[str, Any] = {"tier": "large", "api_key_env": "VENDOR_KEY", "timeout_s": 2}
    usual |= {"base_url": vendor_server.base_url, "price": {"input": 3, "output": 15, **rates}}
    claude = {"name": "claude", "backend": "anthropic", "model": "claude-sonnet-4-5"}
    gpt = {"name": "gpt", "backend": "openai", "model": "gpt-4o"}
    config = {
        "deployments": [{**usual, **own, "retries": 0} for own in (claude, gpt)],
        # Tests that make deployments fail share this gateway with others.
        "resilience": {
            "breaker": {"failures": 1000, "cooldown_s": 0.001, "longest_cooldown_s": 0.001}
        },
    }
    with running_gateway(tmp_path_factory.mktemp("both"), config, env=SECRETS) as gateway:
        yield gateway


@pytest.fixture
def sdk(both: RunningGateway, vendor: RunningVendor) -> Iterator[OpenAI]:
    with OpenAI(base_url=both.base_url, api_key=CLIENT_KEY, max_retries=0) as client:
        yield client


def test_a_chat_is_answered_and_every_kind_of_token_is_billed(
    both: RunningGateway, sdk: OpenAI, vendor: RunningVendor
) -> None:
    vendor.always(Behaviour(thinking="Hm."))
    raw = sdk.chat.completions.with_raw_response.create(
        model="claude", messages=HI, max_completion_tokens=99, stop="END", user="u-1"
    )
    answer = raw.parse()
    message = answer.choices[0].message
    assert (message.content, answer.choices[0].finish_reason) == (ANSWER, "stop")
    assert message.model_extra is not None
    assert message.model_extra["reasoning_content"] == "Hm."
    assert Decimal(raw.headers["x-gateway-cost-usd"]) == USD
    assert "x-gateway-ignored" not in raw.headers
    (received,) = vendor.received
    body = received.body
    assert (received.path, body["system"], body["max_tokens"]) == ("/v1/messages", "Be brief.", 99)
    assert (body["stop_sequences"], body["metadata"]) == (["END"], {"user_id": "u-1"})
    assert received.headers["x-api-key"] == VENDOR_KEY
    assert CLIENT_KEY not in str(received.headers)
    (row,) = both.ledger_rows(1, request_id=raw.headers["x-request-id"])
    assert Decimal(row["cost_usd"]) == USD
    assert (row["prompt_tokens"], row["cached_tokens"], row["completion_tokens"]) == (14, 4, 9)
    assert (row["model_served"], row["outcome"]) == ("claude-sonnet-4-5-20250929", "ok")


def test_a_stream_of_tool_calls_and_their_results(
    both: RunningGateway, sdk: OpenAI, vendor: RunningVendor
) -> None:
    vendor.will(Behaviour(tool_calls=CALLS))
    with sdk.chat.completions.with_streaming_response.create(
        model="claude",
        messages=HI,
        tools=[WEATHER],
        stream=True,
        stream_options={"include_usage": True},
    ) as response:
        request_id = response.headers["x-request-id"]
        chunks = list(response.parse())
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == ANSWER
    parts = [call for delta in deltas for call in delta.tool_calls or []]
    calls: dict[int, Any] = {}
    for part in parts:
        function = part.function
        assert function is not None
        call = calls.setdefault(part.index, {"id": part.id, "name": function.name, "text": ""})
        call["text"] += function.arguments or ""
    assert [(call["name"], call["text"]) for call in calls.values()] == CALLS
    assert len(parts) > 2 * len(CALLS)
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.prompt_tokens == 14
    (row,) = both.ledger_rows(1, request_id=request_id)
    assert (Decimal(row["cost_usd"]), row["stream"], row["usage_source"]) == (USD, True, "reported")

    results: list[Any] = [
        {"role": "tool", "tool_call_id": call["id"], "content": f"{number} °C"}
        for number, call in calls.items()
    ]
    made = [
        {"id": call["id"], "type": "function"}
        | {"function": {"name": call["name"], "arguments": call["text"]}}
        for call in calls.values()
    ]
    told: Any = [*HI, {"role": "assistant", "tool_calls": made}, *results]
    sdk.chat.completions.create(model="claude", messages=told, tools=[WEATHER])
    _, used, answered = vendor.received[-1].body["messages"]
    assert [block["input"] for block in used["content"]] == [json.loads(text) for _, text in CALLS]
    assert [block["content"] for block in answered["content"]] == ["0 °C", "1 °C"]
    assert [block["tool_use_id"] for block in answered["content"]] == ["toolu_0", "toolu_1"]


UNSUPPORTED = [
    ({"seed": 0}, "seed"),
    ({"logit_bias": {"50256": -100}}, "logit_bias"),
    ({"n": 2}, "n"),
    ({"logprobs": True}, "logprobs"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"stop": "\n"}, "stop"),
    ({"tools": [{"type": "custom", "custom": {"name": "shell"}}]}, "tools[0]"),
]


@pytest.mark.parametrize(("fields", "param"), UNSUPPORTED, ids=[param for _, param in UNSUPPORTED])
def test_what_it_cannot_honour_is_refused_or_goes_to_the_other(
    sdk: OpenAI, vendor: RunningVendor, fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        sdk.chat.completions.create(model="claude", messages=HI, extra_body=fields)
    assert (refused.value.param, refused.value.code) == (param, "unsupported_capability")
    assert not vendor.received
    raw = sdk.chat.completions.with_raw_response.create(
        model="auto@0", messages=HI, extra_body=fields
    )
    assert raw.headers["x-gateway-model"] == "gpt"
    (received,) = vendor.received
    assert received.body.items() >= fields.items()


@pytest.mark.parametrize("stream", [False, True])
def test_what_it_leaves_out_is_told(sdk: OpenAI, stream: bool) -> None:
    raw = sdk.chat.completions.with_raw_response.create(
        model="claude", messages=HI, store=True, temperature=1.5, stream=stream
    )
    assert raw.headers["x-gateway-ignored"] == "store,temperature"


@pytest.mark.parametrize(
    ("behaviour", "status", "code"),
    [
        (Behaviour(status=429, headers={"retry-after": "7"}), 429, "rate_limit_exceeded"),
        (Behaviour(status=401), 502, "invalid_api_key"),
        (Behaviour(status=529), 529, "overloaded"),
        (Behaviour(error_after=2), 529, "overloaded"),
        (Behaviour(drop_after=2), 502, "upstream_unavailable"),
        (Behaviour(body=b'{"content": [1]}'), 502, "upstream_unavailable"),
    ],
    ids=["429", "401", "529", "overloaded_stream", "dropped_stream", "malformed"],
)
def test_a_failure_before_the_answer_keeps_its_status(
    both: RunningGateway,
    sdk: OpenAI,
    vendor: RunningVendor,
    behaviour: Behaviour,
    status: int,
    code: str,
) -> None:
    vendor.always(behaviour)
    with pytest.raises(openai.APIStatusError) as failed:
        sdk.chat.completions.create(model="claude", messages=HI, stream=True)
    response = failed.value.response
    assert (response.status_code, failed.value.code) == (status, code)
    assert VENDOR_KEY not in response.text
    assert response.headers.get("retry-after") == behaviour.headers.get("retry-after")
    (row,) = both.ledger_rows(1, request_id=response.headers["x-request-id"])
    assert (row["outcome"], row["cost_usd"]) == ("upstream_error", None)


def test_an_answer_that_breaks_off_is_no_answer(
    both: RunningGateway, sdk: OpenAI, vendor: RunningVendor
) -> None:
    vendor.always(Behaviour(drop_after=7))
    with sdk.chat.completions.with_streaming_response.create(
        model="claude", messages=HI, stream=True
    ) as response:
        request_id = response.headers["x-request-id"]
        with pytest.raises(openai.APIError, match="closed the connection"):
            list(response.parse())
    (row,) = both.ledger_rows(1, request_id=request_id)
    assert (row["outcome"], row["usage_source"]) == ("interrupted", "estimated")
    # The prompt is counted before the answer, which is four words long so far.
    assert (row["prompt_tokens"], row["cached_tokens"]) == (14, 4)
    assert 4 <= row["completion_tokens"] <= 7


def test_nobody_counts_and_it_still_costs(
    both: RunningGateway, sdk: OpenAI, vendor: RunningVendor
) -> None:
    vendor.always(Behaviour(messages_usage=None))
    for stream in (False, True):
        raw = sdk.chat.completions.with_raw_response.create(
            model="claude", messages=HI, stream=stream
        )
        raw.http_response.read()
        (row,) = both.ledger_rows(1, request_id=raw.headers["x-request-id"])
        assert row["usage_source"] == "estimated"
        assert Decimal(row["cost_usd"]) > 0


KINDS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "chat/completions": (ChatCompletion, ChatCompletionChunk, {"messages": HI}),
    "completions": (Completion, Completion, {"prompt": "Hi"}),
    "responses": (Response, ResponseStreamEvent, {"input": "Hi"}),
}
#: What chat has no word for and clients need: to send thoughts back, to see how they are billed.
THOUGHTS = {"reasoning_content", "thinking_blocks"}
ALLOWED = {f"choices.{said}.{name}" for said in ("message", "delta") for name in THOUGHTS}
ALLOWED |= {f"usage.{name}" for name in ("cache_creation", "service_tier", "cost", "cost_details")}
#: OpenAI's own answers have them, though the types of its SDK don't.
ALLOWED |= {"store", "response.store", "name"}
ALLOWED |= {"response.usage.cost", "response.usage.cost_details"}
SAID = {
    "told": Behaviour(thinking="Hm.", tool_calls=CALLS),
    "uncounted": Behaviour(messages_usage=None),
    "counted_little": Behaviour(messages_usage={"input_tokens": 3, "output_tokens": 2}),
    "nameless": Behaviour(extra={"id": None, "model": None}),
    "empty": Behaviour(text="", tool_calls=[("weather", "{}")]),
}


@pytest.mark.parametrize("path", KINDS)
@pytest.mark.parametrize("said", SAID)
def test_what_openai_s_clients_get_is_of_their_types(
    sdk: OpenAI, vendor: RunningVendor, path: str, said: str
) -> None:
    vendor.always(SAID[said])
    whole, streamed, asked = KINDS[path]
    body = {"model": "claude", **asked}
    answer = sdk.post(f"/{path}", body=body, cast_to=httpx.Response)
    unknown = unknown_members(whole, answer.content)
    assert {"usage.cost", "usage.cost_details"} <= unknown <= ALLOWED
    answer = sdk.post(f"/{path}", body={**body, "stream": True}, cast_to=httpx.Response)
    events = [block.partition(b"data: ")[2] for block in answer.content.split(b"\n\n")]
    events = [event for event in events if event not in (b"", b"[DONE]")]
    assert len(events) > 2
    for event in events:
        written = ended(event) if path == "completions" else event
        assert unknown_members(streamed, written) <= ALLOWED


def test_models_of_both_are_listed(sdk: OpenAI) -> None:
    assert {"claude", "gpt"} <= {model.id for model in sdk.models.list()}
