"""The cascade: a small model's first tokens decide whether its answer is worth its while."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class Cascade:
    """How long an answer is held back, in tokens, and how sure (0..1) the model must be of them."""

    hold_tokens: int
    min_confidence: float

    def confidence(self, logprobs: Sequence[float]) -> float | None:
        """The geometric mean of the first tokens' probabilities; None of no tokens."""
        watched = logprobs[: self.hold_tokens]
        # A rounding error can make a logprob positive.
        return min(1.0, math.exp(math.fsum(watched) / len(watched))) if watched else None

    def commits(self, confidence: float | None) -> bool:
        """Whether the answer goes on; what nobody could measure does."""
        return confidence is None or confidence >= self.min_confidence
