"""The next token from a model's logits: penalties, temperature, top-k, top-p, seed."""

from __future__ import annotations

from collections import Counter

import torch

from gateway.backends.local.params import SamplingParams

#: Cooler than this is greedy: dividing by it would overflow.
LEAST_TEMPERATURE = 1e-4
#: The most likely tokens among which the nucleus (top-p) is looked for.
NUCLEUS_CANDIDATES = 1024


class Sampler:
    """Chooses the tokens of one sequence, from a random state of its own.

    The same seed chooses the same tokens, whatever else the engine is doing.
    """

    def __init__(self, params: SamplingParams) -> None:
        """`params` as the client gave them, the model's defaults filled in."""
        self._temperature = 1.0 if params.temperature is None else params.temperature
        self._top_p = 1.0 if params.top_p is None else params.top_p
        self._top_k = params.top_k or 0
        self._presence = params.presence_penalty
        self._frequency = params.frequency_penalty
        self._counts: Counter[int] = Counter()
        self._generator = torch.Generator()
        if params.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(params.seed % 2**63)

    def choose(self, logits: torch.Tensor) -> int:
        """One token id for logits of shape (vocabulary,)."""
        logits = self._penalised(logits)
        if self._temperature < LEAST_TEMPERATURE:
            token = int(logits.argmax())
        else:
            token = self._sampled(logits / self._temperature)
        if self._presence or self._frequency:
            self._counts[token] += 1
        return token

    def _penalised(self, logits: torch.Tensor) -> torch.Tensor:
        """OpenAI's penalties: logit - count × frequency - (count > 0) × presence."""
        if not self._counts:
            return logits
        tokens = torch.tensor(list(self._counts))
        counts = torch.tensor([float(count) for count in self._counts.values()])
        logits = logits.clone()
        logits[tokens] -= counts * self._frequency + self._presence
        return logits

    def _sampled(self, logits: torch.Tensor) -> int:
        candidates = None
        if self._top_k or self._top_p < 1:
            # Top-k first: the nucleus then needs no sort of the whole vocabulary.
            size = min(self._top_k or NUCLEUS_CANDIDATES, logits.shape[-1])
            logits, candidates = logits.topk(size)
        probabilities = torch.softmax(logits, dim=-1)
        if self._top_p < 1:
            before = probabilities.cumsum(-1) - probabilities
            probabilities = probabilities.masked_fill(before > self._top_p, 0.0)
        index = int(torch.multinomial(probabilities, 1, generator=self._generator))
        return index if candidates is None else int(candidates[index])
