"""A model folder (safetensors or GGUF) into memory, through transformers."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from gateway.backends.local.adapters import check_adapter
from gateway.backends.local.folder import context_window_of, gguf_of, read_json
from gateway.backends.local.loadable import check_folder
from gateway.backends.local.network.build import llama_of
from gateway.backends.local.network.interface import Network
from gateway.backends.local.network.kernels.library import level
from gateway.backends.local.network.low_rank import read_adapter
from gateway.backends.local.network.shape import OtherNetwork
from gateway.backends.local.params import defaults_of
from gateway.backends.local.template import PLAIN_TEMPLATE, ChatTemplate, special_tokens_of
from gateway.backends.local.tokens import ChatTokenizer

_NUMBERS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
#: Processors for which torch has int8 kernels; elsewhere `auto` is float32.
_INT8_KERNELS = frozenset({"AVX2", "AVX512"})

#: Where a model's configuration states no context window, in tokens.
_CAUTIOUS_WINDOW = 2048


@dataclass(slots=True, frozen=True)
class LoadedModel:
    """What generation needs: the network, the tokenizer, and the model's limits and defaults.

    `vocabulary` is how many logits a step has. `fingerprint` changes whenever the same request may
    get another answer: other weights, another
    number format, another version of torch, other kernels.
    """

    network: Network
    tokenizer: ChatTokenizer
    context_window: int
    vocabulary: int
    end_tokens: frozenset[int]
    sampling_defaults: Mapping[str, Any]
    fingerprint: str
    adapters: Mapping[str, Any] = field(default_factory=dict)


def load(
    folder: Path, dtype: str = "auto", adapters: Mapping[str, Path] | None = None
) -> LoadedModel:
    """Load a folder. `dtype` is auto, float32, bfloat16 or int8. No code of the model's is run.

    `adapters` are LoRA adapters' folders by the name that requests say. Raises ModelRefused.
    """
    check_folder(folder)
    for name, place in (adapters or {}).items():
        check_adapter(name, place, folder)
    gguf = gguf_of(folder)
    source = {"local_files_only": True, **({"gguf_file": gguf} if gguf is not None else {})}
    tokenizer = ChatTokenizer.of_folder(folder) or _tokenizer_of(folder, source)
    network, config = _network_of(folder, dtype, gguf)
    return LoadedModel(
        network=network,
        tokenizer=tokenizer,
        context_window=context_window_of(config) or _CAUTIOUS_WINDOW,
        vocabulary=_vocabulary(config),
        end_tokens=_end_tokens(config, folder, tokenizer),
        sampling_defaults=defaults_of(read_json(folder / "generation_config.json")),
        fingerprint=_fingerprint(folder, dtype),
        adapters={
            name: network.adapter(name, read_adapter(place, folder))
            for name, place in (adapters or {}).items()
        },
    )


def _network_of(folder: Path, dtype: str, gguf: str | None) -> tuple[Network, Mapping[str, Any]]:
    """The network, and the configuration that it was built from."""
    config = read_json(folder / "config.json")
    if gguf is None:
        has_kernels = torch.backends.cpu.get_cpu_capability() in _INT8_KERNELS
        is_int8 = dtype == "int8" or (dtype == "auto" and has_kernels)
        numbers = None if is_int8 else _NUMBERS.get(dtype, torch.float32)
        with contextlib.suppress(OtherNetwork):
            return llama_of(folder, config, numbers), config
    # Only now: it takes seconds and memory that the families above don't need.
    from gateway.backends.local.network.generic import TransformersNetwork

    numbers = None if dtype == "int8" else _NUMBERS.get(dtype, torch.float32)
    other = TransformersNetwork.of_folder(folder, numbers, {"gguf_file": gguf} if gguf else {})
    return other, other.model.config.to_dict()


def _vocabulary(config: Mapping[str, Any]) -> int:
    """How many logits a step gives."""
    text = config.get("text_config")
    size: int = (text if isinstance(text, Mapping) else config)["vocab_size"]
    return size


def _tokenizer_of(folder: Path, source: Mapping[str, Any]) -> ChatTokenizer:
    """The tokenizer of a folder without `tokenizer.json`, which transformers has to make."""
    from transformers import AutoTokenizer

    made = AutoTokenizer.from_pretrained(folder, **source)
    template = made.chat_template if isinstance(made.chat_template, str) else PLAIN_TEMPLATE
    tokens = special_tokens_of(made.special_tokens_map)
    return ChatTokenizer(made.backend_tokenizer, ChatTemplate(template, tokens))


def _end_tokens(
    config: Mapping[str, Any], folder: Path, tokenizer: ChatTokenizer
) -> frozenset[int]:
    """Every token that ends an answer, by the generation settings, the model and the tokenizer."""
    ends: set[int] = set()
    for source in (read_json(folder / "generation_config.json"), config):
        stated = source.get("eos_token_id")
        ends.update([stated] if isinstance(stated, int) else stated or ())
    named = special_tokens_of(read_json(folder / "tokenizer_config.json")).get("eos_token")
    found = tokenizer.token_id(named) if named is not None else None
    return frozenset(ends if found is None else {*ends, found})


def _fingerprint(folder: Path, dtype: str) -> str:
    arithmetic = f"{torch.__version__} {dtype} {level()}"
    digest = hashlib.sha256(arithmetic.encode())
    for path in sorted(filter(Path.is_file, folder.iterdir())):
        digest.update(f"{path.name} {path.stat().st_size}".encode())
    return f"fp_{digest.hexdigest()[:12]}"
