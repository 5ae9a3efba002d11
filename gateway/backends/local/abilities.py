"""What a model on this machine is and can do, by its files alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.backends.local.adapters import CONFIG as ADAPTER_CONFIG
from gateway.backends.local.adapters import AdapterMisfit, holds_adapter, layers_of
from gateway.backends.local.folder import NOTE, gguf_of, read_json, vector_size_of
from gateway.backends.local.stored import BrokenWeights, StoredTensor, stored_tensors
from gateway.backends.local.template import template_source

#: How the names of networks end that go on with a text.
_GENERATING = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
#: Weights of -1, 0 and 1, of which a byte holds four.
_TERNARY_IN_A_BYTE = 4


@dataclass(slots=True, frozen=True)
class Abilities:
    """A model's family as its configuration names it, its size, and what it is asked for.

    `parameters` is None where the files don't say.
    """

    family: str
    parameters: int | None
    does: str


def abilities_of(folder: Path) -> Abilities:
    """What the model or adapter in a folder can do."""
    config = read_json(folder / "config.json")
    if holds_adapter(folder):
        base = read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
        return Abilities("lora", _parameters(folder), f"adapter, trained for {base or 'unknown'}")
    if gguf_of(folder) is not None:
        return Abilities("gguf", None, "chat; `slm-gateway pull` it to load it quickly")
    family = str(config.get("model_type", "unknown"))
    named = config.get("architectures") or [""]
    if not str(named[0]).endswith(_GENERATING):
        return Abilities(family, _parameters(folder), f"embeddings of {vector_size_of(folder)}")
    return Abilities(family, _parameters(folder), f"chat, {_template_of(folder)}")


def fitting(adapter: Path, models: Mapping[str, Path]) -> list[str]:
    """The names of those models that an adapter can be loaded beside."""
    found = []
    for name, folder in models.items():
        try:
            layers_of(adapter, folder)
        except AdapterMisfit:
            continue
        found.append(name)
    return found


def installed_adapters(models_dir: Path) -> dict[str, Path]:
    """The adapters that `pull` has put here, by the name that they were asked for."""
    if not models_dir.is_dir():
        return {}
    folders = sorted(path for path in models_dir.iterdir() if not path.name.startswith("."))
    return {
        str(read_json(folder / NOTE).get("model") or folder.name): folder
        for folder in folders
        if holds_adapter(folder)
    }


def _template_of(folder: Path) -> str:
    source = template_source(folder)
    if source is None:
        return "no template"
    return "template, tools" if "tools" in source else "template, no tools"


def _parameters(folder: Path) -> int | None:
    try:
        tensors = stored_tensors(folder)
    except BrokenWeights:
        return None
    return sum(_numbers(name, tensor, tensors) for name, tensor in tensors.items())


def _numbers(name: str, tensor: StoredTensor, tensors: Mapping[str, StoredTensor]) -> int:
    is_packed = tensor.dtype == "U8" and f"{name}_scale" in tensors
    return tensor.size * (_TERNARY_IN_A_BYTE if is_packed else 1)
