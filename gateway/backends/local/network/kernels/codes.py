"""Weights as codes of four or eight bits, in the order in which the kernels read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

#: Inputs that share a scale, and with four bits a lowest weight; GGUF's formats have the same.
GROUP = 32
#: Outputs that are computed together.
LANES = 16
_LARGEST_4_BITS = 15
_LARGEST_8_BITS = 127
_MIDDLE_8_BITS = 128
#: What a weight of four bits may be off, in steps of its scale, to count as what it was before.
_NO_LOSS = 0.05
#: Outputs that are coded at a time, to save memory; whole tiles.
_ROWS_AT_ONCE = 256 * LANES


@dataclass(slots=True, frozen=True)
class Codes:
    """A matrix of shape (outputs, inputs).

    `codes` is uint8 of shape (tiles, groups, bits, 64); `levels` float16 of shape (tiles, groups,
    2 or 1, 16): scales, and with four bits what the code 0 stands for.
    """

    codes: torch.Tensor
    levels: torch.Tensor
    outputs: int

    @property
    def bits(self) -> int:
        """Four or eight."""
        return int(self.codes.shape[2])

    @property
    def inputs(self) -> int:
        """A multiple of 32."""
        return int(self.codes.shape[1]) * GROUP


def coded(weight: torch.Tensor) -> Codes:
    """A float weight of shape (out, in): four bits where they lose nothing, else eight.

    Raises ValueError unless the inputs are a multiple of 32.
    """
    outputs, inputs = weight.shape
    if inputs % GROUP:
        raise ValueError(f"{inputs} inputs are no multiple of {GROUP}")
    found = _ordered(weight, _of_4_bits) or _ordered(weight, _of_8_bits)
    if found is None:
        raise AssertionError("eight bits hold every weight")
    return Codes(*found, outputs)


_Coding = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor] | None]


def _ordered(weight: torch.Tensor, coding: _Coding) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Codes and levels as the kernels read them; None where some can't be coded."""
    codes, levels = [], []
    for rows in weight.split(_ROWS_AT_ONCE):
        whole = functional.pad(rows.float(), (0, 0, 0, -len(rows) % LANES))
        groups = whole.view(len(whole), -1, GROUP)
        found = coding(groups)
        if found is None:
            return None
        tiles = (len(whole) // LANES, LANES, groups.shape[1])
        ordered = found[0].view(*tiles, 8, 4).permute(0, 2, 3, 1, 4).flatten(-2)
        if coding is _of_4_bits:
            ordered = ordered[:, :, :4] | ordered[:, :, 4:] << 4
        codes.append(ordered)
        levels.append(found[1].view(*tiles, -1).permute(0, 2, 3, 1))
    return torch.cat(codes).contiguous(), torch.cat(levels).contiguous()


def _of_4_bits(groups: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
    lowest = groups.amin(-1, keepdim=True)
    scale = (groups.amax(-1, keepdim=True) - lowest).div_(_LARGEST_4_BITS)
    levels = torch.cat((scale, lowest), -1).half()
    scale, lowest = levels.float().split(1, -1)
    steps = (groups - lowest).div_(torch.where(scale == 0, 1, scale))
    codes = steps.round().clamp_(0, _LARGEST_4_BITS)
    if (steps - codes).abs_().max() > _NO_LOSS:
        return None
    return codes.byte(), levels


def _of_8_bits(groups: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    levels = groups.abs().amax(-1, keepdim=True).div_(_LARGEST_8_BITS).half()
    scale = levels.float()
    codes = groups.div(torch.where(scale == 0, 1, scale)).round_()
    codes.clamp_(-_LARGEST_8_BITS, _LARGEST_8_BITS).add_(_MIDDLE_8_BITS)
    return codes.byte(), levels
