"""Linear layers with float, int8 or int4 weights, for few rows (a step) and for many (a prompt).

A step reads all weights to compute little, so that their bytes are its time; a prompt computes
much with them, so that they are multiplied as floats. The kernels of a step give each row the same
result, bit for bit, whatever other rows there are.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch.nn import functional

#: Candidates for the next token whose logits are computed again in float32, because bfloat16 has
#: eight bits: the likeliest tokens would often tie.
_REFINED = 64

_LARGEST_INT8 = 127
#: What the int8 kernel wants the inputs to be a multiple of; with others it reads past the end.
_INT8_INPUTS = 16
#: Inputs that share a scale and a zero among int4 weights; GGUF's Q4 formats have the same.
GROUP = 32
_LARGEST_INT4 = 15
#: What int4 weights may be off, in steps of their scale, to count as what they were before.
_NO_LOSS = 0.05
#: What the kernel's tiles want the outputs to be a multiple of.
_INT4_OUTPUTS = 64
#: The most rows of a prompt that are multiplied at once: larger products add up in another order.
_PROMPT_ROWS = 128
#: Rows that a vocabulary's scores are computed for at a time: always so many, because a product
#: of another size may add up in another order.
_HEAD_ROWS = 16


class Linear(Protocol):
    """`few` and `many` map rows of shape (rows, in) to (rows, out)."""

    def few(self, rows: torch.Tensor) -> torch.Tensor:
        """For a step of the answers in progress; each row's result is independent of the others."""

    def many(self, rows: torch.Tensor) -> torch.Tensor:
        """For a prompt's tokens."""


class Vocabulary(Protocol):
    """The matrix of a vocabulary, at either end of a network."""

    def embedded(self, tokens: torch.Tensor) -> torch.Tensor:
        """The weights' rows of token ids, as the layer before the first takes them."""

    def logits(self, rows: torch.Tensor) -> torch.Tensor:
        """The float32 scores of every token for rows of states; each row for itself."""


