"""A model folder as a network of the Llama kind; small weights are made once and kept beside it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from gateway.backends.local.network import kept
from gateway.backends.local.network.files import Tensors, identity
from gateway.backends.local.network.kernels.codes import Codes, coded
from gateway.backends.local.network.kernels.network import KernelNetwork, runs
from gateway.backends.local.network.linear import (
    FloatLinear,
    Head,
    Int4Linear,
    Int8Linear,
    Linear,
    Vocabulary,
    has_bfloat16_units,
    packed,
    quantised,
)
from gateway.backends.local.network.llama import Block, LlamaNetwork
from gateway.backends.local.network.shape import LlamaShape

_log = logging.getLogger(__name__)

#: Where converted weights are kept in a model's folder, and what their file says of itself.
CONVERTED = Path("converted") / "weights.safetensors"
_FORMAT = "1"
#: Up to this size the matrices are kept in bfloat16 too where int4 ones serve the steps, in bytes.
_MOST_COPIED = 1_000_000_000

_EMBEDDING = "model.embed_tokens"
_NORM = "model.norm"
_HEAD = "lm_head"
#: Our matrices: the names that checkpoints give to their parts, joined or one by one.
_MATRICES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "qkv": ("self_attn.qkv_proj", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
    "out": ("self_attn.o_proj", ()),
    "gate_up": ("mlp.gate_up_proj", ("mlp.gate_proj", "mlp.up_proj")),
    "down": ("mlp.down_proj", ()),
}
_NORMS = {"attention_norm": "input_layernorm", "feed_norm": "post_attention_layernorm"}

_Loaded = Mapping[str, torch.Tensor]


def llama_of(
    folder: Path, config: Mapping[str, Any], dtype: torch.dtype | None
) -> LlamaNetwork | KernelNetwork:
    """The network of a folder, its weights in `dtype`; None rounds them to what steps need.

    That is int4 where the model was published in four bits, else int8.
    Raises OtherNetwork where the configuration asks for more than this kind of network does.
    """
    shape = LlamaShape.of(config)
    if dtype is not None:
        floats = {name: tensor.to(dtype) for name, tensor in _renamed(shape, Tensors(folder))}
        return _assembled(shape, floats, _float_matrix, FloatLinear)
    if runs(shape, config["intermediate_size"]):
        made = _made_once(folder, {"format": "codes 1"}, lambda tensors: _coded(shape, tensors))
        return _by_kernels(shape, made)
    _log.info("no compiled kernel runs the network in %s: torch's do, more slowly", folder)
    made = _made_once(
        folder,
        {"format": _FORMAT, **_torch_kernels()},
        lambda tensors: _converted(shape, tensors),
    )
    return _assembled(shape, made, _small_matrix, Head if has_bfloat16_units() else None)


def _made_once(
    folder: Path, about: Mapping[str, str], make: Callable[[Tensors], dict[str, torch.Tensor]]
) -> _Loaded:
    """The converted weights that are kept in the folder; they are made where it has none."""
    about = {**about, "source": identity(folder)}
    file = folder / CONVERTED
    made = kept.read(file, about)
    if made is None:
        made = make(Tensors(folder))
        try:
            kept.write(file, made, about)
        except OSError as error:  # then they are made again at each start
            _log.warning("the converted weights can't be kept in %s: %s", file.parent, error)
    return made


def _coded(shape: LlamaShape, tensors: Tensors) -> dict[str, torch.Tensor]:
    """Everything in the form that our kernels want, by our names."""
    made: dict[str, torch.Tensor] = {}
    for name, tensor in _renamed(shape, tensors):
        stem, _, kind = name.rpartition(".")
        if kind == "weight":
            codes = coded(tensor)
            made[f"{stem}.codes"], made[f"{stem}.levels"] = codes.codes, codes.levels
            made[f"{stem}.outputs"] = torch.tensor(codes.outputs)
        else:
            made[name] = tensor.float()
    return made


def _by_kernels(shape: LlamaShape, loaded: _Loaded) -> KernelNetwork:
    stems = [name.removesuffix(".codes") for name in loaded if name.endswith(".codes")]
    matrices = {
        stem: Codes(
            loaded[f"{stem}.codes"], loaded[f"{stem}.levels"], int(loaded[f"{stem}.outputs"])
        )
        for stem in stems
    }
    matrices.setdefault("head", matrices["embedding"])
    floats = {name: one for name, one in loaded.items() if one.dtype == torch.float32}
    return KernelNetwork(shape, matrices, floats)


def _torch_kernels() -> dict[str, str]:
    """What converted weights are laid out for: int4 ones are in the order that a kernel reads."""
    return {
        "torch": torch.__version__,
        "processor": torch.backends.cpu.get_cpu_capability(),
        "bfloat16": str(has_bfloat16_units()),
    }


def _assembled(
    shape: LlamaShape,
    loaded: _Loaded,
    matrix: Callable[[_Loaded, str], Linear],
    vocabulary: Callable[[torch.Tensor], Vocabulary] | None,
) -> LlamaNetwork:
    def end(name: str) -> Vocabulary:
        if vocabulary is not None:
            return vocabulary(loaded[f"{name}.weight"])
        return Int8Linear(loaded[f"{name}.int8"], loaded[f"{name}.scale"])

    blocks = [
        Block(
            **{norm: loaded[f"{layer}.{norm}"] for norm in _NORMS},
            **{name: matrix(loaded, f"{layer}.{name}") for name in _MATRICES},
        )
        for layer in range(shape.layers)
    ]
    embedding = end("embedding")
    head = end("head") if any(name.startswith("head.") for name in loaded) else embedding
    return LlamaNetwork(shape, embedding, blocks, loaded["norm"], head)


def _renamed(shape: LlamaShape, tensors: Tensors) -> Iterator[tuple[str, torch.Tensor]]:
    """Our names and the checkpoint's tensors, joined as our matrices are; one at a time."""
    yield "embedding.weight", tensors[f"{_EMBEDDING}.weight"]
    if not shape.is_tied and f"{_HEAD}.weight" in tensors:
        yield "head.weight", tensors[f"{_HEAD}.weight"]
    yield "norm", tensors[f"{_NORM}.weight"]
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}."
        for norm, stored in _NORMS.items():
            yield f"{layer}.{norm}", tensors[f"{prefix}{stored}.weight"]
        for name, (joined, single) in _MATRICES.items():
            is_joined = not single or f"{prefix}{joined}.weight" in tensors
            parts = [prefix + part for part in ([joined] if is_joined else single)]
            yield f"{layer}.{name}.weight", tensors.joined([f"{part}.weight" for part in parts])
            if f"{parts[0]}.bias" in tensors:
                yield f"{layer}.{name}.bias", tensors.joined([f"{part}.bias" for part in parts])


