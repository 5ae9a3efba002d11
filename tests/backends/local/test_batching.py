"""Answers that are generated together: what each says, and what they share."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import pytest

from gateway.backends.local.backend import LocalBackend
from gateway.backends.local.tokens import TokenCounter
from gateway.core.request import ChatRequest
from tests.backends.local.asking import (
    CALLER,
    SMALL,
    answer_of,
    chat,
    client_of,
    content_of,
    until_load,
)

#: Prompts of 1 to some 700 words.
PROMPTS = [
    "Hi",
    "What is the capital of France?",
    "Count from 1 to 20.",
    "Write a haiku about the sea.",
    "Summarise: " + "The quick brown fox jumps over the lazy dog. " * 8,
    "Translate to French: " + "I would like a cup of tea, please. " * 25,
    "What is wrong here? " + "def f(x): return x + 1 # adds one " * 40,
    "Repeat the last word. " + "one two three four five six seven eight nine ten " * 70,
]
LONG = "Tell me what this is about. " + "A sentence that says nothing new at all. " * 330


async def contents(small: LocalBackend, requests: Sequence[ChatRequest]) -> list[str]:
    return [
        content_of(one) for one in await asyncio.gather(*(answer_of(small, r) for r in requests))
    ]


@pytest.mark.parametrize(
    "fields",
    [{"temperature": 0}, {"temperature": 1.2, "top_p": 0.95, "seed": 7}],
    ids=["greedy", "seeded"],
)
async def test_an_answer_is_the_same_alone_and_beside_others(
    small: LocalBackend, fields: dict[str, Any]
) -> None:
    requests = [chat(prompt, max_tokens=24, **fields) for prompt in PROMPTS]
    alone = [content_of(await answer_of(small, request)) for request in requests]
    assert len(set(alone)) == len(PROMPTS)
    assert await contents(small, requests) == alone
    # Others join and leave at other steps, and some prompts are known by now.
    mixed = [*requests[::-1], *(chat(text, max_tokens=3) for text in PROMPTS[:3])]
    assert (await contents(small, mixed))[: len(PROMPTS)] == alone[::-1]


async def test_sampling_parameters_are_each_requests_own(small: LocalBackend) -> None:
    kinds: list[dict[str, Any]] = [
        {"temperature": 0},
        {"temperature": 2, "seed": 1},
        {"temperature": 2, "seed": 2},
        {"temperature": 2, "seed": 1, "top_k": 1},
        {"temperature": 2, "seed": 3, "min_p": 1},
        {"temperature": 0, "logit_bias": {"28": 100}},
    ]
    greedy, first, second, one_token, likeliest, biased = await contents(
        small, [chat("Tell me a story.", max_tokens=12, **kind) for kind in kinds]
    )
    assert len({greedy, first, second}) == 3
    assert one_token == likeliest == greedy
    assert biased == "," * 12


async def test_a_long_prompt_does_not_stall_the_others(
    small: LocalBackend, counter: TokenCounter
) -> None:
    long = chat(LONG, max_tokens=1)
    pieces = -(-counter.count(long.messages) // 256)
    assert pieces > 8
    told = 0
    during: list[int] = []
    story = chat("Write a long story.", stream=True, max_tokens=2000)
    async with aclosing(small.call(story, SMALL, CALLER)) as items:
        asked: asyncio.Task[Any] | None = None
        async for _ in items:
            told += 1
            if told == 8:
                asked = asyncio.create_task(answer_of(small, long))
            if asked is not None:
                during.append(told)
            if asked is not None and asked.done():
                break
    # A token for each piece of the prompt, but for those that were on their way.
    assert len(during) >= pieces - 2
    await until_load(small, (0, 0))


async def test_what_was_read_before_is_not_read_again(
    small: LocalBackend, counter: TokenCounter
) -> None:
    rules = "You answer briefly. " * 40
    first = [{"role": "system", "content": rules}, {"role": "user", "content": "Name a fruit."}]
    asked = chat("", messages=first, max_tokens=12)
    fresh, again = await answer_of(small, asked), await answer_of(small, asked)
    tokens = counter.count(first)
    assert cached(fresh) == 0
    assert cached(again) == (tokens - 1) // 64 * 64 > 100
    assert content_of(again) == content_of(fresh)
    said = {"role": "assistant", "content": content_of(fresh)}
    more = [*first, said, {"role": "user", "content": "And another one."}]
    answer = await answer_of(small, chat("", messages=more))
    assert cached(answer) >= tokens // 64 * 64
    assert answer.usage is not None
    assert answer.usage.cached_tokens == cached(answer)
    other = [{"role": "system", "content": rules}, {"role": "user", "content": "Name a tree."}]
    assert 100 < cached(await answer_of(small, chat("", messages=other))) < tokens


async def test_a_prompt_that_several_ask_at_once_is_read_once(small: LocalBackend) -> None:
    prompt = "These are the rules of the house. " * 60
    answers = await asyncio.gather(*(answer_of(small, chat(prompt, seed=n)) for n in range(4)))
    assert sorted(cached(answer) > 300 for answer in answers) == [False, True, True, True]
    assert len({content_of(answer) for answer in answers}) == 1


async def test_callers_take_turns(small: LocalBackend) -> None:
    """Eight places, all taken by one caller who has eight more waiting: the other comes next."""
    client = client_of(small)
    ended: list[str] = []

    async def ask(caller: str, number: int) -> None:
        told = [{"role": "user", "content": f"Count from {number} to 900."}]
        sampling = {"max_tokens": 30, "temperature": 0.0, "stop": []}
        async with aclosing(client.generate(told, sampling, caller=caller)) as events:
            async for _ in events:
                pass
        ended.append(caller)

    many = [asyncio.create_task(ask("many", number)) for number in range(24)]
    await until_load(small, (8, 16))
    await ask("one", 5)
    assert ended.count("many") < 20
    await asyncio.gather(*many)


def cached(answer: Any) -> int:
    count: int = answer.payload["usage"]["prompt_tokens_details"]["cached_tokens"]
    return count
