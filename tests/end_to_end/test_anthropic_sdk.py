"""The Anthropic SDK with only `base_url` changed, whatever stands behind the gateway."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import pytest
from anthropic import Anthropic, AsyncAnthropic
from anthropic.types import Message, MessageParam, RawMessageStreamEvent, ToolParam
from pydantic import TypeAdapter

from tests.end_to_end.conftest import CLIENT_KEY, SECRETS
from tests.gateway_process import RunningGateway, running_gateway
from tests.vendor.anthropic import SIGNATURE
from tests.vendor.behaviour import ANSWER, Behaviour
from tests.vendor.fixture import RunningVendor

EASY: list[MessageParam] = [{"role": "user", "content": "What is the capital of France?"}]
HARD: list[MessageParam] = [
    {"role": "user", "content": "Prove that there are infinitely many primes congruent to 3 mod 4."}
]
WEATHER: ToolParam = {
    "name": "weather",
    "description": "The weather in a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
#: This SDK has no word for it any more.
GREEDY = {"temperature": 0}
CALL = ("weather", '{"city": "Oslo"}')


@pytest.fixture(scope="session")
def sdk(serving: RunningGateway) -> Iterator[Anthropic]:
    with Anthropic(base_url=serving.url, api_key=CLIENT_KEY, max_retries=0) as client:
        yield client


@pytest.fixture
async def async_sdk(serving: RunningGateway) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=serving.url, api_key=CLIENT_KEY, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def claude_gateway(
    vendor_server: RunningVendor, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    """A gateway whose only upstream speaks Anthropic's own wire."""
    folder: Path = tmp_path_factory.mktemp("claude")
    claude = {
        "name": "claude",
        "tier": "large",
        "backend": "anthropic",
        "model": "claude-sonnet-4-5",
        "base_url": vendor_server.base_url,
        "api_key_env": "VENDOR_KEY",
        "price": {
            "input": 3,
            "cached_input": 0.3,
            "cache_write": 3.75,
            "cache_write_1h": 6,
            "output": 15,
        },
        "timeout_s": 2,
        "idle_timeout_s": 1,
        "retries": 0,
    }
    config = {
        "deployments": [claude],
        "resilience": {
            "breaker": {"failures": 1000, "cooldown_s": 0.001, "longest_cooldown_s": 0.001}
        },
    }
    with running_gateway(folder, config, env=SECRETS) as gateway:
        yield gateway


@pytest.fixture
def claude(claude_gateway: RunningGateway, vendor: RunningVendor) -> Iterator[Anthropic]:
    with Anthropic(base_url=claude_gateway.url, api_key=CLIENT_KEY, max_retries=0) as client:
        yield client


# 7 fresh, 4 read, 2 written, 1 written for an hour, 9 output tokens
CLAUDE_USD = "0.0001707"


