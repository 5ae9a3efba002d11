"""The tensors of a model's folder, read one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from gateway.backends.local.folder import read_json

_INDEX = "model.safetensors.index.json"


class Tensors:
    """Tensors by name, whether they stand in one file or in several.

    They are mapped from the disk: what is only looked at takes no memory.
    """

    def __init__(self, folder: Path) -> None:
        """Raises OSError and safetensors' own errors for files that can't be read."""
        index = read_json(folder / _INDEX).get("weight_map")
        names = sorted(set(index.values())) if isinstance(index, Mapping) else None
        files = [folder / name for name in names] if names else sorted(folder.glob("*.safetensors"))
        self._files: list[Any] = [safe_open(file, framework="pt") for file in files]
        self._places = {name: file for file in self._files for name in file.keys()}  # noqa: SIM118 (not a mapping)

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def __getitem__(self, name: str) -> torch.Tensor:
        found: torch.Tensor = self._places[name].get_tensor(name)
        return found

    def joined(self, names: list[str]) -> torch.Tensor:
        """Tensors one below the other."""
        return self[names[0]] if len(names) == 1 else torch.cat([self[name] for name in names])


def identity(folder: Path) -> str:
    """What changes whenever the weights or the configuration of a folder do."""
    files = [*folder.glob("*.safetensors"), folder / "config.json"]
    stats = [(file.name, file.stat()) for file in sorted(files) if file.is_file()]
    return " ".join(f"{name}:{stat.st_size}:{stat.st_mtime_ns}" for name, stat in stats)