class FloatLinear:
    """Weights as they are, of shape (out, in)."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        self.weight = weight
        self.bias = bias

    def few(self, rows: torch.Tensor) -> torch.Tensor:
        """See `Linear`."""
        return functional.linear(rows, self.weight, self.bias)

    many = few

    def embedded(self, tokens: torch.Tensor) -> torch.Tensor:
        """See `Vocabulary`."""
        return self.weight[tokens]

    def logits(self, rows: torch.Tensor) -> torch.Tensor:
        """See `Vocabulary`."""
        return self.few(rows).float()


class Int8Linear:
    """Weights rounded to int8 with one scale for each output; activations are bfloat16.

    Only the weights are rounded. A step reads a quarter of the bytes that float32 weights take,
    which is what limits it; a prompt's rows are multiplied as floats, for that is faster.
    """

    def __init__(
        self,
        weight: torch.Tensor,
        scale: torch.Tensor,
        bias: torch.Tensor | None = None,
        prompt_dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        """`weight` is int8 of shape (out, in), `scale` bfloat16 of shape (out,)."""
        self.scale = scale
        self.bias = bias
        self._prompt_dtype = prompt_dtype
        inputs = weight.shape[1]
        self._missing = -inputs % _INT8_INPUTS
        self._padded = functional.pad(weight, (0, self._missing)) if self._missing else weight
        self.weight = self._padded[:, :inputs]

    def few(self, rows: torch.Tensor) -> torch.Tensor:
        """See `Linear`."""
        whole = functional.pad(rows, (0, self._missing)) if self._missing else rows
        found: torch.Tensor = torch._weight_int8pack_mm(whole, self._padded, self.scale)
        return found if self.bias is None else found.add_(self.bias)

    def many(self, rows: torch.Tensor) -> torch.Tensor:
        """See `Linear`."""
        # int8 is exact in bfloat16, so that only the products' sums are rounded.
        kind = self._prompt_dtype
        found = _product(rows.to(kind), self.weight.to(kind)).mul_(self.scale).to(rows.dtype)
        return found if self.bias is None else found.add_(self.bias)

    def embedded(self, tokens: torch.Tensor) -> torch.Tensor:
        """See `Vocabulary`."""
        return self.weight[tokens].bfloat16().mul_(self.scale[tokens].unsqueeze(-1))

    def logits(self, rows: torch.Tensor) -> torch.Tensor:
        """See `Vocabulary`."""
        rough = self.few(rows).float()
        return refined(rough, rows, self.weight, self.scale)


class Int4Linear:
    """Weights that lie on sixteen levels in each group of 32, which costs nothing to keep as int4.

    Models that were published in four bits are of this kind. A copy in bfloat16 serves prompts.
    """

    def __init__(
        self,
        packed: torch.Tensor,
        levels: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None = None,
        prompt_dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        """`levels` are bfloat16 scales and zeros of shape (in / 32, out, 2)."""
        self._packed = packed
        self._levels = levels
        self._weight = weight
        self._bias = bias
        self._prompt_dtype = prompt_dtype

    def few(self, rows: torch.Tensor) -> torch.Tensor:
        """See `Linear`."""
        found: torch.Tensor = torch._weight_int4pack_mm_for_cpu(
            rows, self._packed, GROUP, self._levels
        )
        return found if self._bias is None else found.add_(self._bias)

    def many(self, rows: torch.Tensor) -> torch.Tensor:
        """See `Linear`."""
        kind = self._prompt_dtype
        found = _product(rows.to(kind), self._weight.to(kind)).to(rows.dtype)
        return found if self._bias is None else found.add_(self._bias)


class Head:
    """A vocabulary in bfloat16, for processors that multiply it: embeddings in, scores out."""

    def __init__(self, weight: torch.Tensor) -> None:
        self._weight = weight

    def embedded(self, tokens: torch.Tensor) -> torch.Tensor:
        """See `Vocabulary`."""
        return self._weight[tokens]

    def logits(self, rows: torch.Tensor) -> torch.Tensor:
        """See `Vocabulary`."""
        found = []
        for block in rows.split(_HEAD_ROWS):
            missing = _HEAD_ROWS - len(block)
            whole = functional.pad(block, (0, 0, 0, missing)) if missing else block
            found.append(functional.linear(whole, self._weight)[: len(block)])
        rough = torch.cat(found) if len(found) > 1 else found[0]
        return refined(rough.float(), rows, self._weight)


def _product(rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    blocks = rows.split(_PROMPT_ROWS)
    found = [functional.linear(block, weight) for block in blocks]
    return torch.cat(found) if len(found) > 1 else found[0]


def refined(
    rough: torch.Tensor,
    rows: torch.Tensor,
    weight: torch.Tensor,
    scale: torch.Tensor | None = None,
) -> torch.Tensor:
    """Scores of which the highest are computed again, in float32; changed in place."""
    size = min(_REFINED, rough.shape[-1])
    likeliest = rough.topk(size, sorted=False).indices
    # Not as one product for all rows, which would add up in another order.
    for scores, row, tokens in zip(rough, rows.float(), likeliest, strict=True):
        exact = torch.mv(weight[tokens].float(), row)
        scores[tokens] = exact if scale is None else exact.mul_(scale[tokens])
    return rough


def has_bfloat16_units() -> bool:
    """Whether this processor multiplies bfloat16 itself; elsewhere it is slower than float32."""
    known = torch.cpu.get_capabilities()
    return any(known.get(name) for name in ("avx512_bf16", "amx_bf16", "amx_tile", "bf16"))


def quantised(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A float weight of shape (out, in) as int8 and its bfloat16 scales, rounded to the nearest."""
    scale = weight.float().abs().amax(-1).div_(_LARGEST_INT8).bfloat16()
    # The scales are rounded too, so the weights are divided by what they are multiplied with.
    divisor = torch.where(scale == 0, torch.ones_like(scale), scale).float().unsqueeze(-1)
    rounded = weight.float().div(divisor).round_().clamp_(-_LARGEST_INT8, _LARGEST_INT8)
    return rounded.to(torch.int8), scale


def packed(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
    """A float weight of shape (out, in) as `Int4Linear` takes it; None where that would lose."""
    outputs, inputs = weight.shape
    if outputs % _INT4_OUTPUTS or inputs % GROUP:
        return None
    groups = weight.float().view(outputs, inputs // GROUP, GROUP)
    lowest = groups.amin(-1, keepdim=True)
    scale = (groups.amax(-1, keepdim=True) - lowest).div_(_LARGEST_INT4)
    steps = (groups - lowest).div_(torch.where(scale == 0, torch.ones_like(scale), scale))
    codes = steps.round()
    if (steps - codes).abs().max() > _NO_LOSS:
        return None
    # The kernel takes a level's distance from the eighth one.
    levels = torch.cat((scale, lowest + scale * 8), -1).transpose(0, 1).contiguous().bfloat16()
    whole = codes.to(torch.int32).view(outputs, inputs)
    return torch._convert_weight_to_int4pack_for_cpu(whole, 2), levels
