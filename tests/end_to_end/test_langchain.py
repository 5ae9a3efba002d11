"""LangChain's ChatOpenAI with only `base_url` changed."""

from __future__ import annotations

from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr

from tests.end_to_end.conftest import CLIENT_KEY
from tests.gateway_process import RunningGateway
from tests.vendor.answers import TWO_CALLS
from tests.vendor.behaviour import ANSWER, Behaviour
from tests.vendor.fixture import RunningVendor

EASY = "What is the capital of France?"


class City(BaseModel):
    name: str


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


def chat(gateway: RunningGateway, model: str = "auto") -> ChatOpenAI:
    return ChatOpenAI(
        model=model,
        base_url=gateway.base_url,
        api_key=SecretStr(CLIENT_KEY),
        temperature=0,
        max_retries=0,
        stream_usage=True,
    )


def joined(pieces: list[AIMessageChunk]) -> AIMessageChunk:
    return add_ai_message_chunks(*pieces)


def test_an_answer_of_the_small_model(gateway: RunningGateway) -> None:
    answer = chat(gateway).invoke(EASY)
    assert "Paris" in answer.text
    assert answer.response_metadata["model_name"] == "smollm2-135m-instruct"
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] > 0


async def test_streams(gateway: RunningGateway) -> None:
    for model, expected in (("smollm2", "Paris"), ("gpt-4o", ANSWER)):
        pieces = [piece async for piece in chat(gateway, model).astream(EASY)]
        assert len(pieces) > 5
        whole = joined(pieces)
        assert expected in whole.text
        assert whole.usage_metadata is not None
        assert whole.usage_metadata["output_tokens"] > 0


def test_bound_tools_are_called_and_answered(
    gateway: RunningGateway, vendor: RunningVendor
) -> None:
    vendor.will(TWO_CALLS)
    bound = chat(gateway, "gpt-4o").bind_tools([get_weather])
    question = HumanMessage(EASY)
    asked = bound.invoke([question])
    assert isinstance(asked, AIMessage)
    assert [call["args"] for call in asked.tool_calls] == [{"city": "Zürich"}, {"city": "東京"}]
    results = [get_weather.invoke(call) for call in asked.tool_calls]
    assert all(isinstance(result, ToolMessage) for result in results)
    assert bound.invoke([question, asked, *results]).text == ANSWER
    sent = [one["content"] for one in vendor.received[1].body["messages"] if one["role"] == "tool"]
    assert sent == ["sunny in Zürich", "sunny in 東京"]


async def test_bound_tools_are_called_in_a_stream(
    gateway: RunningGateway, vendor: RunningVendor
) -> None:
    vendor.will(TWO_CALLS)
    bound = chat(gateway, "gpt-4o").bind_tools([get_weather])
    pieces = [piece async for piece in bound.astream(EASY) if isinstance(piece, AIMessageChunk)]
    calls = joined(pieces).tool_calls
    assert [call["args"]["city"] for call in calls] == ["Zürich", "東京"]


def test_structured_output(gateway: RunningGateway, vendor: RunningVendor) -> None:
    vendor.will(Behaviour(text='{"name": "Paris"}'))
    assert chat(gateway, "gpt-4o").with_structured_output(City).invoke(EASY) == City(name="Paris")