def text_of(message: Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def cost_in(events: list[Any]) -> object:
    (told,) = (event.usage.model_extra for event in events if event.type == "message_delta")
    return told["cost"]


def test_the_small_model_answers(gateway: RunningGateway, sdk: Anthropic) -> None:
    raw = sdk.messages.with_raw_response.create(
        model="auto", max_tokens=32, messages=EASY, extra_body=GREEDY, system="Answer in English."
    )
    message = raw.parse()
    assert "Paris" in text_of(message)
    assert message.model == "smollm2-135m-instruct"
    assert message.stop_reason == "end_turn"
    assert message.usage.input_tokens > 10
    assert raw.headers["x-gateway-tier"] == "small"
    assert raw.headers["request-id"] == raw.headers["x-request-id"] == message._request_id
    (row,) = gateway.ledger_rows(1, request_id=raw.headers["x-request-id"])
    assert (row["endpoint"], row["outcome"]) == ("/v1/messages", "ok")
    assert row["cost_usd"] == raw.headers["x-gateway-cost-usd"]
    extra = message.usage.model_extra
    assert extra is not None
    assert extra["cost"] == float(row["cost_usd"])


@pytest.mark.parametrize("model", ["smollm2", "auto"])
def test_the_small_model_streams(sdk: Anthropic, model: str) -> None:
    with sdk.messages.stream(
        model=model, max_tokens=32, messages=EASY, extra_body=GREEDY
    ) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert "Paris" in text
    assert text_of(final) == text
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens > 3
    assert final.usage.input_tokens > 10


async def test_an_openai_upstream_answers(
    gateway: RunningGateway, async_sdk: AsyncAnthropic, vendor: RunningVendor
) -> None:
    message = await async_sdk.messages.create(
        model="auto",
        max_tokens=99,
        messages=HARD,
        system=[{"type": "text", "text": "Be exact."}],
        stop_sequences=["END"],
        metadata={"user_id": "u-1"},
        extra_body={"x_client": {"a": 1}},
    )
    assert text_of(message) == ANSWER
    assert message.model == "gpt-4o-2024-08-06"
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (7, 4)
    body = vendor.received[0].body
    assert body["messages"][0] == {"role": "system", "content": "Be exact."}
    assert (body["stop"], body["user"], body["max_tokens"]) == (["END"], "u-1", 99)
    assert body["x_client"] == {"a": 1}
    (row,) = gateway.ledger_rows(1, request_id=message._request_id)
    assert row["cost_usd"] == "0.0000925"


async def test_an_openai_upstream_streams(
    async_sdk: AsyncAnthropic, gateway: RunningGateway, vendor: RunningVendor
) -> None:
    vendor.always(Behaviour(tool_calls=[CALL, ("time", "{}")], thinking="Let me see."))
    async with async_sdk.messages.stream(
        model="gpt-4o", max_tokens=99, messages=HARD, tools=[WEATHER]
    ) as stream:
        events = [event async for event in stream]
        final = await stream.get_final_message()
    kinds = [event.type for event in events]
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    thought, text, call, other = final.content
    assert (thought.type, text.type) == ("thinking", "text")
    assert call.type == "tool_use"
    assert other.type == "tool_use"
    assert (call.name, call.input, other.input) == ("weather", {"city": "Oslo"}, {})
    assert final.stop_reason == "tool_use"
    assert final.usage.output_tokens == 7
    assert cost_in(events) == 9.25e-05


def test_every_event_is_one_that_the_vendor_knows(gateway: RunningGateway) -> None:
    body = {"model": "gpt-4o", "max_tokens": 9, "messages": HARD, "stream": True}
    headers = {"x-api-key": CLIENT_KEY}
    kinds = TypeAdapter[Any](RawMessageStreamEvent)
    with httpx.stream("POST", f"{gateway.base_url}/messages", json=body, headers=headers) as answer:
        lines = [line for line in answer.iter_lines() if line]
    names = [line.removeprefix("event: ") for line in lines[::2]]
    events = [kinds.validate_json(line.removeprefix("data: ")) for line in lines[1::2]]
    assert [event.type for event in events] == names
    assert "[DONE]" not in "".join(lines)


def test_a_loop_over_tools(sdk: Anthropic, gateway: RunningGateway, vendor: RunningVendor) -> None:
    vendor.will(Behaviour(tool_calls=[CALL]))
    asked: list[MessageParam] = [{"role": "user", "content": "What is the weather in Oslo?"}]
    first = sdk.messages.create(
        model="gpt-4o",
        max_tokens=99,
        messages=asked,
        tools=[WEATHER],
        tool_choice={"type": "any"},
    )
    assert first.stop_reason == "tool_use"
    call = first.content[-1]
    assert call.type == "tool_use"
    result: MessageParam = {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "Rain."}],
    }
    turns: list[MessageParam] = [*asked, {"role": "assistant", "content": first.content}, result]
    second = sdk.messages.create(model="gpt-4o", max_tokens=99, messages=turns, tools=[WEATHER])
    assert text_of(second) == ANSWER
    assert vendor.received[0].body["tool_choice"] == "required"
    sent = vendor.received[1].body["messages"]
    assert sent[1]["tool_calls"][0]["id"] == call.id
    assert sent[2] == {"role": "tool", "tool_call_id": call.id, "content": "Rain."}


def test_the_small_model_calls_a_tool(sdk: Anthropic) -> None:
    answer = sdk.messages.create(
        model="smollm2",
        max_tokens=60,
        messages=[{"role": "user", "content": "What is the weather in Oslo?"}],
        tools=[WEATHER],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        extra_body=GREEDY,
    )
    assert answer.stop_reason == "tool_use"
    (call,) = answer.content
    assert call.type == "tool_use"
    assert (call.name, call.input) == (WEATHER["name"], {"city": "Oslo"})


