"""What smaller weights cost: perplexity on texts and equal answers to prompts, beside float32."""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.local import weights
from benchmarks.local.asked import Prompts
from benchmarks.local.systems import Ours
from benchmarks.local.texts import PROMPTS, TEXTS
from benchmarks.report import Goal, table
from gateway.backends.local.load import LoadedModel, load
from gateway.backends.local.network.interface import Part

_FORMATS = ("float32", "auto")
_ANSWER_TOKENS = 32
#: Texts that are read at the same time, a token of each in a step.
_AT_ONCE = 16
#: As a prompt a text is read in pieces of so many tokens, and the token after each is predicted.
_PIECE = 8
_LONGEST = 256


def quality(threads: int, say: Callable[[str], None]) -> str:
    """The tables as Markdown; `say` is told each step."""
    torch.set_num_threads(threads)
    losses, answers = {}, {}
    for dtype in _FORMATS:
        say(f"{dtype}, perplexity")
        losses[dtype] = _losses(dtype)
        say(f"{dtype}, answers")
        answers[dtype] = _answers(dtype, threads)
    return _report(losses, answers)


def _losses(dtype: str) -> tuple[list[float], list[float]]:
    """The negative log-likelihoods of tokens by the network's steps, and by its prompts' pieces."""
    model = load(weights.folder(), dtype)
    model.network.open(_AT_ONCE, _LONGEST)
    ids = [model.tokenizer.plain(text)[:_LONGEST] for text in TEXTS]
    batches = [ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE)]
    with torch.inference_mode():
        by_steps = [loss for batch in batches for loss in _by_steps(model, batch)]
        return by_steps, [loss for batch in batches for loss in _by_pieces(model, batch)]


def _by_steps(model: LoadedModel, texts: Sequence[list[int]]) -> Iterator[float]:
    network = model.network
    memories = [network.memory() for _ in texts]
    for position in range(max(map(len, texts)) - 1):
        going = [number for number, one in enumerate(texts) if position + 1 < len(one)]
        tokens = [texts[number][position] for number in going]
        logits = network.step([memories[number] for number in going], tokens)
        for row, number in zip(logits, going, strict=True):
            yield _loss(row, texts[number][position + 1])
    for memory in memories:
        memory.release()


def _by_pieces(model: LoadedModel, texts: Sequence[list[int]]) -> Iterator[float]:
    network = model.network
    memories = [network.memory() for _ in texts]
    for start in range(0, max(map(len, texts)) - _PIECE, _PIECE):
        end = start + _PIECE
        going = [number for number, one in enumerate(texts) if end < len(one)]
        pieces = [
            Part(memories[number], texts[number][start:end], wants_logits=True) for number in going
        ]
        for row, number in zip(network.read(pieces), going, strict=True):
            yield _loss(row, texts[number][end])
    for memory in memories:
        memory.release()


def _loss(logits: Any, token: int) -> float:
    return float(logits.logsumexp(-1) - logits[token])


def _answers(dtype: str, threads: int) -> list[str]:
    """Greedy answers of the engine itself, all prompts asked at once."""
    prompts = Prompts(weights.folder() / "tokenizer.json")
    with tempfile.TemporaryDirectory() as name:
        models_dir = Path(name)
        weights.unconverted(models_dir)
        ours = Ours(models_dir, weights.MODEL, prompts, threads=threads, dtype=dtype)
        try:
            return ours.answers(PROMPTS, _ANSWER_TOKENS)
        finally:
            ours.stop()


def _report(
    losses: dict[str, tuple[list[float], list[float]]], answers: dict[str, list[str]]
) -> str:
    small, whole = losses["auto"], losses["float32"]
    rows = []
    for dtype, (steps, pieces) in losses.items():
        row = (dtype, f"{_perplexity(steps):.3f}", f"{_perplexity(pieces):.3f}")
        rows.append(row)
    ratios = [
        _perplexity(ours) / _perplexity(theirs) for ours, theirs in zip(small, whole, strict=True)
    ]
    pairs = list(zip(answers["auto"], answers["float32"], strict=True))
    equal = sum(ours == theirs for ours, theirs in pairs)
    same = sum(_same_start(*pair) for pair in pairs) / sum(len(theirs) for _, theirs in pairs)
    goals = [
        Goal("perplexity of steps, auto / float32", ratios[0], 1.02, False),
        Goal("perplexity of prompts, auto / float32", ratios[1], 1.02, False),
    ]
    return "\n".join(
        (
            f"Perplexity on {len(TEXTS)} texts in seven languages and code, by the "
            f"engine's own network: in steps, a token of {_AT_ONCE} texts each "
            f"({len(whole[0]):,} tokens), and as prompts, the token after each {_PIECE} "
            f"({len(whole[1]):,}).\n",
            table(("", "steps", "prompts"), rows),
            "",
            table(
                ("", "value", "goal", ""),
                [(one.text, f"{one.value:.4f}", f"≤ {one.bound:g}", one.verdict) for one in goals],
            ),
            f"\nGreedy answers of {_ANSWER_TOKENS} tokens to {len(PROMPTS)} prompts, asked through "
            f"the engine all at once: {equal} of {len(PROMPTS)} are the same to the last "
            f"character; {same:.0%} of all text comes before the first difference.",
        )
    )


def _perplexity(losses: Sequence[float]) -> float:
    return math.exp(sum(losses) / len(losses))


def _same_start(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    return sum(
        1
        for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    )
