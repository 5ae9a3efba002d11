"""Several choices, and how likely their tokens were, from the real small model."""

import math

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gateway.backends.local.backend import LocalBackend
from gateway.backends.local.tokens import TokenCounter
from tests.backends.local.asking import answer_of, chat, chunks_of, content_of, payloads_of

STORY = "Write the first words of a story."


async def test_choices_differ_and_a_seed_repeats_them_all(small: LocalBackend) -> None:
    request = chat(STORY, n=3, temperature=1.5, seed=11, max_tokens=10)
    answer, again = await answer_of(small, request), await answer_of(small, request)
    completion = ChatCompletion.model_validate_json(answer.raw)
    texts = [choice.message.content for choice in completion.choices]
    assert [choice.index for choice in completion.choices] == [0, 1, 2]
    assert len(set(texts)) == 3
    assert [one["message"]["content"] for one in again.payload["choices"]] == texts
    alone = chat(STORY, temperature=1.5, seed=11, max_tokens=10)
    assert content_of(await answer_of(small, alone)) == texts[0]


async def test_the_prompt_of_several_choices_is_counted_once(
    small: LocalBackend, counter: TokenCounter
) -> None:
    request = chat("Count from 1 to 90.", n=4)
    usage = (await answer_of(small, request)).payload["usage"]
    assert usage["prompt_tokens"] == counter.count(request.messages)
    assert usage["completion_tokens"] == 4 * 8


async def test_choices_are_streamed_by_their_index(small: LocalBackend) -> None:
    fields = {"n": 2, "temperature": 1.5, "seed": 4, "max_tokens": 10}
    plain = await answer_of(small, chat(STORY, **fields))
    chunks = payloads_of(await chunks_of(small, chat(STORY, stream=True, **fields)))
    texts = ["", ""]
    ends: list[int] = []
    for chunk in map(ChatCompletionChunk.model_validate, chunks):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            ends += [choice.index] if choice.finish_reason == "length" else []
    assert texts == [choice["message"]["content"] for choice in plain.payload["choices"]]
    assert sorted(ends) == [0, 1]


async def test_logprobs_are_of_the_tokens_that_are_shown(
    small: LocalBackend, counter: TokenCounter
) -> None:
    request = chat("What is the capital of France?", logprobs=True, top_logprobs=3, max_tokens=7)
    answer = ChatCompletion.model_validate_json((await answer_of(small, request)).raw)
    choice = answer.choices[0]
    assert choice.logprobs is not None
    content = choice.logprobs.content
    assert content is not None
    assert "".join(entry.token for entry in content) == choice.message.content
    assert (
        b"".join(bytes(entry.bytes or ()) for entry in content).decode() == choice.message.content
    )
    for entry in content:
        assert len(entry.top_logprobs) == 3
        # Greedy: the token is the likeliest.
        assert entry.top_logprobs[0].token == entry.token
        assert entry.top_logprobs[0].logprob == entry.logprob <= 0
        assert sum(math.exp(one.logprob) for one in entry.top_logprobs) <= 1 + 1e-6
    without = await answer_of(small, chat("What is the capital of France?", max_tokens=7))
    assert without.payload["choices"][0]["logprobs"] is None


@pytest.mark.parametrize("stop", ["teen", " 4", "e f", "🦄"])
async def test_streamed_logprobs_are_the_same_and_end_with_the_text(
    small: LocalBackend, stop: str
) -> None:
    fields = {"logprobs": True, "top_logprobs": 0, "max_tokens": 24, "stop": [stop]}
    prompt = "Say: one two three four five thirteen 🐴 fourteen"
    plain = (await answer_of(small, chat(prompt, **fields))).payload["choices"][0]
    chunks = payloads_of(await chunks_of(small, chat(prompt, stream=True, **fields)))
    told = [
        entry
        for chunk in chunks
        for choice in chunk["choices"]
        if choice["logprobs"] is not None
        for entry in choice["logprobs"]["content"]
    ]
    assert told == plain["logprobs"]["content"]
    text = b"".join(bytes(entry["bytes"]) for entry in told).decode()
    shown = plain["message"]["content"]
    # The last token may hold the beginning of the stop string too, but none stands after it.
    assert text.startswith(shown)
    assert len(text) - len(told[-1]["token"]) < len(shown) or text == shown


async def test_logprobs_are_the_models_own_whatever_the_sampling(small: LocalBackend) -> None:
    requests = [
        chat("What is the capital of France?", logprobs=True, max_tokens=1, **fields)
        for fields in ({}, {"temperature": 2, "top_k": 1, "presence_penalty": 2})
    ]
    first, second = [(await answer_of(small, one)).payload["choices"][0] for one in requests]
    assert first["logprobs"] == second["logprobs"]
