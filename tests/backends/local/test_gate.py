"""The cascade's gate in the engine: on logits of our own, and with the real small model."""

import asyncio
import math

import pytest

from gateway.backends.local.backend import LocalBackend
from gateway.backends.local.gate import Gate
from gateway.core.answer import Item
from gateway.core.cascade import Cascade
from gateway.core.errors import LowConfidence
from tests.backends.local.asking import (
    answer_of,
    chat,
    chunks_of,
    content_of,
    items_of,
    load_of,
    payloads_of,
    pieces_of,
    until_load,
)

FRANCE = "What is the capital of France?"
COUNT = "Count from 1 to 20."
#: Of two tokens.
LOGPROBS = (math.log(0.25), math.log(0.75))


def test_nothing_passes_before_the_last_held_token() -> None:
    gate = Gate(Cascade(3, 0.0))
    passed = []
    for number in range(5):
        gate.observe(LOGPROBS[number % 2])
        passed.append(gate.push(f"{number} ", ended=False))
    assert passed == [[], [], ["0 ", "1 ", "2 "], ["3 "], ["4 "]]
    assert gate.confidence == pytest.approx((0.25 * 0.75 * 0.25) ** (1 / 3))


def test_a_short_answer_is_decided_at_its_end() -> None:
    gate = Gate(Cascade(10, 0.6))
    gate.observe(LOGPROBS[1])
    assert gate.push("yes", ended=False) == []
    gate.observe(LOGPROBS[1])
    assert gate.push("", ended=True) == ["yes"]
    assert gate.confidence == pytest.approx(0.75)
    assert not gate.refused


def test_an_unsure_beginning_never_passes() -> None:
    gate = Gate(Cascade(1, 0.6))
    gate.observe(LOGPROBS[0])
    assert gate.push("no", ended=False) == []
    assert gate.refused


def test_a_prompt_that_is_still_being_read_is_not_judged() -> None:
    gate = Gate(Cascade(1, 0.6))
    assert gate.push("", ended=False) == []
    assert (gate.confidence, gate.refused) == (None, False)


async def test_a_committed_stream_says_what_an_unwatched_one_says(small: LocalBackend) -> None:
    request = chat(COUNT, stream=True, max_tokens=16)
    unwatched = await chunks_of(small, request)
    watched = await chunks_of(small, request, Cascade(6, 0.0))
    assert pieces_of(watched) == pieces_of(unwatched)
    assert [p["choices"] for p in payloads_of(watched)] == [
        p["choices"] for p in payloads_of(unwatched)
    ]
    assert watched[0].confidence is not None
    assert 0 < watched[0].confidence < 1
    assert unwatched[0].confidence is None


async def test_a_committed_plain_answer(small: LocalBackend) -> None:
    unwatched = await answer_of(small, chat(COUNT))
    watched = await answer_of(small, chat(COUNT), Cascade(4, 0.0))
    streamed = await chunks_of(small, chat(COUNT, stream=True), Cascade(4, 0.0))
    assert content_of(watched) == content_of(unwatched)
    assert watched.confidence == streamed[0].confidence is not None
    assert unwatched.confidence is None


async def given_up(small: LocalBackend, cascade: Cascade, **fields: object) -> LowConfidence:
    items: list[Item] = []
    with pytest.raises(LowConfidence) as refused:
        items = await items_of(small, chat(**{"content": COUNT, **fields}), cascade)  # type: ignore[arg-type]
    assert not items
    return refused.value


@pytest.mark.parametrize("stream", [False, True])
async def test_an_unsure_answer_is_given_up_at_once(small: LocalBackend, *, stream: bool) -> None:
    refused = await given_up(small, Cascade(5, 1.0), stream=stream, max_tokens=2000)
    assert 0 < refused.confidence < 1
    assert refused.usage.completion_tokens == 5
    assert refused.usage.source == "counted"
    assert refused.usage.compute_s is not None
    assert refused.usage.compute_s > 0
    assert refused.certainty is not None
    # A cascade's confidence is the geometric mean of the same tokens' probabilities.
    assert refused.confidence == pytest.approx(math.exp(refused.certainty.mean_logprob))
    assert await load_of(small) == (0, 0)


async def test_an_answer_shorter_than_what_is_held(small: LocalBackend) -> None:
    request = chat(FRANCE, max_tokens=40)
    answer = await answer_of(small, request)
    assert answer.payload["choices"][0]["finish_reason"] == "stop"
    watched = await answer_of(small, request, Cascade(60, 0.0))
    assert content_of(watched) == content_of(answer)
    assert watched.confidence is not None
    refused = await given_up(small, Cascade(60, 1.0), content=FRANCE, max_tokens=40)
    assert refused.confidence == watched.confidence
    assert answer.usage is not None
    assert refused.usage.completion_tokens == answer.usage.completion_tokens


async def test_a_caller_that_leaves_while_held_frees_the_engine(small: LocalBackend) -> None:
    request = chat("Write a long story.", stream=True, max_tokens=2000)
    asking = asyncio.create_task(items_of(small, request, Cascade(1000, 0.0)))
    await until_load(small, (1, 0))
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await until_load(small, (0, 0))


async def test_confidence_is_the_models_own_whatever_the_sampling(small: LocalBackend) -> None:
    greedy, sampled = [
        await answer_of(small, chat(FRANCE, max_tokens=1, **fields), Cascade(1, 0.0))
        for fields in ({}, {"top_p": 0.1, "temperature": 1.5, "seed": 1})
    ]
    assert content_of(greedy) == content_of(sampled)
    assert greedy.confidence == sampled.confidence


async def test_it_is_surer_of_paris_than_of_a_story(small: LocalBackend) -> None:
    sure, unsure = [
        (await answer_of(small, chat(text, max_tokens=8), Cascade(8, 0.0))).confidence
        for text in (FRANCE, "Write a story.")
    ]
    assert sure is not None
    assert unsure is not None
    assert sure > unsure
