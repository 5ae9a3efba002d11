"""A LoRA adapter's matrices, read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file

from gateway.backends.local.adapters import WEIGHTS, layers_of

#: What is added to one layer: A of shape (rank, inputs), and B of (outputs, rank) times its scale.
Matrices = tuple[torch.Tensor, torch.Tensor]


def read_adapter(folder: Path, base: Path) -> Mapping[str, Matrices]:
    """Float32 matrices by the name of the layer. Raises AdapterMisfit."""
    tensors = load_file(folder / WEIGHTS)
    return {
        name: (tensors[layer.a].float(), tensors[layer.b].float() * layer.scale)
        for name, layer in layers_of(folder, base).items()
    }
