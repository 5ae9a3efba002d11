"""LoRA adapters as peft saves them, and whether they fit a model: by their files alone."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.backends.local.folder import folder_of, read_json, stored_name
from gateway.backends.local.refused import ModelRefused
from gateway.backends.local.stored import (
    BrokenWeights,
    StoredTensor,
    stored_tensors,
    tensors_of_file,
)

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"

_KEY = re.compile(r"(?:base_model\.model\.)?(.+)\.lora_([AB])(?:\.default)?\.weight")
#: What else peft can train beside low-rank matrices; an engine that left it out would say nonsense.
_MORE = (
    *("use_dora", "lora_bias", "modules_to_save", "trainable_token_indices", "use_qalora"),
    *("use_bdlora", "layer_replication", "target_parameters", "alora_invocation_tokens"),
    *("kasa_config", "monteclora_config", "velora_config", "arrow_config"),
)


class AdapterMisfit(ModelRefused):
    """An adapter can't be used with a model; the message says why."""


@dataclass(slots=True, frozen=True)
class LowRank:
    """What an adapter adds to one linear layer: `scale` × B(A(x)).

    `a` and `b` are the names in the adapter's file of its matrices, of shapes (rank, inputs) and
    (outputs, rank).
    """

    a: str
    b: str
    scale: float


def adapter_folder(adapter: str, models_dir: Path) -> Path | None:
    """Where an adapter is (a path to it, or a hub id that was pulled); None where it isn't here."""
    places = (models_dir / stored_name(adapter), Path(adapter).expanduser())
    return next((place.resolve() for place in places if (place / CONFIG).is_file()), None)


def holds_adapter(folder: Path) -> bool:
    """Whether a folder is an adapter's, and no model's."""
    return (folder / CONFIG).is_file() and not (folder / "config.json").is_file()


def missing_of(model: str, adapters: Mapping[str, str], models_dir: Path) -> str | None:
    """What of a model and its adapters isn't on this machine, and the command that fetches it."""
    if folder_of(model, models_dir) is None:
        return f"the model {model} is not on this machine: run `slm-gateway pull {model}`"
    for adapter in adapters.values():
        if adapter_folder(adapter, models_dir) is None:
            return f"the adapter {adapter} is not on this machine: run `slm-gateway pull {adapter}`"
    return None


def check_adapter(name: str, folder: Path, base: Path) -> None:
    """Raises AdapterMisfit, which names the adapter, where it can't be used with a model."""
    try:
        layers_of(folder, base)
    except AdapterMisfit as error:
        raise AdapterMisfit(f"the adapter {name} ({folder}) does not fit: {error}") from error


def layers_of(folder: Path, base: Path) -> dict[str, LowRank]:
    """By the name of a layer of `base`, what the adapter adds to it. Raises AdapterMisfit."""
    config = read_json(folder / CONFIG)
    _check_kind(config)
    if not (folder / WEIGHTS).is_file():
        raise AdapterMisfit(
            f"it has no {WEIGHTS}: save it again with safe_serialization=True, "
            "for pickled weights are not read"
        )
    try:
        own, theirs = tensors_of_file(folder / WEIGHTS), stored_tensors(base)
    except BrokenWeights as error:
        raise AdapterMisfit(str(error)) from error
    if not theirs:
        raise AdapterMisfit("adapters are loaded beside safetensors, and the model has none")
    matrices: dict[str, dict[str, str]] = {}
    for key in own:
        match = _KEY.fullmatch(key)
        if match is None:
            raise AdapterMisfit(f"{key} is no low-rank matrix of a linear layer")
        matrices.setdefault(match[1], {})[match[2]] = key
    if not matrices:
        raise AdapterMisfit("it holds no matrices")
    return {layer: _low_rank(layer, keys, own, theirs, config) for layer, keys in matrices.items()}


def _check_kind(config: Mapping[str, Any]) -> None:
    kind = config.get("peft_type")
    if kind != "LORA":
        raise AdapterMisfit(f"it is of the kind {kind}, and only LORA is known")
    task = config.get("task_type")
    if task not in {None, "CAUSAL_LM"}:
        raise AdapterMisfit(f"it was trained for {task}, not for CAUSAL_LM")
    more = [key for key in _MORE if config.get(key)]
    if config.get("bias", "none") != "none":
        more.append("bias")
    if more:
        raise AdapterMisfit(f"it was trained with {', '.join(more)}, which can't be used here")


def _low_rank(
    layer: str,
    keys: Mapping[str, str],
    own: Mapping[str, StoredTensor],
    theirs: Mapping[str, StoredTensor],
    config: Mapping[str, Any],
) -> LowRank:
    if keys.keys() != {"A", "B"}:
        raise AdapterMisfit(f"{layer} has only one of its two matrices")
    a, b = (own[keys[side]].shape for side in "AB")
    if len(a) != 2 or len(b) != 2 or a[0] != b[1]:
        raise AdapterMisfit(f"the matrices of {layer} don't go together: {a} and {b}")
    # Some models' files leave out the outermost name.
    names = (f"{layer}.weight", f"{layer.partition('.')[2]}.weight")
    weight = next((theirs[name] for name in names if name in theirs), None)
    if weight is None:
        raise AdapterMisfit(f"the model has no layer {layer}")
    inputs, outputs = weight.shape[::-1] if len(weight.shape) == 2 else (0, 0)
    if config.get("fan_in_fan_out"):
        inputs, outputs = outputs, inputs
    if (a[1], b[0]) != (inputs, outputs):
        raise AdapterMisfit(
            f"{layer} of the model turns {inputs} numbers into {outputs}, "
            f"the adapter's {a[1]} into {b[0]}"
        )
    rank = _patterned(config.get("rank_pattern"), layer, config.get("r"))
    if rank != a[0]:
        raise AdapterMisfit(f"{layer} has rank {a[0]}, and {CONFIG} says {rank}")
    alpha = _patterned(config.get("alpha_pattern"), layer, config.get("lora_alpha"))
    if not isinstance(alpha, int | float):
        raise AdapterMisfit(f"{CONFIG} has no lora_alpha")
    divisor = math.sqrt(rank) if config.get("use_rslora") else rank
    return LowRank(keys["A"], keys["B"], alpha / divisor)


def _patterned(patterns: Any, layer: str, default: Any) -> Any:
    """The value of the first pattern that a layer's name ends on, as peft reads them."""
    for pattern, value in (patterns or {}).items():
        if re.fullmatch(rf"(?:.*\.)?(?:{pattern})", layer):
            return value
    return default
