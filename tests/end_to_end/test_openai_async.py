"""The asynchronous OpenAI SDK: the same surface on both tiers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from openai import AsyncOpenAI, NotFoundError, pydantic_function_tool
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel

from tests.gateway_process import RunningGateway
from tests.vendor.answers import TWO_CALLS
from tests.vendor.behaviour import ANSWER, Behaviour
from tests.vendor.fixture import RunningVendor

EASY: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "What is the capital of France?"}
]
USAGE_TOO: Any = {"include_usage": True}


class GetWeather(BaseModel):
    """The weather in a city."""

    city: str


WEATHER = pydantic_function_tool(GetWeather, name="get_weather")


async def test_both_tiers_answer_and_stream(
    gateway: RunningGateway, async_client: AsyncOpenAI, vendor: RunningVendor
) -> None:
    chat = async_client.chat.completions
    small, large = await asyncio.gather(
        chat.create(model="smollm2", messages=EASY, temperature=0),
        chat.create(model="gpt-4o", messages=EASY),
    )
    assert "Paris" in (small.choices[0].message.content or "")
    assert large.choices[0].message.content == ANSWER
    for model, text in (("smollm2", small.choices[0].message.content), ("gpt-4o", ANSWER)):
        async with await chat.create(
            model=model, messages=EASY, temperature=0, stream=True, stream_options=USAGE_TOO
        ) as stream:
            chunks = [chunk async for chunk in stream]
        pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
        assert "".join(pieces).strip() == text
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.to_dict()["cost"]


async def test_the_stream_helper_on_both_tiers(
    gateway: RunningGateway, async_client: AsyncOpenAI
) -> None:
    for model, expected in (("smollm2", "Paris"), ("gpt-4o", ANSWER)):
        async with async_client.chat.completions.stream(
            model=model, messages=EASY, temperature=0
        ) as stream:
            kinds = [event.type async for event in stream]
            final = await stream.get_final_completion()
        assert kinds[-1] == "content.done"
        assert {"chunk", "content.delta"} <= {*kinds}
        assert expected in (final.choices[0].message.content or "")


async def test_parsing_and_tools(
    gateway: RunningGateway, async_client: AsyncOpenAI, vendor: RunningVendor
) -> None:
    chat = async_client.chat.completions
    vendor.will(Behaviour(text='{"city": "東京"}'), TWO_CALLS, TWO_CALLS)
    parsed = await chat.parse(model="gpt-4o", messages=EASY, response_format=GetWeather)
    assert parsed.choices[0].message.parsed == GetWeather(city="東京")
    called = await chat.parse(model="gpt-4o", messages=EASY, tools=[WEATHER])
    async with chat.stream(model="gpt-4o", messages=EASY, tools=[WEATHER]) as stream:
        streamed = await stream.get_final_completion()
    for answer in (called, streamed):
        calls = answer.choices[0].message.tool_calls or []
        assert [call.function.parsed_arguments for call in calls] == [
            GetWeather(city="Zürich"),
            GetWeather(city="東京"),
        ]


async def test_raw_and_streamed_responses(
    gateway: RunningGateway, async_client: AsyncOpenAI
) -> None:
    chat = async_client.chat.completions
    raw = await chat.with_raw_response.create(model="auto@0", messages=EASY)
    assert raw.headers["x-gateway-tier"] == "large"
    assert raw.parse().choices[0].message.content == ANSWER
    async with chat.with_streaming_response.create(
        model="gpt-4o", messages=EASY, stream=True
    ) as response:
        lines = [line async for line in response.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"


async def test_models(gateway: RunningGateway, async_client: AsyncOpenAI) -> None:
    names = [model.id async for model in async_client.models.list()]
    assert {"auto", "smollm2", "gpt-4o"} <= {*names}
    assert (await async_client.models.retrieve("smollm2")).object == "model"
    with pytest.raises(NotFoundError):
        await async_client.models.retrieve("absent")