def _converted(shape: LlamaShape, tensors: Tensors) -> dict[str, torch.Tensor]:
    """Everything in the form that a step wants, by our names."""
    is_small = _matrix_parameters(shape, tensors) * torch.bfloat16.itemsize <= _MOST_COPIED
    made: dict[str, torch.Tensor] = {}
    for name, tensor in _renamed(shape, tensors):
        stem, _, kind = name.rpartition(".")
        is_vocabulary = stem in {"embedding", "head"}
        if kind != "weight" or (is_vocabulary and has_bfloat16_units()):
            made[name] = tensor.bfloat16()
        elif not is_vocabulary and is_small and (small := packed(tensor)) is not None:
            made[f"{stem}.int4"], made[f"{stem}.levels"] = small
            made[name] = tensor.bfloat16()
        else:
            made[f"{stem}.int8"], made[f"{stem}.scale"] = quantised(tensor)
    return made


def _matrix_parameters(shape: LlamaShape, tensors: Tensors) -> int:
    first = (tensor for name, tensor in _renamed(shape, tensors) if name.startswith("0."))
    return shape.layers * sum(int(tensor.numel()) for tensor in first)


def _float_matrix(loaded: _Loaded, name: str) -> Linear:
    return FloatLinear(loaded[f"{name}.weight"], loaded.get(f"{name}.bias"))


def _small_matrix(loaded: _Loaded, name: str) -> Linear:
    prompt_dtype = torch.bfloat16 if has_bfloat16_units() else torch.float32
    bias = loaded.get(f"{name}.bias")
    if f"{name}.int4" in loaded:
        small = (loaded[f"{name}.int4"], loaded[f"{name}.levels"], loaded[f"{name}.weight"])
        return Int4Linear(*small, bias, prompt_dtype)
    return Int8Linear(loaded[f"{name}.int8"], loaded[f"{name}.scale"], bias, prompt_dtype)
