"""How likely a model thought the tokens that it said: for clients, and as a sign of its doubt."""

from __future__ import annotations

import math
from typing import Any

import torch

from gateway.backends.local.tokens import ChatTokenizer

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

    def observe(self, logits: torch.Tensor, logprob: float, normaliser: torch.Tensor) -> None:
        """Note a token's logprob; of the first one also what else there might have been."""
        if self._count == 0:
            logprobs = logits - normaliser
            probabilities = logprobs.exp()
            best = probabilities.topk(2).values
            self._entropy = float(torch.special.entr(probabilities).sum())
            self._margin = float(best[0] - best[1])
        self._sum += logprob
        self._least = min(self._least, logprob)
        self._count += 1

    def told(self) -> dict[str, float] | None:
        """Mean and least logprob of the tokens, entropy (nats) and margin (0..1) of the first."""
        if self._count == 0:
            return None
        return {
            "mean_logprob": self._sum / self._count,
            "min_logprob": self._least,
            "first_token_entropy": self._entropy,
            "first_token_margin": self._margin,
        }


def entry_of(
    tokenizer: ChatTokenizer,
    logits: torch.Tensor,
    normaliser: torch.Tensor,
    token: int,
    most: int,
) -> dict[str, Any]:
    """One token as OpenAI's `logprobs.content` has it, with its `most` likeliest alternatives."""
    told = _told(tokenizer, token, float(logits[token] - normaliser))
    if most == 0:
        return {**told, "top_logprobs": []}
    values, tokens = logits.topk(min(most, logits.shape[-1]))
    likeliest = zip(tokens.tolist(), (values - normaliser).tolist(), strict=True)
    return {**told, "top_logprobs": [_told(tokenizer, one, value) for one, value in likeliest]}


def _told(tokenizer: ChatTokenizer, token: int, logprob: float) -> dict[str, Any]:
    data = tokenizer.token_bytes(token)
    finite = min(0.0, logprob) if math.isfinite(logprob) else _IMPOSSIBLE
    return {"token": data.decode("utf-8", "replace"), "logprob": finite, "bytes": list(data)}
