"""A model of transformers' with int8 linear layers."""

from __future__ import annotations

from typing import Any

import torch

from gateway.backends.local.network.linear import Int8Linear, has_bfloat16_units, quantised


class _Rounded(torch.nn.Module):  # type: ignore[misc]
    """An int8 matrix in the place of a `torch.nn.Linear`."""

    def __init__(self, linear: torch.nn.Linear, prompt_dtype: torch.dtype) -> None:
        super().__init__()
        bias = linear.bias.detach() if linear.bias is not None else None
        weight, scale = quantised(linear.weight.detach())
        self._linear = Int8Linear(weight, scale, bias, prompt_dtype)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        rows = states.reshape(-1, states.shape[-1])
        found = self._linear.few(rows) if len(rows) == 1 else self._linear.many(rows)
        return found.view(*states.shape[:-1], -1)


def rounded(model: Any) -> Any:
    """The model with int8 linear layers, changed in place; each float matrix is freed at once."""
    prompt_dtype = torch.bfloat16 if has_bfloat16_units() else torch.float32
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is torch.nn.Linear:
                setattr(module, name, _Rounded(child, prompt_dtype))
    return model
