"""A model folder (safetensors or GGUF) into memory, through transformers."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from gateway.backends.local.adapters import check_adapter
from gateway.backends.local.folder import context_window_of, gguf_of, read_json
from gateway.backends.local.loadable import check_folder
from gateway.backends.local.low_rank import Adapters, read_adapter
from gateway.backends.local.params import defaults_of
from gateway.backends.local.template import PLAIN_TEMPLATE, ChatTemplate, special_tokens_of
from gateway.backends.local.tokens import ChatTokenizer

#: `auto` is float32: see `quantised` for what int8 costs in quality, and bfloat16 is slower than
#: float32 on CPUs without units for it.
_NUMBERS = {"auto": torch.float32, "float32": torch.float32, "int8": torch.float32}

#: Where a model's configuration states no context window, in tokens.
_CAUTIOUS_WINDOW = 2048


@dataclass(slots=True, frozen=True)
class LoadedModel:
    """What generation needs: the network, the tokenizer, and the model's limits and defaults.

    `fingerprint` changes whenever the same request may get another answer: other weights, another
    number format, another version of torch.
    """

    network: Any
    tokenizer: ChatTokenizer
    context_window: int
    end_tokens: frozenset[int]
    sampling_defaults: Mapping[str, Any]
    fingerprint: str
    adapters: Adapters | None = None


def load(
    folder: Path, dtype: str = "auto", adapters: Mapping[str, Path] | None = None
) -> LoadedModel:
    """Load a folder. `dtype` is auto, float32, bfloat16 or int8. No code of the model's is run.

    `adapters` are LoRA adapters' folders by the name that requests say. Raises ModelRefused.
    """
    check_folder(folder)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    gguf = gguf_of(folder)
    source = {"local_files_only": True, **({"gguf_file": gguf} if gguf is not None else {})}
    numbers = number_format(dtype)
    with plain_steps(read_json(folder / "config.json")):
        network = AutoModelForCausalLM.from_pretrained(folder, dtype=numbers, **source).eval()
    config = network.config
    tokenizer = ChatTokenizer.of_folder(folder) or _tokenizer_of(folder, source)
    network = quantised(network) if dtype == "int8" else network
    return LoadedModel(
        network=network,
        tokenizer=tokenizer,
        context_window=context_window_of(config.to_dict()) or _CAUTIOUS_WINDOW,
        end_tokens=_end_tokens(network, folder, tokenizer),
        sampling_defaults=defaults_of(read_json(folder / "generation_config.json")),
        fingerprint=_fingerprint(folder, dtype),
        adapters=_adapters(network, folder, numbers, adapters or {}),
    )


def _adapters(
    network: Any, base: Path, numbers: torch.dtype, folders: Mapping[str, Path]
) -> Adapters | None:
    """The adapters, beside a network that is otherwise unchanged; None where there are none."""
    if not folders:
        return None
    for name, folder in folders.items():
        check_adapter(name, folder, base)
    read = {name: read_adapter(folder, base, numbers) for name, folder in folders.items()}
    return Adapters(network, read)


@contextmanager
def plain_steps(config: Mapping[str, Any]) -> Iterator[None]:
    """Keep transformers from compiling how BitNet's weights are unpacked.

    That takes 17 seconds, and a C++ compiler, which not every machine has.
    """
    if config.get("model_type") != "bitnet":
        yield
        return
    with warnings.catch_warnings(), torch.compiler.set_stance("force_eager"):
        warnings.simplefilter("ignore")  # torch, on its own parts, as the compiler is imported
        yield


def number_format(dtype: str) -> torch.dtype:
    """What weights are loaded as; int8 ones are `quantised` afterwards."""
    found: torch.dtype = _NUMBERS.get(dtype, torch.bfloat16)
    return found


def quantised(network: Any) -> Any:
    """The same network with int8 linear layers; changed in place, the float weights are freed.

    Three times as fast at one answer, but it multiplies SmolLM2-135M's perplexity by 2.5 (torch
    2.13 rounds activations too, to one scale a tensor): only for those who ask for it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch advises to move to another package
        return torch.ao.quantization.quantize_dynamic(
            network, {torch.nn.Linear}, dtype=torch.qint8, inplace=True
        )


def _tokenizer_of(folder: Path, source: Mapping[str, Any]) -> ChatTokenizer:
    """The tokenizer of a folder without `tokenizer.json`, which transformers has to make."""
    from transformers import AutoTokenizer

    made = AutoTokenizer.from_pretrained(folder, **source)
    template = made.chat_template if isinstance(made.chat_template, str) else PLAIN_TEMPLATE
    tokens = special_tokens_of(made.special_tokens_map)
    return ChatTokenizer(made.backend_tokenizer, ChatTemplate(template, tokens))


def _end_tokens(network: Any, folder: Path, tokenizer: ChatTokenizer) -> frozenset[int]:
    """Every token that ends an answer, by the generation settings, the model and the tokenizer."""
    ends: set[int] = set()
    for source in (network.generation_config, network.config):
        stated = getattr(source, "eos_token_id", None)
        ends.update([stated] if isinstance(stated, int) else stated or ())
    named = special_tokens_of(read_json(folder / "tokenizer_config.json")).get("eos_token")
    found = tokenizer.token_id(named) if named is not None else None
    return frozenset(ends if found is None else {*ends, found})


def _fingerprint(folder: Path, dtype: str) -> str:
    digest = hashlib.sha256(f"{torch.__version__} {dtype}".encode())
    for path in sorted(folder.iterdir()):
        digest.update(f"{path.name} {path.stat().st_size}".encode())
    return f"fp_{digest.hexdigest()[:12]}"
