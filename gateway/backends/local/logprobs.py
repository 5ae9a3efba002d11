"""How likely a model thought the tokens that it said: for clients, and as a sign of its doubt."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch

from gateway.backends.local.tokens import ChatTokenizer
from gateway.core.certainty import Certainty

#: What OpenAI tells of tokens that can't come; JSON has no infinity.
_IMPOSSIBLE = -9999.0


class Doubts:
    """How sure a model was of an answer, from the logits that its tokens were chosen from."""

    def __init__(self) -> None:
        self._sum = 0.0
        self._count = 0
        self._least = 0.0
        self._entropy = 0.0
        self._margin = 0.0

    def observe(self, logits: torch.Tensor, logprob: float, normaliser: float) -> None:
        """Note a token's logprob; of the first one also what else there might have been."""
        if self._count == 0:
            logprobs = logits - normaliser
            probabilities = logprobs.exp()
            best = probabilities.topk(2).values
            self._entropy = float(torch.special.entr(probabilities).sum())
            self._margin = float(best[0] - best[1])
        # A rounding error can make a logprob positive, and what a grammar forces may be impossible.
        logprob = _finite(logprob)
        self._sum += logprob
        self._least = min(self._least, logprob)
        self._count += 1

    @staticmethod
    def of_all(choices: Iterable[Doubts]) -> Certainty | None:
        """How sure it was of all the choices of a request; None before the first token."""
        begun = [one for one in choices if one._count]
        if not begun:
            return None
        return Certainty(
            mean_logprob=sum(one._sum for one in begun) / sum(one._count for one in begun),
            min_logprob=min(one._least for one in begun),
            first_token_entropy=begun[0]._entropy,
            first_token_margin=begun[0]._margin,
        )


def entry_of(
    tokenizer: ChatTokenizer,
    logits: torch.Tensor,
    normaliser: float,
    token: int,
    most: int,
) -> dict[str, Any]:
    """One token as OpenAI's `logprobs.content` has it, with its `most` likeliest alternatives."""
    told = _told(tokenizer, token, float(logits[token]) - normaliser)
    if most == 0:
        return {**told, "top_logprobs": []}
    values, tokens = logits.topk(min(most, logits.shape[-1]))
    likeliest = zip(tokens.tolist(), (values - normaliser).tolist(), strict=True)
    return {**told, "top_logprobs": [_told(tokenizer, one, value) for one, value in likeliest]}


def _told(tokenizer: ChatTokenizer, token: int, logprob: float) -> dict[str, Any]:
    data = tokenizer.token_bytes(token)
    return {
        "token": data.decode("utf-8", "replace"),
        "logprob": _finite(logprob),
        "bytes": list(data),
    }


def _finite(logprob: float) -> float:
    return min(0.0, logprob) if math.isfinite(logprob) else _IMPOSSIBLE
