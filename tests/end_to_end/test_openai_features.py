"""What the OpenAI SDK offers beside `create`, and what must come through unchanged."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI, pydantic_function_tool
from openai.types.chat import (
    ChatCompletionMessageFunctionToolCall,
    ChatCompletionMessageParam,
    ChatCompletionToolMessageParam,
)
from pydantic import BaseModel

from tests.end_to_end.conftest import CLIENT_KEY
from tests.gateway_process import RunningGateway, running_gateway
from tests.vendor.answers import TWO_CALLS
from tests.vendor.behaviour import ANSWER, USAGE, Behaviour
from tests.vendor.fixture import RunningVendor

EASY: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "What is the capital of France?"}
]
HEADERS = {"authorization": f"Bearer {CLIENT_KEY}", "content-type": "application/json"}
COST = re.compile(rb'"cost":[^,]+,"cost_details":\{[^}]*\},?')


class City(BaseModel):
    name: str
    inhabitants: int


class GetWeather(BaseModel):
    """The weather in a city."""

    city: str


WEATHER = pydantic_function_tool(GetWeather, name="get_weather")


def test_the_stream_helper_on_the_small_model(gateway: RunningGateway, client: OpenAI) -> None:
    options: Any = {"include_usage": True}
    with client.chat.completions.stream(
        model="smollm2", messages=EASY, temperature=0, stream_options=options
    ) as stream:
        text = "".join(event.delta for event in stream if event.type == "content.delta")
        final = stream.get_final_completion()
    assert "Paris" in text
    assert final.choices[0].message.content == text
    assert final.choices[0].finish_reason == "stop"
    assert final.usage is not None
    assert final.usage.completion_tokens > 0


def test_the_large_models_answer_to_a_schema_is_parsed(
    gateway: RunningGateway, client: OpenAI, vendor: RunningVendor
) -> None:
    vendor.always(Behaviour(text='{"name": "Paris", "inhabitants": 2102650}'))
    raw = client.chat.completions.with_raw_response.parse(
        model="gpt-4o", messages=EASY, response_format=City
    )
    assert raw.parse().choices[0].message.parsed == City(name="Paris", inhabitants=2102650)
    sent = vendor.received[0].body["response_format"]
    assert sent["json_schema"]["schema"]["required"] == ["name", "inhabitants"]
    with client.chat.completions.stream(
        model="gpt-4o", messages=EASY, response_format=City
    ) as stream:
        done = [event for event in stream if event.type == "content.done"]
    assert [event.parsed for event in done] == [City(name="Paris", inhabitants=2102650)]


def test_a_loop_with_tools_called_in_parallel(
    gateway: RunningGateway, client: OpenAI, vendor: RunningVendor
) -> None:
    vendor.will(TWO_CALLS)
    messages = list(EASY)
    raw = client.chat.completions.with_raw_response.create(
        model="gpt-4o", messages=messages, tools=[WEATHER], parallel_tool_calls=True
    )
    choice = raw.parse().choices[0]
    assert choice.finish_reason == "tool_calls"
    calls = choice.message.tool_calls or []
    for call in calls:
        assert isinstance(call, ChatCompletionMessageFunctionToolCall)
    assert [call.id for call in calls] == ["call_1", "call_2"]
    messages.append(choice.message.to_dict())  # type: ignore[arg-type]
    for call in calls:
        result: ChatCompletionToolMessageParam = {
            "role": "tool",
            "tool_call_id": call.id,
            "content": "sunny",
        }
        messages.append(result)
    answer = client.chat.completions.create(model="gpt-4o", messages=messages, tools=[WEATHER])
    assert answer.choices[0].message.content == ANSWER
    first, second = (one.body for one in vendor.received)
    assert first["tools"] == [WEATHER]
    assert first["parallel_tool_calls"] is True
    assert second["messages"] == messages


def test_tool_calls_stream_piece_by_piece(
    gateway: RunningGateway, client: OpenAI, vendor: RunningVendor
) -> None:
    vendor.always(TWO_CALLS)
    with client.chat.completions.stream(model="gpt-4o", messages=EASY, tools=[WEATHER]) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    deltas = [one for one in events if one.type == "tool_calls.function.arguments.delta"]
    assert [delta.arguments_delta for delta in deltas if delta.index == 1][-2:] == [
        '{"city": "東',
        '京"}',
    ]
    assert final.choices[0].finish_reason == "tool_calls"
    calls = final.choices[0].message.tool_calls or []
    assert [call.function.parsed_arguments for call in calls] == [
        GetWeather(city="Zürich"),
        GetWeather(city="東京"),
    ]


def test_raw_and_streamed_responses(gateway: RunningGateway, client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=EASY)
    assert raw.request_id is not None
    assert raw.request_id.startswith("req_")
    assert raw.parse()._request_id == raw.request_id
    assert json.loads(raw.text)["object"] == "chat.completion"
    with client.chat.completions.with_streaming_response.create(
        model="gpt-4o", messages=EASY
    ) as whole:
        assert json.loads(b"".join(whole.iter_bytes()))["object"] == "chat.completion"
    with client.chat.completions.with_streaming_response.create(
        model="gpt-4o", messages=EASY, stream=True
    ) as response:
        lines = [line for line in response.iter_lines() if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"


RICH_USAGE = {
    **USAGE,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 5},
}
RICH = Behaviour(
    message={
        "refusal": "No.",
        "reasoning_content": "Let me think… π",
        "annotations": [{"type": "url_citation", "url_citation": {"url": "u", "start_index": 1}}],
        "audio": {"id": "a", "data": "AAA=", "expires_at": 1, "transcript": "t"},
        "x_new": [1.0, None],
    },
    deltas=[
        {"reasoning_content": "Let me think… π"},
        {"refusal": "No."},
        {"x_new": [1.0, None], "content": "word"},
    ],
    usage=RICH_USAGE,
    extra={"service_tier": "scale", "system_fingerprint": "fp_1", "x_vendor": {"a": [1, 2.5]}},
    finish_reason="content_filter",
)


def test_whatever_a_plain_answer_holds_is_kept(
    gateway: RunningGateway, client: OpenAI, vendor: RunningVendor
) -> None:
    vendor.always(RICH)
    answer = client.chat.completions.create(
        model="gpt-4o", messages=EASY, n=2, seed=7, service_tier="scale"
    )
    assert [choice.index for choice in answer.choices] == [0, 1]
    for choice in answer.choices:
        kept = choice.message.to_dict()
        assert RICH.message.items() <= kept.items()
        assert choice.finish_reason == "content_filter"
    assert (answer.service_tier, answer.system_fingerprint) == ("scale", "fp_1")
    usage = answer.usage
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    assert usage.completion_tokens_details is not None
    assert usage.prompt_tokens_details.audio_tokens == 3
    assert usage.completion_tokens_details.audio_tokens == 5
    body = vendor.received[0].body
    assert (body["n"], body["seed"], body["service_tier"]) == (2, 7, "scale")


def test_whatever_a_stream_holds_is_kept(
    gateway: RunningGateway, client: OpenAI, vendor: RunningVendor
) -> None:
    vendor.always(RICH)
    chunks = list(
        client.chat.completions.create(
            model="gpt-4o",
            messages=EASY,
            n=2,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    deltas = [
        choice.delta.to_dict() for chunk in chunks for choice in chunk.choices if choice.index == 1
    ]
    assert deltas[1:-1] == RICH.deltas
    assert all(chunk.model_extra == {"x_vendor": {"a": [1, 2.5]}} for chunk in chunks)
    assert {(chunk.service_tier, chunk.system_fingerprint) for chunk in chunks} == {
        ("scale", "fp_1")
    }
    assert chunks[-1].usage is not None
    assert RICH_USAGE.items() <= chunks[-1].usage.to_dict().items()


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs_pass(
    gateway: RunningGateway, client: OpenAI, vendor: RunningVendor, stream: bool
) -> None:
    words = ["One", "two"]
    vendor.always(Behaviour(text=" ".join(words), logprobs=[-0.25, -1e-7]))
    if stream:
        with client.chat.completions.stream(
            model="gpt-4o", messages=EASY, logprobs=True, top_logprobs=0
        ) as helper:
            final = helper.get_final_completion()
        found = final.choices[0].logprobs
    else:
        answer = client.chat.completions.create(
            model="gpt-4o", messages=EASY, logprobs=True, top_logprobs=0
        )
        found = answer.choices[0].logprobs
    assert found is not None
    assert [entry.logprob for entry in found.content or []] == [-0.25, -1e-7]
    assert vendor.received[0].body["top_logprobs"] == 0


def test_extra_arguments_of_the_sdk(
    gateway: RunningGateway, client: OpenAI, vendor: RunningVendor
) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="auto",
        messages=EASY,
        extra_body={"chat_template_kwargs": {"thinking": False}},
        extra_query={"api-version": "2024-10-21"},
        extra_headers={
            "x-gateway-threshold": "0",
            "X-Client-Request-Id": "mine-1",
            "OpenAI-Beta": "x",
        },
    )
    assert raw.headers["x-gateway-tier"] == "large"
    (received,) = vendor.received
    assert received.body["chat_template_kwargs"] == {"thinking": False}
    names = {name for name in received.headers if name.startswith(("x-", "openai"))}
    assert names == set()


def test_a_client_that_gives_up_leaves_a_cancelled_row(
    gateway: RunningGateway, client: OpenAI, vendor: RunningVendor
) -> None:
    vendor.will(Behaviour(delay_s=1.5))
    with pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(
            model="gpt-4o",
            messages=EASY,
            timeout=0.3,
            extra_headers={"x-gateway-tags": "case=gives-up"},
        )
    (row,) = gateway.ledger_rows(1, tags={"case": "gives-up"})
    assert (row["outcome"], row["status"]) == ("cancelled", 499)


def test_the_sdk_waits_as_long_as_the_upstream_wishes(
    vendor: RunningVendor, tmp_path: Path
) -> None:
    deployment = {"name": "large", "tier": "large", "backend": "openai", "model": "m"}
    config = {"deployments": [{**deployment, "base_url": vendor.base_url, "retries": 0}]}
    vendor.will(Behaviour(status=429, headers={"retry-after": "1"}))
    with (
        running_gateway(tmp_path, config, env={"GATEWAY_API_KEYS": CLIENT_KEY}) as gateway,
        OpenAI(base_url=gateway.base_url, api_key=CLIENT_KEY, max_retries=1) as sdk,
    ):
        answer = sdk.chat.completions.create(model="large", messages=EASY)
    assert answer.choices[0].message.content == ANSWER
    first, second = vendor.received
    assert 1 <= second.received_s - first.received_s < 10


PARTS: list[Any] = [
    {"type": "text", "text": "What is this? é 東京 🗼"},
    {"type": "image_url", "image_url": {"url": "https://a.example/b.png", "detail": "low"}},
    {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    {"type": "file", "file": {"file_id": "file-1", "filename": "a.pdf"}},
    {"type": "x_new", "x_new": {"n": 1.0}},
]


def test_every_role_and_part_reaches_the_upstream(
    gateway: RunningGateway, client: OpenAI, vendor: RunningVendor
) -> None:
    messages: list[Any] = [
        {"role": "developer", "content": "Be brief.", "name": "boss"},
        {"role": "user", "content": PARTS},
        {"role": "assistant", "content": None, "audio": {"id": "audio-1"}},
        {"role": "x_role", "content": "?"},
    ]
    answer = client.chat.completions.create(
        model="auto",
        messages=messages,
        modalities=["text", "audio"],
        audio={"voice": "alloy", "format": "wav"},
    )
    assert answer.choices[0].message.content == ANSWER
    body = vendor.received[0].body
    assert body["messages"] == messages
    assert (body["modalities"], body["audio"]) == (
        ["text", "audio"],
        {"voice": "alloy", "format": "wav"},
    )


#: Numbers, spaces, escapes and an order that writing JSON again would change.
ODD = (
    '{"z": 1.0, "a": 1e-7, "big": 123456789012345678901234567890, "E": 1E5, "neg": -0.0,\n'
    ' "text": "é 東京 🗼 \\u00e9 \\/ \\ud83d\\uddfc",'
    ' "empty": {}, "model": "inner", "deep": [[1.10]]}'
)


@pytest.mark.parametrize(
    "options",
    [
        "",
        ', "stream": true',
        ', "stream": true, "stream_options": {"include_usage": true, "x": 1.0}',
        ', "stream": true, "stream_options": {"include_usage": false, "x": 1.0}',
        ', "stream": true, "stream_options": null',
    ],
)
def test_a_body_reaches_the_upstream_byte_for_byte(
    gateway: RunningGateway, vendor: RunningVendor, options: str
) -> None:
    body = f'{{"x_odd": {ODD}, "model": "gpt-4o",  "messages": [{{"role": "user", "content": "x"}}]'
    sent = f"{body}{options}}}".encode()
    answer = httpx.post(gateway.base_url + "/chat/completions", content=sent, headers=HEADERS)
    assert answer.status_code == 200
    asking = re.compile(rb'("stream_options": ?)(null|\{[^}]*\})|,"stream_options":\{[^}]*\}')
    assert asking.sub(rb"\1", vendor.received[0].raw) == asking.sub(rb"\1", sent)
    if options:
        asked = vendor.received[0].body["stream_options"]
        assert asked["include_usage"] is True
        assert asked.get("x", 1.0) == 1.0


def test_a_plain_answer_comes_back_byte_for_byte(
    gateway: RunningGateway, vendor: RunningVendor
) -> None:
    message = '{"role": "assistant", "content": "\\u00e9 \\"usage\\": {}"}'
    choices = f'[{{"index": 0, "message": {message}, "finish_reason": "x_new"}}]'
    usage = '{"completion_tokens": 1, "prompt_tokens": 2, "x": 1.0}'
    made = (
        f'{{"object": "chat.completion", "x_odd": {ODD}, "choices": {choices}, "usage": {usage}}}'
    )
    vendor.always(Behaviour(body=made.encode()))
    body = {"model": "gpt-4o", "messages": EASY}
    answer = httpx.post(gateway.base_url + "/chat/completions", json=body, headers=HEADERS)
    assert COST.sub(b"", answer.content) == made.encode()
    assert answer.json()["usage"]["cost"] > 0


@pytest.mark.parametrize("asks_usage", [False, True])
def test_a_stream_comes_back_byte_for_byte(
    gateway: RunningGateway, vendor: RunningVendor, asks_usage: bool
) -> None:
    start = f'{{"object": "chat.completion.chunk", "x_odd": {ODD.replace(chr(10), "")}, "choices": '
    finished = '[{"index": 0, "delta": {"content": "\\u00e9"}, "finish_reason": "stop"}]'
    usage = '{"completion_tokens": 1, "prompt_tokens": 2, "x": 1.0}'
    events = [f"data: {start}{finished}}}", f'data: {start}[], "usage": {usage}}}', "data: [DONE]"]
    made = "".join(f"{event}\n\n" for event in events).encode()
    vendor.always(Behaviour(body=made, content_type="text/event-stream"))
    options = {"stream_options": {"include_usage": True}} if asks_usage else {}
    body = {"model": "gpt-4o", "messages": EASY, "stream": True, **options}
    answer = httpx.post(gateway.base_url + "/chat/completions", json=body, headers=HEADERS)
    expected = made if asks_usage else made.replace(events[1].encode() + b"\n\n", b"")
    assert COST.sub(b"", answer.content) == expected
    assert (b'"cost":' in answer.content) is asks_usage