def test_anthropics_own_wire_passes_untouched(
    claude: Anthropic, claude_gateway: RunningGateway, vendor: RunningVendor
) -> None:
    vendor.always(Behaviour(thinking="Let me see.", extra={"x_vendor": [1.5]}))
    system: Any = [{"type": "text", "text": "Long.", "cache_control": {"type": "ephemeral"}}]
    raw = claude.messages.with_raw_response.create(
        model="auto",
        max_tokens=2048,
        messages=HARD,
        system=system,
        thinking={"type": "enabled", "budget_tokens": 1024},
        extra_body={"x_client": {"b": None, "a": [2.50, "é"]}},
        extra_headers={"anthropic-beta": "something-new"},
    )
    message = raw.parse()
    assert message.content[0].type == "thinking"
    assert message.content[0].signature == SIGNATURE
    assert message.model_extra is not None
    assert message.model_extra["x_vendor"] == [1.5]
    (received,) = vendor.received
    assert received.path == "/v1/messages"
    assert received.body["x_client"] == {"b": None, "a": [2.5, "é"]}
    assert received.body["system"] == system
    assert received.headers["x-api-key"] != CLIENT_KEY
    assert "anthropic-beta" not in received.headers
    assert message.usage.model_extra is not None
    assert message.usage.model_extra["cost"] == float(CLAUDE_USD)
    (row,) = claude_gateway.ledger_rows(1, request_id=raw.headers["x-request-id"])
    assert (row["cost_usd"], row["cached_tokens"], row["cache_write_tokens"]) == (CLAUDE_USD, 4, 3)


def test_anthropics_own_stream_passes_untouched(
    claude: Anthropic, claude_gateway: RunningGateway, vendor: RunningVendor
) -> None:
    vendor.always(Behaviour(thinking="Hm.", tool_calls=[CALL]))
    with claude.messages.stream(
        model="claude", max_tokens=99, messages=HARD, tools=[WEATHER]
    ) as stream:
        events = list(stream)
        final = stream.get_final_message()
    assert [block.type for block in final.content] == ["thinking", "text", "tool_use"]
    assert final.usage.cache_read_input_tokens == 4
    assert cost_in(events) == float(CLAUDE_USD)
    (row,) = claude_gateway.ledger_rows(1, request_id=stream.response.headers["x-request-id"])
    assert (row["cost_usd"], row["stream"], row["outcome"]) == (CLAUDE_USD, True, "ok")


def test_what_only_anthropic_has_needs_an_anthropic_backend(
    sdk: Anthropic, claude: Anthropic, vendor: RunningVendor
) -> None:
    search: Any = {"type": "web_search_20250305", "name": "web_search"}
    with pytest.raises(anthropic.BadRequestError, match=r"needs_messages_api \(tools\[0\]\)"):
        sdk.messages.create(model="auto", max_tokens=9, messages=HARD, tools=[search])
    claude.messages.create(model="auto", max_tokens=9, messages=HARD, tools=[search])
    assert vendor.received[0].body["tools"] == [search]


def test_tokens_are_counted(sdk: Anthropic, claude: Anthropic, vendor: RunningVendor) -> None:
    local = sdk.messages.count_tokens(model="smollm2", messages=EASY)
    answer = sdk.messages.create(model="smollm2", max_tokens=1, messages=EASY)
    assert local.input_tokens == answer.usage.input_tokens
    estimated = sdk.messages.with_raw_response.count_tokens(model="gpt-4o", messages=EASY)
    assert estimated.headers["x-gateway-usage-source"] == "estimated"
    assert estimated.parse().input_tokens > 5
    vendor.forget()
    reported = claude.messages.with_raw_response.count_tokens(model="auto", messages=EASY)
    assert reported.headers["x-gateway-usage-source"] == "reported"
    assert reported.parse().input_tokens == len(vendor.received[0].raw)
    vendor.will(Behaviour(status=404))  # as of an upstream that can't count
    guessed = claude.messages.with_raw_response.count_tokens(model="auto", messages=EASY)
    assert guessed.headers["x-gateway-usage-source"] == "estimated"
    assert guessed.parse().input_tokens == estimated.parse().input_tokens
    vendor.will(Behaviour(status=429, headers={"retry-after": "7"}))
    with pytest.raises(anthropic.RateLimitError, match="simulated 429"):
        claude.messages.count_tokens(model="auto", messages=EASY)


