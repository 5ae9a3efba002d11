"""How sure the real small model was, beside the logprobs that it tells."""

import math
from typing import Any

import pytest
import torch

from gateway.backends.local.backend import LocalBackend
from gateway.backends.local.logprobs import Doubts
from gateway.core.answer import Item
from gateway.core.certainty import Certainty
from gateway.core.request import Caller, ChatRequest
from tests.backends.local.asking import SMALL, answer_of, chat, chunks_of, payloads_of

CURIOUS = Caller("req_1", wants_confidence=True)
COUNT = "Count from 1 to 20."


async def asked(small: LocalBackend, request: ChatRequest) -> list[Item]:
    return [item async for item in small.call(request, SMALL, CURIOUS)]


def test_it_is_made_of_the_logits() -> None:
    doubts = Doubts()
    assert Doubts.of_all([doubts]) is None
    # Probabilities 0.25 and 0.75.
    logits = torch.tensor([0.0, math.log(3)])
    for token in (1, 0):
        normaliser = float(logits.logsumexp(-1))
        doubts.observe(logits, float(logits[token]) - normaliser, normaliser)
    sure = Doubts.of_all([doubts, Doubts()])
    assert sure is not None
    assert sure.mean_logprob == pytest.approx(math.log(0.75 * 0.25) / 2)
    assert sure.min_logprob == pytest.approx(math.log(0.25))
    entropy = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    assert sure.first_token_entropy == pytest.approx(entropy, rel=1e-6)
    assert sure.first_token_margin == pytest.approx(0.5)


@pytest.mark.parametrize("fields", [{}, {"n": 3, "temperature": 1.5, "seed": 4}])
async def test_it_agrees_with_the_logprobs(small: LocalBackend, fields: dict[str, Any]) -> None:
    request = chat(COUNT, logprobs=True, top_logprobs=20, logit_bias={"5": 1}, **fields)
    answer = await answer_of(small, request)
    choices = answer.payload["choices"]
    assert {choice["finish_reason"] for choice in choices} == {"length"}
    told = [one["logprob"] for choice in choices for one in choice["logprobs"]["content"]]
    first = choices[0]["logprobs"]["content"][0]["top_logprobs"]
    sure = answer.certainty
    assert isinstance(sure, Certainty)
    assert sure.mean_logprob == pytest.approx(sum(told) / len(told), abs=1e-5)
    assert sure.min_logprob == pytest.approx(min(told), abs=1e-5)
    margin = math.exp(first[0]["logprob"]) - math.exp(first[1]["logprob"])
    assert sure.first_token_margin == pytest.approx(margin, abs=1e-5)
    least = -sum(math.exp(one["logprob"]) * one["logprob"] for one in first)
    assert least - 1e-5 <= sure.first_token_entropy <= math.log(49152)
    assert "confidence" not in answer.payload


async def test_an_answer_tells_it_to_those_who_ask(small: LocalBackend) -> None:
    (answer,) = await asked(small, chat(COUNT))
    assert answer.payload is not None
    told = answer.payload["confidence"]
    assert answer.certainty == Certainty(**told)
    silent = await answer_of(small, chat(COUNT))
    assert silent.certainty == answer.certainty
    assert "confidence" not in silent.payload


@pytest.mark.parametrize("include_usage", [True, False])
async def test_a_stream_tells_it_at_its_end(small: LocalBackend, *, include_usage: bool) -> None:
    options = {"include_usage": include_usage}
    request = chat(COUNT, stream=True, stream_options=options, n=2)
    told = payloads_of(await asked(small, request))  # type: ignore[arg-type]
    # The usage chunk goes only to those who asked for usage.
    *others, last = told if include_usage else told[:-1]
    assert last["confidence"].keys() == set(Certainty.__slots__)
    assert not any("confidence" in one for one in others)
    assert bool(last["choices"]) != include_usage

    chunks = await chunks_of(small, request)
    assert chunks[-1].certainty == Certainty(**last["confidence"])
    assert not any("confidence" in one for one in payloads_of(chunks))
