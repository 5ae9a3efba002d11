"""LoRA adapters as peft saves them, with random weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from gateway.backends.local.stored import stored_tensors

RANK = 4
TARGETS = ("q_proj", "v_proj", "down_proj")


def make_adapter(
    folder: Path, base: Path, *, seed: int, targets: tuple[str, ...] = TARGETS, **config: Any
) -> Path:
    """Write an adapter for the layers of `base` that end on one of `targets`; the folder."""
    folder.mkdir(parents=True)
    random = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, weight in stored_tensors(base).items():
        layer = name.removesuffix(".weight")
        if layer.endswith(targets):
            outputs, inputs = weight.shape
            if config.get("fan_in_fan_out"):
                outputs, inputs = inputs, outputs
            for side, shape in (("A", (RANK, inputs)), ("B", (outputs, RANK))):
                key = f"base_model.model.{layer}.lora_{side}.weight"
                tensors[key] = torch.randn(shape, generator=random) * 0.1
    save_file(tensors, folder / "adapter_model.safetensors")
    write_config(folder, base, targets=targets, **config)
    return folder


def write_config(folder: Path, base: Path, **config: Any) -> None:
    stated: Mapping[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base),
        "r": RANK,
        "lora_alpha": 2 * RANK,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "modules_to_save": None,
        "target_modules": list(config.pop("targets", TARGETS)),
    }
    (folder / "adapter_config.json").write_text(json.dumps({**stated, **config}))