def test_errors_come_in_anthropics_envelope(
    gateway: RunningGateway, sdk: Anthropic, vendor: RunningVendor
) -> None:
    with pytest.raises(anthropic.NotFoundError) as absent:
        sdk.messages.create(model="absent", max_tokens=9, messages=EASY)
    body: Any = absent.value.body
    assert body["type"] == "error"
    assert body["error"]["type"] == "not_found_error"
    assert body["request_id"] == absent.value.request_id
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        sdk.messages.create(model="auto", max_tokens=0, messages=EASY)
    with pytest.raises(anthropic.BadRequestError, match=r"messages\[0\].content"):
        block: Any = {"type": "text", "text": 7}
        sdk.messages.create(
            model="auto", max_tokens=1, messages=[{"role": "user", "content": [block]}]
        )
    with (
        Anthropic(base_url=gateway.url, api_key="sk-wrong", max_retries=0) as stranger,
        pytest.raises(anthropic.AuthenticationError),
    ):
        stranger.messages.create(model="auto", max_tokens=9, messages=EASY)
    vendor.always(Behaviour(status=429, headers={"retry-after": "700"}))
    with pytest.raises(anthropic.RateLimitError) as limited:
        sdk.messages.create(model="gpt-4o", max_tokens=9, messages=EASY)
    assert limited.value.response.headers["retry-after"] == "700"
    headers = {"x-api-key": CLIENT_KEY}
    for method, path, status in (
        ("GET", "", 405),
        ("OPTIONS", "", 405),
        ("DELETE", "/count_tokens", 405),
        ("POST", "/nowhere", 404),
        ("POST", "/", 404),
        ("POST", "", 415),
        ("POST", "/count_tokens", 415),
    ):
        answer = httpx.request(method, f"{gateway.base_url}/messages{path}", headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (status, "error")
        assert answer.headers["request-id"] == answer.json()["request_id"]
    with httpx.Client(base_url=gateway.base_url, headers=headers) as http:
        head = http.head("/messages")  # its body must not come: the next answer would be it
        assert (head.status_code, head.content) == (405, b"")
        assert http.get("/messages/nowhere").status_code == 404


@pytest.mark.parametrize("path", ["/messages", "/messages/count_tokens"])
@pytest.mark.parametrize("model", ["auto", "gpt-4o", "smollm2", "claude"])
def test_bad_bodies_are_the_clients_fault(
    gateway: RunningGateway, claude_gateway: RunningGateway, model: str, path: str
) -> None:
    asked = claude_gateway if model == "claude" else gateway
    good = json.dumps({"model": model, "max_tokens": 9, "messages": EASY}).encode()
    said = b'"What is the capital of France?"'
    headers = {"x-api-key": CLIENT_KEY, "content-type": "application/json"}
    with httpx.Client(base_url=asked.base_url, headers=headers) as http:
        for content in (
            b"{",
            good.replace(said, b'"\\ud800"'),
            good.replace(b": 9", b": 1e999"),
            good.replace(b": 9", b": 1" + b"0" * 30),
            good.replace(b": 9", b': "9"'),
            good.replace(said, b'[{"type": 7}]'),
            good.replace(said, b'[{"type": "text", "text": 7}]'),
            good.replace(said, b'[{"type": "image", "source": 7}]'),
            good.replace(said, b'[{"type": "x", "y": ' + b"[" * 300 + b"]" * 300 + b"}]"),
            good.replace(said, b"[" * 100_000),
            good.replace(b"9,", b'9, "tools": [{"name": "f", "input_schema": 7}],'),
            good.replace(b"9,", b'9, "stop_sequences": 7,'),
            good.replace(b"9,", b'9, "metadata": {"user_id": 7},'),
        ):
            answer = http.post(path, content=content)
            assert answer.status_code == 400, answer.text
            assert answer.json()["error"]["type"] == "invalid_request_error"
    assert "Traceback" not in asked.log.read_text()


def test_a_chunk_that_cannot_be_read_ends_in_an_error(
    sdk: Anthropic, gateway: RunningGateway, vendor: RunningVendor
) -> None:
    vendor.always(Behaviour(deltas=[{"content": "Hi"}, {"tool_calls": [7]}]))
    with (
        pytest.raises(anthropic.APIStatusError, match="not a chat completion"),
        sdk.messages.stream(model="gpt-4o", max_tokens=9, messages=HARD) as stream,
    ):
        stream.get_final_message()
    vendor.always(Behaviour(message={"tool_calls": [7]}))
    with pytest.raises(anthropic.InternalServerError, match="not a chat completion"):
        sdk.messages.create(model="gpt-4o", max_tokens=9, messages=HARD)
    assert "Traceback" not in gateway.log.read_text()


@pytest.mark.parametrize("behaviour", [Behaviour(error_after=4), Behaviour(drop_after=4)])
@pytest.mark.parametrize("model", ["claude", "gpt-4o"])
def test_a_broken_stream_ends_in_an_error(
    sdk: Anthropic,
    claude: Anthropic,
    gateway: RunningGateway,
    vendor: RunningVendor,
    behaviour: Behaviour,
    model: str,
) -> None:
    vendor.always(behaviour)
    client = claude if model == "claude" else sdk
    with (
        pytest.raises(anthropic.APIStatusError),
        client.messages.stream(model=model, max_tokens=9, messages=HARD) as stream,
    ):
        stream.get_final_message()
