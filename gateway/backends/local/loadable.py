"""What can be loaded here, and what is refused: by a folder's files, before any weight is read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from gateway.backends.local.folder import gguf_of, read_json
from gateway.backends.local.refused import ModelRefused
from gateway.backends.local.stored import stored_tensors

#: Formats that can hold code, or that no part of the engine reads.
_OTHER_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack", "*.onnx")
_INDEX = "model.safetensors.index.json"
#: Architectures that need no look into transformers, which takes time and memory.
_USUAL = frozenset(
    {
        *("llama", "mistral", "mixtral", "qwen2", "qwen2_moe", "phi3", "gemma2", "gpt2"),
        *("bitnet", "bert"),
    }
)
#: Ways to store weights that load without further packages, and run without a GPU.
_QUANTISED = frozenset({"bitnet"})
_ELSEWHERE = "serve it elsewhere and name its URL as base_url of a deployment with backend: openai"
#: What architectures need that transformers doesn't have.
_OUTSIDE = {
    "openlm": (
        "OpenLM (DCLM-Baseline) is not in transformers but in the package open_lm, and that one's "
        "code does not fit this engine: `pip install "
        "git+https://github.com/mlfoundations/open_lm.git` where you have a GPU, "
    )
}


def check_folder(folder: Path) -> None:
    """Raises ModelRefused, with what to do, for a folder that can't be loaded."""
    gguf = only_gguf(folder)
    if gguf is not None:
        open_gguf(gguf)
        return
    check_weights(folder)
    check_config(read_json(folder / "config.json"))


def check_weights(folder: Path) -> None:
    """Raises ModelRefused where there are no whole safetensors beside a `config.json`."""
    if not any(folder.glob("*.safetensors")):
        found = [path.name for pattern in _OTHER_WEIGHTS for path in sorted(folder.glob(pattern))]
        raise ModelRefused(no_safetensors(found))
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise ModelRefused(
                "it is a LoRA adapter: name it under `adapters` of the deployment of its model"
            )
        raise ModelRefused("it has no config.json beside its weights: take that from its origin")
    stored_tensors(folder)
    shards = set(read_json(folder / _INDEX).get("weight_map", {}).values())
    missing = sorted(shard for shard in shards if not (folder / shard).is_file())
    if missing:
        raise ModelRefused(f"its file {missing[0]} is missing ({len(missing)} in all): fetch it")


def no_safetensors(files: Collection[str]) -> str:
    """Why a model with these files isn't loaded."""
    if not files:
        return "it has no weights: no *.safetensors and no *.gguf"
    return (
        f"its weights are in {min(files)} alone, a format that can run code or is not read here: "
        "take safetensors or GGUF, or convert it where you trust it, "
        "by transformers' from_pretrained and save_pretrained"
    )


def check_config(config: Mapping[str, Any]) -> None:
    """Raises ModelRefused for an architecture or number format that can't be run here."""
    kind = config.get("model_type")
    if not isinstance(kind, str):
        raise ModelRefused("its config.json has no model_type, so nobody can tell what it is")
    if kind in _OUTSIDE:
        raise ModelRefused(_OUTSIDE[kind] + _ELSEWHERE)
    if kind not in _USUAL and kind not in _known_kinds():
        if config.get("auto_map"):
            raise ModelRefused(
                f"its architecture {kind} is code in its own repository (auto_map), and such code "
                f"is never run here: {_ELSEWHERE}"
            )
        raise ModelRefused(
            f"transformers {_version()} does not know its architecture {kind}: "
            f"upgrade transformers where a newer one does, or {_ELSEWHERE}"
        )
    stated = config.get("quantization_config") or {}
    method = stated.get("quant_method")
    if stated and method not in _QUANTISED:
        raise ModelRefused(
            f"its weights are quantised by {method}, which is not read here: "
            "take the model without quantisation, or a GGUF file of it"
        )


def open_gguf(path: Path) -> Any:
    """A reader of a GGUF file whose architecture can be loaded. Raises ModelRefused."""
    from gguf import GGUFReader
    from transformers.integrations.ggml import GGUF_CONFIG_MAPPING

    try:
        reader = GGUFReader(path)
        architecture = reader.get_field("general.architecture")
        kind = architecture.contents() if architecture is not None else None
    except (ValueError, OSError, IndexError) as error:
        raise ModelRefused(f"{path.name} is no GGUF file, or cut short: {error}") from error
    known = sorted(GGUF_CONFIG_MAPPING.keys() - {"general", "tokenizer"})
    if kind not in known:
        raise ModelRefused(
            f"{path.name} has the architecture {kind}; transformers {_version()} reads only "
            f"{', '.join(known)} from GGUF: take the model as safetensors"
        )
    experts = reader.get_field(f"{kind}.expert_count")
    if (
        experts is not None
        and experts.contents()
        and "expert_count" not in GGUF_CONFIG_MAPPING[kind]
    ):
        raise ModelRefused(
            f"{path.name} is a mixture of experts, and transformers {_version()} reads the "
            f"architecture {kind} without them: take the model as safetensors"
        )
    if any(tensor.name.startswith("rope_factors_") for tensor in reader.tensors):
        raise ModelRefused(
            f"{path.name} stretches its position embeddings, which transformers {_version()} "
            "leaves out of GGUF: take the model as safetensors"
        )
    return reader


def only_gguf(folder: Path) -> Path | None:
    """The GGUF file of a folder without safetensors. Raises ModelRefused where there are more."""
    if gguf_of(folder) is None:
        return None
    found = sorted(folder.glob("*.gguf"))
    if len(found) > 1:
        raise ModelRefused(
            f"it holds {len(found)} GGUF files: name one of them, such as {found[0]}"
        )
    return found[0]


@cache
def _known_kinds() -> frozenset[str]:
    """Architectures that transformers builds by its own code: to chat, or to encode."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    return frozenset({*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *MODEL_FOR_MASKED_LM_MAPPING_NAMES})


def _version() -> str:
    from importlib.metadata import version

    return version("transformers")
