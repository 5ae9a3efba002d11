"""The next token from a model's logits: penalties, bias, temperature, top-k, top-p, min-p, seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import torch

from gateway.backends.local.constraint import Constraint
from gateway.backends.local.params import SamplingParams

#: The likeliest tokens among which a nucleus is looked for before more of them are sorted: to sort
#: the whole vocabulary takes longer than everything else here.
_NUCLEUS = 256

_COLDEST = 1e-3


class Sampler:
    """Chooses the tokens of one answer, from a random state of its own."""

    def __init__(
        self,
        params: SamplingParams,
        prompt: Iterable[int] = (),
        constraint: Constraint | None = None,
    ) -> None:
        self._params = params
        self._constraint = constraint
        self._counts: Counter[int] = Counter()
        self._seen = set(prompt) if params.repetition_penalty != 1 else set()
        self._counts_tokens = bool(params.presence_penalty or params.frequency_penalty)
        self._changes_always = bool(params.logit_bias or constraint or self._seen)
        self._generator = torch.Generator()
        if params.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(params.seed % 2**63)

    def choose(self, logits: torch.Tensor, likeliest: int) -> int:
        """One token id for float logits of shape (vocabulary,), which stay as they are.

        `likeliest` is that of the logits, which penalties and the like may still change.
        """
        if self._changes_always or self._counts:
            logits = self._changed(logits.clone())
            likeliest = int(logits.argmax())
        params = self._params
        token = likeliest if params.temperature == 0 else self._drawn(logits)
        if self._counts_tokens:
            self._counts[token] += 1
        if params.repetition_penalty != 1:
            self._seen.add(token)
        if self._constraint is not None:
            self._constraint.accept(token)
        return token

    def _changed(self, logits: torch.Tensor) -> torch.Tensor:
        """Penalties, bias, and last what can't come next. In place.

        OpenAI's penalties: each token so far costs count × frequency + presence.
        """
        params = self._params
        if self._seen:
            tokens = torch.tensor(sorted(self._seen))
            found = logits[tokens]
            penalty = params.repetition_penalty
            logits[tokens] = torch.where(found > 0, found / penalty, found * penalty)
        if self._counts:
            tokens = torch.tensor(list(self._counts))
            counts = torch.tensor(list(self._counts.values()), dtype=logits.dtype)
            logits[tokens] -= counts * params.frequency_penalty + params.presence_penalty
        for token, bias in params.logit_bias:
            logits[token] += bias
        if self._constraint is not None:
            self._constraint.restrict(logits)
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
        if params.min_p > 0:
            least = params.min_p * probabilities.max()
            probabilities = probabilities.where(probabilities >= least, 0)
        point = torch.rand(1, generator=self._generator, dtype=torch.float64)
        index = drawn_at(probabilities, float(point))
        return index if tokens is None else int(tokens[index])


def drawn_at(probabilities: torch.Tensor, point: float) -> int:
    """The index at a point (0..1) of probabilities that lie end to end, the likeliest first.

    They needn't sum to 1. Nearly always it is among the likeliest, and the others aren't looked at.
    """
    target = point * float(probabilities.sum())
    likeliest, indices = probabilities.topk(min(_NUCLEUS, probabilities.shape[-1]))
    held = likeliest.cumsum(-1)
    rest = probabilities.index_fill(-1, indices, 0) if target >= held[-1] else None
    # A rounding error of the sums may reach over the end, where nothing is possible.
    if rest is None or not rest.any():
        place = int(torch.searchsorted(held, target, right=True))
        return int(indices[min(place, int((likeliest > 0).sum()) - 1)])
    place = int(torch.searchsorted(rest.cumsum(-1), target - float(held[-1]), right=True))
    return min(place, int(rest.nonzero()[-1]))


def nucleus(probabilities: torch.Tensor, top_p: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The fewest likeliest tokens that hold at least `top_p`: their probabilities and indices.

    Never empty; the probabilities are not scaled to sum to 1.
    """
    size = min(_NUCLEUS, probabilities.shape[-1])
    likeliest, indices = probabilities.topk(size)
    held = likeliest.cumsum(-1)
    if held[-1] < top_p and size < probabilities.shape[-1]:
        # The less likely ones all together are less than what may be left out.
        (candidates,) = (probabilities >= (1 - top_p) / probabilities.shape[-1]).nonzero(
            as_tuple=True
        )
        likeliest, order = probabilities[candidates].sort(descending=True)
        indices = candidates[order]
        held = likeliest.cumsum(-1)
    keep = held - likeliest < top_p
    keep[0] = True
    return likeliest[keep], indices[keep]
