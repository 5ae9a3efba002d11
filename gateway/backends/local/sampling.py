"""The next token from a model's logits: penalties, temperature, top-k, top-p, seed."""

from __future__ import annotations

from collections import Counter

import torch

from gateway.backends.local.params import SamplingParams

#: The likeliest tokens among which a nucleus is looked for before the whole vocabulary is sorted:
#: a full sort takes longer than everything else here.
_NUCLEUS = 256

_COLDEST = 1e-3


class Sampler:
    """Chooses the tokens of one answer, from a random state of its own."""

    def __init__(self, params: SamplingParams) -> None:
        self._params = params
        self._counts: Counter[int] = Counter()
        self._generator = torch.Generator()
        if params.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(params.seed % 2**63)

    def choose(self, logits: torch.Tensor) -> int:
        """One token id for float logits of shape (vocabulary,)."""
        params = self._params
        logits = self._penalised(logits)
        token = int(logits.argmax()) if params.temperature == 0 else self._drawn(logits)
        if params.presence_penalty or params.frequency_penalty:
            self._counts[token] += 1
        return token

    def _penalised(self, logits: torch.Tensor) -> torch.Tensor:
        """OpenAI's penalties: each token so far costs count × frequency + presence."""
        if not self._counts:
            return logits
        tokens = torch.tensor(list(self._counts))
        counts = torch.tensor(list(self._counts.values()), dtype=logits.dtype)
        logits = logits.clone()
        logits[tokens] -= counts * self._params.frequency_penalty + self._params.presence_penalty
        return logits

    def _drawn(self, logits: torch.Tensor) -> int:
        params = self._params
        logits = logits / max(params.temperature, _COLDEST)
        tokens: torch.Tensor | None = None
        if 0 < params.top_k < logits.shape[-1]:
            logits, tokens = logits.topk(params.top_k)
        probabilities = logits.softmax(-1)
        if params.top_p < 1:
            probabilities, kept = nucleus(probabilities, params.top_p)
            tokens = kept if tokens is None else tokens[kept]
        index = int(torch.multinomial(probabilities, 1, generator=self._generator))
        return index if tokens is None else int(tokens[index])


def nucleus(probabilities: torch.Tensor, top_p: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The fewest likeliest tokens that hold at least `top_p`: their probabilities and indices.

    Never empty; the probabilities are not scaled to sum to 1.
    """
    size = min(_NUCLEUS, probabilities.shape[-1])
    likeliest, indices = probabilities.topk(size)
    held = likeliest.cumsum(-1)
    if held[-1] < top_p and size < probabilities.shape[-1]:
        likeliest, indices = probabilities.sort(descending=True)
        held = likeliest.cumsum(-1)
    keep = held - likeliest < top_p
    keep[0] = True
    return likeliest[keep], indices[keep]
