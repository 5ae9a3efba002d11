"""What users of LlamaIndex do, against the gateway at $OPENAI_API_BASE; prints one JSON object."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai import OpenAI
from llama_index.llms.openai_like import OpenAILike

EASY = "What is the capital of France?"
MESSAGES = [ChatMessage(role="user", content=EASY)]


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


def like(model: str) -> OpenAILike:
    return OpenAILike(
        model=model,
        is_chat_model=True,
        is_function_calling_model=True,
        temperature=0,
        max_retries=0,
    )


async def streamed(llm: OpenAI) -> str:
    pieces = [piece.delta async for piece in await llm.astream_chat(MESSAGES)]
    return "".join(piece or "" for piece in pieces)


def tool_loop(llm: OpenAILike) -> tuple[list[str], str | None]:
    """The cities that were asked for, and the answer to the tool's results."""
    tool = FunctionTool.from_defaults(fn=get_weather)
    asked = llm.chat_with_tools([tool], user_msg=EASY, allow_parallel_tool_calls=True)
    calls = llm.get_tool_calls_from_response(asked)
    results = [
        ChatMessage(
            role="tool",
            content=tool(**call.tool_kwargs).content,
            additional_kwargs={"tool_call_id": call.tool_id},
        )
        for call in calls
    ]
    history = [*MESSAGES, asked.message, *results]
    answer = llm.chat_with_tools([tool], chat_history=history)
    return [call.tool_kwargs["city"] for call in calls], answer.message.content


async def main() -> dict[str, Any]:
    auto = like("auto")
    cities, answer = tool_loop(like("auto@0"))
    return {
        "sdk": openai.__version__,
        "cities": cities,
        "answer": answer,
        "plain": auto.complete(EASY).text,
        "small": await streamed(like("smollm2")),
        # The class for OpenAI's own models knows them by name.
        "large": await streamed(OpenAI(model="gpt-4o", max_retries=0)),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main())))
