"""LoRA adapters in a network of transformers': added to the outputs of its linear layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from gateway.backends.local.adapters import WEIGHTS, AdapterMisfit, layers_of

#: A layer's adapter: A of shape (rank, inputs), and B of (outputs, rank) times its scale.
Matrices = tuple[torch.Tensor, torch.Tensor]


def read_adapter(folder: Path, base: Path, dtype: torch.dtype) -> dict[str, Matrices]:
    """An adapter's matrices by the name of the layer. Raises AdapterMisfit."""
    layers = layers_of(folder, base)
    tensors = load_file(folder / WEIGHTS)
    return {
        name: (
            tensors[layer.a].to(dtype).contiguous(),
            (tensors[layer.b].float() * layer.scale).to(dtype).contiguous(),
        )
        for name, layer in layers.items()
    }


class Adapters:
    """The adapters of a network, of which one or none is `active`."""

    def __init__(self, network: Any, adapters: Mapping[str, Mapping[str, Matrices]]) -> None:
        """Hooks itself into the network's layers. Raises AdapterMisfit where one isn't there."""
        self.active: str | None = None
        for name in sorted({layer for one in adapters.values() for layer in one}):
            try:
                layer = network.get_submodule(name)
            except AttributeError as error:
                raise AdapterMisfit(f"{name} is no layer of its own in this network") from error
            matrices = {adapter: one[name] for adapter, one in adapters.items() if name in one}
            layer.register_forward_hook(self._hook(matrices))

    def _hook(self, matrices: Mapping[str, Matrices]) -> Callable[..., torch.Tensor | None]:
        def add(layer: Any, inputs: tuple[torch.Tensor], output: torch.Tensor) -> Any:
            found = matrices.get(self.active) if self.active is not None else None
            if found is None:
                return None
            a, b = found
            return output + inputs[0] @ a.T @ b.T

        return add
